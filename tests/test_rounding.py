"""Each merged weight is the correctly rounded one: `minirep.exact` and `minirep.fuse` against fractions of 300 bits.

The reference knows nothing of double-doubles. It merges in `fractions.Fraction`; a square root that is not rational is
replaced by a fraction that differs from it by less than 2^-300 of its size.
"""

import math
from dataclasses import replace
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import minirep
from minirep.architecture import INCEPTION, REP
from minirep.exact import DoubleDouble
from minirep.reparam import is_fused
from minirep.tree import map_tree, named_arrays

FINITE = st.floats(-1e30, 1e30).filter(lambda x: x == 0 or abs(x) > 1e-30)
BITS = 300


def fractions(x: DoubleDouble) -> list[Fraction]:
    return [Fraction(h) + Fraction(low) for h, low in zip(x.high.ravel().tolist(), x.low.ravel().tolist())]


def pair(high: float, factor: float) -> DoubleDouble:
    """A number whose lower half is up to half a unit in the last place of the upper one."""
    return DoubleDouble([high], [factor * np.spacing(abs(high)) / 2])


def nearest(value: Fraction, dtype) -> np.floating:
    """The number of a type that is nearest to a fraction; of two, the one whose last bit is 0."""
    guess = np.array(float(value)).astype(dtype)[()]
    around = {guess, np.nextafter(guess, dtype(np.inf)), np.nextafter(guess, dtype(-np.inf))}
    word = {2: np.uint16, 4: np.uint32}[np.dtype(dtype).itemsize]
    distance = {x: abs(Fraction(float(x)) - value) for x in around if np.isfinite(x)}
    least = min(distance.values())
    return min((x for x in distance if distance[x] == least), key=lambda x: int(np.array(x).view(word)) & 1)


PAIRS = st.builds(pair, FINITE, st.floats(-0.99, 0.99))


@given(PAIRS, PAIRS)
def test_sums_products_and_quotients_have_a_hundred_bits(a, b):
    (x,), (y,) = fractions(a), fractions(b)
    cases = [(a + b, x + y, abs(x) + abs(y)), (a - b, x - y, abs(x) + abs(y)), (a * b, x * y, abs(x * y))]
    if y:
        cases.append((a / b, x / y, abs(x / y)))
    for found, exact, size in cases:
        assert abs(fractions(found)[0] - exact) <= size * Fraction(1, 2**98)


@given(PAIRS.filter(lambda p: p.high[0] > 0))
def test_a_root_squared_is_the_number(a):
    (root,) = fractions(np.sqrt(a))
    (x,) = fractions(a)
    assert abs(root * root - x) <= x * Fraction(1, 2**97)


@given(
    st.floats(-60000, 60000),
    st.sampled_from([-1e-3, 0.0, 1e-3, 0.7, -0.7]),
    st.sampled_from([np.float16, np.float32]),
    st.booleans(),
)
def test_rounding_is_to_nearest_also_just_beside_a_tie(value, factor, dtype, tie):
    if tie:  # exactly between two numbers of the type
        low = dtype(value)
        high = np.nextafter(low, dtype(np.inf))
        value = (float(low) + float(high)) / 2
    number = pair(value, factor)
    assert number.rounded(dtype)[0] == nearest(fractions(number)[0], dtype)


def root(value: Fraction) -> Fraction:
    scaled = value * 4**BITS
    return Fraction(math.isqrt(scaled.numerator * scaled.denominator), scaled.denominator) / 2**BITS


def as_fractions(array: np.ndarray) -> np.ndarray:
    return np.array([Fraction(float(x)) for x in array.ravel()], object).reshape(array.shape)


def fold(conv) -> tuple[np.ndarray, np.ndarray]:
    """(weight, bias) in fractions."""
    weight = as_fractions(conv.weight)
    bias = np.full(weight.shape[-1], Fraction(0), object) if conv.bias is None else as_fractions(conv.bias)
    if conv.bn is None:
        return weight, bias
    scale, shift, mean, variance = (as_fractions(getattr(conv.bn, n)) for n in ("scale", "shift", "mean", "variance"))
    s = np.array([g / root(v + Fraction(conv.bn.eps)) for g, v in zip(scale, variance)], object)
    return weight * s, (bias - mean) * s + shift


