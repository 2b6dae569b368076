"""Many examples at once, long kernels, other types, NaN, and the compiled exponential: on every backend.

Examples that go through a network together come out as they do alone: within what rounding allows, as a matrix product
of another size may add in another order.
"""

import math
from dataclasses import replace

import network_bounds
import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import backends, log_mels

from minirep import RECIPES, Classifier, fuse, ops, random_network
from minirep.architecture import INCEPTION, REP, Architecture
from minirep.classify import BATCH
from minirep.network import Conv, Depthwise, Linear
from minirep.proof import bounds
from minirep.tree import map_tree

BACKENDS = backends()
each_backend = pytest.mark.parametrize("backend", BACKENDS)
each_kind = pytest.mark.parametrize("kind", [REP, INCEPTION])
ULPS = 16  # of an exponential, as `bounds.probabilities` has it


def small(kind=REP, width=3, **changes):
    shape = {"depths": (1, 1), "time_kernels": ((7, 3), (5, 3)), "freq_kernels": ((5, 3), (3, 3)), "frames": 32,
             "time_strides": (1, 2), "freq_strides": (1, 2), "heads": {"verb": 2, "noun": 3}} | changes  # fmt: skip
    return random_network(Architecture(kind, width, **shape))


def near(p, q, bound) -> bool:
    return p.shape == q.shape and bool((np.abs(p - q) <= 2 * np.broadcast_to(bound, p.shape)).all())


# --- together and alone -------------------------------------------------------------------------------------------


@each_backend
@each_kind
def test_one_to_nine_examples_at_once(backend, kind):
    for net in (small(kind), fuse(small(kind))):
        clf = Classifier(net, RECIPES["nsynth"], backend=backend)
        assert clf.backend == backend
        x = log_mels((9, 24, 128), 0)
        allowed = {
            head: bounds.probabilities(k) for head, k in network_bounds.network_logits(net, x, np.float32).items()
        }
        alone = [clf.probabilities(x[i : i + 1]) for i in range(9)]
        for n in range(1, 10):
            together = clf.probabilities(x[:n])
            assert list(together) == ["verb", "noun"]
            for head, p in together.items():
                assert p.dtype == np.float32 and p.shape == (n, len(net.heads[head].bias))
                assert near(p, np.concatenate([a[head] for a in alone[:n]]), allowed[head][:n])
                assert n == 1 or len({row.tobytes() for row in p}) == n  # and each its own
        batches = [clf.probabilities(x[i : i + BATCH]) for i in range(0, 9, BATCH)]
        whole = clf.probabilities(x)
        for head in whole:  # what a classifier does, to the bit
            assert whole[head].tobytes() == np.concatenate([b[head] for b in batches]).tobytes()


@each_backend
def test_activations_of_examples_at_once(backend):
    """Also inside: each example's activations, of batches that are larger than a classifier's."""
    net, x = small(), log_mels((7, 20, 12), 0)
    form = BACKENDS[backend](net)
    known = dict(network_bounds.through_stages(net, x, np.float32))
    for name, y in form.stages(x):
        for i in range(7):
            alone = dict(form.stages(x[i : i + 1]))[name]
            assert near(y[i : i + 1], alone, known[name].error[i : i + 1])


@each_backend
@pytest.mark.parametrize("frames", [700, 1037])
def test_more_positions_than_a_tile(backend, frames, monkeypatch):
    """Of the reference and of the kernels (240 rows): positions in the last, broken tile are as good as any."""
    monkeypatch.setattr(ops, "TILE_NUMBERS", 1 << 10)
    for net in (small(width=8), fuse(small(width=8))):
        x = log_mels((2, frames, 24), 0)
        for (_, y), (_, k) in zip(BACKENDS[backend](net).stages(x), network_bounds.through_stages(net, x, np.float32)):
            assert y.shape == k.value.shape and (np.abs(y - k.value) <= k.error + k.value_error).all()


# --- kernels that are longer than a piece of an axis ----------------------------------------------------------------


