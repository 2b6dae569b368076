"""Merging, proved for all weights: `minirep.reparam` and `minirep.ops` run on symbols, and in a prime field.

On SymPy's symbols each step of merging is an identity of rational functions, for every axis length, stride and set of
kernels up to a small size. ReLU is a function of which nothing is known, so no step may reach across one.

In the field of integers modulo 2^61 - 1 whole networks are compared. By the lemma of Schwartz (1980) and Zippel (1979)
a polynomial of degree d that is not zero vanishes at a random point with a probability of at most d / |S|, where each
variable is drawn from S. Every example here computes d and demands less than 2^-50.
"""

import itertools
from dataclasses import replace
from fractions import Fraction
from types import SimpleNamespace

import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from strategies import SEEDS, architectures, change_batch_norms

from minirep import ops, reparam
from minirep.architecture import INCEPTION, REP, Architecture, build
from minirep.network import BatchNorm, Conv, Depthwise, block_forward
from minirep.tree import map_tree

AXES = {"time": 1, "frequency": 2}

# --- symbols ------------------------------------------------------------------------------------------------------


@pytest.fixture
def symbols(monkeypatch):
    """Make arrays of symbols (`fresh`), compare them (`equal`); ReLU is an unknown function in this test."""
    sympy = pytest.importorskip("sympy")
    counter = itertools.count()
    unknown = sympy.Function("relu")

    def fresh(*shape):
        names = [sympy.Symbol(f"v{next(counter)}") for _ in range(int(np.prod(shape)))]
        return np.array(names, object).reshape(shape)

    def norm(channels):
        roots = [sympy.Symbol(f"root{next(counter)}", positive=True) for _ in range(channels)]
        eps = sympy.Symbol(f"eps{next(counter)}")
        variance = np.array([root**2 - eps for root in roots], object)
        return BatchNorm(fresh(channels), fresh(channels), fresh(channels), variance, eps)

    def conv(*shape, bn=True, bias=False, relu=False):
        channels = shape[-1]
        return Conv(fresh(*shape), fresh(channels) if bias else None, norm(channels) if bn else None, relu)

    def normal(array):
        """Each number multiplied out: one form for each function, for all denominators are products of roots."""
        return np.array([sympy.expand(v) for v in np.ravel(array)], object).reshape(np.shape(array))

    def equal(a, b):
        assert a.shape == b.shape and a.size
        return all(v == w for v, w in zip(normal(a).ravel(), normal(b).ravel()))

    def relu(x, zero, out=None):
        assert isinstance(zero, int) and zero == 0
        y = np.array([unknown(v) for v in normal(x).ravel()], object).reshape(np.shape(x))
        if out is not None:
            out[...] = y
        return y

    monkeypatch.setattr(ops, "np", SimpleNamespace(**(vars(np) | {"maximum": relu})))
    return SimpleNamespace(fresh=fresh, conv=conv, norm=norm, equal=equal)


def along(axis, length, channels=1):
    """A shape (1, T, F, C) with so many places along one axis and one along the other."""
    return (1, length, 1, channels) if axis == "time" else (1, 1, length, channels)


def kernel_sets(largest, branches):
    odd = range(1, largest + 1, 2)
    return [s for n in range(1, branches + 1) for s in itertools.combinations_with_replacement(odd, n)]


def test_symbols_tell_what_differs(symbols):
    a, b = symbols.fresh(2)
    assert symbols.equal(np.array([(a + b) ** 2]), np.array([a * a + 2 * a * b + b * b]))
    assert not symbols.equal(np.array([a * b]), np.array([a * b + 1]))
    r = ops.relu(np.array([a, b, a + b]))
    assert not symbols.equal(r[:1] + r[1:2], r[2:])  # nothing reaches across a ReLU
    bn = symbols.norm(1)
    assert symbols.equal(reparam.sqrt(bn.variance + bn.eps) ** 2, bn.variance + bn.eps)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("bias", [False, True])
@pytest.mark.parametrize("taps", [1, 3, 5, 7])
def test_folding_a_depthwise_convolution(symbols, axis, bias, taps):
    conv = symbols.conv(taps, 1, bias=bias)
    for length in range(1, taps + 2):
        x = symbols.fresh(*along(axis, length))
        y = ops.epilogue(ops.depthwise_conv(x, conv.weight, AXES[axis]), conv)
        folded = reparam.fold(conv)
        assert folded.bn is None
        assert symbols.equal(ops.epilogue(ops.depthwise_conv(x, folded.weight, AXES[axis]), folded), y)


