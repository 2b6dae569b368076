"""Sound files as real programs write them: sizes that are a little wrong, MP3s without a length, telephone codings."""

import io
import struct
import sys
import warnings
from pathlib import Path

import numpy as np
import pytest
from audio_files import ALAW, CODINGS, chunk, hiss, noise, wav
from hypothesis import assume, given
from hypothesis import strategies as st

from minirep import MinirepError, MinirepWarning
from minirep.audio import formats, open_recording
from minirep.audio.compressed import DELAY
from minirep.audio.wav import CODINGS as READ_HERE
from minirep.audio.wav import MULAW, SLACK, telephone_table
from minirep.cli import main
from minirep.errors import MissingExtra

CASES = Path(__file__).parents[2] / "shared/cases/audio"  # beside the checkout where the maintainers work, or nowhere
SAMPLES = 4001
DATA, VALUES = noise("i16", SAMPLES, 1)
FRAME = 417  # bytes of a frame of MP3 at 44.1 kHz and 128 kbit/s, where they are not padded


def read(content, partial=False) -> np.ndarray:
    recording = open_recording(io.BytesIO(content) if isinstance(content, bytes) else content, partial)
    samples = recording.read(0, recording.length)
    half = recording.length // 2
    np.testing.assert_array_equal(recording.read(half, half + 9), samples[half : half + 9])  # and back again
    return samples


def refused(content, partial=False) -> str:
    with pytest.raises(MinirepError) as caught:
        read(content, partial)
    assert str(caught.value).isprintable()
    return str(caught.value)


def same(content: bytes, values=VALUES) -> None:
    np.testing.assert_allclose(read(content), np.asarray(values).reshape(len(values), -1).mean(axis=1), atol=1e-6)


@pytest.fixture
def numpy_alone(monkeypatch):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    monkeypatch.setitem(sys.modules, "av", None)


# --- WAV: sizes ------------------------------------------------------------------------------------------------------


@given(excess=st.integers(1, SLACK), riff=st.integers(-8, 8))
def test_a_data_size_that_is_a_little_too_large_is_read_if_the_other_size_is_right(excess, riff):
    assume(riff < excess)
    content = wav(DATA, data_size=len(DATA) + excess)
    same(content[:4] + struct.pack("<I", len(content) - 8 + riff) + content[8:])


@pytest.mark.parametrize("excess", [1, 36, 44])
def test_less_than_a_sample_too_much_or_the_header_counted_too_is_read(excess):
    same(wav(DATA, data_size=len(DATA) + excess, riff_size=len(DATA) + excess + 36))


@given(st.integers(2, len(DATA)), st.sampled_from([{}, {"extensible": True}]))
def test_a_wav_that_was_cut_is_an_error_and_can_be_read_up_to_there(missing, form):
    content = wav(DATA, **form)
    assume(missing not in (len(content) - len(DATA), len(content) - len(DATA) - 8))
    cut = content[:-missing]
    message = refused(cut)
    assert f"truncated: found {len(DATA) - missing} of the {len(DATA)} bytes" in message and "--partial" in message
    left = (len(DATA) - missing) // 2
    if left:
        with pytest.warns(MinirepWarning, match=f"truncated: found {len(DATA) - missing} of") as warned:
            np.testing.assert_allclose(read(cut, partial=True), VALUES[:left, 0], atol=1e-6)
        assert len(warned) == 1 and "partial" not in str(warned[0].message)


def test_a_whole_file_gives_no_warning():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_allclose(read(wav(DATA, after=chunk(b"LIST", b"abc")), partial=True), VALUES[:, 0], atol=1e-6)


@pytest.mark.parametrize("tail", [b"", chunk(b"LIST", b"odd")])
@pytest.mark.parametrize("data", [DATA, DATA[:-1]])
def test_a_second_wav_behind_the_first_is_told(data, tail):
    for sizes in ({}, {"riff_size": 0})[: 1 if tail else 2]:
        with pytest.warns(MinirepWarning, match="another WAV behind the first"):
            assert len(read(wav(data, after=tail, **sizes) + wav(DATA))) == len(data) // 2


