"""FLAC, Ogg, MP3 and other formats, decoded by the package soundfile (extra ``audio``)."""

import contextlib
import shutil
import tempfile
from collections.abc import Iterator
from typing import BinaryIO

import numpy as np

from ..errors import MinirepError, MissingExtra
from .recording import BLOCK, Recording, whole_rate

ENDLESS = 1 << 48  # a length beyond is libsndfile's way to say that a header does not tell
KEPT = 1 << 20  # samples of a sound that is decoded from its beginning on: 24 s at 44.1 kHz, 4 MiB


def read_compressed(file: BinaryIO, name: str) -> Recording:
    try:
        import soundfile
    except ImportError as error:
        raise MissingExtra("soundfile", "audio", f"{name}: found no WAV of integers or floats: other sound") from error
    except OSError as error:  # the package is there, the C library under it is not
        raise MinirepError(f"{name}: soundfile cannot load libsndfile, which has to be installed ({error})") from error
    path = getattr(file, "name", None)
    with contextlib.ExitStack() as stack:
        stack.enter_context(_failures(name, "found no sound", "; expected WAV, FLAC, OGG, MP3 or the like"))
        if not isinstance(path, (str, bytes)):  # a stream's copy has no name, and libsndfile knows MP3s by path alone
            named = stack.enter_context(tempfile.NamedTemporaryFile())
            file.seek(0)
            shutil.copyfileobj(file, named)
            named.flush()
            path = named.name
        sound = soundfile.SoundFile(path)
    rate = whole_rate(sound.samplerate, name)
    if sound.format == "RAW":  # libsndfile took the name's ending for its word
        raise MinirepError(f"{name}: found no header that tells what its samples are; expected WAV, FLAC, OGG, MP3 ...")
    if not sound.seekable():  # a few old telephone codings
        raise MinirepError(f"{name}: found {sound.subtype_info}, which is read in one go only; convert it to WAV")
    sound.seekable = lambda: False  # or soundfile itself seeks after each read to where it is: in an MP3 that does harm
    inexact = sound.subtype.startswith(("VORBIS", "OPUS", "MPEG")) or sound.frames > ENDLESS
    decoder = (ForwardDecoder if inexact else SeekingDecoder)(sound, name)
    if decoder.length < 1:
        raise MinirepError(f"{name}: found no samples, expected at least one")
    return Recording(name, rate, decoder.length, decoder.fetch, decoder.block)


@contextlib.contextmanager
def _failures(name: str, found: str, expected: str = "") -> Iterator[None]:
    """Turn what soundfile raises into a MinirepError."""
    try:
        yield
    except (RuntimeError, OSError, ValueError, TypeError) as error:
        raise MinirepError(f"{name}: {found} ({getattr(error, 'error_string', error)}){expected}") from error


class SeekingDecoder:
    """Decodes a stretch of a sound by going there."""

    def __init__(self, sound, name: str):
        self.sound, self.name, self.length = sound, name, sound.frames
        self.block = max(1, BLOCK // sound.channels)
        self.position = 0  # of the next sample to be decoded

    def fetch(self, start: int, stop: int) -> np.ndarray:
        """The samples [start, stop), mono: (stop - start,)."""
        self.go_to(start)
        return self.decode(stop - start)

    def go_to(self, position: int):
        with _failures(self.name, "damaged"):
            self.sound.seek(position)
        self.position = position

    def decode(self, count: int, may_end: bool = False) -> np.ndarray:
        """The next ``count`` samples, mono: (count,), or fewer if they ``may_end`` here."""
        with _failures(self.name, "damaged"):
            samples = self.sound.read(count, "float64", always_2d=True)  # (n, channels)
        self.position += len(samples)
        if len(samples) < count and not may_end:
            raise MinirepError(
                f"{self.name}: truncated: found {self.position} of the {self.sound.frames} samples its header promises"
            )
        return samples.mean(axis=1)


class ForwardDecoder(SeekingDecoder):
    """Decodes from the beginning on, whatever the stretch, and keeps the last samples for a reader that steps back.

    This is for Vorbis, Opus and MP3: libsndfile's seeks in them do not always lead to the same samples, and its lengths
    are estimates, so that everything is decoded once just to count it.
    """

    def __init__(self, sound, name: str):
        super().__init__(sound, name)
        self.last = np.zeros(0, np.float32)  # the samples before position
        while self.advance(self.block, may_end=True):
            pass
        self.length = self.position
        if self.length < 0.98 * sound.frames < ENDLESS:
            self.decode(1)  # says that it is truncated

    def fetch(self, start: int, stop: int) -> np.ndarray:
        if start < self.position - len(self.last):
            self.go_to(0)
            self.last = self.last[:0]
        while self.position < stop:
            self.advance(min(stop - self.position, self.block))
        kept = self.position - len(self.last)  # where the last samples start
        return self.last[start - kept : stop - kept]

    def advance(self, count: int, may_end: bool = False) -> int:
        """Decode the next samples; their number."""
        new = self.decode(count, may_end)
        self.last = np.concatenate([self.last, new.astype(np.float32)])[-KEPT:]
        return len(new)
