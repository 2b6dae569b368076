"""The compiled backend: the operations of `minirep.ops` compiled with Numba, and a whole network as one call.

Read the modules in this order. First, those that work when a network is loaded:
    target      the processor's vectors, registers and caches, and the block sizes chosen for them
    memory      the layout of activations and weights in memory
    steps       the kinds of steps and the words of each, with one step worked through
    plan        the forward pass recorded as a list of steps
    threads     the number of threads, and a team of them
    compiled    a whole network as one call

Then those that are compiled, once on each computer:
    emit        helpers that write LLVM instructions from Python
    rows        addresses of the rows of an array
    tiles       rounding to bfloat16, and the matrix product of such numbers with AMX
    matmul      the matrix product: 1 x 1 convolutions, expand and project
    depthwise   the depthwise convolution along one axis
    stem        the first convolution and its max pooling
    head        average pooling and softmax
    program     the function that runs the steps of a plan
    build       compilation to machine code, which is cached on disk

Importing this package compiles nothing. The first forward pass does, and later processes load the cached code.
"""

import os

from . import build
from .compiled import CompiledNetwork, supports


def available(network) -> bool:
    """Return whether a network can run here: kernels cover it, and Numba's compiler is not disabled.

    Raises ImportError if Numba is missing or broken and no compiled program is cached.
    """
    if not supports(network) or os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return False
    if not build.kept():
        with build.compiling():
            import numba  # noqa: F401
    return True


__all__ = ["CompiledNetwork", "available", "supports"]
