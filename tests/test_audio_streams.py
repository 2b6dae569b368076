"""Sound on standard input: what is not taken for raw samples, where a WAV ends, and what looks wrong."""

import contextlib
import io
import json
import struct
import sys
import time
import warnings

import numpy as np
import pytest
from audio_files import CODINGS, chunk, hiss, noise, sound, wav
from hypothesis import given
from hypothesis import strategies as st
from stand_ins import Loudness, bursts

from minirep import MinirepError, MinirepWarning
from minirep.audio import from_array, open_recording, resample
from minirep.audio.pcm import LOOKED_AT, MAX_HEADER, Pcm
from minirep.cli import main
from minirep.cli.classify import demo_clips

DATA, VALUES = noise("i16", 1000, 1)
NEXT = chunk(b"LIST", b"\x55\xaa" * 500)  # what would be loud


class Pipe(io.RawIOBase):
    """A pipe's reading end with these bytes in it, delivered some at a time."""

    def __init__(self, data, most=1000):
        self.data, self.most = io.BytesIO(data), most

    def readable(self):
        return True

    def readinto(self, buffer):
        return self.data.readinto(memoryview(buffer)[: self.most])


class Held(Pipe):
    """Stays open, as if somebody might write on."""

    def readinto(self, buffer):
        assert self.data.tell() < len(self.data.getbuffer()), "this would wait for good"
        return super().readinto(buffer)


def heard(data: bytes, coding="auto", rate=None, channels=None, most=1000) -> tuple[Pcm, np.ndarray]:
    """The stream's reader at its end, and all its samples."""
    pcm, blocks = Pcm(Pipe(data, most), coding, rate, channels, 16000), [np.zeros(0, np.float32)]
    while (block := pcm.read()) is not None:
        blocks.append(block)
    return pcm, np.concatenate(blocks)


# --- Other formats ---------------------------------------------------------------------------------------------------

MP3 = (b"\xff\xfb\x90\xc4" + bytes(413)) * 4  # frames of silence at 44.1 kHz and 128 kbit/s
AAC = (b"\xff\xf1\x50\x80\x05\x3f\xfc" + bytes(34)) * 4
OTHERS = {
    "FLAC": b"fLaC", "Ogg": b"OggS", "AIFF": b"FORM\0\0\0\0AIFF", "AU": b".snd", "CAF": b"caff\0\1", "AMR": b"#!AMR\n",
    "W64": b"riff\x2e\x91\xcf\x11\xa5\xd6\x28\xdb", "VOC": b"Creative Voice File\x1a", "NIST SPHERE": b"NIST_1A\n",
    "WavPack": b"wvpk", "WebM or Matroska": b"\x1aE\xdf\xa3", "MP4 or M4A": b"\0\0\0\x20ftypM4A ", "AAC": AAC,
    "WMA": b"0&\xb2\x75\x8e\x66\xcf\x11\xa6\xd9", "MP3": MP3, "RIFF": b"RIFF\0\0\0\0AVI LIST",
}  # fmt: skip


@pytest.mark.parametrize("kind", [*OTHERS, "an MP3 with a tag"])
@pytest.mark.parametrize("most", [1, 7, 100_000])
def test_other_formats_are_refused_with_what_helps(kind, most):
    data = OTHERS.get(kind, b"ID3\4\0\0\0\0\0\0")
    kind = kind if kind in OTHERS else "MP3"
    with pytest.raises(MinirepError) as caught:
        heard(data.ljust(20_000, b"\0"), most=most)
    assert f"standard input: found {kind}, expected WAV or raw samples: ffmpeg -i" in str(caught.value)


def test_a_compressed_wav_is_refused_with_what_helps():
    for tag in (0x11, 0x31, 0x55):
        with pytest.raises(MinirepError, match=r"compressed WAV, expected .*: ffmpeg -i"):
            heard(wav(DATA, tag=tag))


def test_what_is_told_to_be_raw_is_raw():
    for data in OTHERS.values():
        data = data.ljust(5000, b"\0")
        assert len(heard(data, "s16le")[1]) == len(data) // 2


