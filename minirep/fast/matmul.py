"""The register-blocked matrix product, which does 95 % of the network's arithmetic.

    out (M, N) = x (M, K) @ weight (K, N) + bias, + residual, ReLU

One block of 6 rows by one panel of 4 vectors stays in registers while K runs:

                       weight[k, panel]:  |  w0  |  w1  |  w2  |  w3  |     4 registers, loaded once per k
    x[row 0, k] in every lane  ------->   | s00  | s01  | s02  | s03  |
    x[row 1, k]                ------->   | s10  | s11  | s12  | s13  |     24 registers of sums
      ...                                 |      |      |      |      |
    x[row 5, k]                ------->   | s50  | s51  | s52  | s53  |

Each loaded weight serves 6 multiply-adds and each input 4, so the multipliers never wait for loads. The weights are
packed once, panel after panel, in the order in which they are read; the rows of x are read where they lie, at addresses
taken from a table, so a strided 1 x 1 convolution needs no copy. (Goto and van de Geijn, "Anatomy of high-performance
matrix multiplication", 2008.) The plain version is `minirep.ops.matmul`.

Around the registers, the caches: a tile of some hundred rows and the panel in use stay in the second level. Expand and
project go together, a chunk of hidden channels at a time, so that the 4C-wide tensor between them never leaves it:

    tile of x (rows, C) --expand--> hidden (rows, 512) --project, adding--> tile of out (rows, C)     4C / 512 times
"""

from collections import namedtuple

from numba.extending import intrinsic

from .emit import FLOAT, INT, INT_BYTES, Emitter, kernel, later, signature
from .memory import FLOAT_BYTES, VECTOR_BYTES, panel_width
from .plan import DEPTH, FEW, TILE, TILE_FLOATS
from .rows import ONE, ZERO, list_rows, share
from .target import LANES, PANEL, ROWS

compiled_panel_width = kernel(panel_width)

# A packed 1 x 1 convolution: (k, n) with n padded, addresses of the weight and the bias, whether a ReLU follows.
Layer = namedtuple("Layer", "k n weight bias relu")
# Where a thread works: addresses of tables of row addresses for x, out, hidden and residual, and of scratch memory.
Bench = namedtuple("Bench", "x out hidden residual scratch")


@intrinsic(prefer_literal=True)
def block(
    typingctx, vectors, x_rows, x_offset, taps, runs, run_step, panel, out_rows, column, bias, residual_rows, relu
):
    """6 rows by ``vectors`` vectors of the product: the drawing above.

    x_rows, out_rows, residual_rows: where 6 row addresses stand; x_offset, column: bytes from there. ``bias`` 0: go on
    from what ``out`` holds. ``residual_rows`` 0: no residual. K is taken as ``runs`` of ``taps`` neighbours,
    ``run_step`` bytes apart: a single run for a matrix, one per row of the patch for the stem.
    """
    width = vectors.literal_value
    args = vectors, x_rows, x_offset, taps, runs, run_step, panel, out_rows, column, bias, residual_rows, relu

    def codegen(context, builder, _, values):
        _, x_rows, x_offset, taps, runs, run_step, panel, out_rows, column, bias, residual_rows, relu = values
        e = Emitter(builder)
        sums = e.registers(ROWS, width)
        places = [(r, v) for r in range(ROWS) for v in range(width)]

        def rows(table, offset):
            return [e.add(e.load(e.add(table, r * INT_BYTES), INT), offset) for r in range(ROWS)]

        x, out = rows(x_rows, x_offset), rows(out_rows, column)
        with builder.if_else(e.nonzero(bias)) as (first, later):
            with first:
                start = [e.load(e.add(bias, v * VECTOR_BYTES)) for v in range(width)]
                for r, v in places:
                    builder.store(start[v], sums[r][v])
            with later:
                for r, v in places:
                    builder.store(e.load(e.add(out[r], v * VECTOR_BYTES)), sums[r][v])

        with e.loop(runs) as run:
            x_run = e.times(run, run_step)
            w_run = e.add(panel, e.times(e.times(run, taps), width * VECTOR_BYTES))
            with e.loop(taps) as k:
                weights = e.add(w_run, e.times(k, width * VECTOR_BYTES))
                w = [e.load(e.add(weights, v * VECTOR_BYTES)) for v in range(width)]
                here = e.add(x_run, e.times(k, FLOAT_BYTES))
                for r in range(ROWS):
                    value = e.broadcast(e.load(e.add(x[r], here), FLOAT))
                    for v in range(width):
                        e.accumulate(value, w[v], sums[r][v])

        with builder.if_then(e.nonzero(residual_rows)):
            residual = rows(residual_rows, column)
            for r, v in places:
                value = e.load(e.add(residual[r], v * VECTOR_BYTES))
                builder.store(builder.fadd(builder.load(sums[r][v]), value), sums[r][v])
        with builder.if_then(e.nonzero(relu)):
            for r, v in places:
                builder.store(e.relu(builder.load(sums[r][v])), sums[r][v])
        for r, v in places:
            e.store(builder.load(sums[r][v]), e.add(out[r], v * VECTOR_BYTES))
        return context.get_dummy_value()

    return signature(args), codegen


