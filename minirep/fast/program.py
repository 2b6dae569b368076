"""The compiled program: runs the steps that `plan` has recorded. `build` compiles it to machine code."""

from . import steps
from .depthwise import depthwise_kernel
from .emit import INT_BYTES, barrier, read
from .head import average_pool_kernel, softmax_kernel
from .matmul import Scratch, expand_project_kernel, pointwise_kernel
from .stem import stem_kernel


def run(thread, threads, first_step, step_bytes, count, tables, table_bytes, memory, counter):
    """Run one thread's share of ``count`` steps. All arguments are integers, most of them addresses."""
    x, out, hidden = tables, tables + table_bytes, tables + 2 * table_bytes
    scratch = Scratch(x, out, hidden, tables + 3 * table_bytes, tables + 4 * table_bytes, memory)
    for i in range(count):
        step = first_step + i * step_bytes
        kind, fields = read(steps.Kind, step).number, step + INT_BYTES
        if kind == steps.STEM:
            stem_kernel(thread, threads, scratch, read(steps.StemStep, fields))
        elif kind == steps.POINTWISE:
            pointwise_kernel(thread, threads, scratch, read(steps.PointwiseStep, fields))
        elif kind == steps.DEPTHWISE:
            depthwise_kernel(thread, threads, read(steps.DepthwiseStep, fields))
        elif kind == steps.EXPAND_PROJECT:
            expand_project_kernel(thread, threads, scratch, read(steps.ExpandProjectStep, fields))
        elif thread == 0:  # the head is too small to share
            if kind == steps.POOL:
                average_pool_kernel(read(steps.PoolStep, fields))
            else:
                softmax_kernel(read(steps.SoftmaxStep, fields))
        if threads > 1:
            barrier(counter, (i + 1) * threads)
