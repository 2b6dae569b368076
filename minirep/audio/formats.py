"""Recognise the format of a sound file by its first bytes, and find the frames of an MP3.

Sources: ISO/IEC 11172-3 and 13818-3 for the frames of MPEG audio, 13818-7 for ADTS; id3.org, "ID3 tag version 2.4.0".
"""

from typing import IO, NamedTuple

HEAD = 1 << 14  # bytes that `recognise` needs for frames of MP3 or AAC; other formats need 12
PIECE = 1 << 16  # bytes that are searched at a time
MAX_TAGS = 100
# The first bytes of formats, and their usual names.
MAGIC = {
    b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "MP3", b"FORM": "AIFF", b".snd": "AU", b"dns.": "AU", b"caff": "CAF",
    b"riff\x2e\x91\xcf\x11": "W64", b"Creative Voi": "VOC", b"NIST_1A": "NIST SPHERE", b"wvpk": "WavPack",
    b"\x1aE\xdf\xa3": "WebM or Matroska", b"0&\xb2\x75\x8e\x66\xcf\x11": "WMA", b"#!AMR": "AMR",
    b"MAC ": "Monkey's Audio", b"ADIF": "AAC", b"TTA1": "TTA", b"RIFF": "RIFF", b"RIFX": "RIFF",
    b"RF64": "RIFF", b"BW64": "RIFF",
}  # fmt: skip
WAV = {b"RIFF", b"RIFX", b"RF64", b"BW64"}  # followed by a size and the word "WAVE"
FFMPEG_ONLY = {"WMA", "WebM or Matroska", "MP4 or M4A", "AAC", "AMR", "WavPack", "Monkey's Audio", "TTA"}
QUICKTIME = {b"ftyp", b"moov", b"mdat", b"wide"}  # after four bytes of size: MP4, M4A, 3GP, MOV
KBPS = {  # (version 1?, layer): the bit rates 1 to 14
    (True, 1): range(32, 449, 32),
    (True, 2): (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384),
    (True, 3): (32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320),
    (False, 1): (32, 48, 56, 64, 80, 96, 112, 128, 144, 160, 176, 192, 224, 256),
    (False, 2): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
    (False, 3): (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160),
}


def recognise(head: bytes) -> str | None:
    """Return the name of the format that begins with these bytes, "WAV" or another; None if none is known."""
    if head[:4] in WAV and head[8:12] == b"WAVE":
        return "WAV"
    if head[4:8] in QUICKTIME:
        return "MP4 or M4A"
    return _frames_begin(head, 0) or next((name for magic, name in MAGIC.items() if head.startswith(magic)), None)


class Mp3(NamedTuple):
    """The frames of MPEG audio in a file."""

    start: int  # position of the first frame in the file
    stop: int  # end of the last whole frame
    promised: int  # number of samples, from a Xing, Info or VBRI header, or else counted in the frames
    exact: bool  # whether libsndfile takes the length from that header, and not from the size of the file
    more: bool  # whether another MP3 follows the one that the header describes


def find_mp3(file: IO[bytes], start: int, stop: int) -> Mp3 | None:
    """Find the frames of MPEG audio in the bytes [start, stop), after ID3 tags and up to 16 KiB of other bytes."""
    start = skip_id3(file, start)
    first = _next_frame(file, start, min(stop, start + 2 * HEAD))
    if first is None or first > start + HEAD:
        return None
    file.seek(first)
    promised, exact, size = _promise(file.read(256))
    second = skip_id3(file, first + size)
    more = size > 0 and _next_frame(file, second, min(stop, second + 1)) == second
    if not exact:
        stop, samples = _last_frame(file, first, stop)
        promised = max(promised, samples)
    return Mp3(first, stop, promised, exact, more)


def _next_frame(file: IO[bytes], start: int, stop: int) -> int | None:
    """Return the position of the next three consecutive frames of MPEG audio, or None."""
    while start < stop:
        file.seek(start)
        data = file.read(PIECE + HEAD)
        last = min(len(data), PIECE, stop - start)
        here = data.find(b"\xff")
        while 0 <= here < last:
            if _frames_begin(data, here) == "MP3":
                return start + here
            here = data.find(b"\xff", here + 1)
        start += PIECE
    return None


