"""Sound in: the WAV reader against files built byte by byte and against soundfile, the resampler against SciPy."""

import gc
import io
import math
import os
import struct
import sys
import threading
import time
import tracemalloc
import wave
from pathlib import Path

import numpy as np
import pytest
from audio_files import CODINGS, chunk, noise, wav
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from minirep import audio
from minirep.audio import compressed
from minirep.audio.resample import low_pass, reach
from minirep.errors import MinirepError, MissingExtra

LIST = chunk(b"LIST", b"INFOISFT" + b"odd")  # 11 bytes and one of padding
BEXT = chunk(b"bext", bytes(602))
FACT = chunk(b"fact", bytes(4))
GSM = 0x31


def read_all(source) -> np.ndarray:
    recording = audio.open_recording(source)
    return recording.read(0, recording.length)


def refused(source) -> str:
    """The message with which a source is refused: one line."""
    with pytest.raises(MinirepError) as caught:
        read_all(source)
    message = str(caught.value)
    assert message.isprintable()
    return message


@pytest.fixture
def without_soundfile(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)


# --- WAV -------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("form", [{}, {"extensible": True}, {"rf64": True}], ids=["plain", "extensible", "rf64"])
@pytest.mark.parametrize("channels", [1, 2, 3, 8])
@pytest.mark.parametrize("coding", CODINGS)
def test_every_coding_and_channel_count(tmp_path, coding, channels, form):
    data, values = noise(coding, 997, channels)
    path = tmp_path / "sound.wav"
    path.write_bytes(wav(data, coding, channels, 44100, **form))
    recording = audio.open_recording(path)
    assert (recording.rate, recording.length, recording.name) == (44100, 997, str(path))
    expected = values.mean(axis=1).astype(np.float32)
    for start, stop in ((0, 997), (13, 500), (996, 997), (-5, 3), (990, 2000), (500, 500), (7, 3), (998, 1200)):
        got = recording.read(start, stop)
        assert got.dtype == np.float32
        np.testing.assert_allclose(got, expected[max(0, start) : max(0, stop)], rtol=1e-6, atol=1e-7)


def test_full_scale():
    raw = {"u8": b"\x00\x80\xff", "i16": struct.pack("<3h", -(2**15), 0, 2**15 - 1)}
    np.testing.assert_array_equal(read_all(io.BytesIO(wav(raw["u8"], "u8"))), np.float32([-1, 0, 127 / 128]))
    np.testing.assert_array_equal(read_all(io.BytesIO(wav(raw["i16"]))), np.float32([-1, 0, 1 - 2**-15]))


def test_integers_of_odd_sizes_lie_in_the_upper_bits():
    data = struct.pack("<2h", 0x7FF0, -0x8000)
    np.testing.assert_array_equal(read_all(io.BytesIO(wav(data, bits=12))), np.float32([0x7FF0 / 0x8000, -1]))


def test_files_of_the_standard_library(tmp_path):
    path = tmp_path / "sound.wav"
    data, values = noise("i16", 5000, 2)
    with wave.open(str(path), "wb") as file:
        file.setnchannels(2), file.setsampwidth(2), file.setframerate(8000), file.writeframes(data)
    np.testing.assert_allclose(read_all(str(path)), values.mean(axis=1), atol=1e-7)
    np.testing.assert_allclose(read_all(os.fsencode(path)), values.mean(axis=1), atol=1e-7)


@pytest.mark.parametrize("before", [b"", LIST, FACT + BEXT + LIST, chunk(b"JUNK", b"") * 500])
@pytest.mark.parametrize("after", [b"", LIST, b"\0", b"trailing garbage"])
def test_other_chunks_are_skipped(before, after):
    data, values = noise("u8", 101, 1)  # an odd number of bytes
    np.testing.assert_allclose(read_all(io.BytesIO(wav(data, "u8", before=before, after=after))), values[:, 0])


def test_a_piece_of_a_sample_at_the_end_is_dropped():
    assert len(read_all(io.BytesIO(wav(bytes(4 * 10 + 3), "i32")))) == 10


@pytest.mark.parametrize("size", [0, 2**32 - 1, 2**31, 2**31 - 4096, 2**31 - 4096 + 36, 2**32 - 37])
@pytest.mark.parametrize("riff_size", [0, 36, 2**32 - 1, 2**31 - 1])
def test_sizes_of_a_stream_mean_up_to_the_end(size, riff_size):
    data, values = noise("i16", 1000, 1)
    got = read_all(io.BytesIO(wav(data, data_size=size, riff_size=riff_size)))
    np.testing.assert_allclose(got, values[:, 0], atol=1e-7)


