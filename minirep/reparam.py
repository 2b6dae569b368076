"""Merging: an equal network with fewer parts ("structural reparameterization", Ding et al., RepVGG, 2021, section 3.3).

It uses four facts, each in a small pure function here; `fuse` applies them to the whole tree. All four are about linear
maps, so none of them applies across a ReLU. Every function returns new nodes.

    fold       batch norm after a convolution is a convolution with a bias
    pad        a kernel with zeros around it is the same kernel
    merge      filters that read the same input and are summed are one filter, their sum
    collapse   two 1 x 1 convolutions with nothing between them are one, their product
"""

from collections.abc import Callable
from dataclasses import replace
from functools import reduce

import numpy as np

from .errors import expect
from .exact import sqrt
from .network import Array, Block, Conv, Depthwise, Network, as_network
from .tree import map_tree, rounded_once


def fold(conv: Conv) -> Conv:
    """Fold a batch norm into the convolution before it.

    BN(W x + b) = (W x + b - mean) * s + shift with s = scale / sqrt(variance + eps). So the new kernel is W s, and the
    new bias is (b - mean) s + shift. A convolution without batch norm gets a bias of zeros if it has none.
    """
    bias = np.zeros(conv.weight.shape[-1], conv.weight.dtype) if conv.bias is None else conv.bias
    if conv.bn is None:
        return replace(conv, bias=bias) if conv.bias is None else conv
    s = conv.bn.scale / sqrt(conv.bn.variance + conv.bn.eps)  # (Cout,): the last axis of every kind of weight
    return replace(conv, weight=conv.weight * s, bias=(bias - conv.bn.mean) * s + conv.bn.shift, bn=None)


def pad_kernel(kernel: Array, size: int) -> Array:
    """Pad a depthwise kernel with equally many zeros at both ends, (k, C) -> (size, C): its centre stays the centre."""
    extra = (size - len(kernel)) // 2
    return np.pad(kernel, ((extra, extra), (0, 0)))


def merge_branches(layer: Depthwise) -> Depthwise:
    """Merge branches: fold each, pad all to the largest, add kernels and biases. The identity remains separate."""
    linear = not any(branch.relu for branch in layer.branches)
    expect(linear, "fuse: found a ReLU on a depthwise branch; expected linear branches, whose kernels add up")
    folded = tuple(map(fold, layer.branches))
    if len(folded) == 1:
        return replace(layer, branches=folded)
    size = max(len(branch.weight) for branch in folded)
    weight = sum(pad_kernel(branch.weight, size) for branch in folded)
    return replace(layer, branches=(Conv(weight, sum(branch.bias for branch in folded)),))  # type: ignore[arg-type, misc]


def absorb_identity(layer: Depthwise) -> Depthwise:
    """Add the identity to the single kernel of a layer: it is a 1 on the kernel's centre tap."""
    if not layer.identity:
        return layer
    (conv,) = layer.branches
    weight = conv.weight.copy()
    weight[len(weight) // 2] = weight[len(weight) // 2] + 1
    return replace(layer, branches=(replace(conv, weight=weight),), identity=False)


def collapse(first: Conv, second: Conv) -> Conv:
    """Collapse two folded 1 x 1 convolutions in a row: W2 (W1 x + b1) + b2 = (W2 W1) x + (W2 b1 + b2).

    Weights are (Cin, Cout) and act from the right, so the product reads W1 W2 here.
    """
    expect(not second.bfloat16, "fuse: found weights rounded to bfloat16; expected float32: merge, then round")
    return replace(second, weight=first.weight @ second.weight, bias=first.bias @ second.weight + second.bias)


def collapse_linear(convs: tuple[Conv, ...]) -> tuple[Conv, ...]:
    """Collapse neighbours without a ReLU between them: C^2 products replace 8 C^2 in a block of AudioInceptionNeXt."""
    merged = list(convs[:1])
    for conv in convs[1:]:
        merged[-1:] = [merged[-1], conv] if merged[-1].relu else [collapse(merged[-1], conv)]
    return tuple(merged)


def fold_block(block: Block) -> Block:
    """Fold every batch norm of a block into the convolution before it."""
    return map_tree(block, lambda _, node: fold(node) if isinstance(node, Conv) else node)


# The steps of merging, in order: `fuse_block` applies them all, `minirep verify` checks each.
STEPS: dict[str, Callable[[Block], Block]] = {
    "fold": fold_block,
    "merge": lambda block: block.map_layers(merge_branches),
    "identity": lambda block: block.map_layers(absorb_identity),
    "collapse": lambda block: replace(block, expand_project=collapse_linear(block.expand_project)),
}


def fuse_block(block: Block) -> Block:
    """Merge a block: no batch norms, one kernel per depthwise layer, a ReLU between any two 1 x 1 convolutions."""
    return rounded_once(lambda wide: reduce(lambda done, step: step(done), STEPS.values(), wide), block)


def fuse(network: Network) -> Network:
    """Merge a network into one that computes the same function with fewer parts. Fusing twice changes nothing.

    Parameters
    ----------
    network : Network
        It is not changed.

    Returns
    -------
    Network
        Each of its weights is rounded once (`minirep.exact`).

    Raises
    ------
    MinirepError
        For a ReLU on a depthwise branch, or weights rounded to bfloat16.
    """
    return replace(as_network(network).map_blocks(fuse_block), stem=rounded_once(fold, network.stem))


def is_fused(network: Network) -> bool:
    """Return whether `fuse` has nothing to merge: no batch norms, second branches, identities or linear neighbours."""
    return (
        all(conv.bn is None for conv in network.convs)
        and all(len(layer.branches) == 1 and not layer.identity for layer in network.layers)
        and all(conv.relu for block in network.blocks.values() for conv in block.expand_project[:-1])
    )


def merge_only(network: Network) -> Network:
    """Merge only the branches, as the authors do; all other batch norms and the identity remain."""
    return network.map_blocks(STEPS["merge"])
