"""Read a sound file, a stream or an array as mono samples at any rate.

A `Recording` has a rate and a length, and reads only the samples that are requested: two seconds out of an hour take
the memory of two seconds.
"""

from .open import open_recording
from .recording import Recording, from_array
from .resample import resample

__all__ = ["Recording", "from_array", "open_recording", "resample"]
