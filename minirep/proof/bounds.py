"""Bound the rounding error of a network, from its weights.

Between two ReLUs a network is a sum of products: y = sum of t over terms t such as s * w * x, -s * mean, shift. However
a computer evaluates that sum, batch norm folded or not, branches one by one or merged, in any order, with or without
fused multiply-add, each term passes through at most k roundings, and each rounding changes it by a factor of at most
1 +- u. So (Higham, "Accuracy and Stability of Numerical Algorithms", 2nd ed., sections 2.2 and 3.1)

    |computed - exact| <= gamma(k) * sum of |t|,    gamma(k) = k u / (1 - k u),

with the unit roundoff u, 2^-24 in float32 and 2^-53 in float64. The sum of |t| is the same layer run on absolute
values. The error of x itself passes through the absolute weights, too, and a ReLU or a maximum never enlarges an error.
These three rules give a bound for *every* way to evaluate the network; two ways differ by at most twice that. No
tolerance is picked by hand: `ROUNDINGS` below counts the operations on one term.

In bfloat16 (`minirep.precision`) the weight and the input of a 1 x 1 convolution are rounded once more, each by a
factor of at most 1 +- 2^-8. The bound then applies to the distance from the network before this rounding.
Arm's BFDOT rounds to odd, by a factor of up to 1 +- 2u. But it adds two products at a time: a term of a sum of K passes
through at most K / 2 + 3 such roundings, so that the k = K + 11 roundings by u that are counted here cover them.

A result that underflows has an absolute error rather than a relative one. It is added too, also for processors that
flush small numbers to zero. If a sum might overflow, or a variance with its eps might be flushed, the bound is
infinite, and nothing is proved.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from math import prod
from typing import Any

import numpy as np

from .. import ops, reparam
from ..exact import round_bfloat16
from ..network import Block, Conv, Depthwise, Linear, Network
from ..tree import map_arrays, map_tree

# Roundings of one product beside the additions of its sum: s = scale / sqrt(variance + eps) takes at most 4 (eps itself
# is rounded to the precision; the two under the root count half each), s * w one, times x one; 2 to spare, for a
# processor that computes 1 / sqrt first or rounds s from a higher precision.
ROUNDINGS = 8
PER_CONSTANTS = 3  # bias, -mean and shift are terms of the sum as well
BFLOAT16 = 2.0**-8  # its unit roundoff: half of the distance from 1 to the next number, as it has 8 significant bits
SLACK = 1 + 1e-9  # the bound itself is computed in float64, from numbers that are never subtracted: off by far less


@dataclass(frozen=True)
class Known:
    """Activations with bounds on their errors, all (N, T, F, C) in float64."""

    value: np.ndarray  # computed in float64
    value_error: np.ndarray  # the distance from ``value`` to the exact activations is at most this
    error: np.ndarray  # and from these to the result of any evaluation in ``dtype`` at most this
    dtype: np.dtype


@dataclass(frozen=True)
class Summand:
    """One summand of a layer: a convolution, a chain of them, or the identity."""

    value: np.ndarray  # (N, T, F, C) as computed in float64
    sizes: np.ndarray  # (3N, T, F, C): the sum of |t|; then ``value_error`` and ``error`` of the input, carried through
    roundings: int  # of one term
    reach: float  # no intermediate number is larger
    steepness: float = 0.0  # of its batch norms, see `gamma`
    coarse: int = 0  # roundings of one term to bfloat16


def start(x, dtype) -> Known:
    """Return an input (N, T, F, C) that is known exactly, for a network that computes in ``dtype``."""
    x = np.asarray(x, np.float64)
    return Known(x, np.zeros_like(x), np.zeros_like(x), np.dtype(dtype))


def gamma(roundings: int, dtype, steepness: float = 0.0, coarse: int = 0) -> float:
    """Return the largest relative error of so many roundings, and ``coarse`` ones to bfloat16 (Higham, lemma 3.1).

    ``steepness`` is 1 / (variance + eps), the effect of a variance or an eps that underflows.
    """
    info = np.finfo(dtype)
    error = roundings * float(info.eps) / 2 + 4 * float(info.tiny) * steepness + coarse * BFLOAT16
    return error / (1 - error) if error < 1 else np.inf


@np.errstate(all="ignore")  # what overflows here has a bound of infinity
def _summand(known: Known, convs, convolve) -> Summand:
    """Bound a chain of convolutions with no ReLU between them; ``convolve(x, weight)`` is their linear operation."""
    n = len(known.value)
    value = known.value
    largest = np.abs(value) + known.value_error
    sizes = np.concatenate([largest, known.value_error, known.error])
    reach, roundings, steepness, coarse = 1 + np.max(largest + known.error), 0, 0.0, 0
    for conv in convs:
        if conv.bfloat16:  # the input, and the weight unless it is rounded already
            coarse += 1 if np.array_equal(conv.weight, round_bfloat16(conv.weight.astype(np.float32))) else 2
        conv = replace(map_arrays(conv, lambda a: a.astype(np.float64)), relu=False, bfloat16=False)
        value = ops.epilogue(convolve(value, conv.weight), conv)
        weight, constant, _ = absolute(conv)
        sizes = convolve(sizes, weight)
        sizes[:n] += constant
        terms = weight[..., 0].size + PER_CONSTANTS
        roundings += terms + ROUNDINGS
        growth, steep, variance = _extremes(conv)
        reach, steepness = max(reach * (terms * growth + constant.max()), variance), steepness + steep
    return Summand(value, sizes, roundings, reach, steepness, coarse)


def absolute(conv: Conv):
    """Return the sizes of a convolution's terms: |w s|, then (|bias| + |mean|) |s| + |shift|, and |s| itself."""
    bias = 0 if conv.bias is None else np.abs(conv.bias)
    if conv.bn is None:
        scale = np.ones(conv.weight.shape[-1])
        return np.abs(conv.weight), bias * scale, scale
    scale = np.abs(conv.bn.scale) / np.sqrt(conv.bn.variance + conv.bn.eps)
    return np.abs(conv.weight) * scale, (bias + np.abs(conv.bn.mean)) * scale + np.abs(conv.bn.shift), scale


