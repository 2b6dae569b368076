"""The networks straight from their definition: one loop over every index, on exact numbers, and nothing clever.

Slow on purpose, and independent of `minirep.ops`: it shares no array operation with it. The properties hold the real
forward pass, fused or not and on every backend, against this. Activations are (T, F, C) object arrays of one example.
"""

from fractions import Fraction
from math import isqrt

import numpy as np


def exact(array) -> np.ndarray:
    """Floating-point numbers are fractions; as such."""
    return np.array([Fraction(float(v)) for v in np.ravel(array)], object).reshape(np.shape(array))


def root(value: Fraction) -> Fraction:
    """The square root of a rational square."""
    found = Fraction(isqrt(value.numerator), isqrt(value.denominator))
    assert found * found == value
    return found


def conv(x, taps, stride=(1, 1)):
    """taps: {(i, j, c_in, c_out): weight} with i and j counted from the centre; zeros beyond the edges."""
    t, f, _ = x.shape
    shape = -(-t // stride[0]), -(-f // stride[1]), 1 + max(c for *_, c in taps)
    y = np.full(shape, Fraction(0), object)
    for a in range(shape[0]):
        for b in range(shape[1]):
            for (i, j, c_in, c_out), weight in taps.items():
                at, af = a * stride[0] + i, b * stride[1] + j
                if 0 <= at < t and 0 <= af < f:
                    y[a, b, c_out] += weight * x[at, af, c_in]
    return y


def normalize(y, node):
    """The bias and the batch norm of a convolution, as far as it has them."""
    y = y.copy()
    for c in range(y.shape[2]):
        if node.bias is not None:
            y[:, :, c] += node.bias[c]
        if node.bn is not None:
            bn = node.bn
            y[:, :, c] = (y[:, :, c] - bn.mean[c]) / root(bn.variance[c] + bn.eps) * bn.scale[c] + bn.shift[c]
    return y


def relu(y):
    return np.array([max(v, Fraction(0)) for v in y.ravel()], object).reshape(y.shape)


def pointwise(x, node, stride=(1, 1)):
    taps = {(0, 0, i, o): w for (i, o), w in np.ndenumerate(node.weight)}
    y = normalize(conv(x, taps, stride), node)
    return relu(y) if node.relu else y


def depthwise(x, layer):
    total = x if layer.identity else x * 0
    for node in layer.branches:
        half = len(node.weight) // 2
        along_time = layer.axis == "time"
        taps = {
            (k - half if along_time else 0, 0 if along_time else k - half, c, c): w
            for (k, c), w in np.ndenumerate(node.weight)
        }
        total = total + normalize(conv(x, taps), node)
    return relu(total)


def block(x, node):
    h = pointwise(x, node.entry, node.stride)
    total = 0
    for path in node.paths:
        y = h
        for layer in path:
            y = depthwise(y, layer)
        total = total + y
    for convolution in node.expand_project:
        total = pointwise(total, convolution)
    return relu(total + (x if node.shortcut is None else pointwise(x, node.shortcut, node.stride)))


def stem(x, node):
    """(T, F) -> (T', F', w): 5 x 7 convolution at stride 2, ReLU, then the largest of 3 x 3 at stride 2."""
    kt, kf = node.weight.shape[:2]
    taps = {(i - kt // 2, j - kf // 2, c, o): w for (i, j, c, o), w in np.ndenumerate(node.weight)}
    y = relu(normalize(conv(x[:, :, None], taps, (2, 2)), node))
    t, f, channels = y.shape
    pooled = np.empty((-(-t // 2), -(-f // 2), channels), object)
    for a, b, c in np.ndindex(pooled.shape):
        pooled[a, b, c] = y[max(0, 2 * a - 1) : 2 * a + 2, max(0, 2 * b - 1) : 2 * b + 2, c].max()
    return pooled


def logits(x, pool, linear):
    """(T, F, C) -> (T', F', classes): the mean over each whole window (or over all there is), then the linear layer."""
    wt, wf = min(pool[0], x.shape[0]), min(pool[1], x.shape[1])
    classes = len(linear.bias)
    out = np.empty((x.shape[0] - wt + 1, x.shape[1] - wf + 1, classes), object)
    for a, b in np.ndindex(out.shape[:2]):
        window = x[a : a + wt, b : b + wf].reshape(wt * wf, -1)
        mean = [sum(column, Fraction(0)) / (wt * wf) for column in window.T]
        for k in range(classes):
            out[a, b, k] = sum((m * linear.weight[c, k] for c, m in enumerate(mean)), linear.bias[k])
    return out


def network(tree, log_mels):
    """Logits {head: (T', F', classes)} of one example (frames, mels)."""
    x = stem(log_mels, tree.stem)
    for node in (node for blocks in tree.stages for node in blocks):
        x = block(x, node)
    return {name: logits(x, tree.pool, linear) for name, linear in tree.heads.items()}
