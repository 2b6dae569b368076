"""The operations of the forward pass, in plain NumPy: the reference, written to be read.

Activations are (N, T, F, C): examples, time, frequency, channels. Because channels are last, every 1 x 1 convolution is
one matrix product.
The functions up to `softmax` take arrays. The others also take nodes of the tree (`minirep.network`). The forward pass
calls `stem`, `pointwise`, `depthwise`, `expand_project` and `head`, and any backend has these five. Arrays may have any
dtype. With object arrays of `fractions.Fraction`, the proofs of `minirep.reparam` are exact.
"""

from __future__ import annotations

import math
from fractions import Fraction
from functools import reduce
from typing import TYPE_CHECKING

import numpy as np
from numpy.lib.stride_tricks import sliding_window_view

from .exact import round_bfloat16, sqrt

if TYPE_CHECKING:
    from .network import Array, BatchNorm, Conv, Depthwise, Linear

BAND = 32  # outputs of a depthwise convolution that one band matrix computes
TILE_NUMBERS = 1 << 16  # numbers in one tile: 256 KiB in float32, which stay in the cache


def relu(x: Array | float) -> Array:
    """Replace negative values by zero."""
    return np.maximum(x, 0)


def conv2d(x: Array, weight: Array, stride: tuple[int, int], padding: tuple[int, int]) -> Array:
    """Convolve over both axes: every output depends on a patch of every input channel.

    x (N, T, F, Cin), weight (kt, kf, Cin, Cout), ``padding`` zeros at both ends of each axis
    -> (N, T', F', Cout) with T' = (T + 2 padding - kt) // stride + 1, and F' likewise.
    """
    kt, kf, _, c_out = weight.shape
    x = np.pad(x, ((0, 0), (padding[0],) * 2, (padding[1],) * 2, (0, 0)))
    patches = sliding_window_view(x, (kt, kf), axis=(1, 2))  # (N, T+, F+, Cin, kt, kf), no copy
    patches = patches[:, :: stride[0], :: stride[1]]  # (N, T', F', Cin, kt, kf)
    n, t, f = patches.shape[:3]
    columns = patches.reshape(n * t * f, -1)  # one patch a row
    kernel = weight.transpose(2, 0, 1, 3).reshape(-1, c_out)  # in the patches' order: Cin, kt, kf
    return (columns @ kernel).reshape(n, t, f, c_out)


def max_pool(x: Array) -> Array:
    """Take the maximum of 3 x 3 windows at stride 2: (N, T, F, C) -> (N, ceil(T / 2), ceil(F / 2), C)."""
    t, f = x.shape[1:3]
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)  # padding is never the maximum
    return reduce(np.maximum, [x[:, i : i + t : 2, j : j + f : 2] for i in range(3) for j in range(3)])


def matmul(x: Array, weight: Array) -> Array:
    """Compute a 1 x 1 convolution, (N, T, F, Cin) by (Cin, Cout) -> (N, T, F, Cout), as one matrix product."""
    return (x.reshape(-1, x.shape[-1]) @ weight).reshape(*x.shape[:-1], weight.shape[-1])


def depthwise_conv(x: Array, weight: Array, axis: int) -> Array:
    """Filter every channel along one axis with its own kernel: a depthwise convolution.

    x (N, T, F, C), weight (k, C) with k odd, axis 1 (time) or 2 (frequency) -> (N, T, F, C). Zeros pad both ends.

    Along the axis it is a product with a band matrix. Each row contains the kernel, one column further right:

        | w1 w2  0  0 |      k = 3, an axis of 4. At the ends, the taps that would meet the padding are cut off.
        | w0 w1 w2  0 |
        |  0 w0 w1 w2 |      This takes more multiplications than the kernel has taps, but a matrix product does
        |  0  0 w0 w1 |      many at once, while a sum over the taps would read all of x for each tap.
    """
    x = np.ascontiguousarray(x.transpose(0, 3, 1, 2))  # (N, C, T, F): one matrix a channel
    if axis == 2:
        x = x.swapaxes(2, 3)  # now the filtered axis is the third in both cases
    y, length, half = np.empty_like(x), x.shape[2], len(weight) // 2
    band = band_matrices(weight, min(BAND, length))  # shared by all pieces of a long axis
    for start in range(0, length, BAND):
        stop = min(start + BAND, length)
        first, last = max(0, start - half), min(length, stop + half)  # the receptive field of these outputs
        reached = band[:, : stop - start, first - start + half : last - start + half]
        y[:, :, start:stop] = reached @ x[:, :, first:last]
    return np.ascontiguousarray(y.transpose((0, 2, 3, 1) if axis == 1 else (0, 3, 2, 1)))