# --- WAV: codings ----------------------------------------------------------------------------------------------------


@given(st.integers(0, 65535), st.sampled_from(CODINGS), st.integers(1, 8))
def test_a_wrong_block_size_beside_right_channels_and_bits_is_read(frame, coding, channels):
    assume((coding, frame) != ("i24", 4 * channels))
    data, values = noise(coding, 50, channels)
    same(wav(data, coding, channels, frame=frame), values)


@pytest.mark.parametrize("bits", [20, 24])
@pytest.mark.parametrize("channels", [1, 2])
def test_24_bits_in_4_bytes_are_the_upper_ones(numpy_alone, bits, channels):
    data, values = noise("i32", 100, channels)
    same(wav(data, "i32", channels, bits=bits, frame=4 * channels), values)


def test_64_bit_integers(numpy_alone):
    values = np.random.default_rng(0).integers(-(2**63), 2**63 - 1, 100)
    same(wav(values.astype("<i8").tobytes(), "i64"), values / 2.0**63)


def rifx(coding: str, channels: int = 1, guid: bytes | None = None) -> tuple[bytes, np.ndarray]:
    """The bytes of a big-endian WAV and what they mean; extensible with a GUID, in whichever order, if it is given."""
    data, values = noise(coding, 100, channels)
    width, tag = int(coding[1:]) // 8, 3 if coding[0] == "f" else 1
    data = np.frombuffer(data, np.uint8).reshape(-1, width)[:, ::-1].tobytes()
    tag = 0xFFFE if guid else tag
    fmt = struct.pack(">HHIIHH", tag, channels, 16000, 16000 * width * channels, width * channels, 8 * width)
    fmt += struct.pack(">HHI", 22, 8 * width, 0) + guid if guid else b""
    body = b"WAVEfmt " + struct.pack(">I", len(fmt)) + fmt + b"data" + struct.pack(">I", len(data)) + data
    return b"RIFX" + struct.pack(">I", len(body)) + body, values


@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("coding", CODINGS)
def test_big_endian_wav(numpy_alone, coding, channels):
    same(*rifx(coding, channels))


@pytest.mark.parametrize("guid", ["0001000000001000800000aa00389b71", "0000000100000010800000aa00389b71"])
def test_big_endian_extensible_wav_as_sox_and_as_others_write_it(numpy_alone, guid):
    same(*rifx("i24", guid=bytes.fromhex(guid)))


def test_ambisonic_wav(numpy_alone):
    content = wav(DATA, extensible=True)
    at = content.index(b"\x00\x00\x00\x00\x10\x00\x80\x00\x00\xaa")
    same(content[:at] + bytes.fromhex("00002107d3118644c8c1ca000000") + content[at + 14 :])


@pytest.mark.parametrize(
    ("tag", "known"),
    [
        (ALAW, {0xD5: 8, 0x55: -8, 0xAA: 32256, 0x2A: -32256, 0xC5: 264}),
        (MULAW, {0xFF: 0, 0x7F: 0, 0x80: 32124, 0x00: -32124, 0xF0: 120, 0xEF: 132}),
    ],
)
def test_telephone_codings(numpy_alone, tag, known):
    table = telephone_table(tag) * 2**15
    assert {code: table[code] for code in known} == known
    invert = 0x55 if tag == ALAW else 0x7F
    for sign in (0, 128):  # louder with every step of exponent and mantissa
        sizes = np.abs(table[[(code | sign) ^ invert for code in range(128)]])
        assert (np.diff(sizes) > 0).all()
    for bits, frame in ((8, 1), (16, 2), (0, 0)):  # what they say of the coded bytes does not matter
        same(wav(bytes(range(256)), "u8", tag=tag, bits=bits, frame=frame), table / 2**15)


