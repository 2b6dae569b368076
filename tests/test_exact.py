"""Merging, proved on exact numbers: fused equals unfused with ``==``, no tolerance.

The same functions of `minirep.reparam` and the same forward pass of `minirep.ops` run here on `fractions.Fraction`.
What they yield is held against each other and against `naive`, the networks written as loops from their definition.
"""

from dataclasses import replace
from fractions import Fraction

import naive
import numpy as np
import pytest
import strategies
from hypothesis import given
from hypothesis import strategies as st
from strategies import SEEDS, architectures, fused_layer, inputs, rational_input, rational_network

from minirep import ops, reparam
from minirep.architecture import INCEPTION, ORDERS, REP, Architecture
from minirep.network import Conv, Depthwise, block_forward
from minirep.reparam import is_fused

small = {"stages": 2, "blocks": 2, "width": 3, "kernel": 9}
places = {"frames": 9, "mels": 9}


def identical(a, b) -> bool:
    """Equal shapes, equal exact numbers, and not one float among them."""
    exact = all(isinstance(v, (int, Fraction)) for v in (*np.ravel(a), *np.ravel(b)))
    return exact and np.shape(a) == np.shape(b) and bool(np.all(a == b))


def first_block(arch, seed):
    return rational_network(arch, seed).blocks["stages.0.0"]


def a_layer(arch, seed) -> Depthwise:
    path = first_block(arch, seed).paths[-1]
    return path[seed % 2]


def activations(channels, seed, shape=(1, 5, 4)):
    return rational_input((*shape, channels), seed)


@given(architectures(**small), SEEDS)
def test_folding_a_batch_norm_is_exact(arch, seed):
    block = first_block(arch, seed)
    x = activations(arch.width, seed)
    assert reparam.fold(block.entry).bn is None
    assert identical(ops.pointwise(x, reparam.fold(block.entry)), ops.pointwise(x, block.entry))
    stem = rational_network(arch, seed).stem
    x = rational_input((1, 8, 7, 1), seed)
    assert identical(ops.stem(x, reparam.fold(stem)), ops.stem(x, stem))
    biased = replace(block.entry, bias=block.entry.bn.shift)  # a convolution may have a bias and a batch norm
    x = activations(arch.width, seed)
    assert identical(ops.pointwise(x, reparam.fold(biased)), ops.pointwise(x, biased))


@given(architectures(**small), SEEDS, st.integers(0, 4), st.sampled_from((1, 2)))
def test_padding_a_kernel_is_exact(arch, seed, extra, axis):
    kernel = a_layer(arch, seed).branches[0].weight
    x = activations(arch.width, seed)
    wide = reparam.pad_kernel(kernel, len(kernel) + 2 * extra)
    assert len(wide) == len(kernel) + 2 * extra
    assert identical(ops.depthwise_conv(x, wide, axis), ops.depthwise_conv(x, kernel, axis))


@given(architectures(**small), SEEDS)
def test_merging_branches_is_exact(arch, seed):
    layer = a_layer(arch, seed)
    x = activations(arch.width, seed)
    merged = reparam.merge_branches(layer)
    assert len(merged.branches) == 1 and merged.identity == layer.identity
    assert identical(ops.depthwise(x, merged), ops.depthwise(x, layer))


@given(architectures(**small), SEEDS, st.booleans())
def test_absorbing_the_identity_is_exact(arch, seed, identity):
    layer = reparam.merge_branches(replace(a_layer(arch, seed), identity=identity))
    x = activations(arch.width, seed)
    absorbed = reparam.absorb_identity(layer)
    assert not absorbed.identity
    assert identical(ops.depthwise(x, absorbed), ops.depthwise(x, layer))


@given(architectures(kinds=(INCEPTION,), **small), SEEDS)
def test_collapsing_two_convolutions_is_exact(arch, seed):
    first, second = (reparam.fold(conv) for conv in first_block(arch, seed).expand_project)
    x = activations(arch.width, seed)
    both = ops.pointwise(ops.pointwise(x, first), second)
    assert identical(ops.pointwise(x, reparam.collapse(first, second)), both)
    assert len(reparam.collapse_linear((first, second))) == 1


@given(architectures(kinds=(REP,), **small), SEEDS)
def test_nothing_is_collapsed_across_a_relu(arch, seed):
    convs = tuple(reparam.fold(conv) for conv in first_block(arch, seed).expand_project)
    assert reparam.collapse_linear(convs) == convs


@given(architectures(**small), SEEDS)
def test_a_fused_block_is_exact(arch, seed):
    net = rational_network(arch, seed)
    blocks = list(net.blocks.values())
    block = blocks[seed % len(blocks)]
    x = activations(block.entry.weight.shape[0], seed)
    fused = reparam.fuse_block(block)
    y = block_forward(block, x)
    assert identical(block_forward(fused, x), y)
    assert identical(naive.block(x[0], block), y[0])


