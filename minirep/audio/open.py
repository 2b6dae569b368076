"""From a path or a binary stream to a `Recording`: WAV files are read here, other formats through soundfile."""

import os
import shutil
import tempfile
import weakref
from typing import BinaryIO

from ..errors import MinirepError
from ..text import printable
from . import compressed, wav
from .recording import Recording


def open_recording(source) -> Recording:
    """A recording from a sound file's path or a binary stream such as ``sys.stdin.buffer``.

    WAV with integers of 8, 16, 24 or 32 bits or floats of 32 or 64 needs nothing else, with any number of channels
    (their mean is taken), extensible or not, RF64 too. Other formats need the package soundfile; MP3, Vorbis and Opus
    are decoded once to learn their length. A stream is first copied to a temporary file, up to its end. Raises
    MinirepError, and its kind MissingExtra where soundfile is needed and not there.
    """
    name = _name(source)
    try:
        file = _open(source)
    except (OSError, EOFError, ValueError, TypeError) as error:  # ValueError: a NUL in a path; TypeError: text
        reason = getattr(error, "strerror", None) or error
        raise MinirepError(f"{name}: cannot be read ({reason}); expected a sound file or a binary stream") from error
    try:
        recording = _from_file(file, name)
    except BaseException:
        file.close()
        raise
    weakref.finalize(recording, file.close)
    return recording


def _name(source) -> str:
    """What to call a path or a stream in a message: always one printable line."""
    name = getattr(source, "name", None) if hasattr(source, "read") else source
    try:
        return printable(name)
    except TypeError:
        return "stream" if hasattr(source, "read") else type(source).__name__


def _open(source) -> BinaryIO:
    """A file that can be sought in: the one at a path, or a copy of what a stream, pipe or device delivers."""
    if hasattr(source, "read"):
        copy = tempfile.SpooledTemporaryFile(max_size=1 << 24)  # noqa: SIM115 (on disk only beyond 16 MiB)
        try:
            shutil.copyfileobj(source, copy)
        except BaseException:
            copy.close()
            raise
        return copy
    file = open(os.fspath(source), "rb")  # noqa: SIM115 (the recording closes it)
    if file.seekable():
        return file
    with file:
        return _open(file)


def _from_file(file: BinaryIO, name: str) -> Recording:
    try:
        file.seek(0, os.SEEK_END)
        size = file.tell()
        if not size:
            raise MinirepError(f"{name}: found an empty file, expected sound")
        layout = wav.wav_layout(file, size, name)
        return wav.read_wav(file, layout, name) if layout else compressed.read_compressed(file, name)
    except OSError as error:
        raise MinirepError(f"{name}: cannot be read ({error.strerror or error})") from error
