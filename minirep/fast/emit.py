"""Helpers that write LLVM instructions from Python: vectors in registers, addresses, counted loops.

Numba compiles loops over scalars and leaves vectorization to LLVM. The kernels instead choose which value belongs in
which register, and write the instructions themselves: Numba calls a function marked ``@intrinsic`` while it compiles
the caller, and the function emits LLVM instructions in place. A Python loop in such a function unrolls the code that
its body emits. Addresses are plain 64-bit integers.
"""

import math
import sys
from contextlib import contextmanager

from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic

from .memory import FLOAT_BYTES
from .target import LANES

FLOAT = ir.FloatType()
VECTOR = ir.VectorType(FLOAT, LANES)
INT, WORD = ir.IntType(64), ir.IntType(32)
INT_BYTES = 8
ZEROS = ir.Constant(VECTOR, [0.0] * LANES)


class Bfloat16(ir.Type):
    """LLVM's type for bfloat16, which llvmlite lacks."""

    def _to_string(self):
        return "bfloat"


# The dot product of pairs of bfloat16, and the type of its factors. Numba compiles each function by itself, perhaps
# without knowing that the processor has BFDOT. So it sees a call of another function, which `build` replaces later.
BFDOT = "minirep.bfdot", "llvm.aarch64.neon.bfdot.v4f32.v8bf16"
if LANES == 16:
    DOT, PAIR_VECTOR = "llvm.x86.avx512bf16.dpbf16ps.512", ir.VectorType(WORD, LANES)
else:
    DOT, PAIR_VECTOR = BFDOT[0], ir.VectorType(Bfloat16(), 2 * LANES)

# Numba optimises every function by itself, and again inside each of its callers. It is faster to optimise the whole
# program once, as `build` does. Until then, every function has LLVM's attribute "optnone", which makes its passes skip
# the function, and "noinline", which LLVM requires beside it. Numba's option adds both; `build` removes "optnone".
DEFERRED = "optnone"
OPTIONS = {"error_model": "numpy", "no_cpython_wrapper": True, "no_cfunc_wrapper": True, "_dbg_optnone": True}


def kernel(function):
    """Compile a function that only other kernels call. It never needs Python, not even for exceptions."""
    return njit(function, **OPTIONS)


def signature(args):
    """Return the type of an intrinsic that takes integers (sizes and addresses) and returns nothing."""
    return types.void(*args)


def number(value):
    """Convert a Python integer to an LLVM constant; leave LLVM's own values, known only at run time, as they are."""
    return INT(value) if isinstance(value, int) else value


