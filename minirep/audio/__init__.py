"""Read a sound file, a stream or an array as mono samples at any rate.

    open          a path or a binary stream -> `Recording`
    recording     `Recording`: mono samples, read piece by piece; `from_array`
    wav           WAV files
    compressed    FLAC, Ogg, MP3 and others, through the package soundfile
    container     M4A, WMA, WebM and others, through the package av
    formats       what a file is, by its first bytes
    resample      another sample rate
    pcm           samples from a pipe, without an end to seek to

A `Recording` knows its rate and its length, and reads just the stretch it is asked for, so that two seconds out of an
hour cost two seconds' memory.
"""

from .open import open_recording
from .recording import Recording, from_array
from .resample import resample

__all__ = ["Recording", "from_array", "open_recording", "resample"]
