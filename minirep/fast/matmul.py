"""The register-blocked matrix product, which does 95 % of the network's arithmetic.

    out (M, N) = x (M, K) @ weight (K, N) + bias, + residual, ReLU

A row of x or out is one position with all its channels. One block of 6 rows by one panel of 4 vectors stays in
registers while k counts up to K:

                       weight[k, panel]:  |  w0  |  w1  |  w2  |  w3  |     4 registers, loaded once per k
    x[row 0, k] in every lane  ------->   | s00  | s01  | s02  | s03  |
    x[row 1, k]                ------->   | s10  | s11  | s12  | s13  |     24 registers of sums
      ...                                 |      |      |      |      |
    x[row 5, k]                ------->   | s50  | s51  | s52  | s53  |

Each loaded weight serves 6 multiply-adds and each input 4, so the multipliers never wait for loads. The weights are
packed once, panel after panel, in the order in which they are read. The rows of x are not packed: a table lists their
addresses, so a strided 1 x 1 convolution needs no copy. (Goto and van de Geijn, "Anatomy of high-performance matrix
multiplication", 2008.) The plain version is `minirep.ops.matmul`.

The caches add a second level of blocking: a panel of weights and a tile of some hundred rows stay in the second-level
cache (see `target`). Expand and project run together, one chunk of hidden channels at a time, so the tensor of 4C
channels between them never leaves this cache:

    tile of x (rows, C) --expand--> hidden (rows, 512) --project, adding--> tile of out (rows, C)     4C / 512 times
"""

from collections import namedtuple

from numba.extending import intrinsic

from .emit import FLOAT, INT, INT_BYTES, Emitter, kernel, read, signature
from .memory import CHANNELS, FLOAT_BYTES, VECTOR_BYTES
from .rows import ONE, ZERO, compiled_panel_width, list_rows, share
from .steps import PackedConv
from .target import COLUMN_SPLIT_ROWS, K_BLOCK, LANES, PAIRS, PANEL, ROWS, TILE_FLOATS, TILE_ROWS, TILES
from .tiles import block_rows, configure_tiles, multiply_tiles, round_rows

# The memory of one thread: addresses of five tables of row addresses, and of floats for results between two products.
Scratch = namedtuple("Scratch", "x out hidden residual rounded memory")


@intrinsic(prefer_literal=True)
def register_block(typingctx, vectors, pairs, x_rows, x_offset, taps, runs, run_step, panel, out_rows, column, bias,
                   residual_rows, relu):  # fmt: skip
    """Compute 6 rows by ``vectors`` vectors of the product, as in the first drawing above; ``pairs`` are of bfloat16.

    x_rows, out_rows and residual_rows are addresses of 6 row addresses; x_offset and column are bytes to add to these.
    With ``bias`` 0, the sums in ``out`` are continued; with ``residual_rows`` 0, there is no residual. K consists of
    ``runs`` of ``taps`` adjacent floats, ``run_step`` bytes apart: a matrix has one run, the stem one per patch row.
    """
    width = vectors.literal_value
    args = vectors, pairs, x_rows, x_offset, taps, runs, run_step, panel, out_rows, column, bias, residual_rows, relu

    def codegen(context, builder, _, values):
        _, _, x_rows, x_offset, taps, runs, run_step, panel, out_rows, column, bias, residual_rows, relu = values
        e = Emitter(builder)
        if pairs.literal_value and (TILES or not PAIRS):
            return context.get_dummy_value()  # never reached
        accumulate = e.accumulate_pairs if pairs.literal_value else e.accumulate
        sums = e.registers(ROWS, width)
        places = [(r, v) for r in range(ROWS) for v in range(width)]

        def rows(table, offset):
            return [e.add(e.load(e.add(table, r * INT_BYTES), INT), offset) for r in range(ROWS)]

        x, out = rows(x_rows, x_offset), rows(out_rows, column)
        with builder.if_else(e.nonzero(bias)) as (first_pass, later_pass):
            with first_pass:
                start = [e.load(e.add(bias, v * VECTOR_BYTES)) for v in range(width)]
                for r, v in places:
                    builder.store(start[v], sums[r][v])
            with later_pass:
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
                        accumulate(value, w[v], sums[r][v])

        with builder.if_then(e.nonzero(residual_rows)):
            residual = rows(residual_rows, column)
            for r, v in places:
                e.increase(sums[r][v], e.load(e.add(residual[r], v * VECTOR_BYTES)))
        with builder.if_then(e.nonzero(relu)):
            for r, v in places:
                builder.store(e.relu(builder.load(sums[r][v])), sums[r][v])
        for r, v in places:
            e.store(builder.load(sums[r][v]), e.add(out[r], v * VECTOR_BYTES))
        return context.get_dummy_value()

    return signature(args), codegen


