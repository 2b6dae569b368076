"""The matrix product of bfloat16 numbers in AMX's tile registers, and rounding to bfloat16.

    out (M, N) = round(x) (M, K) @ weight (K, N) + bias, + residual, ReLU

A word of 32 bits holds two adjacent channels of a row of x, or of a column of the weight (`memory.pair_up`). A tile
holds 16 rows of 16 words. One instruction multiplies two tiles, 16 x 16 sums of 32 products each, and adds them to the
16 x 16 floats of a third. A block of 32 rows by 32 columns takes all eight tiles:

                             weight[k, columns]:   | 6 | 7 |     16 rows of 16 words: 32 channels
    x[rows 0 ... 15, k] in tile 4   ------->       | 0 | 1 |     4 tiles of sums
    x[rows 16 ... 31, k] in tile 5  ------->       | 2 | 3 |

The last block of a tile may have fewer rows. Rows beyond the end are computed from arbitrary memory, and discarded.

Source: Intel 64 and IA-32 Architectures Software Developer's Manual, volume 1, chapter 18 ("Intel AMX").
"""

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from .emit import FLOAT, INT, INT_BYTES, VECTOR, Emitter, kernel, read, signature
from .memory import CHANNELS, FLOAT_BYTES, VECTOR_BYTES
from .rows import compiled_panel_width
from .steps import Kind
from .target import LANES, PAIRS, ROWS, TILE_SIDE, TILES


@kernel
def block_rows(conv):
    """Return the rows that are computed together: 6 in registers, or 32 in AMX's tiles."""
    return 2 * TILE_SIDE if conv.bfloat16 and TILES else ROWS


@intrinsic
def round_row(typingctx, vectors, rest, x, out):
    """Round vectors of floats at x to words of bfloat16 at out, which may be x; then write ``rest`` words of 0."""
    args = vectors, rest, x, out

    def codegen(context, builder, _, values):
        vectors, rest, x, out = values
        e = Emitter(builder)
        step = VECTOR_BYTES // CHANNELS
        with e.loop(vectors) as i:
            here = e.load(e.add(x, e.times(i, VECTOR_BYTES)))
            e.store((e.round_pairs if PAIRS else e.round_bfloat16)(here), e.add(out, e.times(i, step)))
        with e.loop(rest) as i:
            e.store(FLOAT(0.0), e.add(out, e.add(e.times(vectors, step), e.times(i, FLOAT_BYTES))))
        return context.get_dummy_value()

    return signature(args), codegen


