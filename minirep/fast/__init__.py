"""The forward pass compiled with Numba: the same function as with `minirep.ops`, many times as fast.

    target      the processor's vectors and registers
    emit        words for writing machine-level code from Python
    memory      how activations and weights lie in memory
    matmul      the matrix product: 1 x 1 convolutions, expand and project
    depthwise   convolution along one axis
    stem        the first convolution with its pooling
    plan        the walk over the tree, recorded as a list of steps and replayed
    threads     how many, and a team of them
    compiled    a whole network as one call

Nothing is compiled when this is imported; the first forward pass does it, and the disk keeps the result.
"""

import numba

from .compiled import CompiledNetwork, supports


def available(network) -> bool:
    """Whether a network can run here: its kernels exist, and Numba's compiler is not off (NUMBA_DISABLE_JIT=1)."""
    return supports(network) and not numba.config.DISABLE_JIT


__all__ = ["CompiledNetwork", "available", "supports"]