class Emitter:
    """LLVM's instruction builder, with operations on addresses and vectors."""

    def __init__(self, builder):
        self.b = builder

    def add(self, x, y):
        return self.b.add(number(x), number(y))

    def minus(self, x, y):
        return self.b.sub(number(x), number(y))

    def times(self, x, y):
        return self.b.mul(number(x), number(y))

    def smaller(self, x, y):
        return self.b.select(self.b.icmp_signed("<", number(x), number(y)), number(x), number(y))

    def larger(self, x, y):
        return self.b.select(self.b.icmp_signed(">", number(x), number(y)), number(x), number(y))

    def nonzero(self, x):
        return self.b.icmp_signed("!=", x, INT(0))

    def load(self, address, kind=VECTOR):
        return self.b.load(self.b.inttoptr(address, kind.as_pointer()), align=FLOAT_BYTES)

    def store(self, value, address):
        self.b.store(value, self.b.inttoptr(address, value.type.as_pointer()), align=FLOAT_BYTES)

    def broadcast(self, value):
        """Copy one float to every lane."""
        anything = ir.Constant(VECTOR, ir.Undefined)
        lane0 = self.b.insert_element(anything, value, WORD(0))
        return self.b.shuffle_vector(lane0, anything, ir.Constant(ir.VectorType(WORD, LANES), [0] * LANES))

    def registers(self, *shape):
        """Return nested lists of variables that hold a vector each; LLVM keeps them in registers."""
        if not shape:
            return cgutils.alloca_once(self.b, VECTOR)
        return [self.registers(*shape[1:]) for _ in range(shape[0])]

    def accumulate(self, x, y, total):
        """Add x * y to total, as one fused multiply-add where the processor has it."""
        kind = ir.FunctionType(VECTOR, [VECTOR] * 3)
        multiply_add = cgutils.get_or_insert_function(self.b.module, kind, f"llvm.fmuladd.v{LANES}f32")
        self.b.store(self.b.call(multiply_add, [x, y, self.b.load(total)]), total)

    def accumulate_pairs(self, x, y, total):
        """Add x * y to total, for words of two bfloat16: both products are added to the float of the lane."""
        kind = ir.FunctionType(VECTOR, [VECTOR, PAIR_VECTOR, PAIR_VECTOR])
        dot = cgutils.get_or_insert_function(self.b.module, kind, DOT)
        pairs = [self.b.bitcast(value, PAIR_VECTOR) for value in (x, y)]
        self.b.store(self.b.call(dot, [self.b.load(total), *pairs]), total)

    def round_pairs(self, x):
        """Round a vector of floats to as many bfloat16."""
        half = ir.VectorType(ir.IntType(16), LANES)
        if LANES != 16:  # the upper halves of words
            words = self.b.bitcast(self.round_bfloat16(x), ir.VectorType(WORD, LANES))
            return self.b.trunc(self.b.lshr(words, ir.Constant(words.type, [16] * LANES)), half)
        kind = ir.FunctionType(half, [VECTOR])
        narrow = cgutils.get_or_insert_function(self.b.module, kind, "llvm.x86.avx512bf16.cvtneps2bf16.512")
        return self.b.call(narrow, [x])

    def tiles(self, operation, *operands):
        """Emit an operation on AMX's tile registers: numbers 0 to 7, addresses, and bytes from row to row."""
        operands = [ir.IntType(8)(o) if isinstance(o, int) else o for o in operands]
        kind = ir.FunctionType(ir.VoidType(), [o.type for o in operands])
        self.b.call(cgutils.get_or_insert_function(self.b.module, kind, f"llvm.x86.{operation}"), operands)

    def pointer(self, address):
        """Return an address of bytes as LLVM's pointer."""
        return self.b.inttoptr(address, ir.IntType(8).as_pointer())

    def round_bfloat16(self, x):
        """Round a vector of floats to bfloat16, as `minirep.exact.round_bfloat16` does; NaN becomes the usual NaN."""
        words = ir.VectorType(WORD, LANES)

        def all_lanes(value):
            return ir.Constant(words, [value] * LANES)

        bits = self.b.bitcast(x, words)
        odd = self.b.and_(self.b.lshr(bits, all_lanes(16)), all_lanes(1))
        carried = self.b.add(bits, self.b.add(odd, all_lanes(0x7FFF)))
        rounded = self.b.bitcast(self.b.and_(carried, all_lanes(0xFFFF0000)), VECTOR)
        return self.b.select(self.b.fcmp_unordered("uno", x, x), ir.Constant(VECTOR, [math.nan] * LANES), rounded)

    def increase(self, total, x):
        """Add x to total."""
        self.b.store(self.b.fadd(self.b.load(total), x), total)

    def maximum(self, x, y):
        """Return the larger of the two in each lane; NaN if either is."""
        larger = self.b.select(self.b.fcmp_ordered(">", x, y), x, y)  # y, if y is NaN
        return self.b.select(self.b.fcmp_unordered("uno", x, x), x, larger)

    def relu(self, x):
        """Set negative values to zero; NaN stays NaN."""
        return self.b.select(self.b.fcmp_ordered("<", x, ZEROS), ZEROS, x)

    def reduce_lanes(self, operation, x):
        """Reduce the lanes of a vector to a scalar, in pairs."""
        lanes = [self.b.extract_element(x, WORD(i)) for i in range(LANES)]
        while len(lanes) > 1:
            lanes = [operation(a, b) for a, b in zip(lanes[::2], lanes[1::2])]
        return lanes[0]

    def exp(self, x):
        """Compute exp(x) for x <= 0, to within a few units in the last place (ulp); below -87, return exp(-87).

        x = n log 2 + r with n whole and r at most log 2 / 2: exp(x) = 2^n exp(r), and exp(r) is its Taylor polynomial
        of degree 7. Log 2 is subtracted in two parts (Cody and Waite); the first is so short that n times it is exact.
        """

        def all_lanes(value, kind=FLOAT):
            return ir.Constant(ir.VectorType(kind, LANES), [value] * LANES)

        def multiply_add(a, b, c):
            return self.b.fadd(self.b.fmul(a, b), c)

        lowest = all_lanes(-87.0)
        x = self.b.select(self.b.fcmp_ordered("<", x, lowest), lowest, x)
        # A float of this size has no bits for fractions: adding it rounds, and leaves n in the lowest bits.
        large = all_lanes(1.5 * 2**23)
        shifted = multiply_add(x, all_lanes(1 / math.log(2)), large)
        n = self.b.fsub(shifted, large)
        first = 0.693359375
        r = multiply_add(n, all_lanes(first - math.log(2)), multiply_add(n, all_lanes(-first), x))
        power = all_lanes(1 / math.factorial(7))
        for k in range(6, -1, -1):
            power = multiply_add(power, r, all_lanes(1 / math.factorial(k)))
        exponent = self.b.add(self.b.bitcast(shifted, ir.VectorType(WORD, LANES)), all_lanes(127, WORD))
        return self.b.fmul(power, self.b.bitcast(self.b.shl(exponent, all_lanes(23, WORD)), VECTOR))

    @contextmanager
    def loop(self, count):
        """Emit ``for index in range(count)``, and yield the index."""
        with cgutils.for_range(self.b, number(count), intp=INT) as loop:
            yield loop.index