def slow_depthwise(x, weight, axis):
    """Tap by tap, in float64."""
    x = np.moveaxis(x.astype(np.float64), axis, 0)
    half, y = len(weight) // 2, np.zeros_like(x)
    for i, tap in enumerate(weight.astype(np.float64)):
        shift = i - half
        source = x[max(0, shift) : max(0, len(x) + min(0, shift))]
        y[max(0, -shift) : max(0, -shift) + len(source)] += source * tap
    return np.moveaxis(y, 0, axis)


@settings(max_examples=25)
@given(
    st.sampled_from([65, 67, 127, 257, 511, 1023]),
    st.sampled_from([1, 31, 32, 33, 64, 65, 100, 600]),
    st.sampled_from(["time", "frequency"]),
    st.integers(0, 99),
)
def test_long_kernels_tap_by_tap(taps, length, axis, seed):
    rng = np.random.default_rng(seed)
    weight = rng.normal(size=(taps, 2)).astype(np.float32)
    at = {"time": 1, "frequency": 2}[axis]
    x = rng.normal(size=(1, length, 2, 2) if axis == "time" else (1, 2, length, 2)).astype(np.float32)
    layer = Depthwise(axis, (Conv(weight),), identity=False)
    known = bounds.through_depthwise(bounds.start(x, np.float32), layer)
    exact = np.maximum(slow_depthwise(x, weight, at), 0)
    np.testing.assert_allclose(known.value, exact, atol=1e-10)
    assert (np.abs(ops.depthwise(x, layer) - exact) <= known.error + 1e-10).all()


@each_backend
@each_kind
@pytest.mark.parametrize("time, freq", [((65,), (67,)), ((129, 3), (5, 71)), ((1023,), (3,)), ((3,), (1023,))])
def test_networks_with_long_kernels(backend, kind, time, freq):
    net = small(kind, depths=(1,), time_kernels=(time,), freq_kernels=(freq,), time_strides=(1,), freq_strides=(1,))
    x = log_mels((1, 4 * 70, 4 * 40) if max(time) < 1000 else (1, 4 * 41, 20), 0)
    for form in (net, fuse(net)):
        found = dict(BACKENDS[backend](form).stages(x))
        for name, k in network_bounds.through_stages(net, x, np.float32):
            assert (np.abs(found[name] - k.value) <= k.error + k.value_error).all()


# --- what is no number, and numbers of other types ------------------------------------------------------------------


@each_backend
@each_kind
@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_what_is_no_number_passes_and_stays_in_its_example(backend, kind, value):
    for net in (small(kind), fuse(small(kind))):
        form, x = BACKENDS[backend](net), log_mels((3, 24, 16), 0)
        right = form(x)
        x[1, 12, 8] = value
        with np.errstate(all="ignore"):
            found = form(x)
            stages = dict(form.stages(x))
        for head, p in found.items():
            assert np.isnan(p[1]).all()
            assert np.array_equal(p[[0, 2]], right[head][[0, 2]])
        for y in stages.values():
            assert not np.isfinite(y[1]).all() and np.isfinite(y[[0, 2]]).all()


