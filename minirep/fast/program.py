"""The compiled program: runs the steps that `plan` has recorded. `build` turns it into machine code."""

from .depthwise import depthwise
from .emit import kernel, meet, word
from .head import average_pool, softmax
from .matmul import Bench, Layer, expand_project, pointwise
from .plan import DEPTHWISE, MIX, POINTWISE, POOL, STEM
from .rows import ZERO
from .stem import stem

ARGUMENTS = 9  # all of them 64-bit integers


@kernel
def _layer(w, i):
    return Layer(word(w, i), word(w, i + 1), word(w, i + 2), word(w, i + 3), word(w, i + 4))


def run(thread, threads, steps, step_bytes, count, tables, table_bytes, scratch, counter):
    """One thread's part of ``count`` steps. All arguments are integers, most of them addresses."""
    bench = Bench(tables, tables + table_bytes, tables + 2 * table_bytes, tables + 3 * table_bytes, scratch)
    i = 0
    while i < count:
        w = steps + i * step_bytes  # its words
        kind, x = word(w, 0), word(w, 1)
        if kind == STEM:
            shape, patch = (word(w, 2), word(w, 3), word(w, 4)), (word(w, 5), word(w, 6))
            stem(thread, threads, bench, x, shape, patch, _layer(w, ZERO + 7), word(w, 12))
        elif kind == POINTWISE:
            shape, stride = (word(w, 2), word(w, 3), word(w, 4)), (word(w, 5), word(w, 6))
            layer = _layer(w, ZERO + 8)
            pointwise(thread, threads, bench, x, shape, stride, word(w, 7), layer, word(w, 13), word(w, 14))
        elif kind == DEPTHWISE:
            shape = (word(w, 2), word(w, 3), word(w, 4), word(w, 5))
            branches, bias, identity = (word(w, 6), word(w, 7)), word(w, 8), word(w, 9)
            depthwise(thread, threads, x, shape, branches, bias, identity, word(w, 10), word(w, 11))
        elif kind == MIX:
            expand, project = _layer(w, ZERO + 4), _layer(w, ZERO + 9)
            expand_project(thread, threads, bench, x, word(w, 2), word(w, 3), expand, project, word(w, 14), word(w, 15))
        elif kind == POOL:
            if thread == 0:
                average_pool(x, word(w, 2), word(w, 3), word(w, 4), word(w, 5), word(w, 6), word(w, 7), word(w, 8))
        elif thread == 0:
            softmax(x, word(w, 2), word(w, 3), word(w, 4), word(w, 5))
        i += 1
        if threads > 1:
            meet(counter, i * threads)
