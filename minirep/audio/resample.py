"""Resample to another rate with a windowed-sinc low-pass filter, in polyphase form.

Put a pulse on every sample, as high as the sample, and add them up: that is the sound between the samples too, and
the new samples are read off it. The pulse holds only frequencies that both rates can carry; without this, whatever
lies above half the new rate would come back as a false, lower pitch (an alias). A new sample depends on the few old
ones whose pulses reach it, and as the pattern of their distances repeats, a small matrix does it: a polyphase filter.

Sources: Crochiere and Rabiner, "Multirate Digital Signal Processing", 1983, with Kaiser's window; for ratios of large
numbers the polynomials of Farrow, "A continuously variable digital delay element", 1988.
"""

import math
from functools import lru_cache

import numpy as np

from .recording import Recording, whole_rate

STOP_DB = 80  # aliases and images lie about this far below
PASS = 0.9  # of the smaller Nyquist frequency (half a rate): flat up to here, nothing left from 1.0 on
# Kaiser's formulas for his window: its shape, and half its length in samples of the slower rate.
BETA = 0.1102 * (STOP_DB - 8.7)
HALF_LENGTH = (STOP_DB - 7.95) / (2.285 * math.pi * (1 - PASS)) / 2
SIZE = 1 << 14  # outputs computed at a time, at the most
MAX_MATRIX = 1 << 20  # numbers in one matrix
MAX_VIEWED = 1 << 27  # numbers in a view whose rows overlap: counted as if they did not, 32-bit machines allow 2 GiB
ORDER = 12  # coefficients of Farrow's polynomials: their error is below 1e-8 of the largest sample


def low_pass(times: np.ndarray, up: int, down: int) -> np.ndarray:
    """Return the filter's pulse at ``times`` from its centre, in input samples, for the ratio ``up`` / ``down``.

    It is a sinc, the ideal low-pass filter, cut off by a Kaiser window;
    its cutoff lies midway between pass band and stop band.
    """
    cutoff = (1 + PASS) / 2 * min(1.0, up / down)  # as a part of the input's Nyquist frequency
    inside = np.maximum(0.0, 1.0 - (times / reach(up, down)) ** 2)
    window = (np.i0(BETA * np.sqrt(inside)) - 1.0) / (np.i0(BETA) - 1.0)  # less its small step at both ends
    return cutoff * np.sinc(cutoff * times) * window


def reach(up: int, down: int) -> int:
    """Half the pulse's length in input samples, rounded up: then it is smooth from any whole sample to the next."""
    return math.ceil(HALF_LENGTH * max(1.0, down / up))


def resample(recording: Recording, rate: int) -> Recording:
    """Return the recording at another rate, ``ceil(length * rate / recording.rate)`` samples long.

    Sample m lies at the time ``m / rate``; beyond its ends the recording is taken as silent. The filter is flat within
    0.01 dB up to 0.9 of the smaller Nyquist frequency and 75 dB down from 1.0 on. Samples are computed as they are
    read, and always in the same blocks: a stretch is the same, bit for bit, whichever way it is read.
    """
    rate = whole_rate(rate, recording.name)
    if rate == recording.rate:
        return recording
    common = math.gcd(rate, recording.rate)
    up, down = rate // common, recording.rate // common
    periods = -(-64 // up)  # of the pattern, computed together: fewer than 64 outputs are not worth a matrix product
    if periods * up * (periods * down + 2 * reach(up, down)) <= MAX_MATRIX:
        size, compute = _polyphase(recording, up, down, periods)
    else:
        size, compute = _farrow(recording, up, down)

    def fetch(start, stop):
        first = start - start % size
        return compute(first)[start - first : stop - first]

    return Recording(recording.name, rate, -(-recording.length * up // down), fetch, size)


def _stretch(recording: Recording, start: int, stop: int) -> np.ndarray:
    """The samples [start, stop) with silence beyond both ends: (stop - start,) float64."""
    stretch = np.zeros(stop - start)
    inside = recording.read(start, stop)
    stretch[max(0, -start) : max(0, -start) + len(inside)] = inside
    return stretch


@lru_cache(maxsize=4)
def _pulses(up: int, down: int, periods: int) -> np.ndarray:
    """The matrix (inputs, outputs) that makes a row of outputs from the inputs around it.

    After ``up`` outputs, which are ``down`` inputs, everything repeats: this is one period's pulses, or several's.
    """
    half = reach(up, down)
    inputs = np.arange(-half, periods * down + half)
    outputs = np.arange(periods * up) * (down / up)  # their times in input samples
    matrix = np.empty((len(inputs), len(outputs)))
    for row in range(0, len(inputs), 64):  # a few at a time: the pulse takes several arrays as large as its times
        matrix[row : row + 64] = low_pass(inputs[row : row + 64, None] - outputs, up, down)
    return matrix


def _polyphase(recording: Recording, up: int, down: int, periods: int):
    """Outputs in a block and the function that computes the block from its first one on, where the pulses repeat."""
    matrix = _pulses(up, down, periods)
    width, outputs = matrix.shape
    step = periods * down  # inputs from one row to the next
    rows = max(1, min(SIZE // outputs, MAX_MATRIX // width))

    def compute(first):
        start = first // up * down - reach(up, down)
        stretch = _stretch(recording, start, start + (rows - 1) * step + width)
        steps = step * stretch.itemsize, stretch.itemsize
        windows = np.lib.stride_tricks.as_strided(stretch, (rows, width), steps, writeable=False)
        return (np.ascontiguousarray(windows) @ matrix).ravel()

    return rows * outputs, compute


@lru_cache(maxsize=4)
def _farrow_filters(up: int, down: int) -> np.ndarray:
    """Filters (inputs, 12) whose outputs are the coefficients of a polynomial: the sound from one input to the next.

    It goes through the exact values at 12 Chebyshev points; its variable is -1 at the one input and 1 at the other.
    """
    points = np.cos(np.pi * (np.arange(ORDER) + 0.5) / ORDER)
    half = reach(up, down)
    exact = low_pass(np.arange(-half, half + 2)[:, None] - (points + 1) / 2, up, down)  # (inputs, points)
    return exact @ np.linalg.inv(np.vander(points)).T


def _farrow(recording: Recording, up: int, down: int):
    """The same for such rates as 44101 to 16000, where the pattern repeats too late: 16000 pulses of 280 samples."""
    filters = _farrow_filters(up, down)
    half = reach(up, down)
    size = max(1, min(SIZE, MAX_MATRIX // len(filters), MAX_VIEWED * up // (down * len(filters))))

    def compute(first):
        start, phase = divmod(first * down, up)  # the first output lies phase / up after the input at start
        before, phases = np.divmod(phase + np.arange(size, dtype=np.int64) * down, up)  # and so on for all outputs
        stretch = _stretch(recording, start - half, start + int(before[-1]) + half + 2)
        windows = np.lib.stride_tricks.sliding_window_view(stretch, len(filters))[before]  # (size, inputs)
        powers = np.vander(2.0 * phases / up - 1.0, ORDER)
        return np.einsum("mp,mp->m", windows @ filters, powers)

    return size, compute
