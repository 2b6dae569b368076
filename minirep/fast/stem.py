r"""The stem: a convolution of the one-channel input at every second position, bias, ReLU, and 3 x 3 max pooling.

The convolution is the matrix product of `matmul`: a position's patch is 5 runs of 7 neighbours, read where it lies in
the input (which is copied once into a frame of zeros), and the 35 x w weights stay in the first-level cache. Pooling
needs three rows of the convolution at a time, so only three exist:

    convolution rows    2p - 1   2p   2p + 1      in a ring of three, each F/2 x w: row r lives at r mod 3
                           \      |      /
    their largest              one row
                          \  |  /  \  |  /        largest of three neighbours, at every second one
    pooled row p            f       f + 1

The plain version is `minirep.ops.stem`.
"""

from numba.extending import intrinsic

from .emit import Emitter, kernel, signature
from .matmul import multiply
from .memory import FLOAT_BYTES, VECTOR_BYTES
from .plan import TILE
from .rows import ONE, ZERO, list_rows, share
from .target import LANES


@intrinsic
def largest(typingctx, count, out, a, b, c):
    """out = max(a, b, c) for ``count`` vectors."""
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
def stem(thread, threads, bench, x, shape, patch, layer, out):
    """``shape`` = (N, T, F) of the input, which at ``x`` stands in a frame of zeros that fits a ``patch`` (kt, kf).

    The scratch memory holds four rows of the convolution, the fourth for the largest of the three.
    """
    n, time, freq = shape
    kt, kf = patch
    rows_t, rows_f = (time + 1) // 2, (freq + 1) // 2  # of the convolution
    pooled_t, pooled_f = (rows_t + 1) // 2, (rows_f + 1) // 2
    framed = (time + kt - 1, freq + kf - 1, 1)
    row_bytes = rows_f * layer.n * FLOAT_BYTES
    ring = bench.scratch
    tall = ring + 3 * row_bytes
    first, last = share(thread, threads, n * pooled_t)
    ready = -1  # rows of the convolution up to this one are in the ring
    for unit in range(first, last):
        example, p = unit // pooled_t, unit % pooled_t
        if p == 0 or unit == first:
            ready = max(2 * p - 1, 0) - 1
        start = x + example * framed[0] * framed[1] * FLOAT_BYTES
        while ready < min(2 * p + 1, rows_t - 1):
            ready += 1
            line = start + 2 * ready * framed[1] * FLOAT_BYTES
            for f in range(0, rows_f, TILE):
                stop = min(f + TILE, rows_f)
                list_rows(bench.x, line, f, stop, (ONE, framed[1], ONE), (ONE, ONE + ONE))
                list_rows(bench.out, ring + ready % 3 * row_bytes, f, stop, (ONE, rows_f, layer.n), (ONE, ONE))
                multiply(stop - f, bench.x, ZERO, (kf, kt, framed[1] * FLOAT_BYTES), layer, ZERO,
                         (ZERO, layer.n), ZERO, bench.out, ZERO, layer.relu)  # fmt: skip
        # Beyond an edge there is nothing larger: its neighbour stands in for it.
        above, below = max(2 * p - 1, 0), min(2 * p + 1, rows_t - 1)
        rows = (ring + above % 3 * row_bytes, ring + 2 * p % 3 * row_bytes, ring + below % 3 * row_bytes)
        largest(rows_f * layer.n // LANES, tall, rows[0], rows[1], rows[2])
        cell = layer.n * FLOAT_BYTES
        for f in range(pooled_f):
            left, right = max(2 * f - 1, 0), min(2 * f + 1, rows_f - 1)
            to = out + (unit * pooled_f + f) * cell
            largest(layer.n // LANES, to, tall + left * cell, tall + 2 * f * cell, tall + right * cell)