@pytest.mark.parametrize("subtype, tag", [("ALAW", ALAW), ("ULAW", MULAW)])
def test_telephone_codings_are_those_of_libsndfile(subtype, tag):
    soundfile = pytest.importorskip("soundfile")
    theirs, _ = soundfile.read(
        io.BytesIO(bytes(range(256))), samplerate=8000, channels=1, format="RAW", subtype=subtype
    )
    np.testing.assert_array_equal(telephone_table(tag), theirs)


@pytest.mark.parametrize("rate", [100, 500, 999])
def test_low_rates(numpy_alone, rate):
    assert open_recording(io.BytesIO(wav(DATA, rate=rate))).rate == rate
    assert "rate of 99, expected a whole number from 100" in refused(wav(DATA, rate=99))


# --- What a file is --------------------------------------------------------------------------------------------------

HEADS = {
    "FLAC": b"fLaC", "Ogg": b"OggS", "AIFF": b"FORM\0\0\0\0AIFF", "AU": b".snd", "CAF": b"caff\0\1", "AMR": b"#!AMR\n",
    "W64": b"riff\x2e\x91\xcf\x11\xa5\xd6", "VOC": b"Creative Voice File\x1a", "NIST SPHERE": b"NIST_1A\n   1024\n",
    "WavPack": b"wvpk", "WebM or Matroska": b"\x1aE\xdf\xa3", "WMA": b"0&\xb2\x75\x8e\x66\xcf\x11\xa6\xd9",
    "MP4 or M4A": b"\0\0\0\x20ftypM4A ", "MP3": b"ID3\4\0\0\0\0\0\0", "RIFF": b"RIFF\0\0\0\0AVI ", "WAV": wav(DATA),
}  # fmt: skip
ONLY_AV = ("AMR", "WavPack", "WebM or Matroska", "WMA", "MP4 or M4A")


@pytest.mark.parametrize("kind", HEADS)
def test_formats_are_known_by_their_first_bytes(kind):
    assert formats.recognise(HEADS[kind]) == kind
    assert formats.recognise(HEADS[kind].ljust(100, b"\0")) == kind


@pytest.mark.parametrize("kind", sorted(set(HEADS) - {"WAV", "MP3"}))
def test_without_an_extra_the_message_names_it_and_what_else_helps(numpy_alone, kind):
    extra = "av" if kind in ONLY_AV else "audio"
    with pytest.raises(MissingExtra) as caught:
        read(HEADS[kind].ljust(5000, b"\0"))
    assert f"found {kind}" in str(caught.value) and f"pip install 'minirep[{extra}]'" in str(caught.value)
    assert "ffmpeg -i" in str(caught.value)


def test_what_soundfile_cannot_read_the_other_extra_may(monkeypatch):
    pytest.importorskip("soundfile")
    monkeypatch.setitem(sys.modules, "av", None)
    for kind in ONLY_AV:
        assert "pip install 'minirep[av]'" in refused(HEADS[kind].ljust(5000, b"\0"))
    assert "soundfile cannot read" in refused(wav(DATA, tag=0x161)) and "minirep[av]" in refused(wav(DATA, tag=0x161))
    assert "ffmpeg -i" in refused(b"plain text, no sound")


