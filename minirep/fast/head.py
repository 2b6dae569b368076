"""The head: average pooling, and softmax with its mean over the pooling positions. Between them, a matrix product.

    x (N, T, F, C)  --pool, window (wt, wf) in steps of one-->  (N, positions, C)  --`matmul.pointwise`-->
    logits (N, positions, classes)  --softmax over the classes, mean over the positions-->  probabilities (N, classes)

All of it is little arithmetic; in NumPy it would be a dozen calls, which a small network would wait for longer than for
a whole stage. The plain versions are `minirep.ops.average_pool`, `softmax` and `head`.
"""

from numba.extending import intrinsic

from .emit import FLOAT, ZEROS, Emitter, kernel, signature
from .memory import FLOAT_BYTES, VECTOR_BYTES
from .rows import share
from .target import LANES


@intrinsic
def mean(typingctx, x, rows, row_bytes, columns, column_bytes, out):
    """The mean of ``rows`` by ``columns`` vectors that lie so many bytes apart."""
    args = x, rows, row_bytes, columns, column_bytes, out

    def codegen(context, builder, _, values):
        x, rows, row_bytes, columns, column_bytes, out = values
        e = Emitter(builder)
        total = e.registers()
        builder.store(ZEROS, total)
        with e.loop(rows) as r, e.loop(columns) as c:
            value = e.load(e.add(x, e.add(e.times(r, row_bytes), e.times(c, column_bytes))))
            builder.store(builder.fadd(builder.load(total), value), total)
        count = e.broadcast(builder.sitofp(e.times(rows, columns), FLOAT))
        e.store(builder.fdiv(builder.load(total), count), out)
        return context.get_dummy_value()

    return signature(args), codegen


@intrinsic
def add_softmax(typingctx, x, vectors, positions, out):
    """out += softmax(x) / positions. What fills up the last vector is minus infinity; x is used up."""
    args = x, vectors, positions, out

    def codegen(context, builder, _, values):
        x, vectors, positions, out = values
        e = Emitter(builder)
        largest, total = e.registers(2)
        builder.store(e.load(x), largest)
        with e.loop(vectors) as v:
            value = e.load(e.add(x, e.times(v, VECTOR_BYTES)))
            builder.store(e.maximum(builder.load(largest), value), largest)
        most = e.broadcast(e.across(e.maximum, builder.load(largest)))
        builder.store(ZEROS, total)
        with e.loop(vectors) as v:
            place = e.add(x, e.times(v, VECTOR_BYTES))
            power = e.exp(builder.fsub(e.load(place), most))  # nothing overflows: the largest is taken off first
            e.store(power, place)
            builder.store(builder.fadd(builder.load(total), power), total)
        whole = builder.fmul(e.across(builder.fadd, builder.load(total)), builder.sitofp(positions, FLOAT))
        with e.loop(vectors) as v:
            here = e.times(v, VECTOR_BYTES)
            share = builder.fdiv(e.load(e.add(x, here)), e.broadcast(whole))
            e.store(builder.fadd(e.load(e.add(out, here)), share), e.add(out, here))
        return context.get_dummy_value()

    return signature(args), codegen


@intrinsic
def clear(typingctx, vectors, out):
    args = vectors, out

    def codegen(context, builder, _, values):
        vectors, out = values
        e = Emitter(builder)
        with e.loop(vectors) as v:
            e.store(ZEROS, e.add(out, e.times(v, VECTOR_BYTES)))
        return context.get_dummy_value()

    return signature(args), codegen


@kernel
def average_pool(thread, threads, x, shape, window, out):
    """``shape`` = (N, T, F, C). Each vector of channels is summed over its window in one register."""
    n, time, freq, channels = shape
    pooled_t, pooled_f = time - window[0] + 1, freq - window[1] + 1
    vectors = channels // LANES
    cell = channels * FLOAT_BYTES
    first, last = share(thread, threads, n * pooled_t * pooled_f * vectors)
    for unit in range(first, last):
        position, vector = unit // vectors, unit % vectors
        f = position % pooled_f
        t = position // pooled_f % pooled_t
        corner = (position // pooled_f // pooled_t * time + t) * freq + f
        mean(x + corner * cell + vector * VECTOR_BYTES, window[0], freq * cell, window[1], cell,
             out + unit * VECTOR_BYTES)  # fmt: skip


@kernel
def softmax(thread, threads, logits, shape, out):
    """``shape`` = (N, positions, classes), classes in whole vectors; the logits are used up."""
    n, positions, classes = shape
    row = classes * FLOAT_BYTES
    first, last = share(thread, threads, n)
    for example in range(first, last):
        to = out + example * row
        clear(classes // LANES, to)
        for position in range(positions):
            add_softmax(logits + (example * positions + position) * row, classes // LANES, positions, to)