@pytest.mark.parametrize("size", [0, 2**64 - 1])
def test_sizes_of_an_rf64_stream(size):
    data, values = noise("i16", 1000, 1)
    np.testing.assert_allclose(read_all(io.BytesIO(wav(data, rf64=True, data_size=size))), values[:, 0], atol=1e-7)


class Pipe(io.RawIOBase):
    """A stream that cannot be sought in and gives little at a time, as a pipe does."""

    name = "<a pipe>"

    def __init__(self, content):
        self.content = io.BytesIO(content)

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.content.readinto(memoryview(buffer)[:100])


def test_streams():
    data, values = noise("i24", 3000, 2)
    recording = audio.open_recording(Pipe(wav(data, "i24", 2)))
    assert recording.name == "<a pipe>"
    np.testing.assert_allclose(recording.read(100, 200), values[100:200].mean(axis=1), atol=1e-7)
    assert "<a pipe>: truncated" in refused(Pipe(wav(data, "i24", 2)[:1000]))


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="no named pipes here")
def test_a_named_pipe(tmp_path):
    path = tmp_path / "pipe.wav"
    os.mkfifo(path)
    data, values = noise("i16", 50_000, 1)
    writer = threading.Thread(target=path.write_bytes, args=(wav(data),))
    writer.start()
    np.testing.assert_allclose(read_all(path), values[:, 0], atol=1e-7)
    writer.join()


# --- Bad files -------------------------------------------------------------------------------------------------------

BAD_FILES = {
    "empty": (b"", "empty file"),
    "only a head": (b"RIFF\0\0\0\0WAVE", "truncated: found no samples"),
    "no data": (wav()[:36], "truncated: found no samples"),
    "half of the samples": (wav(bytes(1000))[:544], "truncated: found 500 of the 1000 bytes"),
    "RF64, half of the samples": (wav(bytes(1000), rf64=True)[:-500], "truncated: found 500 of the 1000 bytes"),
    "far more promised": (wav(data_size=2**32 - 2**20), "truncated: found 64 of the 4293918720 bytes"),
    "far more promised by RF64": (wav(rf64=True, data_size=2**62 + 2**30), "truncated: found 64 of the 46116860"),
    "no samples": (wav(b""), "no samples"),
    "no samples, then a chunk": (wav(b"", after=LIST), "no samples"),
    "less than one sample": (wav(bytes(5), "i16", 3), "no samples"),
    "rate 0": (wav(rate=0), "rate of 0, expected a whole number from 100 to 768000"),
    "rate 99": (wav(rate=99), "rate of 99"),
    "rate 4 GHz": (wav(rate=2**32 - 1), "rate of 4294967295"),
    "no channels": (wav(channels=0), "0 channels"),
    "too many channels": (wav(channels=65535, frame=2), "65535 channels"),
    "0 bits": (wav(bits=0), "0-bit integers"),
    "40-bit integers": (wav(coding="i40"), "40-bit integers"),
    "16-bit floats": (wav(coding="f16"), "16-bit floats"),
    "60-bit floats": (wav(coding="f64", bits=60), "60-bit floats"),
    "no fmt": (b"RIFF\0\0\0\0WAVE" + chunk(b"data", bytes(64)), "found 0 bytes in the WAV chunk 'fmt '"),
    "short fmt": (b"RIFF\0\0\0\0WAVE" + chunk(b"fmt ", bytes(14)) + chunk(b"data", bytes(64)), "found 14 bytes"),
    "short extensible fmt": (wav(tag=0xFFFE), "found 16 bytes in the WAV chunk 'fmt ', expected at least 40"),
    "short ds64": (
        wav(data_size=2**32 - 1, before=chunk(b"ds64", bytes(8))),
        "found 8 bytes in the WAV chunk 'ds64', expected at least 16",
    ),
    "endless chunks": (wav(before=chunk(b"JUNK", b"") * 2000), "1000 chunks"),
    "a chunk beyond the end": (wav(before=chunk(b"LIST", b"", 2**31)), "truncated: found no samples"),
    "NaN": (wav(np.float32([0, np.nan, 0]).tobytes(), "f32"), "NaN"),
    "infinite": (wav(np.float64([0, -np.inf, 0]).tobytes(), "f64"), "infinite"),
    "too large for float32": (wav(np.float64([0, 1e300, 0]).tobytes(), "f64"), "huge"),
    "opposite infinities": (wav(np.float64([np.inf, -np.inf]).tobytes(), "f64", 2), "NaN"),
    "a signalling NaN": (wav(b"\x01\x00\x80\x7f" * 4, "f32"), "NaN"),
}


