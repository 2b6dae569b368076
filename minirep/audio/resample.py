"""Resample to another rate with a windowed-sinc low-pass filter, in polyphase form.

Place a pulse on every sample, scaled by the sample. The sum of all pulses is the sound at every moment, and the new
samples are values of that sum. The pulse contains only frequencies that both rates can represent. Otherwise, those
above half the new rate would appear as false, lower frequencies (aliasing). A new sample depends on the few old ones
whose pulses reach it. As the pattern of distances repeats, one small matrix computes it: a polyphase filter.

Sources: Crochiere and Rabiner, "Multirate Digital Signal Processing", 1983, with Kaiser's window; for ratios of large
numbers the polynomials of Farrow, "A continuously variable digital delay element", 1988.
"""

import math
from functools import lru_cache

import numpy as np

from .recording import Recording, whole_rate

STOP_DB = 80  # attenuation of aliases and images, in decibels, about
PASS = 0.9  # end of the pass band, over the smaller Nyquist frequency (half a rate); the stop band starts at 1.0
# Kaiser's formulas for his window: its shape, and half its length in samples of the slower rate.
BETA = 0.1102 * (STOP_DB - 8.7)
HALF_LENGTH = (STOP_DB - 7.95) / (2.285 * math.pi * (1 - PASS)) / 2
SIZE = 1 << 14  # most outputs computed at a time
MAX_MATRIX = 1 << 20  # numbers in one matrix
MAX_VIEWED = 1 << 27  # numbers in a view whose rows overlap: counted as if they did not, 32-bit machines allow 2 GiB
ORDER = 12  # coefficients of Farrow's polynomials: their error is below 1e-8 of the largest sample


def low_pass(times: np.ndarray, up: int, down: int) -> np.ndarray:
    """Return the filter's pulse at ``times`` from its centre, in input samples, for the ratio ``up`` / ``down``.

    It is a sinc, the ideal low-pass filter, times a Kaiser window; its cutoff is midway between pass and stop band.
    """
    cutoff = (1 + PASS) / 2 * min(1.0, up / down)  # as a part of the input's Nyquist frequency
    inside = np.maximum(0.0, 1.0 - (times / reach(up, down)) ** 2)
    window = (np.i0(BETA * np.sqrt(inside)) - 1.0) / (np.i0(BETA) - 1.0)  # less its small step at both ends
    return cutoff * np.sinc(cutoff * times) * window


def reach(up: int, down: int) -> int:
    """Return half the pulse's length in input samples, rounded up so that it is smooth between whole samples."""
    return math.ceil(HALF_LENGTH * max(1.0, down / up))


def resample(recording: Recording, rate: int) -> Recording:
    """Return the recording at another ``rate`` (Hz), ``ceil(length * rate / recording.rate)`` samples long.

    Sample m is at the time ``m / rate``. The recording counts as silent before its start and after its end. The filter
    is flat within 0.01 dB up to 0.9 of the smaller Nyquist frequency, and 75 dB down from 1.0 on. Samples are computed
    when they are read, always in the same blocks, so their bits do not depend on how they are read. Raises a
    MinirepError for a rate that `from_array` does not accept.
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
    """Return the samples [start, stop) with silence beyond both ends: (stop - start,) float64."""
    stretch = np.zeros(stop - start)
    inside = recording.read(start, stop)
    stretch[max(0, -start) : max(0, -start) + len(inside)] = inside
    return stretch


@lru_cache(maxsize=4)
def _pulses(up: int, down: int, periods: int) -> np.ndarray:
    """Return the matrix (inputs, outputs) that computes a row of outputs from the inputs around it.

    The pulses repeat after ``up`` outputs, which are ``down`` inputs. The matrix has those of ``periods`` periods.
    """
    half = reach(up, down)
    inputs = np.arange(-half, periods * down + half)
    outputs = np.arange(periods * up) * (down / up)  # their times in input samples
    matrix = np.empty((len(inputs), len(outputs)))
    for row in range(0, len(inputs), 64):  # a few at a time: `low_pass` makes several arrays as large as its times
        matrix[row : row + 64] = low_pass(inputs[row : row + 64, None] - outputs, up, down)
    return matrix


def _polyphase(recording: Recording, up: int, down: int, periods: int):
    """Return (outputs in a block, the function that computes the block from its first output), for repeating pulses."""
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
    """Return filters (inputs, 12) for the coefficients of a polynomial: the sound between two neighbouring inputs.

    The polynomial is exact at 12 Chebyshev points; its variable is -1 at the first input and 1 at the second.
    """
    points = np.cos(np.pi * (np.arange(ORDER) + 0.5) / ORDER)
    half = reach(up, down)
    exact = low_pass(np.arange(-half, half + 2)[:, None] - (points + 1) / 2, up, down)  # (inputs, points)
    return exact @ np.linalg.inv(np.vander(points)).T


def _farrow(recording: Recording, up: int, down: int):
    """Do the same for rates such as 44101 to 16000, whose pattern repeats too late: after 16000 pulses."""
    filters = _farrow_filters(up, down)
    half = reach(up, down)
    size = max(1, min(SIZE, MAX_MATRIX // len(filters), MAX_VIEWED * up // (down * len(filters))))

    def compute(first):
        start, phase = divmod(first * down, up)  # the first output is phase / up after the input at start
        before, phases = np.divmod(phase + np.arange(size, dtype=np.int64) * down, up)  # and so on for all outputs
        stretch = _stretch(recording, start - half, start + int(before[-1]) + half + 2)
        windows = np.lib.stride_tricks.sliding_window_view(stretch, len(filters))[before]  # (size, inputs)
        powers = np.vander(2.0 * phases / up - 1.0, ORDER)
        return np.einsum("mp,mp->m", windows @ filters, powers)

    return size, compute
