"""Tables of row addresses, and the share of the rows that each thread computes."""

import numpy as np

from .emit import INT_BYTES, kernel, put_integer
from .memory import FLOAT_BYTES, panel_width
from .target import ROWS

# Numba compiles a function again for every literal argument that it is called with, but not for these.
ZERO, ONE = np.int64(0), np.int64(1)

compiled_panel_width = kernel(panel_width)


@kernel
def share(thread, threads, units):
    """Return the units of work [first, last) of one thread; the numbers of any two threads differ by at most one."""
    return units * thread // threads, units * (thread + 1) // threads


@kernel
def list_rows(table, base, first, last, shape, stride):
    """Write the addresses of rows first ... last - 1 to ``table``, and repeat the last one to fill a register block.

    The array at ``base`` has the shape (N, *``shape``) with ``shape`` = (T, F, C). Rows are its positions at every
    ``stride``-th (time, frequency), numbered in the order of (N, T / stride, F / stride).
    """
    time, freq, channels = shape
    if stride[0] == 1 and stride[1] == 1:  # rows are adjacent
        for i in range(last - first + ROWS - 1):
            put_integer(table + i * INT_BYTES, base + min(first + i, last - 1) * channels * FLOAT_BYTES)
        return
    rows_t, rows_f = (time + stride[0] - 1) // stride[0], (freq + stride[1] - 1) // stride[1]
    n, t, f = first // rows_f // rows_t, first // rows_f % rows_t, first % rows_f
    count = last - first
    row = base
    for i in range(count):
        row = base + ((n * time + t * stride[0]) * freq + f * stride[1]) * channels * FLOAT_BYTES
        put_integer(table + i * INT_BYTES, row)
        f += 1
        if f == rows_f:
            t, f = t + 1, 0
        if t == rows_t:
            n, t = n + 1, 0
    for i in range(count, count + ROWS - 1):
        put_integer(table + i * INT_BYTES, row)
