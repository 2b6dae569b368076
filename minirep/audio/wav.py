"""WAV files: where their samples are, what they mean, and how they are decoded.

"RIFF", a size, "WAVE", then chunks: a name of four letters, a size, that many bytes and one more if they are odd in
number. The chunk "fmt " says what the samples are, and "data" holds them, one after the other channel by channel.

Sources: IBM and Microsoft, "Multimedia Programming Interface and Data Specifications 1.0", 1991, chapter 3; the
extensible format of Microsoft's WAVEFORMATEXTENSIBLE; the 64-bit sizes of EBU Tech 3306.
"""

import struct
from dataclasses import dataclass
from typing import BinaryIO

import numpy as np

from ..errors import MinirepError
from .recording import BLOCK, Recording, unit_scale, whole_rate

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE  # format tags; an extensible format has its true tag in the first bytes of a GUID
GUID_TAIL = bytes.fromhex("000000001000800000aa00389b71")
CODINGS = {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (FLOAT, 32), (FLOAT, 64)}  # (tag, bits) that are read here
MAX_CHUNKS = 1000  # before the samples: real files have a handful


@dataclass(frozen=True)
class WavLayout:
    """Where the samples of a WAV file are and what they mean."""

    rate: int
    channels: int
    tag: int
    width: int  # bytes a sample
    offset: int  # of the first sample in the file
    length: int  # samples a channel

    @property
    def frame(self) -> int:
        """Bytes of one sample of every channel."""
        return self.channels * self.width


def wav_layout(file: BinaryIO, size: int, name: str) -> WavLayout | None:
    """What a header says, checked against its file's ``size``; None for what is not integers or floats in a WAV."""
    file.seek(0)
    head = file.read(12)
    if head[:4] not in (b"RIFF", b"RF64", b"BW64") or head[8:] != b"WAVE":
        return None
    chunks = _chunks(file, size, name)
    tag, channels, rate, _, frame, bits = struct.unpack("<HHIIHH", _body(file, chunks, b"fmt ", 16, name))
    if tag == EXTENSIBLE:
        tag, tail = struct.unpack("<24xH14s", _body(file, chunks, b"fmt ", 40, name))
        tag = tag if tail == GUID_TAIL else EXTENSIBLE
    if tag not in (PCM, FLOAT):
        return None
    if tag == PCM:
        bits += -bits % 8  # integers of 12 bits are kept in the upper part of 16
    if (tag, bits) not in CODINGS or not channels or frame != channels * bits // 8:
        kind = "integers" if tag == PCM else "floats"
        raise MinirepError(
            f"{name}: found a WAV header with {channels} channels of {bits}-bit {kind} in {frame} bytes; expected at "
            "least one channel, integers of 8, 16, 24 or 32 bits or floats of 32 or 64, and bytes to match"
        )
    offset, promised = chunks[b"data"]
    if promised == 0xFFFFFFFF and b"ds64" in chunks:  # it did not fit into 32 bits: this chunk has it in 64
        promised = struct.unpack("<8xQ", _body(file, chunks, b"ds64", 16, name))[0]
    there = size - offset
    finished = struct.unpack("<4xI4x", head)[0] == size - 8  # the size in the head fits: so 0 samples are meant
    if (promised == 0 and not finished) or (promised > there and is_placeholder(promised)):
        promised = there
    if promised > there:
        raise MinirepError(f"{name}: truncated: found {there} of the {promised} bytes of samples its header promises")
    if promised < frame:
        raise MinirepError(f"{name}: found a WAV file with no samples, expected at least one")
    return WavLayout(whole_rate(rate, name), channels, tag, bits // 8, offset, promised // frame)


def _chunks(file: BinaryIO, size: int, name: str) -> dict[bytes, tuple[int, int]]:
    """The chunks up to the samples, {name: (offset, bytes)}. What follows "data" is of no use here."""
    chunks, position = {}, 12
    for _ in range(MAX_CHUNKS):
        file.seek(min(position, size))  # streams in memory cannot look 2 GiB ahead on a 32-bit machine
        header = file.read(8)
        if len(header) < 8:
            raise MinirepError(f"{name}: truncated: found no samples up to its end, expected a WAV file's 'data' chunk")
        kind, length = struct.unpack("<4sI", header)
        chunks.setdefault(kind, (position + 8, length))
        if kind == b"data":
            return chunks
        position += 8 + length + length % 2
    raise MinirepError(f"{name}: found {MAX_CHUNKS} chunks and no samples, expected a WAV file's 'data' chunk before")


def _body(file: BinaryIO, chunks: dict, kind: bytes, least: int, name: str) -> bytes:
    """The first ``least`` bytes in a chunk."""
    offset, length = chunks.get(kind, (0, 0))
    file.seek(offset)
    body = file.read(least)
    if length < least or len(body) < least:
        raise MinirepError(
            f"{name}: found {length} bytes in the WAV chunk {kind.decode()!r}, expected at least {least}"
        )
    return body


def is_placeholder(size: int) -> bool:
    """Whether a size of samples is one that programs write ahead of a stream whose end they do not know.

    FFmpeg writes 2**32 - 1, arecord 2**31, SoX and eSpeak 2**31 - 4096: all just below a multiple of 2 GiB.
    """
    return -size % 2**31 <= 4096


def read_wav(file: BinaryIO, layout: WavLayout, name: str) -> Recording:
    def fetch(start, stop):
        file.seek(layout.offset + start * layout.frame)
        raw = file.read((stop - start) * layout.frame)
        if len(raw) < (stop - start) * layout.frame:
            raise MinirepError(f"{name}: truncated while it was being read")
        return decode(raw, layout.tag, layout.width).reshape(-1, layout.channels).mean(axis=1)

    return Recording(name, layout.rate, layout.length, fetch, max(1, BLOCK // layout.channels))


def decode(raw: bytes, tag: int, width: int) -> np.ndarray:
    """The bytes of n samples -> (n,) float64, full scale +-1."""
    if tag == FLOAT:
        return unit_scale(np.frombuffer(raw, f"<f{width}"))
    if width == 3:  # the upper three bytes of a 32-bit integer
        padded = np.zeros((len(raw) // 3, 4), np.uint8)
        padded[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        return unit_scale(padded.view("<i4")[:, 0])
    return unit_scale(np.frombuffer(raw, np.uint8 if width == 1 else f"<i{width}"))