@kernel
def round_rows(rows, x, x_offset, channels, words, out):
    """Round rows of up to ``channels`` floats to ``words`` of bfloat16; x and out are tables of row addresses."""
    vectors = min((words * CHANNELS + LANES - 1) // LANES, channels // LANES)
    rest = max(words - vectors * LANES // CHANNELS, 0)
    count = rows if TILES else (rows + ROWS - 1) // ROWS * ROWS  # `multiply` reads whole blocks, and keeps their sums
    for row in range(count):
        at = row * INT_BYTES
        round_row(vectors, rest, read(Kind, x + at).number + x_offset, read(Kind, out + at).number)


@intrinsic(prefer_literal=True)
def configure_tiles(typingctx, on):
    """Set up eight tiles of 16 rows of 64 bytes, or release them with ``on`` 0."""

    def codegen(context, builder, signature, _):
        e = Emitter(builder)
        if not signature.args[0].literal_value:
            e.tiles("tilerelease")
        else:  # palette 1; eight widths of 64 bytes, in 16 bits each; eight heights of 16 rows, in 8 bits each
            layout = 1, 0, 0x40004000400040, 0x40004000400040, 0, 0, 0x1010101010101010, 0
            place = cgutils.alloca_once_value(builder, ir.Constant(ir.ArrayType(INT, 8), layout))
            e.tiles("ldtilecfg", builder.bitcast(place, ir.IntType(8).as_pointer()))
        return context.get_dummy_value()

    return types.void(on), codegen


@intrinsic(prefer_literal=True)
def tile_block(typingctx, width, x, x_step, taps, panel, rows, out_rows, column, bias, residual_rows, relu):
    """Compute up to 32 rows by ``width`` tiles of 16 columns of the product of words of bfloat16.

    The tiles 0 to 3 hold the sums, 4 and 5 take 16 words each of 2 x 16 rows of x, 6 and 7 take 16 rows of the panel.
    ``x_step`` is the bytes from row to row. The other arguments are those of `register_block`.
    """
    args = width, x, x_step, taps, panel, rows, out_rows, column, bias, residual_rows, relu

    def codegen(context, builder, _, values):
        _, x, x_step, taps, panel, rows, out_rows, column, bias, residual_rows, relu = values
        e = Emitter(builder)
        columns = range(width.literal_value)
        step = len(columns) * VECTOR_BYTES  # from row to row of the panel, and of the sums
        sums = [(2 * r + c, r, c) for r in range(2) for c in columns]
        for tile, _, _ in sums:
            e.tiles("tilezero", tile)
        with e.loop(builder.udiv(taps, INT(TILE_SIDE))) as k:
            for c in columns:
                place = e.add(panel, e.add(e.times(k, TILE_SIDE * step), c * VECTOR_BYTES))
                e.tiles("tileloadd64", 6 + c, e.pointer(place), INT(step))
            for r in range(2):
                place = e.add(e.add(x, e.times(x_step, r * TILE_SIDE)), e.times(k, VECTOR_BYTES))
                e.tiles("tileloadd64", 4 + r, e.pointer(place), x_step)
            for tile, r, c in sums:
                e.tiles("tdpbf16ps", tile, 4 + r, 6 + c)
        buffer = cgutils.alloca_once(builder, ir.ArrayType(FLOAT, 2 * TILE_SIDE * len(columns) * LANES))
        found = builder.ptrtoint(buffer, INT)
        for tile, r, c in sums:
            place = e.add(found, r * TILE_SIDE * step + c * VECTOR_BYTES)
            e.tiles("tilestored64", tile, e.pointer(place), INT(step))
        floor = e.broadcast(builder.select(e.nonzero(relu), FLOAT(0.0), FLOAT(float("-inf"))))
        nothing = cgutils.alloca_once_value(builder, ir.Constant(ir.ArrayType(VECTOR, len(columns)), None))
        some = e.nonzero(residual_rows)
        table = builder.select(some, residual_rows, out_rows)
        with e.loop(rows) as row:
            at = e.times(row, INT_BYTES)
            out = e.add(e.load(e.add(out_rows, at), INT), column)
            start = builder.select(e.nonzero(bias), bias, out)
            residual = e.add(e.load(e.add(table, at), INT), column)
            residual = builder.select(some, residual, builder.ptrtoint(nothing, INT))
            total = e.add(found, e.times(row, step))
            for c in columns:
                value, *others = (e.load(e.add(place, c * VECTOR_BYTES)) for place in (total, start, residual))
                for other in others:
                    value = builder.fadd(value, other)
                value = builder.select(builder.fcmp_ordered("<", value, floor), floor, value)
                e.store(value, e.add(out, c * VECTOR_BYTES))
        return context.get_dummy_value()

    return signature(args), codegen


@kernel
def multiply_tiles(rows, x, taps, conv, first_k, columns, shift, out, residual, relu):
    """Do the same as `multiply` with AMX, for rows of x that are words of bfloat16 at equal distances in memory."""
    base, column = read(Kind, x).number, columns[0]
    x_step = read(Kind, x + INT_BYTES).number - base
    while column < columns[1]:
        width = compiled_panel_width(columns[1] - column, 2 * LANES)
        panel = conv.weight + (column * conv.k + first_k * width) * FLOAT_BYTES
        bias = conv.bias + column * FLOAT_BYTES if first_k == 0 else 0
        place = column * FLOAT_BYTES - shift
        for row in range(0, rows, 2 * TILE_SIDE):
            xs, outs, count = base + row * x_step, out + row * INT_BYTES, min(2 * TILE_SIDE, rows - row)
            res = residual + row * INT_BYTES if residual else 0
            if width > LANES:
                tile_block(2, xs, x_step, taps, panel, count, outs, place, bias, res, relu)
            else:
                tile_block(1, xs, x_step, taps, panel, count, outs, place, bias, res, relu)
        column += width