@intrinsic
def read(typingctx, kind, address):
    """Read the fields of a named tuple from an address: ``read(PointwiseStep, address)``."""
    fields = kind.instance_class._fields
    result = types.NamedUniTuple(types.int64, len(fields), kind.instance_class)

    def codegen(context, builder, _, values):
        first = builder.inttoptr(values[1], INT.as_pointer())
        integers = [builder.load(builder.gep(first, [INT(i)])) for i in range(len(fields))]
        return context.make_tuple(builder, result, integers)

    return result(kind, address), codegen


@intrinsic
def put_integer(typingctx, address, value):
    """Write a 64-bit integer to an address."""

    def codegen(context, builder, _, values):
        builder.store(values[1], builder.inttoptr(values[0], INT.as_pointer()))
        return context.get_dummy_value()

    return types.void(address, value), codegen


@intrinsic
def barrier(typingctx, counter, expected):
    """Wait until the counter at an address reaches ``expected``: every thread that arrives adds one to it.

    The threads spin, because a step takes only microseconds, and yield the core to others every 1024 tries.
    """

    def codegen(context, builder, _, values):
        counter = builder.inttoptr(values[0], INT.as_pointer())
        builder.atomic_rmw("add", counter, INT(1), "acq_rel")
        tries = cgutils.alloca_once_value(builder, INT(0))
        wait, done = builder.append_basic_block("wait"), builder.append_basic_block("done")
        builder.branch(wait)
        builder.position_at_end(wait)
        tried = builder.add(builder.load(tries), INT(1))
        builder.store(tried, tries)
        if sys.platform != "win32":
            with builder.if_then(builder.icmp_signed("==", builder.and_(tried, INT(1023)), INT(0))):
                kind = ir.FunctionType(WORD, [])
                builder.call(cgutils.get_or_insert_function(builder.module, kind, "sched_yield"), [])
        arrived = builder.load_atomic(counter, "acquire", 8)
        builder.cbranch(builder.icmp_signed(">=", arrived, values[1]), done, wait)
        builder.position_at_end(done)
        return context.get_dummy_value()

    return types.void(counter, expected), codegen