def _extremes(conv):
    """Return a convolution's largest growth of a number, its batch norm's steepness, its largest variance + eps."""
    raw = max(np.abs(a).max() for a in (conv.weight, conv.bias, conv.bn and conv.bn.mean) if a is not None)
    growth = (1 + raw) * (1 + absolute(conv)[2].max())
    if conv.bn is None:
        return growth, 0.0, 0.0
    variance = conv.bn.variance + np.float64(conv.bn.eps)
    return growth, 1 / variance.min(), variance.max()


def identity(known: Known) -> Summand:
    """Return activations as a summand of a layer."""
    largest = np.abs(known.value) + known.value_error
    sizes = np.concatenate([largest, known.value_error, known.error])
    return Summand(known.value, sizes, 1, 1 + np.max(largest + known.error))


@np.errstate(all="ignore")
def add(parts: list[Summand], dtype, relu: bool) -> Known:
    """Bound the sum of the parts of a layer, after its ReLU if it has one."""
    value = np.asarray(sum(part.value for part in parts))
    terms, own, error = np.split(sum(part.sizes for part in parts), 3)
    roundings, reach = sum(part.roundings for part in parts), sum(part.reach for part in parts)
    steepness, coarse = sum(part.steepness for part in parts), max(part.coarse for part in parts)

    def bound(carried, dtype, coarse):
        info = np.finfo(dtype)
        if not reach * SLACK < info.max:  # by far more than the numbers that bfloat16 rounds
            return np.full_like(carried, np.inf)  # something may overflow
        rounding = gamma(roundings, dtype, steepness, coarse) * (terms + carried) + carried
        return (rounding + (4 + 4 * coarse) * reach * float(info.tiny)) * SLACK

    own, error = bound(own, np.float64, 0), bound(error, dtype, coarse)
    if relu and np.isfinite(own).all():
        # A neuron that is off despite any rounding has no error; one that may just be on has at most its own value.
        own, error = (np.minimum(e, np.maximum(value + own + e, 0)) for e in (own, error))
    value = ops.relu(value) if relu else value
    return Known(value, own, error, dtype)


