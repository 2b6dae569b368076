"""Sound as a stream of bytes, without an end to seek to: raw samples, or a WAV whose header comes first.

This is what `arecord`, `ffmpeg` or `sox` write into a pipe. For files see `minirep.audio.open`; the decoding is
that of `minirep.audio.wav`.
"""

import io
import struct
import time

import numpy as np

from ..errors import MinirepError
from .wav import FLOAT, PCM, WavLayout, decode, is_placeholder, wav_layout

RAW = {"s16le": (PCM, 2), "f32le": (FLOAT, 4)}  # name: (WAV format tag, bytes a sample)
CHUNK = 1 << 14  # bytes read at a time, at the most
MAX_HEADER = 1 << 20  # bytes in front of a WAV's samples
# How other formats begin. Taken for raw samples they would be noise, and nobody would be told.
OTHERS = {b"fLaC": "FLAC", b"OggS": "Ogg", b"ID3": "MP3", b"FORM": "AIFF", b".snd": "AU", b"\x1aE\xdf\xa3": "Matroska"}


class Pcm:
    """Mono samples from a binary file or pipe, as they come.

    ``coding``: "s16le", "f32le" or "wav"; "auto" is WAV if the first bytes say so, else s16le. A WAV knows its rate and
    channels; ``rate`` and ``channels`` are those of raw samples, and must agree with a WAV's if they are given. Raw
    samples without a rate are taken to have ``usual_rate``.
    """

    def __init__(self, file, coding: str, rate: int | None, channels: int | None, usual_rate: int):
        self._file, self._rest, self._left = file, b"", None  # bytes not decoded yet; bytes to come, if that is known
        begin = b"" if coding in RAW else self._read_exactly(4, may_end=True)
        if begin in (b"RIFF", b"RF64", b"BW64"):
            coding, wav = "wav", self._read_header(begin)
            found = wav.rate, wav.channels
            if rate not in (None, found[0]) or channels not in (None, found[1]):
                raise MinirepError(
                    f"standard input: found a WAV at {found[0]} Hz with {found[1]} channels, expected "
                    f"{rate or found[0]} Hz and {channels or found[1]}"
                )
            self.rate, self.channels, self._tag, self._width = *found, wav.tag, wav.width
        else:
            other = next((name for magic, name in OTHERS.items() if begin.startswith(magic)), None)
            if coding == "wav" or other:
                raise MinirepError(f"standard input: found {other or 'no WAV header'}, expected WAV or raw samples")
            self._rest, coding = begin, "s16le" if coding == "auto" else coding
            self.rate, self.channels = rate or usual_rate, channels or 1
            self._tag, self._width = RAW[coding]
        self.coding = coding

    def read(self) -> np.ndarray | None:
        """The next samples, mono float32: all that has arrived, but not too many; None at the end.

        Bytes at the end that are no whole sample (of every channel) are left out.
        """
        new = self._read_some(CHUNK if self._left is None else min(CHUNK, self._left))
        if not new:
            return None
        if self._left is not None:
            self._left -= len(new)
        raw = self._rest + new
        whole = len(raw) - len(raw) % (self.channels * self._width)
        raw, self._rest = raw[:whole], raw[whole:]
        with np.errstate(over="ignore", invalid="ignore"):  # what is no number is refused where it is used
            samples = decode(raw, self._tag, self._width).reshape(-1, self.channels).mean(axis=1)
            return samples.astype(np.float32)

    def _read_some(self, most: int) -> bytes:
        """At least one byte, unless the stream has ended."""
        if most == 0:
            return b""
        while (new := self._file.read(most)) is None:  # a pipe that does not wait
            time.sleep(0.01)
        return new

    def _read_exactly(self, count: int, may_end: bool = False) -> bytes:
        pieces, missing = [], count
        while missing and (new := self._read_some(missing)):
            pieces.append(new)
            missing -= len(new)
        if missing and not may_end:
            raise MinirepError("standard input: found no samples up to its end, expected a WAV's 'data' chunk")
        return b"".join(pieces)

    def _read_header(self, begin: bytes) -> WavLayout:
        """What a WAV's header says; its chunks are read up to where the samples start."""
        header = begin + self._read_exactly(8)
        while True:
            chunk = self._read_exactly(8)
            header += chunk
            kind, length = struct.unpack("<4sI", chunk)
            if kind == b"data":
                break
            if len(header) + length > MAX_HEADER:
                raise MinirepError(f"standard input: found a WAV header of more than {MAX_HEADER} bytes")
            header += self._read_exactly(length + length % 2)
        wav = wav_layout(io.BytesIO(header), 1 << 62, "standard input")  # as of a file without an end
        if wav is None:
            raise MinirepError("standard input: found a compressed WAV, expected integers or floats")
        if length and not is_placeholder(length):  # else its writer did not know the length either
            self._left = wav.length * wav.frame
        return wav
