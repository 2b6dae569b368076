"""Open a path or a binary stream as a `Recording`: WAV files are read here, other formats by soundfile or av."""

import os
import shutil
import tempfile
import weakref
from typing import IO, Any

from ..errors import MinirepError, MissingExtra, expect
from ..text import printable
from . import compressed, container, wav
from .formats import FFMPEG_ONLY, HEAD, recognise, skip_id3
from .recording import Recording

CONVERT = "ffmpeg -i FILE out.wav"  # the advice for other formats


def open_recording(source, partial: bool = False) -> Recording:
    """Open a sound file as a recording; the mean of its channels becomes mono.

    WAV needs no package: integers of 8 to 64 bits, floats of 32 or 64 bits, A-law and mu-law, also as extensible, RF64
    or RIFX. FLAC, OGG, MP3 and others need the package soundfile; M4A, AAC, WMA, WebM and others need the package av.
    A format without a reliable length is decoded once to count the samples.

    Parameters
    ----------
    source : path or binary stream
        A stream, such as ``sys.stdin.buffer``, is first copied to a temporary file, up to its end.
    partial : bool
        Read a truncated or damaged file up to the damage, with a MinirepWarning. By default, it is an error.

    Returns
    -------
    Recording

    Raises
    ------
    MinirepError
        For anything that cannot be read as sound; MissingExtra if a package is missing.
    """
    name = _name(source)
    try:
        file = _open(source)
    except (OSError, EOFError, ValueError, TypeError) as error:  # ValueError: a NUL in a path; TypeError: text
        reason = getattr(error, "strerror", None) or error
        raise MinirepError(f"{name}: cannot be read ({reason}); expected a readable sound file") from error
    try:
        recording = _from_file(file, name, partial)
    except BaseException:
        file.close()
        raise
    weakref.finalize(recording, file.close)
    return recording


def _name(source) -> str:
    """Return the name of a path or a stream for messages: always one printable line."""
    name: Any = getattr(source, "name", None) if hasattr(source, "read") else source
    try:
        return printable(name)
    except TypeError:
        return "stream" if hasattr(source, "read") else type(source).__name__


def _open(source) -> IO[bytes]:
    """Return a seekable file: the one at a path, or a copy of what a stream, a pipe or a device delivers."""
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


def _from_file(file: IO[bytes], name: str, partial: bool) -> Recording:
    try:
        file.seek(0, os.SEEK_END)
        size = file.tell()
        expect(size, f"{name}: found an empty file, expected sound")
        layout = wav.wav_layout(file, size, name, partial)
        if layout is not None and layout.width:
            return wav.read_wav(file, layout, name)
        try:
            return compressed.read_compressed(file, size, layout, name, partial)
        except compressed.Unreadable as first:
            try:
                return container.read_container(file, size, name, partial)
            except compressed.Unreadable as second:
                raise _refusal(file, name, str(first), str(second)) from first
    except OSError as error:
        raise MinirepError(f"{name}: cannot be read ({error.strerror or error})") from error


def _refusal(file: IO[bytes], name: str, soundfile: str, av: str) -> MinirepError:
    """Make the error for a file that neither package reads; an empty reason means that the package is not installed."""
    file.seek(skip_id3(file))
    kind = recognise(file.read(HEAD))
    found = f"{name}: found {kind or 'no WAV'}" + (f" that soundfile cannot read ({soundfile})" if soundfile else "")
    if kind not in FFMPEG_ONLY and not soundfile:
        return MissingExtra("soundfile", "audio", f"{found}: other sound", f"or {CONVERT}")
    if kind not in (None, "FLAC", "MP3") and not av:
        return MissingExtra("av", "av", f"{found}: reading it", f"or {CONVERT}")
    reasons = ", ".join(filter(None, (soundfile, av)))
    return MinirepError(
        f"{name}: found no sound in {kind or 'it'} ({reasons}); expected WAV, FLAC, OGG, MP3 or the like, or {CONVERT}"
    )
