"""`minirep.prove`: equal forms are found equal, a planted fault is found and its place named, misuse is one line.

The blocks of other people's networks and the functions that merge them are those that docs/concepts/other-merges.md
shows; this file runs its code.
"""

import doctest
import itertools
import re
import subprocess
import sys
from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, architectures, float_network, rational_network

import minirep
from minirep import MinirepError, ops, prove, reparam
from minirep.network import BatchNorm, Conv, Depthwise
from minirep.proof import bounds
from minirep.proof.prove import Chain, Conv2d, Pad, Scale, Sized, Sum, exactly, fractions, in_floats, run, wrong
from minirep.tree import map_arrays, map_tree, named_arrays

PAGE = Path(__file__).parents[1] / "docs" / "concepts" / "other-merges.md"


def page() -> dict:
    """All names that the page defines; its calls of ``prove`` are run by tests/test_docs.py."""
    names: dict = {}
    for language, text in re.findall(r"^```(python|pycon)\n(.*?)^```", PAGE.read_text("utf-8"), re.M | re.S):
        parts = [text] if language == "python" else [e.source for e in doctest.DocTestParser().get_examples(text)]
        for part in parts:
            if language == "python" or not re.search(r"\bproof\b|\bprove\(", part):
                exec(part, names)
    return names


SHOWN = page()
NETWORKS = {
    "RepVGG": ("repvgg", "merge", 4),
    "ACNet": ("acnet", "merge", 3),
    "MobileOne, depthwise": ("spatial", "merge", 4),
    "MobileOne, pointwise": ("pointwise", "merge", 4),
    "RepLKNet": ("replknet", "merge", 2),
    "UniRepLKNet": ("unireplknet", "merge", 2),
    "RepViT": ("repvit", "merge_repvit", 4),
    "FastViT": ("repmixer", "merge_repmixer", 4),
    "FastViT, norm first": ("written", "merge_written_padded", 4),
    "DBB, 1x1 and kxk": ("sequence", "compose_two", 3),
    "DBB": ("dbb", "merge_dbb", 3),
}
SIZE = 4  # of the inputs
every_network = pytest.mark.parametrize("network", NETWORKS)


def look_up(network):
    tree, merge, channels = NETWORKS[network]
    return SHOWN[tree], SHOWN[merge], (1, SIZE, SIZE, channels)


def as_type(tree, dtype):
    return map_arrays(tree, lambda array: array.astype(dtype))


# --- other people's networks --------------------------------------------------------------------------------------


@every_network
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_a_merged_network_is_equal(network, dtype):
    tree, merge, shape = look_up(network)
    proof = prove(as_type(tree, dtype), merge, [shape, (2, *shape[1:])])
    assert proof and proof.equal and proof.exact and proof.dtype == dtype
    assert 0 < proof.used < 0.5 and 0 < proof.difference < proof.bound and proof.first is None
    assert proof.compared == 3 * run(tree, np.zeros(shape, dtype)).size


@every_network
def test_a_merged_network_that_is_given_as_floats_is_within_the_bound(network):
    tree, merge, shape = look_up(network)
    proof = prove(tree, merge(tree), shape)
    assert proof.equal and proof.exact is None  # its weights were rounded
    assert "rounded weights decide nothing" in str(proof)


