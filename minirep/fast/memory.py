"""How arrays lie in memory: channels in whole vectors, weights in the order in which the kernels read them."""

import numpy as np

from .target import LANES, PANEL

FLOAT_BYTES = 4
VECTOR_BYTES = LANES * FLOAT_BYTES
CACHE_LINE = 64  # bytes
LINE = CACHE_LINE // FLOAT_BYTES  # floats
SUMS = 8  # outputs that the depthwise kernel works on together
BORDER = SUMS - 1  # zeros around the taps of its weights


def aligned(floats: int) -> np.ndarray:
    """Zeros that start on a cache line, so that no vector straddles two."""
    buffer = np.zeros(floats + LINE, np.float32)
    start = -buffer.ctypes.data % CACHE_LINE // FLOAT_BYTES
    return buffer[start : start + floats]


class Arena:
    """One stretch of memory, handed out in pieces that start on cache lines.

    The system can back a long stretch with large pages, across which the processor reads ahead; in small ones it stops
    at the end of each. A piece takes whole cache lines; one that does not fit any more gets memory of its own.
    """

    def __init__(self, floats: int):
        self._free = aligned(floats)

    def take(self, floats: int) -> np.ndarray:
        if floats > len(self._free):
            return aligned(floats)
        piece, self._free = self._free[:floats], self._free[-(-floats // LINE) * LINE :]
        return piece


def padded(channels: int) -> int:
    """Channels rounded up to whole vectors."""
    return -(-channels // LANES) * LANES


def panel_width(columns: int) -> int:
    """The widest panel that fits in what is left: 4, 2 or 1 vectors."""
    width = PANEL
    while width > columns:
        width //= 2
    return width


def pack_vector(vector: np.ndarray, take=aligned) -> np.ndarray:
    """(C,) -> (padded C,); ``take(floats)`` gives the memory for it, as in all functions here."""
    packed = take(padded(len(vector)))
    packed[: len(vector)] = vector
    return packed


def pack_matrix(weight: np.ndarray, take=aligned) -> np.ndarray:
    """(K, N) -> panels one after another, each (K, panel width); N is padded with zeros.

    The panel that starts at column c starts at float c * K.
    """
    k, n = weight.shape
    wide = np.zeros((k, padded(n)), np.float32)
    wide[:, :n] = weight
    packed = take(wide.size)
    column = 0
    while column < wide.shape[1]:
        width = panel_width(wide.shape[1] - column)
        packed[column * k : (column + width) * k] = wide[:, column : column + width].ravel()
        column += width
    return packed


def pack_kernel(weight: np.ndarray, take=aligned) -> np.ndarray:
    """A depthwise kernel (k, C) -> (vectors, 7 + k + 7, LANES), zeros around the taps."""
    k, c = weight.shape
    wide = np.zeros((k, padded(c)), np.float32)
    wide[:, :c] = weight
    packed = take((k + 2 * BORDER) * padded(c)).reshape(-1, k + 2 * BORDER, LANES)
    packed[:, BORDER : BORDER + k] = wide.reshape(k, -1, LANES).transpose(1, 0, 2)
    return packed