@kernel
def multiply(rows, x, x_offset, patch, conv, first_k, columns, shift, out, residual, relu):
    """Multiply rows by ``columns`` = [first, last) of a `PackedConv`, from row ``first_k`` of its weight on.

    x, out and residual are addresses of tables of row addresses; ``patch`` is (taps, runs, bytes between runs) of
    `register_block`. ``shift`` is subtracted from the position of a column in ``out``, in bytes, if that holds only a
    chunk of columns. The sums start from the bias if ``first_k`` is 0, else from ``out``.
    """
    taps, runs, run_step = patch
    column, end = columns
    if conv.bfloat16 and TILES:
        multiply_tiles(rows, x, taps, conv, first_k, columns, shift, out, residual, relu)
        return
    while column < end:
        width = compiled_panel_width(end - column, PANEL)
        panel = conv.weight + (column * conv.k + first_k * width) * FLOAT_BYTES
        bias = conv.bias + column * FLOAT_BYTES if first_k == 0 else 0
        place = column * FLOAT_BYTES - shift
        for row in range(0, rows, ROWS):
            xs, outs = x + row * INT_BYTES, out + row * INT_BYTES
            res = residual + row * INT_BYTES if residual else 0
            if conv.bfloat16 and PAIRS:
                if width == 4 * LANES:
                    register_block(4, 1, xs, x_offset, taps, runs, run_step, panel, outs, place, bias, res, relu)
                elif width == 2 * LANES:
                    register_block(2, 1, xs, x_offset, taps, runs, run_step, panel, outs, place, bias, res, relu)
                else:
                    register_block(1, 1, xs, x_offset, taps, runs, run_step, panel, outs, place, bias, res, relu)
            elif width == 4 * LANES:
                register_block(4, 0, xs, x_offset, taps, runs, run_step, panel, outs, place, bias, res, relu)
            elif width == 2 * LANES:
                register_block(2, 0, xs, x_offset, taps, runs, run_step, panel, outs, place, bias, res, relu)
            else:
                register_block(1, 0, xs, x_offset, taps, runs, run_step, panel, outs, place, bias, res, relu)
        column += width