@every_network
def test_a_merged_network_computes_what_pytorch_computes(network):
    torch = pytest.importorskip("torch")
    F = torch.nn.functional

    def in_torch(node, x):  # (N, C, H, W)
        a = {name: torch.from_numpy(array) for name, array in named_arrays(node).items() if "." not in name}
        if isinstance(node, Conv2d):
            y = F.conv2d(x, a["weight"].permute(3, 2, 0, 1), a.get("bias"), node.stride, node.padding, node.dilation,
                         node.groups)  # fmt: skip
            return y if node.bn is None else in_torch(node.bn, y)
        if isinstance(node, BatchNorm):
            return F.batch_norm(x, a["mean"], a["variance"], a["scale"], a["shift"], eps=node.eps)
        if isinstance(node, Sum):
            return sum(in_torch(branch, x) for branch in node.branches)
        if isinstance(node, Chain):
            for part in node.nodes:
                x = in_torch(part, x)
            return x
        if isinstance(node, Scale):
            return x * a["factor"][:, None, None]
        if isinstance(node, Pad):
            (h, w), value = node.size, a["value"][:, None, None]
            return F.pad(x - value, (w, w, h, h)) + value
        assert node is SHOWN["average"]
        return F.avg_pool2d(x, 3, stride=1)

    tree, merge, shape = look_up(network)
    x = np.random.default_rng(0).normal(size=shape)
    for dtype in ("float32", "float64"):
        typed = as_type(tree, dtype)
        expected = in_torch(typed, torch.from_numpy(x.astype(dtype)).permute(0, 3, 1, 2)).permute(0, 2, 3, 1).numpy()
        *_, bound = in_floats({"before": typed, "after": merge(typed)}, x.astype(dtype))
        for form in (typed, merge(typed)):
            assert (np.abs(run(form, x.astype(dtype)) - expected) <= bound).all()


def planted(tree, name, index, factor):
    """The same tree with one number multiplied, in arrays of floats or of fractions."""

    def change(path, node):
        if path != name:
            return node
        node = node.copy()
        node[index] = node[index] * factor(node.dtype)
        return node

    return map_tree(tree, change)