@pytest.mark.parametrize("c_in, c_out", list(itertools.product((1, 2, 3), repeat=2)))
@pytest.mark.parametrize("bias", [False, True])
def test_folding_a_pointwise_convolution(symbols, c_in, c_out, bias):
    conv = symbols.conv(c_in, c_out, bias=bias, relu=True)
    for stride in itertools.product((1, 2, 3), repeat=2):
        x = symbols.fresh(1, 3, 3, c_in)
        assert symbols.equal(ops.pointwise(x, reparam.fold(conv), stride), ops.pointwise(x, conv, stride))


@pytest.mark.parametrize("taps", list(itertools.product((1, 3, 5), (1, 3))))
def test_folding_the_stem(symbols, taps):
    conv, x = symbols.conv(*taps, 1, 2), symbols.fresh(1, 4, 3, 1)
    padding = taps[0] // 2, taps[1] // 2
    before, after = (ops.epilogue(ops.conv2d(x, c.weight, (2, 2), padding), c) for c in (conv, reparam.fold(conv)))
    assert symbols.equal(after, before)


@pytest.mark.parametrize("axis", AXES)
@pytest.mark.parametrize("taps", kernel_sets(7, 2) + kernel_sets(3, 3))
def test_merging_branches_and_the_identity(symbols, axis, taps):
    """Every set of kernels and every axis length, down to one place, where most taps meet the zeros beyond the ends."""
    for identity in (False, True):
        layer = Depthwise(axis, tuple(symbols.conv(k, 1) for k in taps), identity)
        merged = reparam.merge_branches(layer)
        absorbed = reparam.absorb_identity(merged)
        assert len(merged.branches) == 1 and len(merged.branches[0].weight) == max(taps) and not absorbed.identity
        for length in range(1, max(taps) + 2):
            x = symbols.fresh(*along(axis, length))
            y = ops.depthwise(x, layer)
            assert symbols.equal(ops.depthwise(x, merged), y)
            assert symbols.equal(ops.depthwise(x, absorbed), y)


def test_channels_are_kept_apart(symbols):
    layer = Depthwise("time", tuple(symbols.conv(k, 3) for k in (3, 1)), True)
    x = symbols.fresh(2, 2, 2, 3)
    merged = reparam.absorb_identity(reparam.merge_branches(layer))
    assert symbols.equal(ops.depthwise(x, merged), ops.depthwise(x, layer))


@pytest.mark.parametrize("channels", list(itertools.product((1, 2, 3), repeat=3)))
def test_collapsing_two_convolutions(symbols, channels):
    a, b, c = channels
    first, second = (reparam.fold(symbols.conv(*shape)) for shape in ((a, b), (b, c)))
    x = symbols.fresh(1, 1, 2, a)
    both = ops.pointwise(ops.pointwise(x, first), second)
    assert symbols.equal(ops.pointwise(x, reparam.collapse(first, second)), both)
    (collapsed,) = reparam.collapse_linear((first, second))
    assert symbols.equal(ops.pointwise(x, collapsed), both)


@pytest.mark.parametrize("kind", [REP, INCEPTION])
@pytest.mark.parametrize("stride", [(1, 1), (2, 1)])
def test_a_whole_block(symbols, kind, stride):
    """With ReLUs of which nothing is known: what merging yields is the same for every function in their place."""
    arch = Architecture(kind, 1, (1,), ((3, 1),), ((1, 3),), stride[:1], stride[1:], expansion=2, heads={"class": 1})
    tree = build(arch, lambda name, shape: symbols.fresh(*shape))
    block = change_batch_norms(tree, lambda bn: symbols.norm(len(bn.scale))).blocks["stages.0.0"]
    x = symbols.fresh(1, 2, 2, 1)
    y = block_forward(block, x)
    for step in reparam.STEPS.values():
        block = step(block)
        assert symbols.equal(block_forward(block, x), y)
    assert symbols.equal(block_forward(reparam.fuse_block(block), x), y)


# --- a prime field ------------------------------------------------------------------------------------------------

PRIME = 2**61 - 1  # 3 modulo 4, so x ** ((PRIME + 1) / 4) is a root of every square x