def band_matrices(weight: Array, rows: int) -> Array:
    """Build band matrices, (k, C) -> (C, rows, rows + k - 1): row i has the kernel in columns i to i + k - 1."""
    k, channels = weight.shape
    padded = np.zeros((channels, rows + k - 1 + rows - 1), weight.dtype)
    padded[:, rows - 1 : rows - 1 + k] = weight.T
    return np.ascontiguousarray(sliding_window_view(padded, rows + k - 1, axis=1)[:, ::-1])


def batch_norm(x: Array, bn: BatchNorm) -> Array:
    """Normalise (..., C) with fixed statistics, then scale and shift (Ioffe and Szegedy, 2015, section 3.1)."""
    return (x - bn.mean) * (bn.scale / sqrt(bn.variance + bn.eps)) + bn.shift


def average_pool(x: Array, window: tuple[int, int]) -> Array:
    """Average over a window at stride 1: (N, T, F, C) -> (N, T - wt + 1, F - wf + 1, C)."""
    total = sliding_window_view(x, window, axis=(1, 2)).sum(axis=(-2, -1))
    # The mean of exact numbers stays exact: Fraction(0) may have become the int 0, and 0 / 4 would be a float.
    return total / (Fraction(math.prod(window)) if x.dtype == object else math.prod(window))


def softmax(x: Array) -> Array:
    """Divide exp(x) by its sum along the last axis; the maximum is subtracted first so that nothing overflows."""
    e = np.exp(x - x.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


def epilogue(y: Array, conv: Conv, residual: Array | None = None) -> Array:
    """Apply what may follow the sums of a convolution: bias, batch norm, residual, ReLU. ``y`` may be changed."""
    if conv.bias is not None:
        y += conv.bias
    if conv.bn is not None:
        y = batch_norm(y, conv.bn)
    if residual is not None:
        y += residual
    return np.maximum(y, 0, out=y) if conv.relu else y


def stem(x: Array, conv: Conv) -> Array:
    """Apply the stem, (N, T, 128, 1) -> (N, T/4, 32, w): a 5 x 7 convolution at stride 2, then max pooling."""
    kt, kf = conv.weight.shape[:2]
    return max_pool(epilogue(conv2d(x, conv.weight, (2, 2), (kt // 2, kf // 2)), conv))


def products(x: Array, conv: Conv) -> Array:
    """Compute the sums of a 1 x 1 convolution. In bfloat16, the factors are rounded; products and sums are float32."""
    return matmul(round_bfloat16(x) if conv.bfloat16 else x, conv.weight)


def pointwise(x: Array, conv: Conv, stride: tuple[int, int] = (1, 1)) -> Array:
    """Apply a 1 x 1 convolution with a stride: (N, T, F, Cin) -> (N, ceil(T / stride), ceil(F / stride), Cout)."""
    return epilogue(products(x[:, :: stride[0], :: stride[1]], conv), conv)


def depthwise(x: Array, layer: Depthwise) -> Array:
    """Sum depthwise branches along one axis, and the identity if there is one, and apply ReLU: (N, T, F, C) -> same."""
    axis = {"time": 1, "frequency": 2}[layer.axis]
    y = x if layer.identity else 0
    for branch in layer.branches:
        y = y + epilogue(depthwise_conv(x, branch.weight, axis), branch)
    return relu(y)


def expand_project(x: Array, convs: tuple[Conv, ...], residual: Array) -> Array:
    """Apply a block's last 1 x 1 convolutions (expand and project, or their product) to x: ReLU(x' + residual)."""
    x, rest = x.reshape(-1, x.shape[-1]), residual.reshape(-1, residual.shape[-1])
    y = np.empty_like(rest)
    # A group of positions at a time: the tensor between the two, the network's widest, never exists as a whole.
    step = max(1, 4 * TILE_NUMBERS // max(conv.weight.shape[-1] for conv in convs))  # positions
    for start in range(0, len(x), step):
        stop = min(start + step, len(x))
        h = x[start:stop]
        for conv in convs[:-1]:
            h = epilogue(products(h, conv), conv)
        h = epilogue(products(h, convs[-1]), convs[-1], rest[start:stop])
        y[start:stop] = relu(h)
    return y.reshape(residual.shape)


def pool_window(pool: tuple[int, int], x: Array) -> tuple[int, int]:
    """Return the head's pooling window over (T, F), at most as large as the input (N, T, F, C)."""
    return min(pool[0], x.shape[1]), min(pool[1], x.shape[2])


def logits(x: Array, pool: tuple[int, int], linear: Linear) -> Array:
    """Compute the logits of a head, (N, T, F, C) -> (N, T', F', classes), at every pooling position."""
    window = pool_window(pool, x)
    return matmul(average_pool(x, window), linear.weight) + linear.bias


def head(x: Array, pool: tuple[int, int], linear: Linear) -> Array:
    """Compute class probabilities (N, classes): softmax at every pooling position, then the mean over positions."""
    return softmax(logits(x, pool, linear)).mean(axis=(1, 2))