@pytest.mark.parametrize("content, expected", BAD_FILES.values(), ids=BAD_FILES.keys())
def test_bad_files_get_one_clear_line(tmp_path, without_soundfile, content, expected):
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    message = refused(path)
    assert message.startswith(f"{path}: ") and expected in message, message


@pytest.mark.parametrize("content", [b"plain text, no sound", b"RIFF\0\0\0\0AVI LIST", wav(tag=GSM), bytes(5000)])
def test_other_formats_say_which_extra_reads_them(without_soundfile, content):
    with pytest.raises(MissingExtra, match=r"pip install 'minirep\[audio\]'"):
        audio.open_recording(io.BytesIO(content))


def test_what_is_not_a_file(tmp_path):
    assert "No such file" in refused(tmp_path / "none.wav")
    assert str(tmp_path) in refused(tmp_path)
    assert "null" in refused("a\0b.wav")
    assert "text" in refused(io.StringIO("text")) or "bytes" in refused(io.StringIO("text"))
    for odd in (None, 3, 0.5, ["a.wav"], np.zeros((40, 40))):
        assert "expected a readable sound file" in refused(odd)
    assert "\\n" in refused("two\nlines.wav")


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may read everything")
def test_no_permission(tmp_path):
    path = tmp_path / "secret.wav"
    path.write_bytes(wav())
    path.chmod(0)
    assert "ermission" in refused(path)


def test_a_file_that_shrinks_and_a_disk_that_fails(tmp_path):
    path = tmp_path / "sound.wav"
    path.write_bytes(wav(bytes(1 << 20)))
    recording = audio.open_recording(path)
    os.truncate(path, 1 << 19)
    with pytest.raises(MinirepError, match="truncated while"):
        recording.read(0, recording.length)

    def fail(start, stop):
        raise OSError(5, "Input/output error")

    with pytest.raises(MinirepError, match=r"disk: reading failed \(Input/output error\)"):
        audio.Recording("disk", 16000, 10, fail).read(0, 10)


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=200), st.sampled_from([b"", b"RIFF\0\0\0\0WAVE", b"RF64\xff\xff\xff\xffWAVE"]))
def test_random_bytes(content, head):
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "soundfile", None)
        works_or_is_refused(head + content)


@settings(max_examples=500, deadline=None)
@given(st.data())
def test_damaged_wav_files(data):
    coding = data.draw(st.sampled_from(CODINGS))
    channels = data.draw(st.integers(1, 3))
    content = bytearray(
        wav(
            noise(coding, 20, channels)[0],
            coding,
            channels,
            extensible=data.draw(st.booleans()),
            rf64=data.draw(st.booleans()),
            before=data.draw(st.sampled_from([b"", LIST, FACT])),
        )
    )
    for _ in range(data.draw(st.integers(1, 4))):
        where = data.draw(st.integers(0, min(len(content) - 1, 140)))
        new = data.draw(st.one_of(st.binary(max_size=8), st.sampled_from([b"\xff" * 4, bytes(4), b"\xff\xff\xff\x7f"])))
        cut = data.draw(st.sampled_from([0, len(new)]))  # insert or replace
        content[where : where + cut] = new
    content = bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "soundfile", None)
        works_or_is_refused(content)


def works_or_is_refused(content):
    try:
        recording = audio.open_recording(io.BytesIO(content))
        assert 1 <= recording.length <= len(content) and 100 <= recording.rate <= 768_000
        samples = recording.read(0, recording.length)
        assert samples.shape == (recording.length,) and np.isfinite(samples).all()
        start = recording.length // 3
        np.testing.assert_array_equal(recording.read(start, start + 5), samples[start : start + 5])
    except MinirepError as error:
        assert str(error).isprintable()


# --- Memory, files, threads ------------------------------------------------------------------------------------------