@given(st.binary(max_size=60), st.integers(1, 20))
def test_short_streams_of_raw_samples_come_through_whole(data, most):
    data = b"\1\0" + data  # as no other format begins
    want = np.frombuffer(data[: len(data) // 2 * 2], "<i2") / np.float32(2**15)
    np.testing.assert_array_equal(heard(data, most=most)[1], want)


@pytest.mark.parametrize("begin", [b"\xff\xff\xff\xff", b"\xff\xfb\x90\xc4", b"\xff\xf1\x50\x80\x05\x3f"])
def test_raw_samples_that_begin_like_a_frame_come_through_whole(begin):
    data = begin.ljust(12, b"\xff") + DATA * 30
    np.testing.assert_array_equal(heard(data)[1], np.frombuffer(data, "<i2") / np.float32(2**15))


# --- WAV -------------------------------------------------------------------------------------------------------------


def rifx(data: bytes) -> bytes:
    """A big-endian WAV of 16-bit integers."""
    body = b"WAVEfmt " + struct.pack(">IHHIIHH", 16, 1, 1, 16000, 32000, 2, 16) + b"data" + struct.pack(">I", len(data))
    return (
        b"RIFX" + struct.pack(">I", len(body) + len(data)) + body + np.frombuffer(data, "<i2").astype(">i2").tobytes()
    )


def test_a_big_endian_wav_is_read():
    pcm, samples = heard(rifx(DATA))
    assert (pcm.coding, pcm.rate) == ("wav", 16000)
    np.testing.assert_array_equal(samples, VALUES[:, 0].astype(np.float32))


@pytest.mark.parametrize("coding", CODINGS)
@pytest.mark.parametrize("most", [13, 100_000])
@pytest.mark.parametrize("form", [{}, {"extensible": True}, {"rf64": True}], ids=["plain", "extensible", "rf64"])
def test_a_stream_is_what_the_file_is(coding, most, form):
    data, _ = noise(coding, 301, 3)
    content = wav(data, coding, 3, after=NEXT, **form)
    recording = open_recording(io.BytesIO(content))
    np.testing.assert_array_equal(heard(content, most=most)[1], recording.read(0, recording.length))


@given(st.integers(1, 2000), st.booleans(), st.sampled_from([7, 2000]))
def test_later_chunks_are_no_sound(size, rf64, most):
    data = np.random.default_rng(size).integers(0, 256, size, dtype=np.uint8).tobytes()
    assert len(heard(wav(data, "u8", rf64=rf64, after=NEXT), most=most)[1]) == size


@pytest.mark.parametrize("most", [100, 1 << 20])
def test_nothing_is_waited_for_behind_the_last_sample(most):
    pcm, count = Pcm(Held(wav(DATA), most), "auto", None, None, 16000), 0
    while (block := pcm.read()) is not None:
        count += len(block)
    assert count == len(DATA) // 2


def test_nothing_is_waited_for_behind_a_header_that_is_too_short():
    extensible = struct.pack("<HHIIHH", 0xFFFE, 1, 16000, 32000, 2, 16)  # without the 24 bytes that the tag promises
    header = b"RIFF\xff\xff\xff\xffWAVE" + chunk(b"fmt ", extensible) + b"data\xff\xff\xff\xff"
    with pytest.raises(MinirepError, match="found 16 bytes in the WAV chunk 'fmt ', expected at least 40"):
        Pcm(Held(header), "auto", None, None, 16000)


@pytest.mark.parametrize("rf64", [False, True])
def test_no_samples_and_then_a_chunk_are_no_sound(rf64):
    with pytest.raises(MinirepError, match="no samples"):
        heard(wav(b"", after=NEXT) if not rf64 else wav(b"\0", rf64=True, after=NEXT))


@pytest.mark.parametrize("size", [0, 2**32 - 1, 2**31, 2**31 - 4096])
@pytest.mark.parametrize("riff_size", [0, 36, 2**32 - 1, 2**31 - 4096 + 36])
def test_a_size_that_is_not_known_means_up_to_the_end(size, riff_size):
    assert len(heard(wav(DATA, data_size=size, riff_size=riff_size))[1]) == len(DATA) // 2


@pytest.mark.parametrize("data", [DATA, DATA[:-1]])
def test_a_second_wav_behind_the_first_is_told(data):
    with pytest.warns(MinirepWarning, match="another WAV"):
        assert len(heard(wav(data, "u8") + wav(data, "u8"), most=1 << 20)[1]) == len(data)


@pytest.mark.parametrize("before", [b"JUNK\0\0\0\0" * (1 << 17), chunk(b"JUNK", bytes(1000)) * 2000])
def test_a_header_of_many_chunks_is_refused_at_once(before):
    begin = time.process_time()
    with pytest.raises(MinirepError, match=f"1000 chunks|header of more than {MAX_HEADER} bytes"):
        heard(wav(DATA, before=before), most=1 << 16)
    assert time.process_time() - begin < 2


# --- What looks wrong ------------------------------------------------------------------------------------------------

CLIPS = [path for _, path in demo_clips()[0]]


def clip(path: str, rate: int) -> np.ndarray:
    recording = resample(open_recording(path), rate)
    return recording.read(0, recording.length)


def s16(samples) -> bytes:
    return np.int16(np.clip(np.round(np.asarray(samples) * 2**15), -(2**15), 2**15 - 1)).tobytes()


def doubts(data: bytes, coding="s16le", rate=16000, channels=1) -> tuple[str, str]:
    """(the warnings, what is doubted if nothing is heard)."""
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        pcm, _ = heard(data, coding, rate, channels, most=10_000)
    return " ".join(str(warning.message) for warning in caught), pcm.doubt


@pytest.mark.parametrize("path", CLIPS)
def test_speech_that_is_taken_for_what_it_is_not_is_told(path):
    samples = clip(path, 16000)
    both = np.stack([samples, 0.7 * samples], axis=1).ravel()
    assert "--format f32le" in doubts(samples.astype("<f4").tobytes())[0]
    assert "--format f32le" in doubts(samples.astype("<f4").tobytes(), channels=2)[0]
    for level in (1, 1e-3):  # also of a quiet room, whose small integers are denormal floats and NaN
        with pytest.warns(MinirepWarning, match="--format s16le"), contextlib.suppress(MinirepError):
            heard(s16(level * samples), "f32le")
    assert "--channels 2" in doubts(s16(np.repeat(samples, 2)))[0]
    assert "--channels 2" in doubts(s16(both))[0]
    assert "--channels 1" in doubts(s16(samples), channels=2)[0]
    for rate in (44100, 48000):
        told, doubt = doubts(s16(clip(path, rate)))
        assert told == "" and "above 3200 Hz" in doubt and "--rate 16000" in doubt


@pytest.mark.parametrize("path", CLIPS)
@pytest.mark.parametrize("rate", [8000, 16000])
@pytest.mark.parametrize("gain", [1.0, 0.1, 0.01])
def test_speech_that_is_taken_for_what_it_is_is_not(path, rate, gain):
    samples = clip(path, rate) * gain
    both = np.stack([samples, 0.7 * samples + 0.2 * np.roll(samples, 7)], axis=1).ravel()
    assert doubts(s16(samples), rate=rate) == ("", "") or gain == 0.01  # of which little is left in 16 bits
    told, doubt = doubts(samples.astype("<f4").tobytes(), "f32le", rate)
    assert told == "" and (doubt == "" or (gain == 0.01 and "hardly any sound" in doubt))
    for two in (both, np.repeat(samples, 2), np.stack([samples, 0 * samples], axis=1).ravel()):
        assert doubts(s16(two), rate=rate, channels=2)[0] == ""


@given(
    st.integers(0, 2**32 - 1),
    st.sampled_from([1e-4, 1e-3, 0.01, 0.1, 0.3]),
    st.sampled_from([2500, 16_000, 40_000]),
    st.sampled_from([0, 0.5, 0.95, 0.999]),
)
def test_noise_of_any_colour_is_not(seed, level, count, colour):
    white = np.random.default_rng(seed).normal(0, 1, (count, 2))
    mono, stereo = (np.fft.irfft(np.fft.rfft(x, axis=0) / np.abs(1 - colour * z), count, axis=0) for x, z in (
        (white[:, :1], np.exp(-1j * np.linspace(0, np.pi, count // 2 + 1))[:, None]),
        (white, np.exp(-1j * np.linspace(0, np.pi, count // 2 + 1))[:, None]),
    ))  # fmt: skip
    mono, stereo = level * mono / mono.std(), level * stereo / stereo.std()
    assert doubts(s16(mono))[0] == ""
    assert doubts(s16(stereo), channels=2)[0] == ""
    assert doubts(mono.astype("<f4").tobytes(), "f32le")[0] == ""


@pytest.mark.parametrize("hertz", [50, 440, 1000, 2000, 3000, 4000, 5000, 6000, 7000, 7900])
def test_tones_are_not(hertz):
    times = np.arange(32_000) / 16000
    for offset in (0, 0.4):
        told = doubts(s16(offset + 0.3 * np.sin(2 * np.pi * hertz * times) + 1e-3 * hiss(32_000)))[0]
        assert ("samples' mean is 0.40" in told and told.count("standard input") == 1) if offset else told == ""


def test_levels():
    told = doubts(s16(np.sign(hiss(64_000))))[0]
    assert "near full scale" in told and told.count("standard input") == 1
    told, doubt = doubts(bytes(2 * LOOKED_AT))
    assert told == "" and "digital silence" in doubt
    assert "hardly any sound" in doubts(s16(1e-3 * hiss(32_000)))[1]
    assert doubts(bytes(2 * LOOKED_AT) + s16(hiss(LOOKED_AT))) == ("", "")
    assert doubts(bytes(100)) == ("", "")  # too little to say


def test_the_first_sound_counts_after_silence():
    both = np.repeat(clip(CLIPS[0], 16000), 2)
    assert "--channels 2" in doubts(bytes(LOOKED_AT * 3) + s16(both))[0]


@pytest.mark.parametrize("form", ["s16le", "f32le", "wav", "two channels", "after silence", "32 bits"])
def test_a_level_that_is_wrong_is_told_once(form):
    """Clipping and an offset, in whatever form the samples come; not in sound as it should be."""
    good = 0.3 * np.float32(clip(CLIPS[0], 16000))
    good = np.tile(good / np.abs(good).max(), 9)[:100_000]
    clipped, off = np.clip(5 * good, -1, 0.9999), good + 0.2

    def told(x):
        if form == "f32le":
            return doubts(x.astype("<f4").tobytes(), form)
        if form == "two channels":  # of which one is wrong
            return doubts(s16(np.stack([good * 0.9, x], axis=1)), channels=2)
        if form in ("wav", "32 bits"):
            return doubts(sound(x, 16000, "i32" if form == "32 bits" else "i16"), "auto", None, None)
        return doubts((bytes(96_000) if form == "after silence" else b"") + s16(x))

    assert told(good) == ("", "")
    for x, words in ((clipped, "at full scale (clipped)"), (off, "of full scale, expected 0")):
        assert words in told(x)[0] and told(x)[0].count("standard input") == 1


@pytest.mark.parametrize("coding", ["s16le", "auto"])
def test_clipping_is_told_later_too(coding):
    """Somebody comes near; and quiet that follows sound is no doubt."""
    x = np.concatenate([0.1 * hiss(96_000), np.clip(hiss(96_000), -0.1, 0.1) * 9.99, np.zeros(96_000)])
    told, doubt = doubts(s16(x) if coding == "s16le" else sound(x, 16000, "i16"), coding, None, None)
    assert "at full scale (clipped)" in told and told.count("standard input") == 1 and doubt == ""
    assert doubts(s16(np.concatenate([0.1 * hiss(96_000), np.zeros(96_000)]))) == ("", "")


def test_a_wav_that_is_silent_is_doubted_until_there_is_sound():
    assert "digital silence" in doubts(sound(np.zeros(64_000), 16000, "i16"), "auto", None, None)[1]
    later = np.concatenate([np.zeros(64_000), 0.1 * hiss(64_000)])
    assert doubts(sound(later, 16000, "i16"), "auto", None, None) == ("", "")


def test_a_wav_knows_what_it_is():
    assert doubts(sound(np.repeat(clip(CLIPS[0], 16000), 2), 16000, "i16"), "auto", None, None) == ("", "")


# --- minirep listen --------------------------------------------------------------------------------------------------


@pytest.fixture
def told(monkeypatch):
    """The command gets a classifier that hears loudness."""
    clf = Loudness()
    monkeypatch.setattr("minirep.cli.listen.load", lambda *_, **__: clf)
    return clf


def listen(monkeypatch, capsys, pipe, *arguments):
    """(exit status, the JSON objects, what stderr has beyond the introduction) of `minirep listen`."""
    pipe = Pipe(pipe) if isinstance(pipe, bytes) else pipe
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(pipe)))
    status = main(["listen", *map(str, arguments)])
    out, err = capsys.readouterr()
    return (
        status,
        [json.loads(line) for line in out.splitlines()],
        [line for line in err.splitlines() if " listening to " not in line],
    )


def test_what_looks_wrong_is_told_once_on_a_line_of_its_own(told, monkeypatch, capsys):
    samples = np.tile(clip(CLIPS[0], 16000), 10)
    status, _, lines = listen(monkeypatch, capsys, samples.astype("<f4").tobytes(), "--rate", 16000)
    assert status == 0 and lines == ["minirep: standard input: these samples look like f32le: --format f32le"]


def test_a_doubt_is_told_only_if_nothing_is_heard(told, monkeypatch, capsys):
    low = resample(from_array(np.concatenate(list(bursts(8))), 8000), 48000)
    low = s16(low.read(0, low.length))
    _, events, lines = listen(monkeypatch, capsys, low, "--rate", 16000, "--no-skip")
    assert (events and not lines) or (not events and len(lines) == 1 and "--rate" in lines[0])
    _, events, lines = listen(monkeypatch, capsys, bytes(5 * LOOKED_AT), "--no-skip")
    assert not events and len(lines) == 1 and "no events: found digital silence, every sample 0" in lines[0]
    _, events, lines = listen(monkeypatch, capsys, bytes(3 * LOOKED_AT) + s16(hiss(8000)), "--no-skip")
    assert events and not lines


def test_a_doubt_is_told_while_a_stream_goes_on(told, monkeypatch, capsys):
    monkeypatch.setattr("minirep.cli.listen.QUIET", 10.0)
    seen = []

    class Long(Pipe):
        def readinto(self, buffer):
            seen.append("no events" in "".join(written))
            return super().readinto(buffer)

    written = []
    monkeypatch.setattr("minirep.cli.listen.complain", written.append)
    listen(monkeypatch, capsys, Long(bytes(16000 * 120)), "--no-skip")  # a minute
    assert any(seen) and sum("no events" in line for line in written) == 1


@pytest.mark.parametrize("factor", [1.0, 0.5, 3.0])
def test_a_live_source_with_another_rate_is_told(told, monkeypatch, capsys, factor):
    monkeypatch.setattr("minirep.cli.listen.PACE", (0.2, 0.6))

    class Live(Pipe):
        """Delivers samples at a pace of its own."""

        def readinto(self, buffer):
            time.sleep(max(0.0, begin + self.data.tell() / (2 * 8000 * factor) - time.monotonic()))
            return super().readinto(buffer)

    told.labels = {"class": ("silence",) * 3}
    quiet = s16(hiss(int(1.5 * 8000 * factor)))
    begin = time.monotonic()
    _, events, lines = listen(monkeypatch, capsys, Live(quiet, int(400 * factor) * 2))
    assert not events
    assert len(lines) == (factor != 1) and all("samples arrive in a second" in line for line in lines)


def test_a_source_that_waits_has_no_pace(told, monkeypatch, capsys):
    monkeypatch.setattr("minirep.cli.listen.PACE", (0.1, 0.5))
    monkeypatch.setattr("minirep.cli.listen.BACKLOG", 0.5)
    told.seconds, told.labels = 0.08, {"class": ("silence",) * 3}  # three times as fast as the sound lasts
    _, _, lines = listen(monkeypatch, capsys, s16(hiss(8000 * 6)), "--no-skip")
    assert not any("arrive" in line for line in lines)


def test_a_second_wav_is_a_line(told, monkeypatch, capsys):
    content = sound(hiss(1000), 8000, "i16")
    _, _, lines = listen(monkeypatch, capsys, Pipe(content + content, 1 << 20))
    assert lines == ["minirep: standard input: found another WAV behind the first; only the first is read"]