@given(architectures(**small), SEEDS, inputs(**places))
def test_a_fused_network_is_exact_up_to_its_logits(arch, seed, shape):
    net = rational_network(arch, seed)
    x = rational_input((1, *shape[1:]), seed)
    fused = reparam.fuse(net)
    assert is_fused(fused) and not is_fused(net)
    before, after, partly = (strategies.logits(n, x) for n in (net, fused, reparam.merge_only(net)))
    defined = naive.network(net, x[0])
    assert list(before) == list(after) == list(arch.heads)
    for head in arch.heads:
        assert identical(after[head], before[head])
        assert identical(partly[head], before[head])
        assert identical(defined[head], before[head][0])


@pytest.mark.parametrize("kind, order", [(kind, order) for kind in (REP, INCEPTION) for order in ORDERS])
def test_the_published_shape_is_exact(kind, order):
    """Published depths of two stages, branches of 21, 11 and 3 taps, strides and expansion; two channels."""
    kernels = ((21, 11, 3),) * 2
    arch = Architecture(kind, 2, (1, 2), kernels, kernels, (1, 2), (1, 2), heads={"class": 5}, frames=32,
                        order=order)  # fmt: skip
    net = rational_network(arch, 1)
    x = rational_input((1, 32, 32), 2)
    before, after = strategies.logits(net, x)["class"], strategies.logits(reparam.fuse(net), x)["class"]
    assert identical(after, before)
    assert len(set(before.ravel())) > 1  # and it is not all zeros


@given(architectures(kinds=(REP,), **small), SEEDS, st.randoms(use_true_random=False))
def test_the_order_of_branches_does_not_matter(arch, seed, random):
    layer = a_layer(arch, seed)
    shuffled = list(layer.branches)
    random.shuffle(shuffled)
    one, other = (fused_layer(replace(layer, branches=tuple(b))) for b in (layer.branches, shuffled))
    assert identical(one.branches[0].weight, other.branches[0].weight)
    assert identical(one.branches[0].bias, other.branches[0].bias)


@given(architectures(kinds=(REP,), **small), SEEDS, st.fractions(-3, 3, max_denominator=9))
def test_merging_is_linear_in_the_branch_kernels(arch, seed, a):
    layer, other = a_layer(arch, seed), a_layer(arch, seed ^ 2)
    if [b.weight.shape for b in layer.branches] != [b.weight.shape for b in other.branches]:
        return

    def merged(kernels):
        branches = (replace(b, weight=w) for b, w in zip(layer.branches, kernels))
        return reparam.merge_branches(replace(layer, branches=tuple(branches))).branches[0].weight

    one, two = [b.weight for b in layer.branches], [b.weight for b in other.branches]
    combined = merged([v + a * w for v, w in zip(one, two)])
    assert identical(combined, merged(one) + a * merged(two))


@given(architectures(**small), SEEDS)
def test_the_order_of_axes_is_a_matter_of_names(arch, seed):
    """Frequency first is time first on a picture with its sides swapped, kernels and strides likewise: fused or not."""
    mirrored = replace(
        arch,
        order="-".join(reversed(arch.axes)),
        time_kernels=arch.freq_kernels,
        freq_kernels=arch.time_kernels,
        time_strides=arch.freq_strides,
        freq_strides=arch.time_strides,
    )
    block, mirror = first_block(arch, seed), first_block(mirrored, seed)
    for path, other in zip(block.paths, mirror.paths):
        assert tuple(layer.axis for layer in path) == arch.axes
        assert tuple(layer.axis for layer in other) == mirrored.axes == arch.axes[::-1]
    for axis, kernels in (("time", arch.time_kernels), ("frequency", arch.freq_kernels)):
        branches = [b for path in block.paths for layer in path if layer.axis == axis for b in layer.branches]
        assert tuple(len(branch.weight) for branch in branches) == kernels[0]
    x = activations(arch.width, seed)
    for fuse_block in (lambda b: b, reparam.fuse_block):
        y = block_forward(fuse_block(block), x)
        assert identical(block_forward(fuse_block(mirror), x.transpose(0, 2, 1, 3)), y.transpose(0, 2, 1, 3))


@given(architectures(kinds=(REP,), **small), SEEDS)
def test_a_dirac_branch_is_the_identity(arch, seed):
    layer = replace(a_layer(arch, seed), identity=False)
    size = len(layer.branches[0].weight)
    dirac = np.full((size, arch.width), Fraction(0), object)
    dirac[size // 2] = Fraction(1)
    as_branch = replace(layer, branches=(*layer.branches, Conv(dirac)))
    as_identity = replace(layer, identity=True)
    x = activations(arch.width, seed)
    assert identical(ops.depthwise(x, as_branch), ops.depthwise(x, as_identity))
    one, other = fused_layer(as_branch).branches[0], fused_layer(as_identity).branches[0]
    assert identical(one.weight, other.weight) and identical(one.bias, other.bias)
