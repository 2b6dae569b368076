"""The head: average pooling, and softmax with its mean over the pooling positions. Between them, a matrix product.

    x (N, T, F, C)  --pool, window (wt, wf) in steps of one-->  (N, positions, C)  --`matmul.pointwise`-->
    logits (N, positions, classes)  --softmax over the classes, mean over the positions-->  probabilities (N, classes)

All of it is little arithmetic, for one thread; in NumPy it would be a dozen calls, which a small network would wait for
longer than for a whole stage. The plain versions are `minirep.ops.average_pool`, `softmax` and `head`.
"""

from numba.extending import intrinsic

from .emit import FLOAT, ZEROS, Emitter, signature
from .memory import VECTOR_BYTES


@intrinsic
def average_pool(typingctx, x, n, time, freq, vectors, wt, wf, out):
    """x (n, time, freq, ``vectors`` of channels). Each vector is summed over its window in one register."""
    args = x, n, time, freq, vectors, wt, wf, out

    def codegen(context, builder, _, values):
        x, n, time, freq, vectors, wt, wf, out = values
        e = Emitter(builder)
        total = e.registers()
        count = e.broadcast(builder.sitofp(e.times(wt, wf), FLOAT))
        pooled_t, pooled_f = e.add(e.minus(time, wt), 1), e.add(e.minus(freq, wf), 1)

        def cell(example, t, f, times, freqs):
            """Where (example, t, f) lies among so many times and frequencies, in bytes."""
            return e.times(e.times(e.add(e.times(e.add(e.times(example, times), t), freqs), f), vectors), VECTOR_BYTES)

        with e.loop(n) as example, e.loop(pooled_t) as t, e.loop(pooled_f) as f, e.loop(vectors) as v:
            here = e.times(v, VECTOR_BYTES)
            builder.store(ZEROS, total)
            with e.loop(wt) as i, e.loop(wf) as j:
                value = e.load(e.add(e.add(x, cell(example, e.add(t, i), e.add(f, j), time, freq)), here))
                builder.store(builder.fadd(builder.load(total), value), total)
            mean = builder.fdiv(builder.load(total), count)
            e.store(mean, e.add(e.add(out, cell(example, t, f, pooled_t, pooled_f)), here))
        return context.get_dummy_value()

    return signature(args), codegen


@intrinsic
def softmax(typingctx, logits, n, positions, vectors, out):
    """logits (n, positions, ``vectors`` of classes), of which those to spare are minus infinity; they are used up."""
    args = logits, n, positions, vectors, out

    def codegen(context, builder, _, values):
        logits, n, positions, vectors, out = values
        e = Emitter(builder)
        largest, total = e.registers(2)
        row = e.times(vectors, VECTOR_BYTES)

        with e.loop(n) as example:
            mean = e.add(out, e.times(example, row))
            with e.loop(vectors) as v:
                e.store(ZEROS, e.add(mean, e.times(v, VECTOR_BYTES)))
            with e.loop(positions) as position:
                x = e.add(logits, e.times(e.add(e.times(example, positions), position), row))
                builder.store(e.load(x), largest)
                with e.loop(vectors) as v:
                    value = e.load(e.add(x, e.times(v, VECTOR_BYTES)))
                    builder.store(e.maximum(builder.load(largest), value), largest)
                most = e.broadcast(e.across(e.maximum, builder.load(largest)))
                builder.store(ZEROS, total)
                with e.loop(vectors) as v:
                    place = e.add(x, e.times(v, VECTOR_BYTES))
                    power = e.exp(builder.fsub(e.load(place), most))  # the largest is taken off: nothing overflows
                    e.store(power, place)
                    builder.store(builder.fadd(builder.load(total), power), total)
                whole = builder.fmul(e.across(builder.fadd, builder.load(total)), builder.sitofp(positions, FLOAT))
                with e.loop(vectors) as v:
                    here = e.times(v, VECTOR_BYTES)
                    share = builder.fdiv(e.load(e.add(x, here)), e.broadcast(whole))
                    e.store(builder.fadd(e.load(e.add(mean, here)), share), e.add(mean, here))
        return context.get_dummy_value()

    return signature(args), codegen
