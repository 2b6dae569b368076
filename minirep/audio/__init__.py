"""Read a sound file, a stream or an array as mono samples at any rate.

    open          a path or a binary stream -> `Recording`
    recording     `Recording`: mono samples, read piece by piece; `from_array`
    wav           WAV files
    compressed    FLAC, Ogg, MP3 and others, through the package soundfile
    container     M4A, WMA, WebM and others, through the package av
    formats       the format of a file, by its first bytes
    resample      another sample rate
    pcm           samples from a pipe, without an end to seek to

A `Recording` has a rate and a length, and reads only the samples that are requested: two seconds out of an hour take
the memory of two seconds.
"""

from .open import open_recording
from .recording import Recording, from_array
from .resample import resample

__all__ = ["Recording", "from_array", "open_recording", "resample"]
