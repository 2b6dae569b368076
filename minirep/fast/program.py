"""The compiled program: runs the steps that `plan` has recorded. `build` turns it into machine code."""

from .depthwise import depthwise
from .emit import kernel, meet, words
from .head import average_pool, softmax
from .matmul import Bench, Layer, expand_project, pointwise
from .plan import DEPTHWISE, MIX, POINTWISE, POOL, STEM
from .stem import stem

ARGUMENTS = 9  # all of them 64-bit integers


@kernel
def _layer(w):
    return Layer(w[0], w[1], w[2], w[3], w[4])


def run(thread, threads, steps, step_bytes, count, tables, table_bytes, scratch, counter):
    """One thread's part of ``count`` steps. All arguments are integers, most of them addresses."""
    bench = Bench(tables, tables + table_bytes, tables + 2 * table_bytes, tables + 3 * table_bytes, scratch)
    i = 0
    while i < count:
        w = words(steps + i * step_bytes)
        kind, x = w[0], w[1]
        if kind == STEM:
            stem(thread, threads, bench, x, w[2:5], w[5:7], _layer(w[7:12]), w[12])
        elif kind == POINTWISE:
            pointwise(thread, threads, bench, x, w[2:5], w[5:7], w[7], _layer(w[8:13]), w[13], w[14])
        elif kind == DEPTHWISE:
            depthwise(thread, threads, x, w[2:6], w[6:8], w[8], w[9], w[10], w[11])
        elif kind == MIX:
            expand_project(thread, threads, bench, x, w[2], w[3], _layer(w[4:9]), _layer(w[9:14]), w[14], w[15])
        elif kind == POOL:
            if thread == 0:
                average_pool(x, w[2], w[3], w[4], w[5], w[6], w[7], w[8])
        elif thread == 0:
            softmax(x, w[2], w[3], w[4], w[5])
        i += 1
        if threads > 1:
            meet(counter, i * threads)