def peak_memory(work) -> int:
    """Bytes that were allocated at the most while ``work`` ran."""
    gc.collect()
    tracemalloc.start()
    try:
        work()
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.fixture
def five_gigabytes(tmp_path):
    """An RF64 file of nine hours of silence with 16 samples of -0.5 in its middle; the disk holds only these."""
    path = tmp_path / "long.wav"
    size = 5 << 30
    content = wav(b"", "i16", 2, 40000, rf64=True, data_size=size)
    with open(path, "wb") as file:
        file.write(content)
        file.truncate(len(content) + size)
        file.seek(len(content) + size // 2)
        file.write(struct.pack("<h", -(2**14)) * 32)
    return path


def test_a_piece_of_a_long_file_takes_the_memory_of_a_piece(five_gigabytes):
    def read_middle():
        recording = audio.open_recording(five_gigabytes)
        assert recording.length == 5 << 28
        middle = recording.length // 2
        np.testing.assert_array_equal(recording.read(middle - 4, middle + 20), [0] * 4 + [-0.5] * 16 + [0] * 4)
        assert len(recording.read(recording.length - 40000, recording.length + 1)) == 40000
        slow = audio.resample(recording, 16000)
        assert slow.length == recording.length * 2 // 5
        assert slow.read(slow.length // 2 - 8000, slow.length // 2 + 8000).min() < -0.4

    began = time.perf_counter()
    assert peak_memory(read_middle) < 16e6
    assert time.perf_counter() - began < 2


def test_a_header_cannot_make_us_allocate():
    many = wav(bytes(65535 * 2), "i16", 65535, frame=65535 * 2 % 65536)
    for content in (many, wav(data_size=2**32 - 2**20), wav(before=chunk(b"LIST", b"", 2**32 - 2))):
        assert peak_memory(lambda c=content: refused(io.BytesIO(c))) < 1e6
    wide = wav(bytes(32767 * 2 * 40), "i16", 32767)  # the most channels whose frame fits its field
    assert peak_memory(lambda: read_all(io.BytesIO(wide))) < 12e6


@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="no list of open files here")
def test_files_are_closed(tmp_path):
    good, bad = tmp_path / "good.wav", tmp_path / "bad.wav"
    good.write_bytes(wav(bytes(20 << 20)))
    bad.write_bytes(wav()[:50])
    before = len(os.listdir("/proc/self/fd"))
    recordings = [audio.open_recording(good), audio.open_recording(io.BytesIO(good.read_bytes()))]  # the latter on disk
    recordings.append(audio.resample(recordings[0], 8000))
    assert len(os.listdir("/proc/self/fd")) == before + 2
    recordings.pop().read(0, 10)
    del recordings
    refused(bad), refused(io.BytesIO(bad.read_bytes()))
    gc.collect()
    assert len(os.listdir("/proc/self/fd")) == before


def test_threads_may_share_a_recording(tmp_path):
    path = tmp_path / "sound.wav"
    data, values = noise("i16", 300_000, 1)
    path.write_bytes(wav(data))
    recording = audio.open_recording(path)
    wrong = []

    def read(seed):
        for start in np.random.default_rng(seed).integers(0, 200_000, 50):
            if not np.array_equal(recording.read(start, start + 90_000), values[start : start + 90_000, 0]):
                wrong.append(start)

    threads = [threading.Thread(target=read, args=(seed,)) for seed in range(4)]
    [thread.start() for thread in threads], [thread.join() for thread in threads]
    assert not wrong


# --- Arrays ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["float16", "float32", "float64", ">f4", "int16", ">i2", "int32", "uint8"])
def test_arrays(kind):
    values = np.array([0, 0.5, -1, 0.25])
    scale = {"int16": 2**15, ">i2": 2**15, "int32": 2**31, "uint8": 128}.get(kind, 1)
    samples = (values * scale + (128 if kind == "uint8" else 0)).astype(kind)
    recording = audio.from_array(samples, 16000)
    assert (recording.rate, recording.length) == (16000, 4)
    np.testing.assert_array_equal(recording.read(0, 4), values.astype(np.float32))
    np.testing.assert_array_equal(audio.from_array(samples[::-2], 16000).read(1, 2), [0.5])
    assert recording.read(0, 4).dtype == np.float32


@pytest.mark.parametrize(
    "samples, expected",
    [
        (np.zeros((2, 100)), r"shape \(2, 100\).*downmix"),
        (np.float32(1), r"shape \(\)"),
        ([], "no samples"),
        ([0.0, np.nan], "NaN"),
        ([0.0, np.inf], "infinite"),
        ([0.0, -np.inf], "infinite"),
        ([0.0, 1e300], "huge"),
        ([True, False], "bool"),
        ([1j], "complex"),
        ([None], "object"),
        (["a"], "<U1"),
        ([1, 2], "int64"),
        ([[1.0], [1.0, 2.0]], "dimension"),
        (np.zeros(3, np.uint16), "uint16"),
        (np.zeros(3, "M8[s]"), "datetime64"),
    ],
)
def test_bad_arrays(samples, expected):
    with pytest.raises(MinirepError, match=expected):
        audio.from_array(samples, 16000)


@pytest.mark.parametrize("rate", [0, -16000, 999, 768_001, 16000.5, np.nan, np.inf, "16000", True, 16000j, [16000, 1]])
def test_bad_rates(rate):
    with pytest.raises(MinirepError, match="expected a whole number from 1000 to 768000"):
        audio.from_array([0.0], rate)
    with pytest.raises(MinirepError, match="expected a whole number from 1000 to 768000"):
        audio.resample(audio.from_array([0.0], 16000), rate)


def test_an_array_needs_its_rate():
    with pytest.raises(MinirepError, match="needs its rate"):
        audio.from_array([0.0], None)
    assert audio.from_array([0.0], 44100.0).rate == audio.from_array([0.0], np.int32(44100)).rate == 44100


# --- Resampling ------------------------------------------------------------------------------------------------------

RATES = [
    (8000, 16000), (44100, 16000), (48000, 24000), (48000, 16000), (22050, 24000), (11025, 16000), (44101, 16000),
    (16000, 15999), (96000, 16000), (1000, 48000),
]  # fmt: skip


def resampled(samples, old, new):
    recording = audio.resample(audio.from_array(samples, old), new)
    return recording.read(0, recording.length)


def test_the_same_rate_is_the_same_recording():
    recording = audio.from_array([0.5], 16000)
    assert audio.resample(recording, 16000) is recording


@pytest.mark.parametrize("old, new", RATES)
def test_resampling_equals_scipy(old, new):
    signal = pytest.importorskip("scipy.signal")
    common = math.gcd(old, new)
    up, down = new // common, old // common
    ends = reach(up, down) * up
    taps = low_pass(np.arange(-ends, ends + 1) / up, up, down) / up
    for length in (1, 100, old // 5 + 3):
        samples = np.random.default_rng(length).uniform(-1, 1, length).astype(np.float32)
        expected = signal.resample_poly(samples.astype(np.float64), up, down, window=taps)
        np.testing.assert_allclose(resampled(samples, old, new), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("old, new", RATES)
def test_pure_tones(old, new):
    """What both rates can carry comes through as it was; what the new one cannot does not come back as an alias."""
    seconds = 1.2
    times = np.arange(int(old * seconds)) / old
    inner = slice(int(new * seconds * 0.2), int(new * seconds * 0.8))  # away from the ends, where the tone is cut off
    new_times = np.arange(math.ceil(len(times) * new / old))[inner] / new
    nyquist = min(old, new) / 2
    for part in (0.01, 0.3, 0.7, 0.8999):
        got = resampled(np.sin(2 * np.pi * part * nyquist * times), old, new)[inner]
        expected = np.sin(2 * np.pi * part * nyquist * new_times)
        gain = got @ expected / (expected @ expected)
        assert abs(20 * math.log10(gain)) < 0.1
        assert np.abs(got - gain * expected).max() < 1e-3  # no image either: -60 dB
    for part in (1.0, 1.05, 1.5, 2.3):
        if part * nyquist < old / 2:
            got = resampled(np.cos(2 * np.pi * part * nyquist * times), old, new)[inner]
            assert np.abs(got).max() < 1e-3


@pytest.mark.parametrize("old, new", [(44100, 16000), (8000, 16000), (48000, 16000), (44101, 16000), (11127, 16000)])
def test_pieces_equal_the_whole_bit_for_bit(old, new):
    samples = np.random.default_rng(0).uniform(-1, 1, 3 * old).astype(np.float32)
    recording = audio.resample(audio.from_array(samples, old), new)
    whole = recording.read(0, recording.length)
    assert whole.shape == (recording.length,) == (math.ceil(3 * old * new / old),)
    for size in (1777, 16384, 30001):
        pieces = [recording.read(start, start + size) for start in range(0, recording.length, size)]
        np.testing.assert_array_equal(np.concatenate(pieces), whole)
    np.testing.assert_array_equal(recording.read(12345, 12346), whole[12345:12346])


@settings(max_examples=60, deadline=None)
@given(
    st.integers(1000, 768_000),
    st.integers(1000, 768_000),
    st.integers(1, 300),
    st.integers(0, 2**32 - 1),
)
def test_any_pair_of_rates(old, new, length, seed):
    assume(old != new)
    samples = np.random.default_rng(seed).uniform(-1, 1, length)
    recording = audio.resample(audio.from_array(samples, old), new)
    assert recording.length == -(-length * new // old)
    stop = min(recording.length, 2000)
    whole = recording.read(0, stop)
    # The sum over all pulses that reach an output, one output at a time: the definition.
    up, down = new // math.gcd(old, new), old // math.gcd(old, new)
    for m in {0, stop // 3, stop - 1}:
        pulses = low_pass(m * down / up - np.arange(length), up, down)
        assert abs(whole[m] - pulses @ samples.astype(np.float32)) < 1e-6


def test_a_constant_stays_and_the_ends_are_silent():
    got = resampled(np.full(10_000, 0.5), 44100, 16000)
    np.testing.assert_allclose(got[500:-500], 0.5, atol=1e-4)
    assert 0.25 < got[0] < 0.4  # half of the pulse lies beyond the start


def test_resampled_bad_samples_are_refused():
    bad = wav(np.float32([0] * 1000 + [np.inf]).tobytes(), "f32", rate=48000)
    recording = audio.resample(audio.open_recording(io.BytesIO(bad)), 16000)
    with pytest.raises(MinirepError, match="infinite"):
        recording.read(0, recording.length)
    loud = audio.resample(audio.from_array(np.float32([3.4e38, -3.4e38] * 100), 8000), 16000)
    with pytest.raises(MinirepError, match="huge"):
        loud.read(0, loud.length)


def test_awkward_rates_take_little_memory():
    samples = np.zeros(1 << 18, np.float32)
    for old, new in ((767_999, 16000), (767_999, 768_000), (768_000, 1000), (1001, 768_000)):
        recording = audio.resample(audio.from_array(samples, old), new)
        assert peak_memory(lambda r=recording: r.read(0, 2000)) < 40e6


# --- soundfile: another reader's opinion, and the other formats ------------------------------------------------------


def written(file_format, subtype, channels=2, rate=16000, frames=12_345) -> bytes:
    soundfile = pytest.importorskip("soundfile")
    if subtype not in soundfile.available_subtypes(file_format):
        pytest.skip(f"this libsndfile does not write {file_format} {subtype}")
    times = np.arange(frames)[:, None] / rate
    samples = 0.5 * np.sin(2 * np.pi * 440 * times * np.arange(1, channels + 1))
    file = io.BytesIO()
    with soundfile.SoundFile(file, "w", rate, channels, subtype, format=file_format) as sound:
        for start in range(0, frames, 8192):  # libsndfile crashes on long blocks of Vorbis
            sound.write(samples[start : start + 8192])
    return file.getvalue()


def by_soundfile(path) -> np.ndarray:
    import soundfile

    return soundfile.read(path, always_2d=True)[0].mean(axis=1)


@pytest.mark.parametrize("channels", [1, 2, 5])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("file_format", ["WAV", "WAVEX", "RF64"])
def test_wav_files_of_soundfile(monkeypatch, file_format, subtype, channels):
    content = written(file_format, subtype, channels)
    expected = by_soundfile(io.BytesIO(content))
    monkeypatch.setitem(sys.modules, "soundfile", None)  # the core alone reads them
    np.testing.assert_allclose(read_all(io.BytesIO(content)), expected, rtol=0, atol=1e-7)


@pytest.mark.parametrize(
    "file_format, subtype",
    [
        ("FLAC", "PCM_16"), ("FLAC", "PCM_24"), ("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III"),
        ("AIFF", "PCM_16"), ("AIFF", "FLOAT"), ("AU", "PCM_16"), ("CAF", "ALAC_16"), ("WAV", "ALAW"), ("WAV", "ULAW"),
        ("WAV", "IMA_ADPCM"), ("WAV", "MS_ADPCM"), ("W64", "PCM_16"),
    ],
)  # fmt: skip
def test_other_formats(tmp_path, file_format, subtype):
    content = written(file_format, subtype)
    path = tmp_path / "sound.bin"  # the content counts, not the name
    path.write_bytes(content)
    recording = audio.open_recording(path)
    expected = by_soundfile(path)
    assert (recording.rate, recording.length) == (16000, len(expected))
    for start, stop in ((5000, 6000), (0, 100), (100, 5000), (12_000, 99_999), (0, recording.length)):
        np.testing.assert_allclose(recording.read(start, stop), expected[start:stop], rtol=0, atol=1e-6)
    assert audio.open_recording(Pipe(content)).length == recording.length
    slow = audio.resample(recording, 8000)
    np.testing.assert_array_equal(slow.read(0, slow.length)[999:2000], slow.read(999, 2000))


def test_big_endian_wav():
    soundfile = pytest.importorskip("soundfile")
    file = io.BytesIO()
    soundfile.write(file, np.linspace(-0.5, 0.5, 100), 16000, "PCM_16", "BIG", "WAV")
    np.testing.assert_allclose(read_all(io.BytesIO(file.getvalue())), np.linspace(-0.5, 0.5, 100), atol=1e-4)


def test_bad_files_for_soundfile(tmp_path):
    pytest.importorskip("soundfile")
    assert "found no sound" in refused(io.BytesIO(b"plain text, no sound"))
    assert "found no sound" in refused(io.BytesIO(b"fLaC" + bytes(100)))
    flac = written("FLAC", "PCM_16")
    message = refused(io.BytesIO(flac[: len(flac) // 2]))
    assert "truncated" in message or "damaged" in message
    assert "rate of 50," in refused(io.BytesIO(written("AU", "PCM_16", rate=50)))
    assert "no samples" in refused(io.BytesIO(written("AIFF", "PCM_16", frames=0)))
    mp3 = written("MP3", "MPEG_LAYER_III", frames=50_000)
    assert "truncated" in refused(io.BytesIO(mp3[: len(mp3) // 2]))
    for ending in ("raw", "vox", "gsm", "au"):
        path = tmp_path / f"text.{ending}"
        path.write_bytes(b"plain text, no sound" * 100)
        assert f"text.{ending}: found no" in refused(path)


def test_a_flac_stream_without_a_length():
    content = bytearray(written("FLAC", "PCM_16"))
    expected = read_all(io.BytesIO(content))
    content[21] &= 0xF0  # the length is 36 bits
    content[22:26] = bytes(4)
    np.testing.assert_array_equal(read_all(io.BytesIO(content)), expected)


@pytest.mark.parametrize("file_format, subtype", [("OGG", "VORBIS"), ("OGG", "OPUS"), ("MP3", "MPEG_LAYER_III")])
def test_long_lossy_files_are_the_same_in_any_order(tmp_path, monkeypatch, file_format, subtype):
    """soundfile alone gives other samples after a seek, and in MP3s even when it reads block by block."""
    monkeypatch.setattr(compressed, "KEPT", 10_000)
    path = tmp_path / "long.bin"
    path.write_bytes(written(file_format, subtype, frames=100_000))
    expected = by_soundfile(path).astype(np.float32)
    recording = audio.open_recording(path)
    assert recording.length == len(expected) == 100_000
    for start in (50_000, 49_000, 60_000, 99_999, 7, 0, 30_000, 98_000):
        np.testing.assert_allclose(recording.read(start, start + 3000), expected[start : start + 3000], atol=1e-6)


@pytest.mark.parametrize("size", [1, 700, 1 << 16])
def test_what_is_decoded_from_the_beginning_is_the_same_in_frames_of_any_size(size):
    x, start, stop = np.arange(3000 if size == 1 else 2_200_000, dtype=np.float64), 1234, 2345
    starts = range(0, len(x), size)
    decoder = compressed.ForwardDecoder(lambda: (x[i : i + size] for i in starts), "x", len(x), 0, False)
    assert decoder.length == len(x) and decoder.position - decoder.start < compressed.KEPT + (1 << 16) + 1024
    assert len(decoder.kept) <= (decoder.position - decoder.start) / compressed.SHORT + 1  # arrays cost memory, too
    for _ in range(2):  # at the end, and back to the beginning
        np.testing.assert_array_equal(decoder.fetch(len(x) - 10, len(x)), np.float32(x[-10:]))
        np.testing.assert_array_equal(decoder.fetch(start, stop), np.float32(x[start:stop]))
