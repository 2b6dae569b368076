"""The layout of arrays in memory: channels in whole vectors, weights in the order in which the kernels read them."""

import numpy as np

from .target import LANES, PAIRS, PANEL, TILE_SIDE, TILES

FLOAT_BYTES = 4
VECTOR_BYTES = LANES * FLOAT_BYTES
CHANNELS = 1 + PAIRS  # in a word of 32 bits, of an input rounded to bfloat16
CACHE_LINE = 64  # bytes
LINE = CACHE_LINE // FLOAT_BYTES  # floats
SUMS = 8  # vectors of outputs that the depthwise kernel computes together
BORDER = SUMS - 1  # zeros around the taps of its weights


def aligned(floats: int) -> np.ndarray:
    """Return zeros that start on a cache line, so that no vector straddles two."""
    buffer = np.zeros(floats + LINE, np.float32)
    start = -buffer.ctypes.data % CACHE_LINE // FLOAT_BYTES
    return buffer[start : start + floats]


class Arena:
    """One block of memory, from which arrays are taken in order; each starts on a cache line.

    The system can back a large block with large pages. That is faster, as prefetching stops at the end of each page.
    An array that does not fit any more gets memory of its own.
    """

    def __init__(self, floats: int):
        self._free = aligned(floats)

    def take(self, floats: int) -> np.ndarray:
        if floats > len(self._free):
            return aligned(floats)
        piece, self._free = self._free[:floats], self._free[-(-floats // LINE) * LINE :]
        return piece


def padded(channels: int) -> int:
    """Round channels up to whole vectors."""
    return -(-channels // LANES) * LANES


def panel_width(columns: int, widest: int = PANEL) -> int:
    """Return the width of the widest panel that fits into the columns left: 4, 2 or 1 vectors; with AMX 2 or 1."""
    width = widest
    while width > columns:
        width //= 2
    return width


def pack_vector(vector: np.ndarray, take=aligned) -> np.ndarray:
    """Pack (C,) as (padded C,). As in all functions here, ``take(floats)`` allocates the memory."""
    packed = take(padded(len(vector)))
    packed[: len(vector)] = vector
    return packed


def pack_matrix(weight: np.ndarray, take=aligned, widest: int = PANEL) -> np.ndarray:
    """Pack (K, N) as panels one after another, each (K, panel width), with N padded with zeros.

    The panel of column c starts at float c * K.
    """
    k, n = weight.shape
    wide = np.pad(weight, ((0, 0), (0, padded(n) - n)))
    packed = take(wide.size)
    column = 0
    while column < wide.shape[1]:
        width = panel_width(wide.shape[1] - column, widest)
        packed[column * k : (column + width) * k] = wide[:, column : column + width].ravel()
        column += width
    return packed


def pair_up(weight: np.ndarray) -> np.ndarray:
    """Return a matrix (K, N) of bfloat16 numbers as (K / 2, N) words, each with two rows of a column in 32 bits.

    K / 2 is rounded up, for AMX to whole tiles; the additional rows are 0. A float32 that holds a bfloat16 has 16 zero
    bits at its end. In a word, the first row's number is in the lower half, and the next row's is in the upper half.
    The words are not numbers; they only have the type of the other arrays.
    """
    bits = np.pad(weight, ((0, -len(weight) % (2 * TILE_SIDE if TILES else 2)), (0, 0))).view(np.uint32)
    return (bits[::2] >> 16 | bits[1::2]).view(np.float32)


def pack_kernel(weight: np.ndarray, take=aligned) -> np.ndarray:
    """Pack a depthwise kernel (k, C) as (vectors, 7 + k + 7, LANES), with zeros around the taps."""
    k, c = weight.shape
    wide = np.pad(weight, ((0, 0), (0, padded(c) - c)))
    packed = take((k + 2 * BORDER) * padded(c)).reshape(-1, k + 2 * BORDER, LANES)
    packed[:, BORDER : BORDER + k] = wide.reshape(k, -1, LANES).transpose(1, 0, 2)
    return packed
