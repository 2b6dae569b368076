"""The forward pass compiled with Numba: the same function as with `minirep.ops`, many times as fast.

When a network is loaded:
    target      the processor's vectors and registers
    memory      how activations and weights lie in memory
    plan        the walk over the tree, recorded as a list of steps for `program` to replay
    threads     how many, and a team of them
    compiled    a whole network as one call

When the program is compiled, once on a computer:
    emit        words for writing machine-level code from Python
    rows        rows of an array by their addresses
    matmul      the matrix product: 1 x 1 convolutions, expand and project
    depthwise   convolution along one axis
    stem        the first convolution with its pooling
    program     runs a plan's steps
    build       machine code from it, kept on disk

Nothing is compiled when this is imported; the first forward pass does it, and later processes load what it has left.
"""

import os

from . import build
from .compiled import CompiledNetwork, supports


def available(network) -> bool:
    """Whether a network can run here: there are kernels for it, and Numba's compiler is not off (NUMBA_DISABLE_JIT=1).

    An ImportError tells that Numba is missing or broken while nothing compiled has been kept.
    """
    if not supports(network) or os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0"):
        return False
    if not build.kept():
        import numba  # noqa: F401
    return True


__all__ = ["CompiledNetwork", "available", "supports"]