@kernel
def tile_size(floats, rows, block):
    """Return the rows per tile: as many as the cache holds with ``floats`` per row, for tiles of about equal size."""
    most = max(block, min(TILE_ROWS, TILE_FLOATS // floats) // block * block)
    tiles = max(1, (rows + most - 1) // most)
    return ((rows + tiles - 1) // tiles + block - 1) // block * block


@kernel
def pointwise_kernel(thread, threads, scratch, step):
    """Run a `PointwiseStep`: threads share the rows, or the columns if there are few rows."""
    conv = read(PackedConv, step.conv)
    block = block_rows(conv)
    first, last, columns = 0, step.rows, (0, conv.n)
    if threads > 1 and step.rows <= COLUMN_SPLIT_ROWS:
        panels = share(thread, threads, (conv.n + PANEL - 1) // PANEL)
        columns = (panels[0] * PANEL, min(panels[1] * PANEL, conv.n))
    else:
        blocks = share(thread, threads, (step.rows + block - 1) // block)
        first, last = blocks[0] * block, min(blocks[1] * block, step.rows)
    size = tile_size(min(step.channels, K_BLOCK) + conv.n, last - first, block)
    x_shape, out_shape = (step.time, step.freq, step.channels), (ONE, step.rows, conv.n)
    residual = scratch.residual if step.residual else ZERO
    if conv.bfloat16 and TILES:
        configure_tiles(1)
    if conv.bfloat16:
        words = (min(conv.k, K_BLOCK) + LANES - 1) // LANES * LANES
        list_rows(scratch.rounded, scratch.memory, ZERO, size, (ONE, size, words), (ONE, ONE))
    while first < last:
        stop = min(first + size, last)
        list_rows(scratch.x, step.x, first, stop, x_shape, (step.time_stride, step.freq_stride))
        list_rows(scratch.out, step.out, first, stop, out_shape, (ONE, ONE))
        if step.residual:
            list_rows(scratch.residual, step.residual, first, stop, out_shape, (ONE, ONE))
        for k in range(0, conv.k, K_BLOCK):
            taps = min(K_BLOCK, conv.k - k)
            end = k + taps == conv.k
            x, offset = scratch.x, k * FLOAT_BYTES
            if conv.bfloat16:
                round_rows(stop - first, x, offset * CHANNELS, step.channels - k * CHANNELS, taps, scratch.rounded)
                x, offset = scratch.rounded, ZERO
            multiply(stop - first, x, offset, (taps, ONE, ZERO), conv, k, columns, ZERO,
                     scratch.out, residual if end else ZERO, step.relu if end else ZERO)  # fmt: skip
        first = stop
    if conv.bfloat16 and TILES:
        configure_tiles(0)


@kernel
def expand_project_kernel(thread, threads, scratch, step):
    """Run an `ExpandProjectStep` tile by tile and chunk by chunk, as in the second drawing above."""
    expand, project = read(PackedConv, step.expand), read(PackedConv, step.project)
    block = block_rows(expand)
    blocks = share(thread, threads, (step.rows + block - 1) // block)
    first, last = blocks[0] * block, min(blocks[1] * block, step.rows)
    chunk = min(K_BLOCK, expand.n)
    size = tile_size(step.channels + chunk + project.n, last - first, block)
    x_shape, out_shape = (ONE, step.rows, step.channels), (ONE, step.rows, project.n)
    list_rows(scratch.hidden, scratch.memory, ZERO, size, (ONE, size, chunk), (ONE, ONE))
    x, channels = scratch.x, 1
    if expand.bfloat16:
        channels, x, rounded = CHANNELS, scratch.rounded, scratch.memory + size * chunk * FLOAT_BYTES
        list_rows(x, rounded, ZERO, size, (ONE, size, step.channels), (ONE, ONE))
        if TILES:
            configure_tiles(1)
    while first < last:
        stop = min(first + size, last)
        list_rows(scratch.x, step.x, first, stop, x_shape, (ONE, ONE))
        list_rows(scratch.out, step.out, first, stop, out_shape, (ONE, ONE))
        list_rows(scratch.residual, step.residual, first, stop, out_shape, (ONE, ONE))
        if expand.bfloat16:
            round_rows(stop - first, scratch.x, ZERO, step.channels, expand.k, x)
        for h in range(0, expand.n, chunk):
            columns = (h, min(h + chunk, expand.n))
            first_k = h // channels
            end = h + chunk >= expand.n
            taps = project.k - first_k if end else chunk // channels
            multiply(stop - first, x, ZERO, (expand.k, ONE, ZERO), expand, ZERO, columns,
                     h * FLOAT_BYTES, scratch.hidden, ZERO, step.relu)  # fmt: skip
            if project.bfloat16:
                round_rows(stop - first, scratch.hidden, ZERO, columns[1] - h, taps, scratch.hidden)
            multiply(stop - first, scratch.hidden, ZERO, (taps, ONE, ZERO), project, first_k, (ZERO, project.n), ZERO,
                     scratch.out, scratch.residual if end else ZERO, ONE if end else ZERO)  # fmt: skip
        first = stop
    if expand.bfloat16 and TILES:
        configure_tiles(0)
