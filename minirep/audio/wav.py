"""WAV files: the position, format and decoding of their samples.

A WAV file is "RIFF", a size, "WAVE", and then chunks. A chunk is a name of four letters, a size, that many bytes, and
one more if the size is odd. The chunk "fmt " describes the samples, and "data" contains them, channels interleaved.

Sources: IBM and Microsoft, "Multimedia Programming Interface and Data Specifications 1.0", 1991, chapter 3; the
extensible format of Microsoft's WAVEFORMATEXTENSIBLE; the 64-bit sizes of EBU Tech 3306.
"""

import struct
from dataclasses import dataclass
from functools import lru_cache
from typing import IO

import numpy as np

from ..errors import MinirepError, expect, warn
from .formats import recognise
from .recording import BLOCK, CUT, ENDLESS, LOWEST, Recording, unit_scale, whole_rate

PCM, FLOAT, ALAW, MULAW, EXTENSIBLE = 1, 3, 6, 7, 0xFFFE  # format tags; an extensible format has its own in a GUID
MPEG = {0x50, 0x55}  # the tags of MP2 and MP3
GUIDS = {  # the rest of it after the tag: Microsoft's, and that of ambisonic sound, whose channels are ordinary ones
    bytes.fromhex("000000001000800000aa00389b71"),
    bytes.fromhex("00002107d3118644c8c1ca000000"),
}
CODINGS = {(PCM, 8), (PCM, 16), (PCM, 24), (PCM, 32), (PCM, 64), (FLOAT, 32), (FLOAT, 64), (ALAW, 8), (MULAW, 8)}
MAX_CHANNELS = 1024  # unless the size of a frame confirms them
MAX_CHUNKS = 1000  # before the samples: real files have a handful
SLACK = 4096  # bytes by which a size may be too large in a complete file