@every_network
@settings(max_examples=3)
@given(seed=SEEDS)
def test_a_fault_in_a_merged_kernel_is_found_and_its_place_named(network, seed):
    tree, merge, shape = look_up(network)
    rng = np.random.default_rng(seed)
    right = merge(tree)
    weight = named_arrays(right).get("weight", named_arrays(right).get("nodes.1.weight"))
    name = "weight" if "weight" in named_arrays(right) else "nodes.1.weight"
    kh, kw, _, c_out = weight.shape
    rows, columns = (min(k, 2 * SIZE - 1) for k in (kh, kw))  # taps that the input reaches
    tap = (int(rng.integers(rows)) + (kh - rows) // 2, int(rng.integers(columns)) + (kw - columns) // 2)
    index = (*tap, int(rng.integers(weight.shape[2])), int(rng.integers(c_out)))

    def factor(dtype):
        return 1 + Fraction(1, 2**20) if dtype.kind == "O" else dtype.type(1 + 2**-20)

    proof = prove(tree, lambda block: planted(merge(block), name, index, factor), shape)
    assert not proof and not proof.equal and proof.exact is False
    if not proof.source:  # a padding that is not zero shows a fault at the edges without any input
        assert network == "FastViT, norm first" and proof.place[3] == index[3]
        return
    (source,) = proof.source
    groups = shape[3] // weight.shape[2]
    assert proof.place[3] == index[3]
    assert source[3] == index[2] + index[3] // (c_out // groups) * weight.shape[2]
    assert tuple(source[i] - proof.place[i] + (kh, kw)[i - 1] // 2 for i in (1, 2)) == tap
    assert str(proof.place) in proof.first and str(source) in proof.first and "differ" in str(proof)


@every_network
def test_a_fault_in_a_merged_bias_is_found_without_any_input(network):
    tree, merge, shape = look_up(network)

    def wrong(block):
        merged = merge(block)
        name = next(name for name in named_arrays(merged) if name.endswith("bias"))
        return map_tree(merged, lambda path, node: node + (np.arange(len(node)) == 1) if path == name else node)

    proof = prove(tree, wrong, shape)
    assert not proof and proof.source == [] and proof.place == (0, 0, 0, 1)
    assert "an input of zeros:" in proof.first or proof.first.endswith("an input of zeros")


@every_network
def test_a_fault_in_floats_is_found_when_it_is_larger_than_rounding(network):
    tree, merge, shape = look_up(network)
    merged = merge(tree)
    name = next(name for name in named_arrays(merged) if name.endswith("weight"))
    weight = named_arrays(merged)[name]
    index = np.unravel_index(np.argmax(np.abs(weight[2:4, 2:4] if len(weight) > 4 else weight)), weight.shape)
    index = (len(weight) // 2, weight.shape[1] // 2, 0, 0) if len(weight) > 4 else index
    proof = prove(tree, planted(merged, name, index, lambda dtype: dtype.type(1.5)), shape)
    assert not proof and proof.exact is None and proof.used > 1 and proof.place[3] == index[3]


def replaced(merge_with, **names):
    """A merge of the page, with other functions behind the names that it calls."""
    return type(merge_with)(merge_with.__code__, {**merge_with.__globals__, **names}, closure=merge_with.__closure__)


def test_wrong_ways_to_merge_are_found():
    names = SHOWN
    as_kernel, merge, fold = names["as_kernel"], names["merge"], names["fold"]

    def without(field):
        def fold_wrongly(conv):
            return fold(conv if conv.bn is None else replace(conv, bn=replace(conv.bn, **{field: 0 * conv.bn.mean})))

        return fold_wrongly

    def bare_identity(branch, like):
        return as_kernel(names["IDENTITY"] if isinstance(branch, BatchNorm) else branch, like)

    def dense(branch, like):  # the dilation dropped
        return as_kernel(replace(branch, dilation=(1, 1)) if isinstance(branch, Conv2d) else branch, like)

    def shifted(branch, like):  # a column kernel one column aside
        part = as_kernel(branch, like)
        return replace(part, weight=np.roll(np.pad(part.weight, ((0, 0), (1, 1), (0, 0), (0, 0))), 1, axis=1)
                       if part.weight.shape[1] == 1 else part.weight)  # fmt: skip

    def one_less(block):
        return merge(replace(block, branches=block.branches[1:]))

    def no_bias(first, second):
        return replace(names["compose"](first, second), bias=second.bias)

    def transposed(first, second):
        return names["compose"](replace(first, weight=first.weight.swapaxes(2, 3)), second)

    def eighth(c, dtype):
        return names["average_kernel"](c, dtype) * 9 / (Fraction(8) if dtype.kind == "O" else dtype.type(8))

    wrong = {
        "identity without its norm": ("repvgg", replaced(merge, as_kernel=bare_identity), 4),
        "means left out": ("repvgg", replaced(merge, as_kernel=replaced(as_kernel, fold=without("mean"))), 4),
        "shifts left out": ("acnet", replaced(merge, as_kernel=replaced(as_kernel, fold=without("shift"))), 3),
        "3 x 1 on the wrong column": ("acnet", replaced(merge, as_kernel=shifted), 3),
        "a branch left out": ("spatial", one_less, 4),
        "a pointwise branch left out": ("pointwise", one_less, 4),
        "the large kernel left out": ("replknet", one_less, 2),
        "dilation dropped": ("unireplknet", replaced(merge, as_kernel=dense), 2),
        "the last norm left out": ("repvit", lambda block: merge(block.nodes[0]), 4),
        "no residual connection": ("repmixer", lambda block: merge(Sum((names["merge_repmixer"](block),) * 2)), 4),
        "norm first, zeros around": ("written", names["merge_written"], 4),
        "first bias lost": ("sequence", replaced(names["compose_two"], compose=no_bias), 3),
        "average of 8": ("dbb", replaced(names["merge_dbb"], average_kernel=eighth), 3),
    }
    for name, (tree, merge_wrongly, channels) in wrong.items():
        proof = prove(names[tree], merge_wrongly, (1, SIZE, SIZE, channels))
        assert proof.equal is False and proof.exact is False and proof.first, name
    square = Chain((fold(names["conv"](1, 1, 3, 3)), names["conv"](3, 3, 3, 3)))  # zeros in the middle
    assert not prove(square, lambda b: names["compose"](b.nodes[0], fold(b.nodes[1])), (1, 4, 4, 3))
    padded = Chain((square.nodes[0], Pad((1, 1), square.nodes[0].bias), replace(square.nodes[1], padding=(0, 0))))
    for compose, equal in ((names["compose"], True), (transposed, False)):

        def compose_both(block, compose=compose):
            return replace(compose(block.nodes[0], fold(block.nodes[2])), padding=(1, 1))

        assert prove(padded, compose_both, (1, 4, 4, 3)).equal is equal


def test_zeros_in_the_middle_differ_along_the_edges_alone():
    """DBB: with an input of zeros, and only where the second convolution sees its padding."""
    first, second, compose = SHOWN["first"], SHOWN["second"], SHOWN["compose"]
    zeros = exactly(Chain((first, second)))
    x = fractions(np.random.default_rng(0).normal(size=(1, 6, 6, 3)))
    differ = run(zeros, x) != run(exactly(compose(*zeros.nodes)), x)
    assert differ.any(axis=(0, 3)).tolist() == [[i in (0, 5) or j in (0, 5) for j in range(6)] for i in range(6)]


# --- minirep's own ------------------------------------------------------------------------------------------------


@settings(max_examples=20)
@given(architectures(stages=1, blocks=1, width=2, kernel=5), SEEDS)
def test_blocks_and_layers_of_minirep(arch, seed):
    block = float_network(arch, seed).stages[0][0]
    shape = (1, 3, 3, arch.width)
    assert prove(block, reparam.fuse_block, shape).exact
    assert prove(block, reparam.fuse_block(block), shape)
    assert prove(block.entry, reparam.fold, shape).exact
    assert prove(block.layers[0], lambda layer: reparam.absorb_identity(reparam.merge_branches(layer)), shape).exact
    exact = rational_network(arch, seed).stages[0][0]
    assert prove(exact, reparam.fuse_block(exact), shape).exact  # fractions that nothing has rounded


def test_a_network_of_minirep():
    kernels = ((3, 1),) * 2
    arch = minirep.Architecture(width=1, depths=(1, 1), time_kernels=kernels, freq_kernels=kernels, frames=32,
                                time_strides=(1, 2), freq_strides=(1, 2), heads={"verb": 2, "noun": 3})  # fmt: skip
    net = minirep.random_network(arch)
    proof = prove(net, minirep.fuse, (1, 16, 16))
    assert proof.exact and proof.equal and proof.compared == 10  # two positions
    other = minirep.fuse(net)
    heads = dict(reversed(other.heads.items()))
    assert prove(net, replace(other, heads=heads), (1, 16, 16))  # their order is a matter of names
    heads["noun"] = replace(heads["noun"], bias=heads["noun"].bias + 1)
    assert not prove(net, lambda n: replace(minirep.fuse(n), heads=heads), (1, 16, 16))


# --- nodes --------------------------------------------------------------------------------------------------------


@given(SEEDS, st.integers(1, 3), st.integers(1, 3), st.data())
def test_a_convolution_is_what_its_definition_says(seed, kh, kw, data):
    stride, padding, dilation = (data.draw(st.tuples(st.integers(low, 2), st.integers(low, 2))) for low in (1, 0, 1))
    groups, c_in, c_out = (data.draw(st.integers(1, 2)) for _ in range(3))
    rng = np.random.default_rng(seed)
    x = rng.integers(-9, 10, (2, 5, 6, groups * c_in))
    weight, bias = rng.integers(-9, 10, (kh, kw, c_in, groups * c_out)), rng.integers(-9, 10, groups * c_out)
    relu = data.draw(st.booleans())
    conv = Conv2d(weight, bias, relu=relu, stride=stride, padding=padding, dilation=dilation, groups=groups)
    found = run(conv, x)
    reach = [d * (k - 1) + 1 for d, k in zip(dilation, (kh, kw))]
    assert found.shape[1:3] == tuple((n + 2 * p - r) // s + 1 for n, p, r, s in zip((5, 6), padding, reach, stride))
    for n, i, j, o in itertools.product(*map(range, found.shape)):
        total = conv.bias[o]
        for a, b, c in itertools.product(range(kh), range(kw), range(c_in)):
            row, column = i * stride[0] + a * dilation[0] - padding[0], j * stride[1] + b * dilation[1] - padding[1]
            if 0 <= row < 5 and 0 <= column < 6:
                total += conv.weight[a, b, c, o] * x[n, row, column, o // c_out * c_in + c]
        assert found[n, i, j, o] == (max(total, 0) if conv.relu else total)


def test_padding_scaling_sums_and_chains():
    x = np.arange(4.0).reshape(1, 2, 1, 2)
    padded = run(Pad((1, 2), np.array([7.0, 8.0])), x)
    assert padded.shape == (1, 4, 5, 2) and (padded[0, 1:3, 2] == x[0, :, 0]).all()
    padded[:, 1:3, 2] = [7.0, 8.0]
    assert (padded == [7.0, 8.0]).all()
    double = Scale(np.array([2.0, 3.0]))
    assert (run(Sum((double, Chain(()))), x) == x * [3, 4]).all()
    assert (run(Chain((double, double, lambda y: -y, ops.relu)), x) == 0 * x).all()


# --- the bound ----------------------------------------------------------------------------------------------------


def bound_of(form, x):
    with np.errstate(all="ignore"):
        return in_floats({"before": form, "after": form}, x)[2]


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
@given(seed=SEEDS, extreme=st.booleans())
def test_floats_are_within_the_bound_of_the_exact_numbers(dtype, seed, extreme):
    """Random chains, sums, ReLUs and pooling, with weights and inputs of all sizes: half of the bound is enough."""
    rng = np.random.default_rng(seed)
    spread = 2 if dtype == "float16" else 12

    def numbers(*shape):
        return rng.normal(size=shape) * (2.0 ** rng.uniform(-spread, spread, shape) if extreme else 1)

    def node(depth):
        kind = rng.integers(6 if depth else 4)
        if kind == 0:
            groups = int(rng.integers(1, 3))
            return Conv2d(numbers(3, 1, 2 // groups, 2), numbers(2), padding=(1, 0), groups=groups)
        if kind == 1:
            return BatchNorm(numbers(2), numbers(2), numbers(2), rng.uniform(1e-3, 2, 2))
        if kind == 2:
            return Scale(numbers(2))
        if kind == 3:
            return [ops.relu, ops.max_pool, lambda y: y.sum(axis=1, keepdims=True) / Fraction(3)][rng.integers(3)]
        make = Sum if kind == 4 else Chain
        return make(tuple(node(depth - 1) for _ in range(2)))

    form = as_type(Chain(tuple(node(2) for _ in range(2))), dtype)
    x = numbers(1, 4, 2, 2).astype(dtype)
    try:
        exact = run(exactly(form), fractions(x))
    except ValueError:  # a sum over branches of other shapes
        return
    with np.errstate(all="ignore"):
        found = run(form, x).astype(np.float64)
        bound = bound_of(form, x) / 2
    inside = abs(fractions(np.nan_to_num(found)) - exact) <= fractions(np.where(np.isfinite(bound), bound, 0))
    # a batch norm's root is replaced by a rational one: off by a unit of float64, which the float64 bound includes
    assert (inside | ~np.isfinite(bound)).all()


def test_the_bound_of_small_cases_by_hand():
    """Pinned from above: a bound that is larger than it has to be fails."""
    rounding = bounds.ROUNDINGS
    x = np.full((1, 1, 1, 4), 3.0, np.float32)
    scale = Scale(np.full(4, 2.0, np.float32))
    once = 2 * bounds.gamma(2 * (rounding + rounding), np.float32) * 6
    assert np.allclose(bound_of(scale, x), once, rtol=1e-6)
    dot = Conv(np.full((4, 1), -2.0, np.float32))  # a sum of four: three additions more
    assert np.allclose(bound_of(dot, x), 2 * bounds.gamma(2 * (2 * rounding + 3), np.float32) * 24, rtol=1e-6)
    biased = replace(dot, bias=np.float32([5]), relu=True)  # and one more for the bias; nothing for the ReLU
    assert np.allclose(bound_of(biased, x), 2 * bounds.gamma(2 * (2 * rounding + 4), np.float32) * 29, rtol=1e-6)
    twice = Chain((dot, Scale(np.float32([10]))))
    assert np.allclose(bound_of(twice, x), 2 * bounds.gamma(2 * (3 * rounding + 3), np.float32) * 240, rtol=1e-6)
    pooled = Chain((lambda y: np.maximum(y[..., :2], y[..., 2:]), Scale(np.full(2, 2.0, np.float32))))
    assert np.allclose(bound_of(pooled, x), once, rtol=1e-6)
    four = bound_of(lambda y: (y[..., 0] + y[..., 1]) + (y[..., 2] + y[..., 3]), x)  # three additions, in any order
    assert np.allclose(four, 2 * bounds.gamma(2 * (rounding + 3), np.float32) * 12, rtol=1e-6)
    mean = bound_of(lambda y: y / Fraction(4), x)
    assert np.allclose(mean, 2 * bounds.gamma(4 * rounding, np.float32) * 0.75, rtol=1e-6)
    nothing = Chain(())
    for branches in ((nothing, Chain((scale, scale))), (Chain((scale, scale)), nothing)):  # the longer way counts
        longest = 2 * bounds.gamma(2 * (3 * rounding + 2), np.float32) * (3 + 12)  # with the 0 that a sum begins with
        assert np.allclose(bound_of(Sum(branches), x), longest, rtol=1e-6)


def test_the_bound_is_that_of_the_larger_form():
    x = np.ones((1, 1, 1, 2), np.float32)
    large, small = (lambda x: x * 1000 - x * 999), (lambda x: x)
    for forms in ((large, small), (small, large)):
        expected = 2 * bounds.gamma(3 * bounds.ROUNDINGS + 1, np.float32) * 1999
        assert np.allclose(in_floats(dict(zip(("before", "after"), forms)), x)[2], expected, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["float16", "float32", "float64"])
def test_what_underflows_may_be_lost(dtype):
    """Of a product, and of a sum, the bound allows a few times the smallest normal number, and little more."""
    info = np.finfo(dtype)
    smallest = float(info.smallest_normal)
    x = np.zeros((1, 1, 1, 2), dtype)
    for form in (Scale(np.full(2, 2, dtype)), lambda y: y[..., :1] + y[..., 1:]):
        assert (np.abs(bound_of(form, x) / smallest - 25) < 20).all()
    tiny = np.full((1, 1, 1, 2), 2 * info.smallest_normal, dtype)  # flushed, its quarter is nothing
    assert (bound_of(Scale(np.full(2, 0.25, dtype)), tiny) / 2 > tiny / 4).all()


def test_a_difference_is_wrong_beyond_its_bound():
    bound = np.ones(4)
    apart = np.array([1.0, np.nextafter(1.0, 2.0), 1.5, np.nan])
    assert wrong((np.zeros(4), apart, bound)).tolist() == [False, True, True, True]
    assert wrong((apart, np.zeros(4), np.array([1, 2, 1, np.nan]))).tolist() == [False, False, True, True]


def test_a_maximum_keeps_the_larger_size_and_the_longer_way():
    def pair():
        return Sized(5.0, 0.0), Sized(2.0, 0.0, depth=7, terms=3)

    for a, b in (pair(), reversed(pair())):
        for kept in np.maximum(np.array([a], object), np.array([b], object)):
            assert kept.size == 5.0 and kept.roundings == 9
    _, long = pair()
    for kept in (*np.maximum(np.array([long], object), 0), *np.maximum(-np.inf, np.array([long], object))):
        assert kept is long


def test_where_a_sum_might_overflow_nothing_is_proved():
    """In another order it would: both forms give zeros, and they are equal on fractions."""
    huge = np.full(2, 3e38, np.float32)
    apart = Sum((Scale(huge), Scale(-huge)))
    proof = prove(apart, lambda _: Scale(0 * huge), np.ones((1, 1, 1, 2)))
    assert proof.equal is False
    assert prove(Sum((Scale(huge / 2), Scale(-huge / 2))), lambda _: Scale(0 * huge), np.ones((1, 1, 1, 2)))


def test_what_overflows_has_no_bound_and_is_not_equal():
    scale = Scale(np.full(2, 1e30, np.float32))
    proof = prove(Chain((scale, scale)), lambda b: Scale(scale.factor.astype(object) ** 2), (1, 1, 1, 2))
    assert not proof


# --- functions ----------------------------------------------------------------------------------------------------


def test_functions_of_plain_operations():
    w1, w2 = np.random.default_rng(0).integers(-9, 10, (2, 3, 3))
    apart, together = (lambda x: x @ w1 @ w2), (lambda x: x @ (w1 @ w2))
    proof = prove(apart, together, [(2, 3), np.eye(3), np.arange(3)])
    assert proof and proof.exact and proof.dtype == "float64" and proof.compared == 6 + 9 + 3
    assert not prove(apart, lambda x: x @ (w2 @ w1), (2, 3))
    assert not prove(lambda x: x, lambda x: x * (1 + Fraction(1, 2**80)), (2, 3))  # less than any rounding
    thirds = np.array([Fraction(i, 3) for i in range(3)], object)
    assert prove(lambda x: (x * thirds).sum(axis=-1), lambda x: x @ thirds, (4, 3))
    assert prove(lambda x: np.maximum(x @ w1, 0), lambda x: (x @ w1 + abs(x @ w1)) / 2, (2, 3))


def test_an_input_that_hides_a_fault_is_one_reason_for_random_ones():
    right, wrong = Conv(np.eye(2)), Conv(np.diag([1.0, 2.0]))
    hiding = np.array([[[[1.0, 0.0]]]])
    assert prove(right, lambda _: wrong, hiding) and not prove(right, lambda _: wrong, hiding.shape)
    proof = prove(right, lambda _: wrong, [hiding, hiding.shape])
    assert not proof and proof.place == (0, 0, 0, 1) and proof.source == [(0, 0, 0, 1)]


def test_nothing_that_is_handed_in_is_written_to():
    def careless(x):
        x *= 2
        return x

    x = np.ones((1, 1, 1, 2))
    assert prove(careless, lambda x: x + x, x) and (x == 1).all()
    before = as_type(SHOWN["repvgg"], np.float32)
    kept = {name: array.copy() for name, array in named_arrays(before).items()}
    prove(before, SHOWN["merge"], (1, 3, 3, 4))
    assert all((array == kept[name]).all() for name, array in named_arrays(before).items())


def test_other_shapes_are_a_difference():
    proof = prove(lambda x: x, lambda x: x[:1], (2, 3))
    assert not proof and "(2, 3)" in proof.first and "(1, 3)" in proof.first


def test_a_proof_prints_as_a_few_lines():
    text = str(prove(Conv(np.eye(2)), reparam.fold, (1, 2, 2, 2)))
    assert text.splitlines()[:2] == ["before and after are equal", "  on fractions: all 8 numbers are equal"]
    text = str(prove(Conv(np.eye(2)), lambda _: Conv(2 * np.eye(2)), (1, 1, 1, 2)))
    expected = "1 before, 2 after, at (0, 0, 0, 0) of the output for an input of zeros but for 1 at (0, 0, 0, 0)"
    assert text.splitlines() == ["before and after differ", f"  {expected}"]


# --- misuse -------------------------------------------------------------------------------------------------------

EYE = Conv(np.eye(2, dtype=np.float32))
UNIT = BatchNorm(*(np.ones(2),) * 4)
MISUSE = {
    "NaN in a weight": (Conv(np.full((2, 2), np.nan)), EYE, (1, 1, 1, 2), "before.weight: cannot convert NaN"),
    "infinity in a weight": (EYE, Conv(np.full((2, 2), np.inf)), (1, 1, 1, 2), "after.weight: cannot convert Infinity"),
    "NaN in an input": (EYE, EYE, np.full((1, 1, 1, 2), np.nan), "input"),
    "an input of words": (EYE, EYE, np.array([["a"]]), "input"),
    "a negative variance": (replace(UNIT, variance=-np.ones(2)), UNIT, (1, 1, 1, 2), "variance"),
    "variance and eps of 0": (EYE, replace(UNIT, variance=np.zeros(2), eps=0.0), (1, 1, 1, 2), "variance"),
    "channels that do not fit": (EYE, EYE, (1, 1, 1, 3), "before"),
    "channels of a Conv2d": (Conv2d(np.ones((1, 1, 2, 2))), EYE, (1, 1, 1, 3), "expected 2"),
    "an input of two axes": (Conv2d(np.ones((1, 1, 2, 2))), EYE, (1, 2), "before"),
    "a kernel larger than the input": (Conv2d(np.ones((3, 3, 2, 2))), EYE, (1, 2, 2, 2), "before"),
    "no form": (3, EYE, (1, 1, 1, 2), "found a int"),
    "a tuple of nodes": ((EYE, EYE), EYE, (1, 1, 1, 2), "found a tuple"),
    "no merge": (EYE, None, (1, 1, 1, 2), "merge"),
    "a merge that fails": (EYE, lambda tree: tree.nothing, (1, 1, 1, 2), "merge"),
    "a merge that yields no form": (EYE, lambda tree: None, (1, 1, 1, 2), "after"),
    "a function that needs more": (lambda x: np.exp(x), lambda x: x, (1, 2), "before"),
    "a function with weights of floats": (lambda x: x * 0.5, lambda x: x, (1, 2), "float"),
    "ReLU6": (lambda x: np.minimum(x, 6), lambda x: np.minimum(x, 6), (1, 2), "before"),
    "a maximum with 3": (lambda x: np.maximum(x, 3), lambda x: np.maximum(x, 3), (1, 2), "before"),
    "a maximum of 3": (lambda x: np.maximum(3, x), lambda x: np.maximum(3, x), (1, 2), "before"),
    "an empty shape": (EYE, EYE, (), "expected an array"),
    "a shape of 0": (EYE, EYE, (0, 2), "expected an array"),
    "a shape of floats": (EYE, EYE, (1.0, 2), "expected an array"),
    "an empty array": (EYE, EYE, np.zeros((0, 2)), "expected an array"),
    "no inputs": (EYE, EYE, [], "expected an array"),
    "a word": (EYE, EYE, "input", "expected an array"),
}


@pytest.mark.parametrize("what", MISUSE)
def test_misuse_is_one_line(what):
    *arguments, expected = MISUSE[what]
    with pytest.raises(MinirepError) as found:
        prove(*arguments)
    message = str(found.value)
    assert message.startswith("prove: ") and expected in message and message.isprintable()


def test_a_layer_with_a_fault_behind_its_relu_is_narrowed_down():
    weight = np.array([[1.0], [2.0], [4.0]])
    layer = Depthwise("time", (Conv(weight),), identity=True)

    def wrong(layer):
        (conv,) = reparam.absorb_identity(reparam.merge_branches(layer)).branches
        weight = conv.weight.copy()
        weight[2, 0] += 1
        return replace(layer, branches=(replace(conv, weight=weight),), identity=False)

    proof = prove(layer, wrong, (1, 9, 1, 1))
    assert not proof and len(proof.source) == 1 and proof.source[0][1] - proof.place[1] == 1


def test_a_tap_whose_term_switches_its_relu_off_is_narrowed_down():
    """Alone it shows nothing; turned round, it does."""
    right = Conv(np.array([[5.0], [-1.0]]), relu=True)
    proof = prove(right, lambda conv: replace(conv, weight=conv.weight * [[1], [2]]), np.ones((1, 1, 1, 2)))
    assert not proof and proof.source == [(0, 0, 0, 1)]


def test_the_coarsest_type_decides():
    mixed = Chain((Scale(np.ones(2)), Scale(np.full(2, 1 / 3, np.float32)), Scale(np.ones(2))))
    seen = []

    def merge(chain):
        seen.append({node.factor.dtype.name for node in chain.nodes})
        return Scale(chain.nodes[0].factor * chain.nodes[1].factor)

    assert prove(mixed, merge, (1, 1, 1, 2)).dtype == "float32" and seen == [{"object"}, {"float32"}]


def test_the_share_of_the_bound_is_the_largest_of_all_inputs():
    tree, merge, shape = look_up("RepVGG")
    xs = [np.random.default_rng(seed).normal(size=shape) for seed in range(3)]
    shares = [prove(tree, merge, x).used for x in xs]
    assert len({*shares}) == 3
    for order in itertools.permutations(range(3)):
        assert prove(tree, merge, [xs[i] for i in order]).used == max(shares)


def test_importing_minirep_stays_light():
    code = "import sys, minirep; print(*{'minirep.proof.verify', 'sympy', 'torch', 'numba'} & set(sys.modules))"
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert not found.stdout.split()
