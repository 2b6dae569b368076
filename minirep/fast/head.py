"""The head: average pooling, and softmax with its mean over the pooling positions. A matrix product is between them.

    x (N, T, F, C)  --average pooling, window (wt, wf)-->  (N, positions, C)  --`matmul.pointwise_kernel`-->
    logits (N, positions, classes)  --softmax over the classes, mean over the positions-->  probabilities (N, classes)

The head has little arithmetic and runs on one thread. In NumPy it would be a dozen calls, which take longer than a
whole stage of a small network. The plain versions are `minirep.ops.average_pool`, `softmax` and `head`.
"""

from numba.core import cgutils
from numba.extending import intrinsic

from .emit import FLOAT, ZEROS, Emitter, signature
from .memory import VECTOR_BYTES
from .steps import PoolStep, SoftmaxStep


@intrinsic
def average_pool_kernel(typingctx, step):
    """Run a `PoolStep`: each vector is summed over its window in one register."""

    def codegen(context, builder, _, values):
        x, n, time, freq, vectors, wt, wf, out = PoolStep(*cgutils.unpack_tuple(builder, values[0]))
        e = Emitter(builder)
        total = e.registers()
        count = e.broadcast(builder.sitofp(e.times(wt, wf), FLOAT))
        pooled_t, pooled_f = e.add(e.minus(time, wt), 1), e.add(e.minus(freq, wf), 1)

        def cell(example, t, f, times, freqs):
            """Return the offset in bytes of (example, t, f) in an array (n, times, freqs, channels)."""
            return e.times(e.times(e.add(e.times(e.add(e.times(example, times), t), freqs), f), vectors), VECTOR_BYTES)

        with e.loop(n) as example, e.loop(pooled_t) as t, e.loop(pooled_f) as f, e.loop(vectors) as v:
            here = e.times(v, VECTOR_BYTES)
            builder.store(ZEROS, total)
            with e.loop(wt) as i, e.loop(wf) as j:
                value = e.load(e.add(e.add(x, cell(example, e.add(t, i), e.add(f, j), time, freq)), here))
                e.increase(total, value)
            mean = builder.fdiv(builder.load(total), count)
            e.store(mean, e.add(e.add(out, cell(example, t, f, pooled_t, pooled_f)), here))
        return context.get_dummy_value()

    return signature((step,)), codegen


@intrinsic
def softmax_kernel(typingctx, step):
    """Run a `SoftmaxStep`. Padding classes have the logit minus infinity. The logits are overwritten."""

    def codegen(context, builder, _, values):
        logits, n, positions, vectors, out = SoftmaxStep(*cgutils.unpack_tuple(builder, values[0]))
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
                most = e.broadcast(e.reduce_lanes(e.maximum, builder.load(largest)))
                builder.store(ZEROS, total)
                with e.loop(vectors) as v:
                    place = e.add(x, e.times(v, VECTOR_BYTES))
                    power = e.exp(builder.fsub(e.load(place), most))  # of a number <= 0, which never overflows
                    e.store(power, place)
                    e.increase(total, power)
                powers = e.reduce_lanes(builder.fadd, builder.load(total))
                whole = builder.fmul(powers, builder.sitofp(positions, FLOAT))
                with e.loop(vectors) as v:
                    here = e.times(v, VECTOR_BYTES)
                    share = builder.fdiv(e.load(e.add(x, here)), e.broadcast(whole))
                    e.store(builder.fadd(e.load(e.add(mean, here)), share), e.add(mean, here))
        return context.get_dummy_value()

    return signature((step,)), codegen