@each_backend
@each_kind
def test_weights_that_are_no_numbers_show(backend, kind):
    """In any layer: nothing on the way takes a NaN for a small number."""
    net = small(kind)
    for conv in net.convs[1:]:
        weight = conv.weight.copy()
        weight[len(weight) // 2] = np.nan
        broken = replace(conv, weight=weight)
        wrong = map_tree(net, lambda _, node, conv=conv, broken=broken: broken if node is conv else node)
        with np.errstate(all="ignore"):
            for p in BACKENDS[backend](wrong)(log_mels((2, 24, 16), 0)).values():
                assert np.isnan(p).all()


@each_backend
@pytest.mark.parametrize("dtype", ["float16", "float64", "int8", "uint8", "int64", ">f4"])
def test_inputs_of_other_types_are_cast(backend, dtype):
    net = small()
    form = BACKENDS[backend](net)
    x = np.random.default_rng(0).integers(0, 5, (2, 24, 16)).astype(dtype)
    for (name, y), (_, want) in zip(form.stages(x), form.stages(x.astype(np.float32))):
        assert y.dtype == np.float32 and np.array_equal(y, want), name
    for head, p in form(x).items():
        assert p.dtype == np.float32 and np.array_equal(p, form(x.astype(np.float32))[head])
    strided = np.repeat(x, 2, axis=2)[:, :, ::2]
    assert np.array_equal(form(strided)["verb"], form(x)["verb"])
    clf = Classifier(net, RECIPES["nsynth"], backend=backend)
    wide = np.random.default_rng(0).integers(0, 5, (2, 24, 128)).astype(dtype)
    assert np.array_equal(clf.probabilities(wide)["noun"], clf.probabilities(wide.astype(np.float32))["noun"])


# --- the compiled exponential -------------------------------------------------------------------------------------


def exponentials(z):
    """exp(z) for rising z <= 0 as the compiled softmax has it: a class's share over that of one whose logit is 0.

    Some at a time, so that small ones have no large ones beside them, whose sum would make their shares subnormal.
    """
    net = small(depths=(1,), time_kernels=((3,),), freq_kernels=((3,),), time_strides=(1,), freq_strides=(1,),
                heads={"class": 2})  # fmt: skip
    found = []
    for part in np.split(z, range(50, len(z), 50)):
        bias = np.concatenate([[0.0], part]).astype(np.float32)
        head = Linear(np.zeros((3, len(bias)), np.float32), bias)
        p = BACKENDS["numba"](replace(net, heads={"class": head}))(log_mels((1, 4, 16), 0))["class"][0]
        found.append(p[1:].astype(np.float64) / np.float64(p[0]))
    return np.concatenate(found)


@pytest.mark.skipif("numba" not in BACKENDS, reason="no compiled backend here")
def test_the_compiled_exponential_is_precise_over_its_whole_range():
    """Of float32 numbers from 0 to -87; the two divisions cost an ulp, and what is left is within half of what the
    bound lets an exponential be off by.
    """
    rng = np.random.default_rng(0)
    halves = (np.arange(-125, 1) + 0.5) * math.log(2)  # where the remainder is largest, to both sides
    z = np.concatenate([np.linspace(-86.9, 0, 3000), halves, np.nextafter(np.float32(halves), np.float32(0)),
                        np.arange(-125, 1) * math.log(2), -(10.0 ** rng.uniform(-9, 1.9, 600))])  # fmt: skip
    z = np.sort(z[(z <= 0) & (z > -86.9)].astype(np.float32).astype(np.float64))
    exact = np.exp(z)
    found = exponentials(z)
    ulps = np.abs(found - exact) / np.spacing(exact.astype(np.float32)).astype(np.float64)
    assert ulps.max() <= ULPS / 2, (ulps.max(), z[ulps.argmax()])
    assert found[z == 0] == pytest.approx(1.0)


@pytest.mark.skipif("numba" not in BACKENDS, reason="no compiled backend here")
def test_the_compiled_exponential_below_its_range_is_next_to_nothing():
    found = exponentials(np.array([-3e38, -1e4, -100.0, -87.5, -87.0]))
    assert (found >= 0).all() and (found <= 2 * math.exp(-87)).all()


@each_backend
def test_probabilities_of_steep_logits(backend):
    """From one class that has it all to all classes alike, against float64."""
    net = small(heads={"class": 5})
    for factor in (0.0, 1e-3, 1.0, 30.0, 3e3):
        head = net.heads["class"]
        steep = replace(net, heads={"class": replace(head, weight=head.weight * np.float32(factor))})
        x = log_mels((2, 24, 16), 0)
        form = BACKENDS[backend](steep)
        *_, (_, y) = form.stages(x)
        known = bounds.through_head(bounds.start(y, np.float32), steep.pool, steep.heads["class"])
        exact = ops.softmax(known.value).mean(axis=(1, 2))
        p = form(x)["class"]
        assert (np.abs(p - exact) <= bounds.probabilities(known)).all() and p.sum(1) == pytest.approx(1.0, abs=1e-5)
        assert strategies.logits(steep, x)["class"].shape == known.value.shape