@dataclass(frozen=True)
class WavLayout:
    """Position and format of the samples of a WAV file."""

    rate: int
    channels: int
    tag: int
    width: int  # bytes per sample; 0 for a coding that `decode` does not support
    order: str  # byte order: "<" little-endian, ">" big-endian (RIFX)
    offset: int  # of the first sample in the file
    size: int  # bytes of samples

    @property
    def frame(self) -> int:
        """Size in bytes of one sample of every channel."""
        return self.channels * self.width

    @property
    def length(self) -> int:
        """Number of samples per channel."""
        return self.size // self.frame

    def decode(self, raw: bytes) -> np.ndarray:
        """Decode the bytes of n samples of every channel -> (n, channels) float64, full scale +-1."""
        if self.tag in (ALAW, MULAW):
            samples = telephone_table(self.tag)[np.frombuffer(raw, np.uint8)]
        elif self.width == 3:  # the upper three bytes of a 32-bit integer
            padded = np.zeros((len(raw) // 3, 4), np.uint8)
            padded[:, slice(1, 4) if self.order == "<" else slice(0, 3)] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
            samples = unit_scale(padded.view(f"{self.order}i4"))
        else:
            kind = "f" if self.tag == FLOAT else "u" if self.width == 1 else "i"
            samples = unit_scale(np.frombuffer(raw, f"{self.order}{kind}{self.width}"))
        return samples.reshape(-1, self.channels)


def wav_layout(file: IO[bytes], size: int | None, name: str, partial: bool = False) -> WavLayout | None:
    """Read a header and compare it with the ``size`` of its file (None for a stream); None if it is not a WAV.

    Raises a MinirepError for an unusable header or a truncated file. With ``partial``, that is only a warning.
    """
    if not is_wav(file):
        return None
    header = _Header(file, size, name)
    order, offset = header.order, header.chunks[b"data"][0]
    tag, channels, rate, _, frame, bits = header.unpack(b"fmt ", "HHIIHH")
    if tag == EXTENSIBLE:
        (guid,) = header.unpack(b"fmt ", "24x16s")
        if order == ">":
            swapped = struct.pack("<IHH8s", *struct.unpack(">IHH8s", guid))
            guid = swapped if swapped[2:] in GUIDS else guid[1::-1] + guid[2:]  # SoX swaps nothing but the tag
        tag = guid[1] << 8 | guid[0] if guid[2:] in GUIDS else EXTENSIBLE
    found = _data_size(header, partial)
    if tag not in (PCM, FLOAT, ALAW, MULAW):
        return WavLayout(rate, channels, tag, 0, order, offset, found)
    if tag == PCM:
        bits += -bits % 8  # integers of 12 bits are kept in the upper part of 16
        bits = 32 if bits == 24 and frame == 4 * channels else bits  # and those of 24 at times in that of 32
    bits = 8 if tag in (ALAW, MULAW) else bits
    known = (tag, bits) in CODINGS and channels and (channels <= MAX_CHANNELS or frame == channels * bits // 8)
    coding = f"{channels} channels of {bits}-bit {'floats' if tag == FLOAT else 'integers'} in {frame} bytes"
    expect(known, f"{name}: found a WAV header with {coding}; expected at least one channel, integers of 8, 16, 24, 32 "
           "or 64 bits or floats of 32 or 64")  # fmt: skip
    layout = WavLayout(whole_rate(rate, name, LOWEST), channels, tag, bits // 8, order, offset, found)
    expect(layout.length, f"{name}: found a WAV file with no samples, expected at least one")
    ends = offset + found + found % 2, header.whole
    if size is not None and any(found < end < size and is_wav(file, end) for end in ends):
        warn(f"{name}: found another WAV behind the first; only the first is read")
    return layout


def is_wav(file: IO[bytes], start: int = 0) -> bool:
    """Return whether a WAV file begins at ``start``."""
    file.seek(start)
    return recognise(file.read(12)) == "WAV"


class _Header:
    """The header of a WAV file; ``size`` is the number of bytes of the file, None for a stream."""

    def __init__(self, file: IO[bytes], size: int | None, name: str):
        self.file, self.size, self.name = file, size, name
        file.seek(0)
        head = file.read(12)
        self.order = ">" if head[:4] == b"RIFX" else "<"
        self.whole = 8 + struct.unpack(self.order + "4xI4x", head)[0]  # bytes of the file, by its header
        self.chunks = self._chunks()

    def _chunks(self) -> dict[bytes, tuple[int, int]]:
        """Return {name: (offset, bytes)} of the chunks up to "data", which contains the samples."""
        chunks: dict[bytes, tuple[int, int]] = {}
        position, wanted = 12, "expected a WAV file's 'data' chunk"
        for _ in range(MAX_CHUNKS):
            # No 2 GiB ahead in memory on a 32-bit machine.
            self.file.seek(position if self.size is None else min(position, self.size))
            header = self.file.read(8)
            expect(len(header) == 8, f"{self.name}: truncated: found no samples up to its end, {wanted}")
            kind, length = struct.unpack(self.order + "4sI", header)
            chunks.setdefault(kind, (position + 8, length))
            if kind == b"data":
                return chunks
            position += 8 + length + length % 2
        raise MinirepError(f"{self.name}: found {MAX_CHUNKS} chunks and no samples, {wanted} before")

    def unpack(self, kind: bytes, fields: str) -> tuple:
        """Return the fields at the beginning of a chunk, in the notation of `struct`."""
        (offset, length), least = self.chunks.get(kind, (0, 0)), struct.calcsize(self.order + fields)
        self.file.seek(offset)
        body = self.file.read(min(least, length))  # a stream may end here, or not go on yet
        whole, found = length >= least and len(body) == least, f"{length} bytes in the WAV chunk {kind.decode()!r}"
        expect(whole, f"{self.name}: found {found}, expected at least {least}")
        return struct.unpack(self.order + fields, body)


def _data_size(header: _Header, partial: bool) -> int:
    """Return the number of bytes of samples: the size in the header if it is plausible, else that of the data."""
    offset, promised = header.chunks[b"data"]
    size, whole = header.size, header.whole
    if promised == 0xFFFFFFFF and b"ds64" in header.chunks:  # it did not fit into 32 bits: this chunk has it in 64
        (promised,) = header.unpack(b"ds64", "8xQ")
    if size is None:
        finished = whole > offset and not is_placeholder(whole - 8)  # so 0 samples are meant
        return ENDLESS if (is_placeholder(promised) if promised else not finished) else promised
    there, missing = size - offset, promised - (size - offset)
    if (promised == 0 and whole != size) or (missing > 0 and is_placeholder(promised)):
        return there
    # The size that a recorder writes may be too large by a header or a buffer: the size of the whole file contradicts
    # it, or the header was counted, or less than one sample is missing. In a truncated file both sizes are too large.
    frame = max(1, *header.unpack(b"fmt ", "12xH"))
    if missing <= 0:
        return promised
    contradiction = offset + promised > whole and abs(whole - size) <= 8 and missing <= SLACK
    if contradiction or missing in (offset, offset - 8) or missing < min(frame, SLACK):
        return there
    truncated = f"{header.name}: truncated: found {there} of the {promised} bytes of samples its header promises"
    expect(partial, truncated + CUT)
    warn(truncated)
    return there


def is_placeholder(size: int) -> bool:
    """Return whether a size of samples is one that programs write before a stream of unknown length.

    FFmpeg writes 2**32 - 1, arecord 2**31, SoX and eSpeak 2**31 - 4096: all just below a multiple of 2 GiB.
    """
    return -size % 2**31 <= 4096


def read_wav(file: IO[bytes], layout: WavLayout, name: str) -> Recording:
    """Open a WAV file whose samples `WavLayout.decode` decodes."""

    def fetch(start, stop):
        file.seek(layout.offset + start * layout.frame)
        raw = file.read((stop - start) * layout.frame)
        expect(len(raw) == (stop - start) * layout.frame, f"{name}: truncated while it was being read")
        return layout.decode(raw).mean(axis=1)

    return Recording(name, layout.rate, layout.length, fetch, max(1, BLOCK // layout.channels))


@lru_cache(maxsize=2)
def telephone_table(tag: int) -> np.ndarray:
    """Return the values of the 256 codes of A-law or mu-law (ITU-T Recommendation G.711): (256,) float64.

    A code is a sign, three bits of exponent and four of mantissa. A-law stores it with every other bit inverted, mu-law
    with all bits inverted.
    """
    code = np.arange(256) ^ (0x55 if tag == ALAW else 0xFF)
    exponent, mantissa = code >> 4 & 7, code & 15
    if tag == ALAW:
        size = np.where(exponent > 0, (16 * mantissa + 264) << np.maximum(exponent - 1, 0), 16 * mantissa + 8)
        return np.where(code & 128, size, -size) / 2**15
    size = ((8 * mantissa + 132) << exponent) - 132
    return np.where(code & 128, -size, size) / 2**15