def through_stem(known: Known, conv: Conv) -> Known:
    """Bound the stem: after the pooling, the largest error of a neighbourhood bounds that of its maximum."""
    kt, kf = conv.weight.shape[:2]
    part = _summand(known, [conv], lambda x, w: ops.conv2d(x, w, (2, 2), (kt // 2, kf // 2)))
    return map_arrays(add([part], known.dtype, conv.relu), ops.max_pool)


def through_pointwise(known: Known, conv: Conv, stride=(1, 1)) -> Summand:
    """Bound a 1 x 1 convolution at every stride-th position."""
    return _summand(known, [conv], lambda x, w: ops.matmul(x[:, :: stride[0], :: stride[1]], w))


def through_depthwise(known: Known, layer: Depthwise) -> Known:
    """Bound depthwise branches, the identity beside them, and the ReLU of their sum."""
    axis = {"time": 1, "frequency": 2}[layer.axis]
    parts = [
        _activated(known, branch, _summand(known, [branch], lambda x, w: ops.depthwise_conv(x, w, axis)))
        for branch in layer.branches
    ]
    return add(parts + [identity(known)] * layer.identity, known.dtype, relu=True)


def _activated(known: Known, conv: Conv, part: Summand) -> Summand:
    """Return the summand, after its convolution's own ReLU if it has one."""
    return identity(add([part], known.dtype, relu=True)) if conv.relu else part


def through_expand_project(known: Known, convs: tuple[Conv, ...], residual: Summand) -> Known:
    """Bound a block's last 1 x 1 convolutions. Those without a ReLU between them count as one sum, as if collapsed."""
    chain = []
    for i, conv in enumerate(convs):
        chain.append(conv)
        if conv.relu and i < len(convs) - 1:
            known, chain = add([_summand(known, chain, ops.matmul)], known.dtype, relu=True), []
    return add([_summand(known, chain, ops.matmul), residual], known.dtype, relu=True)


def through_block(known: Known, node: Block) -> Known:
    """Bound one residual block; the bound holds for every form that merging gives it."""
    entered = add([through_pointwise(known, node.entry, node.stride)], known.dtype, node.entry.relu)
    ends = []
    for path in node.paths:
        y = entered
        for layer in path:
            y = through_depthwise(y, layer)
        ends.append(y)
    total = ends[0] if len(ends) == 1 else add([identity(y) for y in ends], known.dtype, relu=False)
    residual = identity(known)
    if node.shortcut is not None:
        residual = _activated(known, node.shortcut, through_pointwise(known, node.shortcut, node.stride))
    return through_expand_project(total, node.expand_project, residual)


def through_head(known: Known, pool: tuple[int, int], linear: Linear) -> Known:
    """Bound the head before its softmax: pooling and linear layer are one sum of products."""
    window = ops.pool_window(pool, known.value)
    conv = Conv(linear.weight, linear.bias)
    part = _summand(known, [conv], lambda x, w: ops.matmul(ops.average_pool(x, window), w))
    part = replace(part, roundings=part.roundings + window[0] * window[1], reach=part.reach * window[0] * window[1])
    return add([part], known.dtype, relu=False)


def probabilities(known: Known) -> np.ndarray:
    """Bound the error of all probabilities of each example, (N, 1), from logits (N, T', F', classes).

    Softmax moves no probability by more than half the largest change of a logit (its Jacobian's rows sum to at most
    2 p (1 - p) <= 1/2). It rounds the difference from the largest logit, an exponential (correct to 16 units in the
    last place, which is ample for any library), the sum, the division, and the mean over positions.
    """
    n, t, f, classes = known.value.shape
    if not np.isfinite(known.error).all():
        return np.ones((n, 1))
    spread = known.value.max(-1) - known.value.min(-1) + 2 * (known.value_error + known.error).max(-1)  # (N, T', F')
    with np.errstate(over="ignore"):
        roundings = (1 + gamma(classes + t * f + 70, known.dtype)) * np.exp(gamma(2, known.dtype) * spread) - 1
    per_position = known.error.max(-1) / 2 + roundings
    tiny = 2 * (classes + t * f + 2) * float(np.finfo(known.dtype).tiny)  # exponentials, shares, sums underflow
    return np.minimum(per_position.mean(axis=(1, 2)) * SLACK + tiny, 1.0)[:, None]


def merged_branches(layer: Depthwise, dtype) -> tuple[np.ndarray, np.ndarray]:
    """Bound the error of a merged kernel (k, C) and its bias (C,), for any way to merge the branches in ``dtype``."""
    merged = reparam.merge_branches(absolute_twin(layer)).branches[0]
    conv = _weights(merged, layer.branches, dtype, len(layer.branches))
    assert conv.bias is not None  # merging gives one
    return conv.weight, conv.bias


def merged_weights(network: Network, dtype) -> Network:
    """Return the tree that `reparam.fuse` makes, with a bound on the error of every weight instead of the weight.

    The bound holds for any way to merge in ``dtype``; `reparam.fuse` rounds once and stays far below it.
    """
    stored: dict[str, Any] = {}  # every node of the network by its path
    map_tree(network, lambda name, node: stored.setdefault(name, node))

    def bound(name: str, node: Any) -> Any:
        above, _, number = name.rpartition(".")
        if isinstance(node, Linear):  # a head is not merged with anything
            return map_arrays(node, np.zeros_like)
        if not isinstance(node, Conv):
            return node
        if above.endswith(".branches"):
            layer = stored[above.removesuffix(".branches")]
            return _weights(node, layer.branches, dtype, len(layer.branches) + layer.identity)
        if above.endswith(".expand_project"):
            chain = _collapsed(stored[above])[int(number)]
            return _weights(node, chain, dtype, 1 + sum(c.weight.shape[1] for c in chain[:-1]), len(chain))
        return _weights(node, [stored[name]], dtype)

    return map_tree(reparam.fuse(absolute_twin(network)), bound)


def _collapsed(convs: tuple[Conv, ...]) -> list[list[Conv]]:
    """Return the chains of convolutions that `reparam.collapse_linear` collapses into one convolution each."""
    chains: list[list[Conv]] = [[]]
    for conv in convs:
        if chains[-1] and chains[-1][-1].relu:
            chains.append([])
        chains[-1].append(conv)
    return chains


def absolute_twin(tree):
    """Return the tree with the absolute terms |t| as weights of every convolution, so that merging it adds up |t|."""

    def sizes(_, node):
        if not isinstance(node, Conv):
            return node
        weight, constant, scale = absolute(map_arrays(node, lambda a: a.astype(np.float64)))
        return Conv(weight, constant + 0 * scale, relu=node.relu)

    return map_tree(tree, sizes)


@np.errstate(all="ignore")  # what overflows here has a bound of infinity
def _weights(sizes: Conv, stored: Iterable[Conv], dtype, terms: int = 1, folded: int = 1) -> Conv:
    """Turn sums of |t| into bounds, for weights that are sums of ``terms`` products of ``folded`` folded weights each.

    ``stored`` are the convolutions that were merged.
    """
    growths, steep, variances = zip(*(_extremes(map_arrays(conv, lambda a: a.astype(np.float64))) for conv in stored))
    assert sizes.bias is not None  # `absolute_twin` gives one
    info, reach = np.finfo(dtype), terms * ((prod if folded > 1 else max)(growths) + sizes.bias.max())
    tiny = 4 * reach * float(info.tiny) if max(reach, *variances) * SLACK < info.max else np.inf
    weight, bias = (gamma(n * terms + folded * ROUNDINGS, dtype, sum(steep)) * SLACK for n in (1, PER_CONSTANTS))
    return replace(sizes, weight=weight * sizes.weight + tiny, bias=bias * sizes.bias + tiny)