def reference(network) -> dict[str, np.ndarray]:
    """{path of the merged array: its true values}, by the formulas of the papers."""
    found = {}

    def put(name, weight, bias):
        found[f"{name}.weight"], found[f"{name}.bias"] = weight, bias

    put("stem", *fold(network.stem))
    for name, block in network.blocks.items():
        put(f"{name}.entry", *fold(block.entry))
        if block.shortcut is not None:
            put(f"{name}.shortcut", *fold(block.shortcut))
        for i, path in enumerate(block.paths):
            for j, layer in enumerate(path):
                size = max(len(b.weight) for b in layer.branches)
                weight, bias = np.full((size, block.entry.weight.shape[1]), Fraction(0), object), 0
                for branch in layer.branches:
                    w, b = fold(branch)
                    start = size // 2 - len(w) // 2
                    weight[start : start + len(w)] += w
                    bias = bias + b
                if layer.identity:
                    weight[size // 2] += 1
                put(f"{name}.paths.{i}.{j}.branches.0", weight, bias)
        (w1, b1), (w2, b2) = map(fold, block.expand_project)
        if block.expand_project[0].relu:
            put(f"{name}.expand_project.0", w1, b1)
            put(f"{name}.expand_project.1", w2, b2)
        else:
            put(f"{name}.expand_project.0", w1 @ w2, b1 @ w2 + b2)
    return found


def harder(network, seed: int):
    """The same network with cancelling branches, tiny and huge variances, and large means."""
    rng = np.random.default_rng(seed)

    def change(name, node):
        if name.endswith("variance"):
            return np.float32(node * 10.0 ** rng.uniform(-20, 6, node.shape))
        if name.endswith(("mean", "shift")):
            return np.float32(node * 10.0 ** rng.uniform(-3, 5, node.shape))
        return node

    def cancel(layer):
        first, *others = layer.branches
        if not others:
            return layer
        taps = first.weight.copy()
        inner = slice(len(taps) // 2 - len(others[0].weight) // 2, len(taps) // 2 + len(others[0].weight) // 2 + 1)
        other = replace(others[0], weight=-first.weight[inner] * np.float32(1 + 1e-6), bn=first.bn)
        return replace(layer, branches=(first, other, *others[1:]))

    return map_tree(network, change).map_blocks(lambda block: block.map_layers(cancel))


@pytest.mark.parametrize("kind", [REP, INCEPTION])
@pytest.mark.parametrize("hard", [False, True])
def test_every_merged_weight_is_the_correctly_rounded_one(kind, hard):
    arch = minirep.Architecture(kind=kind, width=4, depths=(1, 1), time_kernels=((7, 3), (5, 3)),
                                freq_kernels=((5, 3), (3, 1)), time_strides=(1, 2), freq_strides=(1, 2))  # fmt: skip
    network = minirep.random_network(arch, seed=3)
    network = harder(network, seed=4) if hard else network
    with np.errstate(all="ignore"):
        merged = named_arrays(minirep.fuse(network))
    for name, true in reference(network).items():
        for found, value in zip(merged.pop(name).ravel(), true.ravel()):
            assert found == nearest(value, np.float32), (name, found, float(value))
    assert all(name.startswith("heads.") for name in merged)


def test_fusing_again_changes_no_bit_and_the_argument_stays_as_it_is():
    network = minirep.random_network(minirep.Architecture(width=4, depths=(1,) * 4))
    before = {name: array.copy() for name, array in named_arrays(network).items()}
    once = minirep.fuse(network)
    twice = named_arrays(minirep.fuse(once))
    assert is_fused(once) and not is_fused(network)
    assert all(array.tobytes() == twice[name].tobytes() for name, array in named_arrays(once).items())
    assert all(array.tobytes() == before[name].tobytes() for name, array in named_arrays(network).items())


def test_a_relu_on_a_branch_is_refused():
    network = minirep.random_network(minirep.Architecture(width=4, depths=(1,) * 4))

    def change(layer):
        first, *others = layer.branches
        return replace(layer, branches=(replace(first, relu=True), *others))

    with_relu = network.map_blocks(lambda block: block.map_layers(change))
    with pytest.raises(minirep.MinirepError, match="ReLU on a depthwise branch"):
        minirep.fuse(with_relu)


def test_a_convolution_without_bias_gets_one_of_its_own_type():
    network = minirep.random_network(minirep.Architecture(width=4, depths=(1,) * 4))
    bare = network.map_blocks(lambda block: replace(block, entry=replace(block.entry, bn=None)))
    assert {array.dtype for array in named_arrays(minirep.fuse(bare)).values()} == {np.dtype(np.float32)}
