"""Sound as a stream of bytes, without an end to seek to: raw samples, or a WAV whose header comes first.

This is what `arecord`, `ffmpeg` or `sox` write into a pipe. For files see `minirep.audio.open`; the decoding is
that of `minirep.audio.wav`.
"""

import io
import struct
import time

import numpy as np

from ..errors import MinirepError, warn
from .formats import HEAD, frame, recognise
from .recording import ENDLESS
from .wav import FLOAT, MAX_CHUNKS, PCM, WavLayout, decode, wav_layout

RAW = {"s16le": (PCM, 2), "f32le": (FLOAT, 4)}  # name: (WAV format tag, bytes a sample)
CHUNK = 1 << 14  # bytes read at a time, at the most
MAX_HEADER = 1 << 20  # bytes in front of a WAV's samples
DECODE = ": ffmpeg -i FILE -f wav - | minirep listen"


class Pcm:
    """Mono samples from a binary file or pipe, as they come.

    ``coding``: "s16le", "f32le" or "wav"; "auto" is WAV if the first bytes say so, else s16le. A WAV knows its rate and
    channels; ``rate`` and ``channels`` are those of raw samples, and must agree with a WAV's if they are given. Raw
    samples without a rate are taken to have ``usual_rate``.
    """

    def __init__(self, file, coding: str, rate: int | None, channels: int | None, usual_rate: int):
        self._file, self._rest = file, b""  # bytes not decoded yet
        self._left: int | None = None  # bytes to come, if that is known
        begin = b"" if coding in RAW else self._read_exactly(12, may_end=True)
        if frame(begin):  # of MP3 or AAC, perhaps: only the next ones can tell
            begin += self._read_exactly(HEAD, may_end=True)
        kind = recognise(begin)
        if kind == "WAV":
            coding, wav = "wav", self._read_header(begin)
            found = wav.rate, wav.channels
            if rate not in (None, found[0]) or channels not in (None, found[1]):
                raise MinirepError(
                    f"standard input: found a WAV at {found[0]} Hz with {found[1]} channels, expected "
                    f"{rate or found[0]} Hz and {channels or found[1]}"
                )
            self.rate, self.channels = found
            self._tag, self._width, self._order = wav.tag, wav.width, wav.order
        else:
            if (coding == "wav" and begin) or kind:
                raise MinirepError(
                    f"standard input: found {kind or 'no WAV header'}, expected WAV or raw samples{DECODE}"
                )
            self._rest, coding = begin, coding if coding in RAW else "s16le"
            self.rate, self.channels = rate or usual_rate, channels or 1
            self._tag, self._width, self._order = *RAW[coding], "<"
        self.coding = coding

    def read(self) -> np.ndarray | None:
        """The next samples, mono float32: all that has arrived, but not too many; None at the end.

        Bytes at the end that are no whole sample (of every channel) are left out.
        """
        if self._left == 0:
            return None
        new = self._read_some(CHUNK if self._left is None else min(CHUNK, self._left + 13))
        if self._left is not None:
            new, after = new[: self._left], new[self._left :]  # what has come with the last samples
            self._left -= len(new)
            if "WAV" in (recognise(after), recognise(after[1:])):
                warn("standard input: found another WAV behind the first; only the first is read")
        raw = self._rest + new
        whole = len(raw) - len(raw) % (self.channels * self._width)
        if not new and not whole:
            return None
        raw, self._rest = raw[:whole], raw[whole:]
        with np.errstate(over="ignore", invalid="ignore"):  # what is no number is refused where it is used
            samples = decode(raw, self._tag, self._width, self._order).reshape(-1, self.channels).mean(axis=1)
            return samples.astype(np.float32)

    def _read_some(self, most: int) -> bytes:
        """At least one byte, unless the stream has ended."""
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
        header, order = bytearray(begin + self._read_exactly(12 - len(begin))), ">" if begin[:4] == b"RIFX" else "<"
        for _ in range(MAX_CHUNKS):
            chunk = self._read_exactly(8)
            header += chunk
            kind, length = struct.unpack(order + "4sI", chunk)
            if kind == b"data":
                break
            if len(header) + length > MAX_HEADER:
                raise MinirepError(f"standard input: found a WAV header of more than {MAX_HEADER} bytes")
            header += self._read_exactly(length + length % 2)
        wav = wav_layout(io.BytesIO(header), None, "standard input")
        if wav is None or not wav.width:
            raise MinirepError(f"standard input: found a compressed WAV, expected integers or floats{DECODE}")
        self._left = None if wav.size == ENDLESS else wav.length * wav.frame
        return wav
