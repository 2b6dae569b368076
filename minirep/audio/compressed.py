"""FLAC, Ogg, MP3 and other formats, decoded by the package soundfile (extra ``audio``)."""

import io
from collections.abc import Callable, Iterator
from typing import IO

import numpy as np

from ..errors import MinirepError, expect, warn
from .formats import HEAD, find_mp3, recognise, skip_id3
from .recording import BLOCK, CUT, ENDLESS, LOWEST, Recording, whole_rate
from .wav import MPEG, WavLayout

Blocks = Iterator[np.ndarray]  # mono samples
KEPT = 1 << 20  # samples of a sound that is decoded from its beginning on: 24 s at 44.1 kHz, 4 MiB
DELAY = 5 * 1152  # samples that MP3 decoders leave out at both ends, and more than one frame in doubt


class Unreadable(MinirepError):
    """A file that one library does not read, with the reason; without one, the library is not installed."""


def read_compressed(file: IO[bytes], size: int, wav: WavLayout | None, name: str, partial: bool) -> Recording:
    """Open a file that soundfile reads; ``wav`` has the place of a WAV's samples. Raises Unreadable."""
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
    """The bytes [start, stop) of a file as a file of its own, without a name that libsndfile would go by.

    libsndfile takes the length of an MP3 from the file's size and the bit rate of its beginning if no header gives it,
    and reads no further. An ``endless`` section is as long as it likes, so that all of the file is read.
    """

    def __init__(self, file: IO[bytes], start: int, stop: int, endless: bool = False):
        self._file, self._start, self._position, self._size = file, start, 0, stop - start
        self._end = ENDLESS if endless else self._size
        self.failed: OSError | None = None  # what libsndfile cannot be told while it reads

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
        if self._position > self._size:  # what looks for a tag at the end finds none
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
    """Whether a stretch can be decoded by going there; a few old codings are read in one go only."""
    try:
        return sound.seekable() and sound.seek(sound.frames // 2) >= 0 and sound.seek(0) == 0
    except (RuntimeError, OSError, ValueError):
        return False


def _read(sound, count: int, name: str, start: int | None = None) -> np.ndarray:
    """The next samples, or those from ``start`` on, mono: (count,), or fewer where they end."""
    sound.seekable = lambda: False  # or soundfile itself seeks after each read to where it is: in an MP3 that does harm
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
    """All samples, mono, in blocks of ``size``."""
    while len(block := _read(sound, size, name)):
        yield block


def _enough(found: int, promised: float, slack: float, name: str) -> None:
    """Raise an error if more than ``slack`` samples are missing from those that were promised."""
    expect(found >= promised - slack, f"{name}: truncated: found {found} of the {promised:.0f} samples its header "
           f"promises{CUT}")  # fmt: skip


class ForwardDecoder:
    """Decode from the beginning on, and keep the last samples for a reader that steps back.

    This is for what cannot be sought in, and for Vorbis, Opus and MP3: libsndfile's seeks in them do not always lead to
    the same samples, and its lengths are estimates, so that everything is decoded once just to count it.
    """

    def __init__(self, blocks: Callable[[], Blocks], name: str, promised: float, slack: float, partial: bool):
        """``blocks()`` decodes from the beginning on. Of ``promised`` samples ``slack`` may be missing, not more."""
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
        self.last = np.zeros(0, np.float32)  # the samples before it

    def fetch(self, start: int, stop: int) -> np.ndarray:
        """Return the samples [start, stop), mono: (stop - start,)."""
        if start < self.position - len(self.last):
            self.rewind()
        while self.position < stop and self.advance():
            pass
        kept = self.position - len(self.last)  # where the last samples start
        expect(self.position >= stop, f"{self.name}: truncated while it was being read")
        return self.last[start - kept : stop - kept]

    def advance(self) -> int:
        """Decode the next samples and return their number, 0 at the end."""
        new = next(self.coming, ())
        self.last = np.concatenate([self.last[-KEPT:], np.asarray(new, np.float32)])
        self.position += len(new)
        return len(new)
