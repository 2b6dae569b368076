r"""The stem: a 5 x 7 convolution of the one-channel input with stride 2, bias, ReLU, and 3 x 3 max pooling.

The convolution is the matrix product of `matmul`. A row of its left factor is a patch of the input: 5 runs of 7
adjacent floats, which are read without a copy from the input with its border of zeros. The 35 x w weights stay in the
first-level cache. Pooling needs three rows of the convolution at a time, so only three are kept:

    convolution rows    2p - 1   2p   2p + 1      in a ring of three, each F/2 x w: row r is at place r mod 3
                           \      |      /
    their maximum              one row
                          \  |  /  \  |  /        maximum of three neighbours, at every second position
    pooled row p            f       f + 1

The plain version is `minirep.ops.stem`.
"""

from numba.extending import intrinsic

from .emit import Emitter, kernel, read, signature
from .matmul import multiply
from .memory import FLOAT_BYTES, VECTOR_BYTES
from .rows import ONE, ZERO, list_rows, share
from .steps import PackedConv
from .target import LANES, TILE_ROWS


@intrinsic
def maximum_of_three(typingctx, count, out, a, b, c):
    """Write the elementwise maximum of a, b and c to out, for ``count`` vectors."""
    args = count, out, a, b, c

    def codegen(context, builder, _, values):
        count, out, a, b, c = values
        e = Emitter(builder)
        with e.loop(count) as i:
            here = e.times(i, VECTOR_BYTES)
            x, y, z = (e.load(e.add(start, here)) for start in (a, b, c))
            e.store(e.maximum(e.maximum(x, y), z), e.add(out, here))
        return context.get_dummy_value()

    return signature(args), codegen


@kernel
def stem_kernel(thread, threads, scratch, step):
    """Run a `StemStep`: threads share the pooled rows.

    The scratch memory holds four rows of the convolution; the fourth is for the maximum of the other three.
    """
    conv = read(PackedConv, step.conv)
    rows_t, rows_f = (step.time + 1) // 2, (step.freq + 1) // 2  # of the convolution
    pooled_t, pooled_f = (rows_t + 1) // 2, (rows_f + 1) // 2
    x_shape = (step.time + step.patch_time - 1, step.freq + step.patch_freq - 1, 1)  # with the border
    x_row_bytes = x_shape[1] * FLOAT_BYTES
    row_bytes = rows_f * conv.n * FLOAT_BYTES
    ring = scratch.memory
    column_max = ring + 3 * row_bytes
    first, last = share(thread, threads, step.n * pooled_t)
    ready = -1  # the last row of the convolution in the ring
    for unit in range(first, last):
        example, p = unit // pooled_t, unit % pooled_t
        if p == 0 or unit == first:
            ready = max(2 * p - 1, 0) - 1
        start = step.x + example * x_shape[0] * x_row_bytes
        while ready < min(2 * p + 1, rows_t - 1):
            ready += 1
            line = start + 2 * ready * x_row_bytes
            for f in range(0, rows_f, TILE_ROWS):
                stop = min(f + TILE_ROWS, rows_f)
                list_rows(scratch.x, line, f, stop, (ONE, x_shape[1], ONE), (ONE, ONE + ONE))
                list_rows(scratch.out, ring + ready % 3 * row_bytes, f, stop, (ONE, rows_f, conv.n), (ONE, ONE))
                multiply(stop - f, scratch.x, ZERO, (step.patch_freq, step.patch_time, x_row_bytes), conv, ZERO,
                         (ZERO, conv.n), ZERO, scratch.out, ZERO, step.relu)  # fmt: skip
        # At an edge, the nearest row or position replaces the missing neighbour. That does not change the maximum.
        above, below = max(2 * p - 1, 0), min(2 * p + 1, rows_t - 1)
        rows = (ring + above % 3 * row_bytes, ring + 2 * p % 3 * row_bytes, ring + below % 3 * row_bytes)
        maximum_of_three(rows_f * conv.n // LANES, column_max, rows[0], rows[1], rows[2])
        cell = conv.n * FLOAT_BYTES
        for f in range(pooled_f):
            left, right = column_max + max(2 * f - 1, 0) * cell, column_max + min(2 * f + 1, rows_f - 1) * cell
            out = step.out + (unit * pooled_f + f) * cell
            maximum_of_three(conv.n // LANES, out, left, column_max + 2 * f * cell, right)