def _last_frame(file: IO[bytes], start: int, stop: int) -> tuple[int, int]:
    """Return the end of the last whole frame, before tags or a truncated frame, and the number of samples up to it."""
    end, samples = start, 0
    here: int | None = start
    while here is not None:
        file.seek(here)
        data, at = file.read(min(PIECE, stop - here)), 0
        while (found := frame(data[at : at + 6])) and at + found[0] <= len(data):
            samples += _samples(data[at : at + 2])
            at += found[0]
        end = here + at if at else end
        here = here + at if at else _next_frame(file, here + 1, stop)
    return end, samples


def skip_id3(file: IO[bytes], start: int = 0) -> int:
    """Return the end of the ID3 tags that begin at ``start``."""
    for _ in range(MAX_TAGS):
        file.seek(start)
        tag = file.read(10)
        if len(tag) < 10 or tag[:3] != b"ID3":
            break
        start += 10 + sum((byte & 127) << shift for byte, shift in zip(tag[6:], (21, 14, 7, 0)))
        start += 10 if tag[5] & 16 else 0  # a footer
    return start


def _frames_begin(head: bytes, start: int) -> str | None:
    """Return "MP3" or "AAC" if three of its frames follow each other, or fewer up to the end of ``head``; else None."""
    found: list[tuple[int, str, bytes]] = []
    while len(found) < 3 and start < len(head):
        here = frame(head[start : start + 6])
        if here is None or (found and here[1:] != found[0][1:]):
            return None
        found.append(here)
        start += here[0]
    return found[0][1] if len(found) > (start > len(head)) else None


def frame(header: bytes) -> tuple[int, str, bytes] | None:
    """Return (bytes of the frame, "MP3" or "AAC", the bits that all frames share); None if this is not a header."""
    if len(header) < 6 or header[0] != 0xFF or header[1] < 0xE0:
        return None
    version, layer = header[1] >> 3 & 3, 4 - (header[1] >> 1 & 3)  # version 3 is MPEG-1, 2 is MPEG-2, 0 "MPEG-2.5"
    same = bytes((header[1] & 0xFE, header[2] & 0x0C))
    if layer == 4 and header[1] >= 0xF0:
        size = (header[3] & 3) << 11 | header[4] << 3 | header[5] >> 5
        return (size, "AAC", same) if size > 7 else None
    index, rate, padding = header[2] >> 4, header[2] >> 2 & 3, header[2] >> 1 & 1
    if version == 1 or layer == 4 or index in (0, 15) or rate == 3:
        return None
    hertz = (44100, 48000, 32000)[rate] >> {3: 0, 2: 1, 0: 2}[version]
    slot = 4 if layer == 1 else 1  # bytes
    slots = _samples(header) // 8 // slot * KBPS[version == 3, layer][index - 1] * 1000 // hertz + padding
    return slots * slot, "MP3", same


def _samples(header: bytes) -> int:
    """Return the number of samples per channel in a frame."""
    layer = 4 - (header[1] >> 1 & 3)
    return 384 if layer == 1 else 576 if layer == 3 and header[1] & 8 == 0 else 1152


def _promise(frame: bytes) -> tuple[int, bool, int]:
    """Return (samples that the first frame promises or 0, whether in a Xing or Info header, bytes promised or 0)."""
    if frame[36:40] == b"VBRI":
        return int.from_bytes(frame[50:54], "big") * _samples(frame), False, 0
    for start in (frame.find(b"Xing", 4, 44), frame.find(b"Info", 4, 44)):  # after the side information
        if start > 0 and frame[start + 7] & 1:
            frames, size = (int.from_bytes(frame[start + at : start + at + 4], "big") for at in (8, 12))
            return frames * _samples(frame), frames > 0, size if frame[start + 7] & 2 and frames else 0
    return 0, False, 0