class Residue:
    """An integer modulo PRIME. ReLU and maximum need an order, and here it is that of the integers 0 to PRIME - 1.

    ``positive`` says what a ReLU lets through: with all of them, outputs are polynomials; with the lower half, a merge
    that reaches across a ReLU is found as well.
    """

    positive = PRIME

    __slots__ = ("value",)

    def __init__(self, value):
        self.value = value % PRIME

    def __add__(self, other):
        return Residue(self.value + residue(other))

    def __sub__(self, other):
        return Residue(self.value - residue(other))

    def __rsub__(self, other):
        return Residue(residue(other) - self.value)

    def __mul__(self, other):
        return Residue(self.value * residue(other))

    def __truediv__(self, other):
        return Residue(self.value * pow(residue(other), -1, PRIME))

    def __pow__(self, power):
        assert power == Fraction(1, 2)
        root = pow(self.value, (PRIME + 1) // 4, PRIME)
        assert root * root % PRIME == self.value
        return Residue(min(root, PRIME - root))

    def __eq__(self, other):
        return self.value == residue(other)

    def __ge__(self, other):
        if isinstance(other, float):  # -inf, beyond the edges of a pooling
            return True
        return self.value >= other.value if isinstance(other, Residue) else self.value < self.positive

    def __le__(self, other):
        return not isinstance(other, float) and self.value <= residue(other)

    __radd__, __rmul__ = __add__, __mul__


def residue(value) -> int:
    if isinstance(value, Residue):
        return value.value
    return int(value.numerator) * pow(int(value.denominator), -1, PRIME) % PRIME  # an integer or a fraction


def draw(shape, rng, largest=PRIME):
    return np.array([Residue(int(v)) for v in rng.integers(1, largest, int(np.prod(shape)))], object).reshape(shape)


def random_residues(arch, seed):
    """A network over the field: 1 to PRIME - 1 for each weight; a root from half of these, and its variance from it."""
    rng = np.random.default_rng(seed)
    eps = Residue(residue(Fraction(1, 100000)))

    def norm(bn):
        roots = draw(bn.scale.shape, rng, (PRIME + 1) // 2)
        return replace(bn, variance=roots * roots - eps, eps=eps)

    return change_batch_norms(build(arch, lambda name, shape: draw(shape, rng)), norm)


def degree(tree) -> int:
    """Of the logits in the input, the weights and the reciprocals of the roots.

    Each convolution adds 3, w * scale * (1 / root); the input and the head are of degree 1. In ``tree.convs`` are more
    convolutions than lie on any path.
    """
    norms = []
    map_tree(tree, lambda _, node: norms.append(node) or node if isinstance(node, BatchNorm) else node)
    return 2 + len(tree.convs) + 2 * len(norms)


@pytest.fixture(params=["all", "half"])
def through(request, monkeypatch):
    """What a ReLU lets through: all numbers, or the lower half of them."""
    monkeypatch.setattr(Residue, "positive", PRIME if request.param == "all" else PRIME // 2)


def identical(a, b):
    return a.shape == b.shape and a.size > 0 and bool(np.all(a == b))


def test_the_field_is_a_field():
    rng = np.random.default_rng(0)
    a, b, c = draw((3,), rng)
    assert (a + b) * c == a * c + b * c and a - a == 0 and a / a == 1 and (a / b) * b == a and 1 - a == 1 + a * -1
    assert (a * a) ** Fraction(1, 2) in (a, 0 - a) and Residue(residue(Fraction(1, 3))) * 3 == 1
    assert reparam.sqrt(np.array([a * a], object))[0] * 1 in (a, 0 - a)


@settings(max_examples=30)
@given(architectures(stages=2, blocks=2, width=2, kernel=9), SEEDS)
def test_a_whole_network_in_the_field(through, arch, seed):
    tree = random_residues(arch, seed)
    assert Fraction(degree(tree), (PRIME - 1) // 2) < Fraction(1, 2**50)
    x = draw((1, 9, 7), np.random.default_rng(seed))
    before = strategies.logits(tree, x)
    for merged in (reparam.fuse(tree), reparam.merge_only(tree)):
        after = strategies.logits(merged, x)
        assert all(identical(after[head], before[head]) for head in arch.heads)


def faults(tree):
    """Networks that are merged and then changed in one weight, by one unit."""
    fused = reparam.fuse(tree)
    names = []
    map_tree(fused, lambda name, node: names.append(name) or node if isinstance(node, np.ndarray) else node)
    for fault in names:

        def change(name, node, fault=fault):
            if name != fault:
                return node
            node = node.copy()
            node.flat[node.size // 2] = node.flat[node.size // 2] + 1
            return node

        yield fault, map_tree(fused, change)


@pytest.mark.parametrize("kind", [REP, INCEPTION])
def test_every_weight_counts_in_the_field(monkeypatch, kind):
    """One unit more in the middle of any array changes the logits: no fault hides where a ReLU lets all through."""
    monkeypatch.setattr(Residue, "positive", PRIME)
    arch = Architecture(kind, 2, (1, 1), ((3, 1),) * 2, ((3, 1),) * 2, (1, 2), (1, 2), heads={"class": 2}, frames=32)
    tree = random_residues(arch, 0)
    x = draw((1, 32, 32), np.random.default_rng(1))
    before = strategies.logits(tree, x)["class"]
    assert identical(strategies.logits(reparam.fuse(tree), x)["class"], before)
    for name, other in faults(tree):
        assert not identical(strategies.logits(other, x)["class"], before), name