@kernel
def multiply(rows, x, x_offset, patch, layer, first_k, columns, shift, out, residual, relu):
    """Rows times a stretch of ``columns`` of the weight, and of its rows from ``first_k`` on.

    x, out, residual: addresses of tables of row addresses. ``patch``: (taps, runs, bytes between runs), see `block`.
    ``shift``: the bytes by which the columns lie further left in ``out``. From the first k the sums start with the
    bias, later ones go on from ``out``.
    """
    taps, runs, run_step = patch
    column, end = columns
    while column < end:
        width = compiled_panel_width(end - column)
        panel = layer.weight + (column * layer.k + first_k * width) * FLOAT_BYTES
        bias = layer.bias + column * FLOAT_BYTES if first_k == 0 else 0
        place = column * FLOAT_BYTES - shift
        for row in range(0, rows, ROWS):
            xs, outs = x + row * INT_BYTES, out + row * INT_BYTES
            res = residual + row * INT_BYTES if residual else 0
            if width == 4 * LANES:
                block(4, xs, x_offset, taps, runs, run_step, panel, outs, place, bias, res, relu)
            elif width == 2 * LANES:
                block(2, xs, x_offset, taps, runs, run_step, panel, outs, place, bias, res, relu)
            else:
                block(1, xs, x_offset, taps, runs, run_step, panel, outs, place, bias, res, relu)
        column += width


@kernel
def tile_rows(floats, rows):
    """Rows of a tile, given the floats that each brings into the cache, and the rows to do: tiles are of one size."""
    later()
    most = max(ROWS, min(TILE, TILE_FLOATS // floats) // ROWS * ROWS)
    tiles = max(1, (rows + most - 1) // most)
    return ((rows + tiles - 1) // tiles + ROWS - 1) // ROWS * ROWS


@kernel
def pointwise(thread, threads, bench, x, shape, stride, rows, layer, out, residual):
    """A 1 x 1 convolution of x with ``shape`` (T, F, C) at every ``stride``-th position: ``rows`` of them."""
    later()
    channels = shape[2]
    first, last = 0, rows
    columns = (0, layer.n)
    if threads > 1 and rows <= FEW:
        panels = share(thread, threads, (layer.n + PANEL - 1) // PANEL)
        columns = (panels[0] * PANEL, min(panels[1] * PANEL, layer.n))
    else:
        blocks = share(thread, threads, (rows + ROWS - 1) // ROWS)
        first, last = blocks[0] * ROWS, min(blocks[1] * ROWS, rows)
    size = tile_rows(min(channels, DEPTH) + layer.n, last - first)
    out_shape = (ONE, rows, layer.n)
    residuals = bench.residual if residual else ZERO
    while first < last:
        stop = min(first + size, last)
        list_rows(bench.x, x, first, stop, shape, stride)
        list_rows(bench.out, out, first, stop, out_shape, (ONE, ONE))
        if residual:
            list_rows(bench.residual, residual, first, stop, out_shape, (ONE, ONE))
        for k in range(0, layer.k, DEPTH):
            taps = min(DEPTH, layer.k - k)
            end = k + taps == layer.k
            multiply(stop - first, bench.x, k * FLOAT_BYTES, (taps, ONE, ZERO), layer, k, columns, ZERO,
                     bench.out, residuals if end else ZERO, layer.relu if end else ZERO)  # fmt: skip
        first = stop


@kernel
def expand_project(thread, threads, bench, x, rows, channels, expand, project, out, residual):
    """Two 1 x 1 convolutions and a shortcut, tile by tile and chunk by chunk: the second drawing above."""
    later()
    blocks = share(thread, threads, (rows + ROWS - 1) // ROWS)
    first, last = blocks[0] * ROWS, min(blocks[1] * ROWS, rows)
    chunk = min(DEPTH, expand.n)
    size = tile_rows(channels + chunk + project.n, last - first)
    list_rows(bench.hidden, bench.scratch, ZERO, size, (ONE, size, chunk), (ONE, ONE))
    hidden = bench.hidden
    while first < last:
        stop = min(first + size, last)
        list_rows(bench.x, x, first, stop, (ONE, rows, channels), (ONE, ONE))
        list_rows(bench.out, out, first, stop, (ONE, rows, project.n), (ONE, ONE))
        list_rows(bench.residual, residual, first, stop, (ONE, rows, project.n), (ONE, ONE))
        for h in range(0, expand.n, chunk):
            columns = (h, min(h + chunk, expand.n))
            taps = min(chunk, project.k - h)
            end = h + chunk >= expand.n
            multiply(stop - first, bench.x, ZERO, (expand.k, ONE, ZERO), expand, ZERO, columns,
                     h * FLOAT_BYTES, hidden, ZERO, expand.relu)  # fmt: skip
            multiply(stop - first, hidden, ZERO, (taps, ONE, ZERO), project, h, (ZERO, project.n), ZERO,
                     bench.out, bench.residual if end else ZERO, ONE if end else ZERO)  # fmt: skip
        first = stop
