"""How arrays lie in memory: channels in whole vectors, rows at known addresses, weights in the order they are read."""

import numpy as np
from numba import njit

from .emit import FLOAT_BYTES
from .target import LANES, PANEL, ROWS

CACHE_LINE = 64  # bytes
# Numba compiles a copy of a function for every literal that it is called with; not for these.
ZERO, ONE = np.int64(0), np.int64(1)


def aligned(floats: int) -> np.ndarray:
    """Zeros that start on a cache line, so that no vector straddles two."""
    buffer = np.zeros(floats + CACHE_LINE // FLOAT_BYTES, np.float32)
    start = -buffer.ctypes.data % CACHE_LINE // FLOAT_BYTES
    return buffer[start : start + floats]


def padded(channels: int) -> int:
    """Channels rounded up to whole vectors."""
    return -(-channels // LANES) * LANES


def pack_vector(vector: np.ndarray) -> np.ndarray:
    """(C,) -> (padded C,), aligned."""
    packed = aligned(padded(len(vector)))
    packed[: len(vector)] = vector
    return packed


def pack_matrix(weight: np.ndarray) -> np.ndarray:
    """(K, N) -> panels one after another, each (K, panel width); N is padded with zeros.

    A panel is 4 vectors wide, the last ones 2 or 1. The one that starts at column c starts at float c * K.
    """
    k, n = weight.shape
    wide = np.zeros((k, padded(n)), np.float32)
    wide[:, :n] = weight
    packed = aligned(wide.size)
    column = 0
    while column < wide.shape[1]:
        width = panel_width(wide.shape[1] - column)
        packed[column * k : (column + width) * k] = wide[:, column : column + width].ravel()
        column += width
    return packed


def panel_width(columns):
    """The widest panel that fits in what is left."""
    width = PANEL
    while width > columns:
        width //= 2
    return width


compiled_panel_width = njit(panel_width)


@njit
def address(table):
    """Where an array starts, as a signed integer like all our addresses."""
    return np.int64(table.ctypes.data)


@njit
def share(thread, threads, units):
    """The units of work [first, last) of one thread: neighbours, and equally many for all but rounding."""
    return units * thread // threads, units * (thread + 1) // threads


@njit
def list_rows(table, base, first, last, shape, stride):
    """Write the addresses of rows first ... last - 1 into ``table``; the last is repeated up to whole blocks.

    ``shape`` = (T, F, C) of the array at ``base``, ``stride`` the (time, frequency) steps from one row to the next;
    rows count through (N, T / stride, F / stride).
    """
    time, freq, channels = shape
    rows_f = (freq + stride[1] - 1) // stride[1]
    rows_t = (time + stride[0] - 1) // stride[0]
    f = first % rows_f
    t = first // rows_f % rows_t
    n = first // rows_f // rows_t
    place = base
    i = 0
    while i < last - first:
        place = base + ((n * time + t * stride[0]) * freq + f * stride[1]) * channels * FLOAT_BYTES
        table[i] = place
        i += 1
        f += 1
        if f == rows_f:
            f = 0
            t += 1
            if t == rows_t:
                t = 0
                n += 1
    while i % ROWS:
        table[i] = place
        i += 1