KBPS = (  # ISO/IEC 11172-3 and 13818-3: layers I, II, III of MPEG-1, then of MPEG-2
    (32, 64, 96, 128, 160, 192, 224, 256, 288, 320, 352, 384, 416, 448),
    (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
)


@st.composite
def mpeg_frames(draw) -> tuple[bytes, int]:
    """A frame's header and its bytes by the formula of the standard."""
    version, layer = draw(st.sampled_from([3, 2, 0])), draw(st.integers(1, 3))
    index, rate, padding = draw(st.integers(1, 14)), draw(st.integers(0, 2)), draw(st.integers(0, 1))
    bits = KBPS[layer - 1 + 3 * (version != 3)][index - 1] * 1000
    hertz = (44100, 48000, 32000)[rate] // {3: 1, 2: 2, 0: 4}[version]
    if layer == 1:
        size = (12 * bits // hertz + padding) * 4
    else:
        size = (72 if layer == 3 and version != 3 else 144) * bits // hertz + padding
    second = 0xE0 | version << 3 | (4 - layer) << 1 | draw(st.integers(0, 1))
    return bytes((0xFF, second, index << 4 | rate << 2 | padding << 1, draw(st.integers(0, 255)))), size


@given(mpeg_frames(), st.integers(0, 3), st.binary(max_size=20))
def test_frames_of_mpeg_audio(frame, more, junk):
    header, size = frame
    whole = header.ljust(size, b"\0")
    assert formats.frame(header + b"\0\0")[:2] == (size, "MP3")
    assert formats.recognise(whole * 3 + junk) == "MP3" and formats.recognise(whole * (1 + more)) == "MP3"
    assert formats.recognise(whole + b"\0" + whole * 2) is None  # one header may be chance
    found = formats.find_mp3(io.BytesIO(b"\0" * more + whole * 4 + whole[:-1]), 0, 4 * size + more + size - 1)
    assert (found.start, found.stop) == (more, more + 4 * size)


@pytest.mark.parametrize("second", range(0xE0, 0x100))
def test_reserved_headers_are_no_frames(second):
    for third in range(256):
        found = formats.frame(bytes((0xFF, second, third, 0, 255, 255)))
        reserved = second >> 3 & 3 == 1 or third >> 4 in (0, 15) or third >> 2 & 3 == 3
        assert found is None or found[1] == "AAC" or not reserved


@given(st.integers(8, 2**13 - 1), st.integers(3, 5))
def test_frames_of_aac(size, count):
    header = bytes((0xFF, 0xF1, 0x50, 0x80 | size >> 11, size >> 3 & 255, (size & 7) << 5 | 31, 0xFC))
    assert formats.recognise((header.ljust(size, b"\0")[:size] if size >= 7 else header) * count) == "AAC"


@given(st.binary(min_size=12, max_size=3000))
def test_raw_samples_are_hardly_ever_taken_for_frames(raw):
    assert formats.recognise(b"\xff\xfb" + raw) in (None, "MP3") and formats.recognise(b"\0\0" + raw) != "MP3"


# --- MP3 -------------------------------------------------------------------------------------------------------------


def mp3(samples, rate=44100, **quality) -> tuple[bytes, bytes]:
    """(the first frame, which promises a length, the others) of an MP3."""
    soundfile = pytest.importorskip("soundfile")
    if "MP3" not in soundfile.available_formats():
        pytest.skip("this libsndfile writes no MP3")
    file = io.BytesIO()
    try:
        with soundfile.SoundFile(file, "w", rate, 1, "MPEG_LAYER_III", format="MP3", **quality) as sound:
            sound.write(samples)
    except TypeError:
        pytest.skip("this soundfile writes MP3 at one bit rate only")
    content = file.getvalue()
    content = content[formats.skip_id3(io.BytesIO(content)) :]
    size = formats.frame(content[:6])[0]
    assert b"Xing" in content[:size] or b"Info" in content[:size]
    return content[:size], content[size:]


LOUD, QUIET = hiss(2 * 44100), np.zeros(5 * 44100, np.float32)


@pytest.mark.parametrize("order", [(LOUD, QUIET), (QUIET, LOUD)], ids=["loud first", "silence first"])
@pytest.mark.parametrize("kept", [True, False], ids=["with its first frame", "as a pipe has it"])
def test_an_estimate_of_the_length_is_no_promise(order, kept):
    """libsndfile alone takes the bit rate of the beginning for that of the whole, and stops early or asks for more."""
    first, others = mp3(np.concatenate(order), bitrate_mode="VARIABLE", compression_level=0.5)
    samples = read(first * kept + others)
    frames = 7 * 44100 // 1152
    assert len(samples) == 7 * 44100 if kept else frames <= len(samples) / 1152 <= frames + 4
    middle = [np.abs(samples[at : at + 20000]).max() > 0.05 for at in (44100, 6 * 44100)]
    assert middle == [order[0] is LOUD, order[1] is LOUD]


ID3 = b"ID3\3\0\0\0\0\x0f\x50" + bytes(15 * 128 + 0x50)  # a title and a picture
APE = b"APETAGEX" + struct.pack("<4I", 2000, 60_032, 1, 0xA0000000) + bytes(60_008) + b"APETAGEX" + bytes(24)
ID3V1 = b"TAG" + b"title".ljust(125)


FOOTER = b"ID3\4\0\x10\0\0\0\5" + bytes(5) + b"3DI\4\0\x10\0\0\0\5"
PICTURE = b"ID3\3\0\0\0\4\0\0" + bytes(4 << 14)  # more than is looked through


@pytest.mark.parametrize("before", [b"", ID3, ID3 + ID3, bytes(5000), ID3 + bytes(100), FOOTER + PICTURE], ids=len)
@pytest.mark.parametrize("after", [b"", ID3V1, APE, APE + ID3V1, b"\xff\xfb\x90"], ids=len)
def test_tags_and_pictures_are_no_sound_and_no_promise(before, after):
    _, others = mp3(LOUD)
    np.testing.assert_array_equal(read(before + others + after), read(others))


@given(st.integers(3 * FRAME, 40_000))
def test_an_mp3_without_a_promise_ends_with_its_last_whole_frame(size):
    _, others = mp3(LOUD)
    mp3_of = formats.find_mp3(io.BytesIO(others), 0, size)
    samples = read(others[:size])
    assert len(samples) == mp3_of.promised and len(samples) % 1152 == 0
    np.testing.assert_allclose(samples[:-3000], read(others)[: len(samples)][:-3000], atol=1e-6)


@pytest.mark.parametrize("part", [0.2, 0.5, 0.9])
def test_an_mp3_whose_header_promises_more_was_cut(part):
    content = b"".join(mp3(LOUD))
    cut = content[: int(len(content) * part)]
    assert "truncated: found " in refused(cut) and "--partial" in refused(cut)
    with pytest.warns(MinirepWarning, match="truncated"):
        samples = read(cut, partial=True)
    assert abs(len(samples) / len(LOUD) - part) < 0.1
    np.testing.assert_allclose(samples[:-1200], read(content)[: len(samples) - 1200], atol=1e-6)


@pytest.mark.parametrize("name", [b"Xing", b"Info", b"VBRI"])
@pytest.mark.parametrize("frames", [0, 1000])
def test_headers_of_mp3(name, frames):
    """A count of 0, as of a writer who did not know, promises nothing."""
    _, others = mp3(LOUD)
    size, head = formats.frame(others[:6])[0], bytearray(others[:4])
    start = 36 if name == b"VBRI" else 4 + (17 if head[3] >> 6 == 3 else 32)
    fields = bytes(10) + struct.pack(">I", frames) if name == b"VBRI" else struct.pack(">II", 1, frames)
    first = (bytes(head).ljust(start, b"\0") + name + fields).ljust(size, b"\0")
    message = refused(first + others) if frames else ""
    assert "truncated" in message if frames else len(read(first + others)) >= len(read(others))


def test_a_second_mp3_behind_the_first_is_told():
    first, others = mp3(LOUD)
    with pytest.warns(MinirepWarning, match="another MP3"):
        assert len(read(first + others + ID3 + first + others)) == len(LOUD)
    assert len(read(others + ID3 + others)) == 2 * len(read(others))  # without a promise it is all one


def test_junk_between_frames_is_skipped_or_told():
    _, others = mp3(LOUD)
    middle = formats.find_mp3(io.BytesIO(others), 0, len(others) // 2).stop
    assert len(read(others[:middle] + bytes(300) + others[middle:])) > len(read(others)) - DELAY
    assert "--partial" in refused(others[:middle] + bytes(50_000) + others[middle:])


def test_mp3_in_wav():
    _, others = mp3(LOUD)
    content = wav(others, tag=0x55, bits=0, frame=1, rate=44100)
    np.testing.assert_array_equal(read(content), read(others))
    cut = content[: len(content) // 2]
    assert "truncated" in refused(cut)
    with pytest.warns(MinirepWarning, match="truncated"):
        assert abs(len(read(cut, partial=True)) / len(LOUD) - 0.5) < 0.05


# --- Other codings, read in one go or with damage --------------------------------------------------------------------


def written(file_format, subtype, samples=LOUD, rate=16000) -> bytes:
    soundfile = pytest.importorskip("soundfile")
    if subtype not in soundfile.available_subtypes(file_format):
        pytest.skip(f"this libsndfile does not write {file_format} {subtype}")
    file = io.BytesIO()
    soundfile.write(file, samples, rate, subtype, format=file_format)
    return file.getvalue()


@pytest.mark.parametrize(
    ("file_format", "subtype"), [("WAV", "GSM610"), ("AIFF", "DWVW_16"), ("AU", "G721_32"), ("WAV", "G721_32")]
)
def test_codings_that_are_read_in_one_go_only_are(monkeypatch, file_format, subtype):
    monkeypatch.setattr("minirep.audio.compressed.KEPT", 10_000)
    times = np.arange(96_000) / 16000
    tone = 0.4 * np.sin(2 * np.pi * 440 * times)
    recording = open_recording(io.BytesIO(written(file_format, subtype, tone)))
    assert 0 <= recording.length - len(tone) < 320  # whole blocks
    whole = recording.read(0, recording.length)
    assert np.abs(whole[1000:95_000] - tone[1000:95_000]).max() < 0.1
    for start in (50_000, 49_000, 60_000, 7, 0, 30_000, 93_000):  # any order
        np.testing.assert_array_equal(recording.read(start, start + 3000), whole[start : start + 3000])


def test_a_flac_that_was_cut_is_read_up_to_the_damage():
    content = written("FLAC", "PCM_16")
    cut = content[: len(content) // 2]
    assert "--partial" in refused(cut)
    with pytest.warns(MinirepWarning, match="damaged|truncated"):
        samples = read(cut, partial=True)
    assert 0.3 * len(LOUD) < len(samples) <= 0.51 * len(LOUD)
    np.testing.assert_allclose(samples, LOUD[: len(samples)], atol=1e-4)


def test_a_disk_that_fails_is_told(monkeypatch):
    class Failing(io.BytesIO):
        def read(self, *size):
            if fails and self.tell() > 20_000:
                raise OSError(5, "Input/output error")
            return super().read(*size)

    fails = False
    monkeypatch.setattr("minirep.audio.compressed.KEPT", 10_000)
    for file_format, subtype in (("FLAC", "PCM_16"), ("OGG", "VORBIS")):
        monkeypatch.setattr("minirep.audio.open._open", lambda source: source)
        fails = False
        recording = open_recording(Failing(written(file_format, subtype)))
        fails = True
        with pytest.raises(MinirepError, match="Input/output error"):
            recording.read(0, 10), recording.read(recording.length - 10, recording.length), recording.read(0, 80_000)


# --- Through PyAV ----------------------------------------------------------------------------------------------------

CONTAINERS = {  # what telephones and browsers record: (format, codec, rate)
    "m4a": ("mp4", "aac", 44100), "3gp": ("3gp", "aac", 44100), "mov": ("mov", "pcm_s16le", 44100),
    "webm": ("webm", "libopus", 48000), "ogg-flac": ("ogg", "flac", 16000), "aac": ("adts", "aac", 44100),
    "wma": ("asf", "wmav2", 44100), "speex": ("ogg", "libspeex", 16000), "alac": ("mp4", "alac", 44100),
    "mka": ("matroska", "pcm_f32le", 16000),
}  # fmt: skip


def by_av(kind: str, seconds=3.0, layout="stereo") -> bytes:
    av = pytest.importorskip("av")
    file_format, codec, rate = CONTAINERS[kind]
    if codec not in av.codecs_available:
        pytest.skip(f"this FFmpeg has no {codec}")
    layout = "mono" if codec == "libspeex" else layout
    channels = 1 if layout == "mono" else 2
    times = np.arange(int(seconds * rate)) / rate
    tones = np.stack([0.3 * np.sin(2 * np.pi * 440 * (1 + c) * times) for c in range(channels)])
    file = io.BytesIO()
    try:
        with av.open(file, "w", format=file_format) as container:
            stream = container.add_stream(codec, rate=rate)
            stream.layout, stream.bit_rate = layout, 128_000
            resampler = av.AudioResampler(format=stream.format, layout=layout, rate=rate)
            frame = av.AudioFrame.from_ndarray(np.float32(tones), format="fltp", layout=layout)
            frame.rate, frame.pts = rate, 0
            fifo = av.AudioFifo()
            for resampled in resampler.resample(frame):
                fifo.write(resampled)
            size = stream.codec_context.frame_size or 1024
            while (piece := fifo.read(size) or fifo.read(size, True)) is not None:
                container.mux(stream.encode(piece))
            container.mux(stream.encode(None))
    except (av.error.FFmpegError, ValueError) as error:
        pytest.skip(f"this FFmpeg does not write {kind}: {error}")
    return file.getvalue()


@pytest.mark.parametrize("kind", CONTAINERS)
def test_what_telephones_record_is_read_through_av(monkeypatch, kind):
    monkeypatch.setattr("minirep.audio.compressed.KEPT", 40_000)
    content, (_, codec, rate) = by_av(kind), CONTAINERS[kind]
    recording = open_recording(io.BytesIO(content))
    assert recording.rate == rate and abs(recording.length / rate - 3) < 0.11
    whole = recording.read(0, recording.length)
    middle = whole[rate : 2 * rate]
    power = np.abs(np.fft.rfft(middle)) / len(middle) * 2
    channels = 1 if codec == "libspeex" else 2
    assert abs(power[440] - 0.3 / channels) < 0.02  # the mean over the channels; a spectrum line a hertz
    for start in (2 * rate, rate, 7, 0, recording.length - 100):  # any order
        np.testing.assert_array_equal(recording.read(start, start + 1000), whole[start : start + 1000])


def test_an_m4a_that_was_cut(monkeypatch):
    content = by_av("mka")  # its header is in front, and promises a duration
    cut = content[: len(content) * 6 // 10]
    assert "truncated" in refused(cut)
    with pytest.warns(MinirepWarning, match="truncated"):
        assert 1.5 < len(read(cut, partial=True)) / 16000 < 1.9
    stream = by_av("aac")  # has no header, so the end of the frames is the end
    assert 1.5 < len(read(stream[: len(stream) * 6 // 10])) / 44100 < 1.95


def test_a_stream_that_changes_is_refused():
    mono, stereo = by_av("aac", layout="mono"), by_av("aac")
    for content in (mono + stereo, stereo + mono):
        assert "found a change to 44100 Hz and" in refused(content) and "ffmpeg -i" in refused(content)


@pytest.mark.parametrize(
    "playlist",
    [
        "ffconcat version 1.0\nfile '{}'\n",
        "ffconcat version 1.0\nfile secret.wav\n",
        "#EXTM3U\n#EXT-X-TARGETDURATION:10\n#EXTINF:10,\nfile://{}\n#EXT-X-ENDLIST\n",
        "[playlist]\nFile1={}\n",
        "<smil><audio src='{}'/></smil>",
    ],
)
def test_no_file_leads_to_another(tmp_path, monkeypatch, playlist):
    pytest.importorskip("av")
    monkeypatch.chdir(tmp_path)
    secret = tmp_path / "secret.wav"
    secret.write_bytes(wav(DATA))
    for name in ("list.m3u8", "list.ffconcat", "list.wav"):
        path = tmp_path / name
        path.write_text(playlist.format(secret))
        assert "found no" in refused(path)


# --- From the command line -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("timeline", [[], ["--timeline"]])
def test_partial(tmp_path, capsys, timeline):
    path = tmp_path / "cut.wav"
    path.write_bytes(wav(DATA)[:5000])
    assert main(["classify", str(path), *timeline]) == 1
    assert "--partial" in capsys.readouterr().err
    assert main(["classify", str(path), "--partial", "--backend", "numpy", *timeline]) == 0
    out, err = capsys.readouterr()
    found = "truncated: found 4956 of the 8002 bytes of samples its header promises"
    assert str(path) in out and err == f"minirep: {path}: {found}\n"


def test_a_second_wav_is_told_once_for_each_file(tmp_path, capsys):
    paths = [tmp_path / name for name in ("one.wav", "two.wav")]
    for path in paths:
        path.write_bytes(wav(DATA) + wav(DATA))
    assert main(["classify", "--backend", "numpy", *map(str, paths), str(paths[0])]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert len(lines) == 3 and all("another WAV" in line and "Warning" not in line for line in lines)


# --- The files that failed, where they are ---------------------------------------------------------------------------

RIGHT = {
    "ffpipe_libmp3lame.mp3": (16000, 9216, 0.25507), "silencefirst_pipeV4_5.mp3": (44100, 222336, 0.10834),
    "cover128_1.mp3": (44100, 46080, 0.12054), "shorttitle24k_0.9.mp3": (16000, 15552, 0.09278),
    "ff_libmp3lame.wav": (16000, 9216, 0.25507), "size_plus1_riff_ok.wav": (16000, 4001, 0.06486),
    "size_plus36_riff_ok.wav": (16000, 4001, 0.06486), "fmt_frame0.wav": (16000, 4001, 0.06486),
    "fmt_frame1.wav": (16000, 4001, 0.06486), "fmt_frame4.wav": (16000, 4001, 0.06486),
    "sox_gsm-full-rate_0.wav": (16000, 8320, 0.26287), "sox_a-law_8.wav": (16000, 8001, 0.28704),
    "sox_mu-law_8.wav": (16000, 8001, 0.28707), "rifx16.wav": (16000, 4001, 0.06486),
    "ext16_amb.wav": (16000, 4001, 0.06486), "sf_RF64_PCM_U8_1.rf64": (16000, 3001, 0.28734),
}  # fmt: skip
IN_THE_CORE = ("size_plus", "fmt_frame", "sox_a-law", "sox_mu-law", "rifx16", "ext16_amb", "sf_RF64")


@pytest.mark.skipif(not CASES.is_dir(), reason="the cases are kept outside the repository")
@pytest.mark.parametrize("name", RIGHT)
def test_the_files_that_failed(name, monkeypatch):
    if name.startswith(IN_THE_CORE):
        monkeypatch.setitem(sys.modules, "soundfile", None)
        monkeypatch.setitem(sys.modules, "av", None)
    else:
        pytest.importorskip("soundfile")
    rate, length, rms = RIGHT[name]
    recording = open_recording(CASES / name)
    samples = recording.read(0, recording.length).astype(np.float64)
    assert (recording.rate, recording.length) == (rate, length)
    assert abs(np.sqrt(np.square(samples).mean()) - rms) < 1e-5


def test_the_codings_of_the_documentation_are_those_of_the_reader():
    assert {bits for tag, bits in READ_HERE if tag == 1} == {8, 16, 24, 32, 64}
