"""The depthwise convolution along one axis: its branches, the identity and the ReLU in one pass.

Vectors run over channels. Eight sums stay in registers (4 outputs along the axis x 2 vectors, or 8 x 1), and every
input within reach of these outputs is loaded once and added to all of them:

    inputs along the axis    x0   x1   x2   x3   x4   x5  ...        the inputs i are processed 4 at a time
    weights of output 0      w2   w3   w4   ...                      output j multiplies input i by tap i - j + half:
    weights of output 1      w1   w2   w3   w4  ...                  with each i, every output moves on by one tap
    weights of output 2      w0   w1   w2   w3  ...
    weights of output 3       0   w0   w1   w2  ...                  zeros surround the taps, so no output is special

Outputs share weights along the diagonals, so each weight is loaded once for 4 inputs. Inputs beyond the ends of the
axis are never read: there is no padded copy, and taps that only meet padding cost nothing. The plain version is
`minirep.ops.depthwise`.
"""

from numba.extending import intrinsic

from .emit import INT, Emitter, kernel, signature
from .memory import BORDER, FLOAT_BYTES, SUMS, VECTOR_BYTES
from .rows import share
from .target import LANES

INPUTS = 4  # processed at a time


@intrinsic(prefer_literal=True)
def output_tile(typingctx, vectors, x, step, length, first, branches, count, vector, bias, identity, total, out):
    """Compute ``SUMS // vectors`` outputs from position ``first`` on, and ``vectors`` vectors from ``vector`` on.

    x, total and out are addresses of position 0 of the axis, and ``step`` is the bytes from one position to the next.
    ``branches`` is the address of ``count`` pairs (address of a packed kernel, number of taps). ``total`` may be 0.
    """
    width = vectors.literal_value
    outputs = SUMS // width
    args = vectors, x, step, length, first, branches, count, vector, bias, identity, total, out

    def codegen(context, builder, _, values):
        _, x, step, length, first, branches, count, vector, bias, identity, total, out = values
        e = Emitter(builder)
        sums = e.registers(outputs, width)
        inside = [builder.icmp_signed("<", e.add(first, j), length) for j in range(outputs)]

        def at(start, position, v):
            """Return the address of vector v at a position of the axis, in the array that starts there."""
            return e.add(e.add(start, e.times(position, step)), v * VECTOR_BYTES)

        for j in range(outputs):
            for v in range(width):
                builder.store(e.load(e.add(bias, v * VECTOR_BYTES)), sums[j][v])
        with builder.if_then(e.nonzero(identity)):
            for j in range(outputs):
                with builder.if_then(inside[j]):
                    for v in range(width):
                        e.increase(sums[j][v], e.load(at(x, e.add(first, j), v)))

        def take(i, weights, vector_bytes, inputs):
            """Add ``inputs`` inputs from position i on; ``weights`` is the address of output 0's tap for input i."""
            for v in range(width):
                here = e.add(weights, e.times(vector_bytes, v))
                diagonal = {d: e.load(e.add(here, d * VECTOR_BYTES)) for d in range(1 - outputs, inputs)}
                for u in range(inputs):
                    value = e.load(at(x, e.add(i, u), v))
                    for j in range(outputs):
                        e.accumulate(value, diagonal[u - j], sums[j][v])

        with e.loop(count) as branch:
            pair = e.add(branches, e.times(branch, 16))
            taps = e.load(e.add(pair, 8), INT)
            half = builder.ashr(taps, INT(1))
            vector_bytes = e.times(e.add(taps, 2 * BORDER), VECTOR_BYTES)
            start = e.larger(e.minus(first, half), 0)
            stop = e.smaller(e.add(e.add(first, outputs), half), length)
            reach = e.minus(stop, start)
            # Output 0 takes input ``start`` with tap start - first + half.
            tap = e.add(e.minus(start, first), e.add(half, BORDER))
            weights = e.add(e.load(pair, INT), e.add(e.times(vector, vector_bytes), e.times(tap, VECTOR_BYTES)))
            steps = builder.ashr(reach, INT(2))
            with e.loop(steps) as s:
                i = e.times(s, INPUTS)
                take(e.add(start, i), e.add(weights, e.times(i, VECTOR_BYTES)), vector_bytes, INPUTS)
            done = e.times(steps, INPUTS)
            with e.loop(e.minus(reach, done)) as rest:
                i = e.add(done, rest)
                take(e.add(start, i), e.add(weights, e.times(i, VECTOR_BYTES)), vector_bytes, 1)

        for j in range(outputs):
            with builder.if_then(inside[j]):
                here = e.add(first, j)
                for v in range(width):
                    builder.store(e.relu(builder.load(sums[j][v])), sums[j][v])
                with builder.if_then(e.nonzero(total)):
                    for v in range(width):
                        e.increase(sums[j][v], e.load(at(total, here, v)))
                for v in range(width):
                    e.store(builder.load(sums[j][v]), at(out, here, v))
        return context.get_dummy_value()

    return signature(args), codegen


@kernel
def depthwise_kernel(thread, threads, layer):
    """Run a `DepthwiseStep`: threads share the tiles of outputs."""
    length, inner = layer.length, layer.inner
    cell = layer.channels * FLOAT_BYTES
    step = inner * cell
    vectors = layer.channels // LANES
    width = 2 if vectors % 2 == 0 else 1
    outputs = SUMS // width
    tiles = (length + outputs - 1) // outputs
    first, last = share(thread, threads, layer.outer * tiles * inner)
    position = first % inner
    first_output = first // inner % tiles * outputs
    line = first // inner // tiles * length * step
    for _ in range(last - first):
        for vector in range(0, vectors, width):
            offset = line + position * cell + vector * VECTOR_BYTES
            bias = layer.bias + vector * VECTOR_BYTES
            x, out, total = layer.x + offset, layer.out + offset, layer.total + offset if layer.total else 0
            if width == 2:
                output_tile(2, x, step, length, first_output, layer.branches, layer.branch_count, vector, bias,
                            layer.identity, total, out)  # fmt: skip
            else:
                output_tile(1, x, step, length, first_output, layer.branches, layer.branch_count, vector, bias,
                            layer.identity, total, out)  # fmt: skip
        position += 1
        if position == inner:
            position = 0
            first_output += outputs
            if first_output >= length:
                first_output = 0
                line += length * step
