"""FLAC, Ogg, MP3 and other formats, decoded by the package soundfile (extra ``audio``)."""

import io
from collections import deque
from collections.abc import Callable, Iterator
from typing import IO

import numpy as np

from ..errors import MinirepError, expect, warn
from .formats import HEAD, find_mp3, recognise, skip_id3
from .recording import BLOCK, CUT, ENDLESS, LOWEST, Recording, whole_rate
from .wav import MPEG, WavLayout

Blocks = Iterator[np.ndarray]  # mono samples
KEPT = 1 << 20  # samples kept of a sound that is decoded from its beginning: 24 s at 44.1 kHz, 4 MiB
SHORT = 1 << 10  # samples: shorter blocks are joined, so that a million frames of one sample take no more memory
DELAY = 5 * 1152  # samples that MP3 decoders may omit at both ends, with a margin of more than one frame


class Unreadable(MinirepError):
    """One library cannot read a file, for the given reason; without a reason, the library is not installed."""


def read_compressed(file: IO[bytes], size: int, wav: WavLayout | None, name: str, partial: bool) -> Recording:
    """Open a file with soundfile; ``wav`` locates the samples of a WAV. Raises Unreadable if it cannot be read."""
    try:
        import soundfile
    except ImportError as error:
        raise Unreadable from error
    except OSError as error:  # the package is there, the C library under it is not
        raise MinirepError(f"{name}: soundfile cannot load libsndfile, which has to be installed ({error})") from error
    start, stop = (wav.offset, wav.offset + wav.size) if wav and wav.tag in MPEG else (skip_id3(file), size)
    file.seek(start)
    mp3 = find_mp3(file, start, stop) if recognise(file.read(HEAD)) in (None, "MP3") else None
    start, stop = (start, stop) if mp3 is None else mp3[:2]
    if mp3 and mp3.more:
        warn(f"{name}: found another MP3 behind the first; only the first is read")

    def open_sound():
        return soundfile.SoundFile(Section(file, start, stop, endless=mp3 is not None and not mp3.exact))

    try:
        sound = open_sound()
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        raise Unreadable(getattr(error, "error_string", str(error))) from error
    rate = whole_rate(sound.samplerate, name, LOWEST)
    lossy = sound.subtype.startswith(("VORBIS", "OPUS", "MPEG"))
    if not (lossy or partial) and sound.frames < ENDLESS and _can_seek(sound):
        expect(sound.frames, f"{name}: found no samples, expected at least one")

        def fetch(start: int, stop: int) -> np.ndarray:
            samples = _read(sound, stop - start, name, start)
            if len(samples) < stop - start:
                _enough(start + len(samples), sound.frames, 0, name)
            return samples

        return Recording(name, rate, sound.frames, fetch, max(1, BLOCK // sound.channels))
    promised, slack = (0 if sound.frames >= ENDLESS else sound.frames), sound.frames // 50
    promised, slack = (promised, slack) if mp3 is None else (mp3.promised, DELAY)
    block = max(1, (BLOCK >> 4 if partial else BLOCK) // sound.channels)  # what was decoded before damage is kept
    forward = ForwardDecoder(lambda: _blocks(open_sound(), block, name), name, promised, slack, partial)
    return Recording(name, rate, forward.length, forward.fetch)


class Section(io.RawIOBase):
    """The bytes [start, stop) of a file as a file of its own, without a name whose suffix libsndfile would trust.

    If no header gives the length of an MP3, libsndfile estimates it from the size of the file and the first bit rate,
    and reads no further. An ``endless`` section reports a huge size, so that the whole file is read.
    """

    def __init__(self, file: IO[bytes], start: int, stop: int, endless: bool = False):
        self._file, self._start, self._position, self._size = file, start, 0, stop - start
        self._end = ENDLESS if endless else self._size
        self.failed: OSError | None = None  # an error that cannot be raised through libsndfile

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        position = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._position, io.SEEK_END: self._end}[whence]
        if position >= 0:  # else stay, as a file does
            self._position = position
        return self._position

    def readinto(self, buffer) -> int:
        if self._position > self._size:  # so a search for a tag at the end finds none
            data = bytes(max(0, min(len(buffer), self._end - self._position)))
        else:
            try:
                self._file.seek(self._start + self._position)
                data = self._file.read(min(len(buffer), self._size - self._position))
            except OSError as error:
                self.failed, data = error, b""
        buffer[: len(data)] = data
        self._position += len(data)
        return len(data)


def _can_seek(sound) -> bool:
    """Return whether decoding can start at any sample; a few old codings only allow it from the beginning."""
    try:
        return sound.seekable() and sound.seek(sound.frames // 2) >= 0 and sound.seek(0) == 0
    except (RuntimeError, OSError, ValueError):
        return False


def _read(sound, count: int, name: str, start: int | None = None) -> np.ndarray:
    """Return the next samples, or those from ``start`` on, mono: (count,), or fewer at the end."""
    sound.seekable = lambda: False  # else soundfile seeks to its own position after each read, which damages an MP3
    try:
        if start is not None:
            sound.seek(start)
        samples = sound.read(count, "float64", always_2d=True)  # (n, channels)
        error = sound.name.failed
    except (RuntimeError, OSError, ValueError, TypeError) as raised:
        error = sound.name.failed or raised
    if error:
        raise MinirepError(f"{name}: damaged ({getattr(error, 'error_string', error)}){CUT}") from error
    return samples.mean(axis=1)


def _blocks(sound, size: int, name: str) -> Blocks:
    """Yield all samples, mono, in blocks of ``size``."""
    while len(block := _read(sound, size, name)):
        yield block


def _enough(found: int, promised: float, slack: float, name: str) -> None:
    """Raise a MinirepError if more than ``slack`` of the ``promised`` samples are missing."""
    expect(found >= promised - slack, f"{name}: truncated: found {found} of the {promised:.0f} samples its header "
           f"promises{CUT}")  # fmt: skip


class ForwardDecoder:
    """Decode a sound from its beginning, and keep the last samples for a reader that steps back.

    This is for sounds that are not seekable, and for Vorbis, Opus and MP3. In those, a seek of libsndfile does not
    always lead to the same samples, and lengths are estimates. So everything is decoded once to count the samples.
    """

    def __init__(self, blocks: Callable[[], Blocks], name: str, promised: float, slack: float, partial: bool):
        """``blocks()`` decodes from the beginning. At most ``slack`` of the ``promised`` samples may be missing."""
        self.blocks, self.name = blocks, name
        self.rewind()
        try:
            while self.advance():
                pass
            _enough(self.position, promised, slack, name)
        except MinirepError as error:
            if not partial or not self.position:
                raise
            warn(str(error).removesuffix(CUT))
        self.length = self.position
        expect(self.length, f"{name}: found no samples, expected at least one")

    def rewind(self) -> None:
        self.coming, self.position = self.blocks(), 0  # the blocks that follow; of the first sample in them
        self.kept: deque[np.ndarray] = deque()  # the blocks before it
        self.start = 0  # of the first sample in those

    def fetch(self, start: int, stop: int) -> np.ndarray:
        """Return the samples [start, stop), mono: (stop - start,)."""
        if start < self.start:
            self.rewind()
        while self.position < stop and self.advance(start):
            pass
        expect(self.position >= stop, f"{self.name}: truncated while it was being read")
        return np.concatenate(self.kept)[start - self.start : stop - self.start]

    def advance(self, needed: int = ENDLESS) -> bool:
        """Decode the next block, if there is one. Forget blocks before `KEPT` samples and before the sample needed."""
        new = next((block for block in self.coming if len(block)), None)
        if new is None:
            return False
        short = self.kept.pop() if self.kept and len(self.kept[-1]) < SHORT else new[:0]
        self.kept.append(np.concatenate([short, new]).astype(np.float32))
        self.position += len(new)
        while self.start + len(self.kept[0]) <= min(needed, self.position - KEPT):
            self.start += len(self.kept.popleft())
        return True
