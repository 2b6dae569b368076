"""Random networks for the properties: any architecture, ordinary and extreme weights, floating point and exact."""

import contextlib
import dataclasses
import os
from fractions import Fraction
from math import isqrt

import naive
import numpy as np
from hypothesis import strategies as st

from minirep import RECIPES, Classifier, MinirepError, network, ops
from minirep.architecture import INCEPTION, ORDERS, REP, Architecture, build, random_network
from minirep.network import BatchNorm
from minirep.reparam import absorb_identity, merge_branches
from minirep.tree import map_arrays, map_tree

SEEDS = st.integers(0, 2**32 - 1)
DTYPES = ("float32", "float64")


class Plain:
    """The reference backend: ``stages(log_mels)``, and called itself, {head: probabilities}."""

    def __init__(self, net):
        self.net = net

    def stages(self, log_mels):
        return network.stages(self.net, log_mels)

    def __call__(self, log_mels):
        return network.forward(self.net, log_mels)


def backends() -> dict:
    """{name: what makes a network into something like `Plain`} of every backend that works here."""
    found = {"numpy": Plain}
    if os.environ.get("MINIREP_BACKENDS") == "numpy":  # set by tests/programs/mutants.py, which tests the reference
        return found
    net = random_network(Architecture(width=1, depths=(1,) * 4, heads={"class": 1}))
    with contextlib.suppress(MinirepError):
        if Classifier(net, RECIPES["vggsound"], backend="numba").backend == "numba":
            from minirep.fast.compiled import CompiledNetwork, supports

            # It leaves to the reference what its kernels do not cover, such as float64.
            found["numba"] = lambda net: CompiledNetwork(net) if supports(net) else Plain(net)
    return found


@st.composite
def architectures(draw, kinds=(REP, INCEPTION), stages=3, blocks=4, width=4, kernel=13):
    """Draw any architecture of at most so many stages and blocks.

    Kernels are odd, for each stage and axis; layers have one to four branches; either axis may come first.
    """
    kind = draw(st.sampled_from(kinds))
    depths = draw(st.lists(st.integers(1, 2), min_size=1, max_size=stages).filter(lambda d: sum(d) <= blocks))
    odd = st.integers(0, kernel // 2).map(lambda n: 2 * n + 1)
    time, freq = [], []
    for _ in depths:
        branches = draw(st.integers(1, 4))
        others = branches if kind == INCEPTION else draw(st.integers(1, 4))
        time.append(tuple(draw(st.lists(odd, min_size=branches, max_size=branches))))
        freq.append(tuple(draw(st.lists(odd, min_size=others, max_size=others))))
    strides = st.lists(st.integers(1, 3), min_size=len(depths), max_size=len(depths)).map(tuple)
    heads = draw(st.sampled_from(({"class": 1}, {"class": 3}, {"verb": 2, "noun": 4})))
    return Architecture(
        kind=kind,
        width=draw(st.integers(1, width)),
        depths=tuple(depths),
        time_kernels=tuple(time),
        freq_kernels=tuple(freq),
        time_strides=draw(strides),
        freq_strides=draw(strides),
        expansion=draw(st.integers(1, 3)),
        heads=heads,
        frames=draw(st.sampled_from((1, 32, 64, 96))),
        order=draw(st.sampled_from(ORDERS)),
    )


@st.composite
def inputs(draw, frames=40, mels=40):
    """A shape (N, frames, mels) down to a single frame."""
    return draw(st.integers(1, 2)), draw(st.integers(1, frames)), draw(st.integers(1, mels))


def float_network(arch, seed: int, dtype="float32", extreme: bool = False):
    """Random weights; ``extreme`` batch norms: variances 1e-12 to 1e6, scales zero and negative, means to 1e3."""
    rng = np.random.default_rng(seed)

    def array(name, shape):
        part = name.rsplit(".", 1)[-1]
        if part == "variance":
            values = 10.0 ** rng.uniform(-12, 6, shape) if extreme else rng.uniform(0.5, 1.5, shape)
        elif part == "scale":
            values = rng.normal(0.0, 1.0, shape)
            values *= rng.choice([0.0, 1.0, 3.0], shape) if extreme else 1.0
        elif part == "weight":
            values = rng.normal(0.0, 1 / np.sqrt(np.prod(shape[:-1])), shape)
        else:
            values = rng.normal(0.0, 1e3 if extreme and part == "mean" and rng.random() < 0.3 else 0.5, shape)
        return values.astype(dtype)

    return frozen(build(arch, array))


def frozen(tree):
    """Return the same tree with read-only arrays, so that a function that writes to its input fails."""

    def lock(array):
        array = array.copy()
        array.flags.writeable = False
        return array

    return map_arrays(tree, lock)


def fused_layer(layer):
    """Return a depthwise layer as one kernel, with the identity in it."""
    return absorb_identity(merge_branches(layer))


def log_mels(shape, seed: int, dtype="float32"):
    """An input that looks like log-mels: about -5, between -14 and 4."""
    return np.clip(np.random.default_rng(seed).normal(-5.0, 3.0, shape), -14, 4).astype(dtype)


# --- exact numbers ------------------------------------------------------------------------------------------------


def rational_network(arch, seed: int):
    """A network of exact fractions in which every batch norm's variance + eps is a rational square."""
    rng = np.random.default_rng(seed)
    eps = Fraction(1, 100000)

    def array(name, shape):
        part = name.rsplit(".", 1)[-1]
        count = int(np.prod(shape))
        if part == "variance":
            roots = (Fraction(int(n), int(d)) for n, d in zip(rng.integers(1, 9, count), rng.choice([1, 2, 3], count)))
            values = [r * r - eps for r in roots]
        else:
            values = [
                Fraction(int(n), int(d)) for n, d in zip(rng.integers(-6, 7, count), rng.choice([1, 2, 4], count))
            ]
        return np.array(values, object).reshape(shape)

    return change_batch_norms(frozen(build(arch, array)), lambda bn: dataclasses.replace(bn, eps=eps))


def rational_input(shape, seed: int):
    values = np.random.default_rng(seed).integers(-20, 9, shape)
    return np.array([Fraction(int(v), 2) for v in values.ravel()], object).reshape(shape)


def change_batch_norms(tree, change):
    """Return the same tree with every batch norm changed."""
    return map_tree(tree, lambda _, node: change(node) if isinstance(node, BatchNorm) else node)


def as_exact(node):
    """Floating-point weights as the fractions they are.

    Square roots are irrational as a rule, so each variance is moved by a part in 2^200 at most to make
    1 / sqrt(variance + eps) a binary fraction: forty orders of magnitude below what is measured against it.
    """

    def change(bn):
        eps = Fraction(bn.eps)
        sums = [v + eps for v in bn.variance]
        roots = [1 / Fraction(isqrt(int(2**480 / s)), 2**240) for s in sums]
        return dataclasses.replace(bn, eps=eps, variance=np.array([r * r - eps for r in roots], object))

    return change_batch_norms(map_arrays(node, naive.exact), change)


def logits(net, log_mels) -> dict:
    """The heads before their softmax, at every pooling position: {head: (N, T', F', classes)}."""
    x = network.features(net, log_mels)
    return {name: ops.logits(x, net.pool, linear) for name, linear in net.heads.items()}
