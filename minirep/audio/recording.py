"""Mono sound that is read piece by piece, at its own rate."""

import threading
from collections.abc import Callable

import numpy as np

from ..errors import MinirepError, expect

RATES = (1000, 768_000)  # the lowest and the highest sample rate accepted, Hz; others are damaged, or in kHz
LOWEST = 100  # Hz, of files, which contain their rate
ENDLESS = 1 << 48  # samples: a greater length means that the header does not give it
CUT = "; minirep classify --partial, or partial=True in Python, reads what is there"
BLOCK = 1 << 16  # samples decoded at a time, all channels together


class Recording:
    """Mono sound that is read piece by piece.

    ``rate`` is in Hz, ``length`` in samples, and ``name`` is for messages. The file of a recording is closed with the
    last reference to the recording.
    """

    def __init__(self, name: str, rate: int, length: int, fetch: Callable[[int, int], np.ndarray], block: int = BLOCK):
        """``fetch(start, stop)`` reads samples that are all in one block: [i * block, (i + 1) * block) for some i."""
        self.name, self.rate, self.length = name, rate, length
        self._fetch, self._block = fetch, block
        self._lock = threading.Lock()  # a file has one position: two threads must not move it between seek and read

    def read(self, start: int, stop: int) -> np.ndarray:
        """Return the samples [start, stop), as far as the recording has them: (n,) float32.

        Raises a MinirepError if the file cannot be read, or contains NaN or infinite samples.
        """
        start, stop = max(0, int(start)), min(int(stop), self.length)
        samples = np.empty(max(0, stop - start), np.float32)
        # Samples too large for a float32 become infinite and are refused below: no warning is needed.
        with self._lock, np.errstate(over="ignore", invalid="ignore"):
            here = start
            while here < stop:
                end = min(stop, here - here % self._block + self._block)
                try:
                    samples[here - start : end - start] = self._fetch(here, end)
                except OSError as error:
                    raise MinirepError(f"{self.name}: reading failed ({error.strerror or error})") from error
                here = end
        stretch = f"between {start / self.rate:.2f} and {stop / self.rate:.2f} s"
        found = f"{self.name}: found NaN, infinite or huge samples {stretch}; expected finite ones"
        expect(np.isfinite(samples).all(), found)
        return samples

    def __repr__(self):
        return f"Recording({self.name!r}, rate={self.rate}, length={self.length})"


def from_array(samples, rate: int | None) -> Recording:
    """Make a recording of samples in memory.

    Parameters
    ----------
    samples : array (n,)
        Mono. float16, float32 and float64 stay as they are; int16 and int32 are divided by 2**15 and 2**31, and uint8,
        as in WAV files, becomes (x - 128) / 128.
    rate : int
        Sample rate in Hz, 1000 to 768000.

    Returns
    -------
    Recording

    Raises
    ------
    MinirepError
        For other types or shapes, samples that are not finite, and other rates.

    Examples
    --------
    >>> from_array(np.int16([0, 16384, -32768]), 16000).read(0, 3)
    array([ 0. ,  0.5, -1. ], dtype=float32)
    """
    expect(rate is not None, "an array of samples needs its rate: found None, expected rate=16000 or the like")
    rate = whole_rate(rate, "array")
    try:
        named = hasattr(samples, "dtype")
        samples = np.asarray(samples)
    except (TypeError, ValueError) as error:  # rows of different lengths, an array on a GPU
        raise MinirepError(f"array: found no array of numbers ({error}); expected samples in one dimension") from error
    downmix = "expected one dimension: downmix first, e.g. samples.mean(axis=1)"
    expect(samples.ndim == 1, f"array: found shape {samples.shape}, {downmix}")
    if samples.dtype.kind == "i" and not named:
        samples = samples.astype(np.int64)  # Python's integers have no full scale; a 32-bit machine makes int32 of them
    known = samples.dtype.name in ("float16", "float32", "float64", "int16", "int32", "uint8")
    expect(known, f"array: found {samples.dtype}, expected float16, float32, float64, int16, int32 or uint8 samples")
    expect(len(samples), "array: found no samples, expected at least one")
    most = np.finfo(np.float32).max
    with np.errstate(invalid="ignore"):
        fits = -most <= samples.min() and samples.max() <= most  # NaN compares false
    expect(fits, "array: found NaN, infinite or huge samples, expected finite ones")
    return Recording("array", rate, len(samples), lambda start, stop: unit_scale(samples[start:stop]))


def whole_rate(rate, name: str, lowest: int = RATES[0]) -> int:
    """Return a sample rate in Hz as an int; raise a MinirepError if it is not whole, or out of range."""
    try:
        if lowest <= rate <= RATES[1] and rate == int(rate):
            return int(rate)
    except (TypeError, ValueError):
        pass
    raise MinirepError(f"{name}: found a sample rate of {rate!r}, expected a whole number from {lowest} to {RATES[1]}")


def unit_scale(samples: np.ndarray) -> np.ndarray:
    """Divide integers by their full scale, and keep floats as they are: any shape -> float64, the same shape."""
    if samples.dtype.kind == "f":
        return samples.astype(np.float64)
    full = 2.0 ** (8 * samples.dtype.itemsize - 1)
    return (samples - full) / full if samples.dtype.kind == "u" else samples / full
