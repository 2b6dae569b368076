"""The laws that merging and the forward pass obey in floating point, on random networks, for every backend present.

Every error is compared with the bound that `minirep.proof.bounds` computes from the weights, so no tolerance is picked
by hand. The exact values come from `naive`, loops over exact fractions.
"""

from dataclasses import replace
from fractions import Fraction

import naive
import network_bounds
import numpy as np
import pytest
import strategies
from hypothesis import event, given
from hypothesis import strategies as st
from strategies import (
    DTYPES,
    SEEDS,
    architectures,
    as_exact,
    backends,
    float_network,
    frozen,
    fused_layer,
    inputs,
    log_mels,
)
from trees import same

import minirep
from minirep import frontend, network, ops, reparam
from minirep.architecture import INCEPTION, REP
from minirep.check import check
from minirep.files.modelfile import read_model
from minirep.network import BatchNorm, Conv, Depthwise, block_forward
from minirep.proof import bounds
from minirep.recipe import Recipe
from minirep.reparam import is_fused
from minirep.tree import named_arrays

BACKENDS = backends()
dtypes = st.sampled_from(DTYPES)
tiny = {"stages": 1, "blocks": 1, "width": 3, "kernel": 7}

each_backend = pytest.mark.parametrize("backend", BACKENDS.values(), ids=BACKENDS.keys())
each_dtype = pytest.mark.parametrize("dtype", DTYPES)
each_kind = pytest.mark.parametrize("kind", [REP, INCEPTION])
ordinary_or_extreme = pytest.mark.parametrize("extreme", [False, True], ids=["ordinary", "extreme"])


def within(computed, exact, bound) -> bool:
    """|computed - exact| <= bound in every place, decided on exact numbers; True where nothing is promised."""
    for c, e, b in zip(np.ravel(computed), np.ravel(exact), np.ravel(bound)):
        if np.isfinite(b) and not (np.isfinite(c) and abs(Fraction(float(c)) - e) <= Fraction(float(b))):
            return False
    event(f"bounded: {bool(np.isfinite(bound).all())}")
    return np.shape(computed) == np.shape(exact) == np.shape(bound)


def no_further(a, b, bound) -> bool:
    """|a - b| <= bound in every place, for floating-point a and b."""
    promised = np.isfinite(bound)
    difference = np.abs(np.asarray(a, np.float64) - np.asarray(b, np.float64))
    return np.shape(a) == np.shape(b) and bool(np.all(difference[promised] <= bound[promised]))


def activations(channels, seed, dtype, shape=(1, 4, 3)):
    return np.random.default_rng(seed).normal(0, 2, (*shape, channels)).astype(dtype)


def merge_steps(block) -> dict:
    """Return {step: the block after it}, one step of merging after the other."""
    forms = {}
    for name, step in reparam.STEPS.items():
        block = forms[name] = step(block)
    return forms


# --- the bound holds, against exact values ------------------------------------------------------------------------


@ordinary_or_extreme
@each_kind
@given(st.data(), SEEDS, dtypes)
def test_every_form_of_a_block_is_within_its_bound(kind, extreme, data, seed, dtype):
    arch = data.draw(architectures(kinds=(kind,), **tiny))
    block = float_network(arch, seed, dtype, extreme).blocks["stages.0.0"]
    x = activations(arch.width, seed, dtype)
    exact = naive.block(naive.exact(x[0]), as_exact(block))
    bound = bounds.through_block(bounds.start(x, dtype), block)
    assert within(bound.value[0], exact, bound.value_error[0])
    with np.errstate(all="ignore"):
        for form in (block, *merge_steps(block).values(), reparam.fuse_block(block)):
            assert within(block_forward(form, x)[0], exact, bound.error[0])


@ordinary_or_extreme
@given(architectures(stages=2, blocks=2, width=2, kernel=5), SEEDS, inputs(9, 9), dtypes)
def test_every_form_of_a_network_is_within_its_bound(extreme, arch, seed, shape, dtype):
    net = float_network(arch, seed, dtype, extreme)
    x = log_mels((1, *shape[1:]), seed, dtype)
    exact = naive.network(as_exact(net), naive.exact(x[0]))
    known = network_bounds.network_logits(net, x, dtype)
    with np.errstate(all="ignore"):
        for form in (net, reparam.merge_only(net), reparam.fuse(net)):
            for head, y in strategies.logits(form, x).items():
                assert within(y[0], exact[head], known[head].error[0])


# --- fused equals unfused, larger, on every backend ---------------------------------------------------------------


@ordinary_or_extreme
@given(architectures(kernel=25, width=6), SEEDS, inputs(), dtypes)
def test_fused_blocks_equal_unfused_ones(extreme, arch, seed, shape, dtype):
    net = float_network(arch, seed, dtype, extreme)
    with np.errstate(all="ignore"):
        x = ops.stem(log_mels(shape, seed, dtype)[..., None], net.stem)
        forms = (net, reparam.fuse(net), reparam.merge_only(net))
        for block, fused, partly in zip(*(form.blocks.values() for form in forms)):
            bound = 2 * bounds.through_block(bounds.start(x, dtype), block).error
            y = block_forward(block, x)
            assert no_further(block_forward(fused, x), y, bound)
            assert no_further(block_forward(partly, x), y, bound)
            x = y


@each_backend
@ordinary_or_extreme
@given(architectures(kernel=25, width=6), SEEDS, inputs(), dtypes)
def test_every_stage_is_within_its_bound(backend, extreme, arch, seed, shape, dtype):
    net = float_network(arch, seed, dtype, extreme)
    x = log_mels(shape, seed, dtype)
    known = list(network_bounds.through_stages(net, x, dtype))
    with np.errstate(all="ignore"):
        for form in (net, reparam.merge_only(net), reparam.fuse(net)):
            found = list(backend(form).stages(x))
            assert [name for name, _ in found] == [name for name, _ in known]
            for (_, y), (_, k) in zip(found, known):
                assert y.dtype == dtype and no_further(y, k.value, k.value_error + k.error)


@each_backend
@ordinary_or_extreme
@given(architectures(kernel=25, width=6), SEEDS, inputs(), dtypes)
def test_fused_networks_give_the_same_probabilities(backend, extreme, arch, seed, shape, dtype):
    net = float_network(arch, seed, dtype, extreme)
    x = log_mels(shape, seed, dtype)
    known = network_bounds.network_logits(net, x, dtype)
    with np.errstate(all="ignore"):
        reference = network.forward(net, x)
        for form in (net, reparam.fuse(net)):
            for head, p in backend(form)(x).items():
                bound = bounds.probabilities(known[head])
                assert p.shape == (len(x), arch.heads[head])
                if np.isfinite(known[head].error).all():
                    assert (p >= 0).all() and np.abs(p.sum(axis=1) - 1).max() <= bound.max() * p.shape[1]
                    assert no_further(p, reference[head], np.broadcast_to(2 * bound, p.shape))


@each_backend
@given(architectures(), SEEDS)
def test_examples_do_not_influence_each_other(backend, arch, seed):
    net = float_network(arch, seed)
    x = log_mels((3, 20, 16), seed)
    form = backend(net)
    together = form(x)
    known = network_bounds.network_logits(net, x, "float32")
    for i in range(3):
        for head, p in form(x[i : i + 1]).items():
            bound = 2 * bounds.probabilities(known[head])[i : i + 1]
            assert no_further(p, together[head][i : i + 1], np.broadcast_to(bound, p.shape))


# --- laws of merging ----------------------------------------------------------------------------------------------


@ordinary_or_extreme
@given(architectures(), SEEDS, dtypes)
def test_fusing_twice_changes_nothing(extreme, arch, seed, dtype):
    net = float_network(arch, seed, dtype, extreme)  # its arrays are read-only: writing to them would be an error
    untouched = frozen(net)
    fused = reparam.fuse(net)
    assert is_fused(fused) and fused.dtype == net.dtype
    assert same(reparam.fuse(fused), fused)
    assert alike(reparam.fuse(reparam.merge_only(net)), fused, net)
    assert same(net, untouched)
    check(fused)


def alike(one, other, net) -> bool:
    """Whether two merged forms of a network are equal: float64 to the bit, float32 as far as rounding on the way lets.

    `reparam.fuse` rounds a float32 weight once. A form that was merged in several steps is rounded in each of them.
    """
    if net.dtype == np.float64:
        return same(one, other)
    (ones, others), allowed = map(named_arrays, (one, other)), named_arrays(bounds.merged_weights(net, net.dtype))
    return ones.keys() == others.keys() and all(no_further(ones[n], others[n], allowed[n]) for n in ones)


@ordinary_or_extreme
@given(architectures(stages=2, blocks=2, width=3, kernel=7), SEEDS)
def test_a_merged_float32_weight_is_the_true_value_rounded_once(extreme, arch, seed):
    """No float32 is nearer to the value that the weights give in exact arithmetic, beyond a tie."""
    net = float_network(arch, seed, "float32", extreme)
    exact = named_arrays(reparam.fuse(as_exact(net)))
    merged = named_arrays(reparam.fuse(net))
    assert merged.keys() == exact.keys()
    for name, array in merged.items():
        assert array.dtype == np.float32 and array.shape == exact[name].shape
        for found, true in zip(array.ravel(), exact[name].ravel()):
            if np.isfinite(found):
                neighbours = np.nextafter(found, np.float32([-np.inf, np.inf]))
                nearest = min(abs(Fraction(float(n)) - true) for n in neighbours if np.isfinite(n))
                assert abs(Fraction(float(found)) - true) <= nearest * (1 + Fraction(1, 2**50)), name


@given(architectures(), SEEDS, dtypes)
def test_the_steps_of_merging_lead_to_the_fused_block(arch, seed, dtype):
    assert list(reparam.STEPS) == ["fold", "merge", "identity", "collapse"]
    net = float_network(arch, seed, dtype)
    stepwise = net.map_blocks(lambda block: list(merge_steps(block).values())[-1])
    assert alike(replace(stepwise, stem=reparam.fold(net.stem)), reparam.fuse(net), net)


@ordinary_or_extreme
@given(architectures(kinds=(REP,)), SEEDS, dtypes, st.randoms(use_true_random=False))
def test_the_order_of_branches_does_not_matter(extreme, arch, seed, dtype, random):
    for layer in float_network(arch, seed, dtype, extreme).layers:
        shuffled = list(layer.branches)
        random.shuffle(shuffled)
        weight, bias = bounds.merged_branches(layer, dtype)
        one = reparam.merge_branches(layer).branches[0]
        other = reparam.merge_branches(replace(layer, branches=tuple(shuffled))).branches[0]
        assert no_further(one.weight, other.weight, 2 * weight)
        assert no_further(one.bias, other.bias, 2 * bias)


@ordinary_or_extreme
@given(architectures(kinds=(REP,), **tiny), SEEDS, dtypes)
def test_a_merged_kernel_is_within_its_bound(extreme, arch, seed, dtype):
    for layer in float_network(arch, seed, dtype, extreme).layers:
        weight, bias = bounds.merged_branches(layer, dtype)
        exact = reparam.merge_branches(as_exact(layer)).branches[0]
        merged = reparam.merge_branches(layer).branches[0]
        assert within(merged.weight, exact.weight, weight)
        assert within(merged.bias, exact.bias, bias)


@given(architectures(kinds=(REP,)), SEEDS, dtypes, st.integers(0, 9), st.data())
def test_a_branch_with_zero_scale_vanishes(arch, seed, dtype, half, data):
    layer = float_network(arch, seed, dtype).layers[-1]
    channels = layer.branches[0].weight.shape[1]
    zero = np.zeros(channels, dtype)
    rng = np.random.default_rng(seed)
    kernel, mean = rng.normal(size=(2 * half + 1, channels)).astype(dtype), rng.normal(size=channels).astype(dtype)
    silent = Conv(kernel, bn=BatchNorm(zero, zero, mean, zero))
    place = data.draw(st.integers(0, len(layer.branches)))
    longer = replace(layer, branches=(*layer.branches[:place], silent, *layer.branches[place:]))
    x = activations(channels, seed, dtype)
    assert np.array_equal(ops.depthwise(x, longer), ops.depthwise(x, layer))
    one, other = fused_layer(longer).branches[0], fused_layer(layer).branches[0]
    assert np.array_equal(one.weight, reparam.pad_kernel(other.weight, len(one.weight)))
    assert np.array_equal(one.bias, other.bias)


@given(architectures(kinds=(REP,)), SEEDS, dtypes)
def test_a_dirac_branch_is_the_identity(arch, seed, dtype):
    layer = replace(float_network(arch, seed, dtype).layers[0], identity=False)
    size, channels = layer.branches[0].weight.shape
    dirac = np.zeros((size, channels), dtype)
    dirac[size // 2] = 1
    variance = layer.branches[0].bn.variance
    zero = np.zeros(channels, dtype)
    bn = BatchNorm(np.sqrt(variance + 1e-5), zero, zero, variance)  # it divides by what it multiplies with
    as_branch = replace(layer, branches=(*layer.branches, Conv(dirac, bn=bn)))
    as_identity = replace(layer, identity=True)
    one, other = fused_layer(as_branch), fused_layer(as_identity)
    assert not one.identity and not other.identity
    assert np.array_equal(one.branches[0].weight, other.branches[0].weight)
    assert np.array_equal(one.branches[0].bias, other.branches[0].bias)


@given(SEEDS, dtypes, st.sampled_from(("time", "frequency")), st.integers(0, 12))
def test_a_dirac_kernel_changes_nothing(seed, dtype, axis, half):
    dirac = np.zeros((2 * half + 1, 3), dtype)
    dirac[half] = 1
    x = activations(3, seed, dtype)
    zero = np.zeros(3, dtype)
    assert np.array_equal(ops.depthwise(x, Depthwise(axis, (Conv(dirac, zero),), identity=False)), np.maximum(x, 0))


@given(architectures(kinds=(REP,)), SEEDS, dtypes, st.sampled_from((2.0, -1.0, 0.25)))
def test_merging_scales_with_the_branch_kernels(arch, seed, dtype, factor):
    """A power of two scales without rounding, so the law holds bit for bit (sums: see test_exact)."""
    layer = float_network(arch, seed, dtype).layers[0]
    scaled = tuple(replace(b, weight=b.weight * b.weight.dtype.type(factor)) for b in layer.branches)
    one = reparam.merge_branches(replace(layer, branches=scaled)).branches[0]
    other = reparam.merge_branches(layer).branches[0]
    assert np.array_equal(one.weight, other.weight * other.weight.dtype.type(factor))
    assert np.array_equal(one.bias, other.bias)


# --- files --------------------------------------------------------------------------------------------------------


@ordinary_or_extreme
@given(arch=architectures(), seed=SEEDS, dtype=dtypes)
def test_a_model_file_round_trips_bit_for_bit(tmp_path_factory, extreme, arch, seed, dtype):
    path = tmp_path_factory.getbasetemp() / "model.npz"
    net = float_network(arch, seed, dtype, extreme)
    minirep.save(net, path)
    read = read_model(path).network
    assert same(read, net)
    minirep.save(reparam.fuse(net), path)  # fuse, then store ... equals store, then fuse
    assert same(read_model(path).network, reparam.fuse(read))


# --- what goes in: views and log-mels -----------------------------------------------------------------------------

SMALL = Recipe("small", rate=1000, clip_seconds=0.1, window_ms=20, hop_ms=10, frames=12, views=3, heads={"class": 2})


@given(st.integers(100, 100_000), st.integers(1, 12))
def test_views_spread_from_the_first_sample_to_the_last(length, views):
    starts = frontend.view_starts(length, SMALL, views)
    assert len(starts) == views and starts[0] == 0
    if views > 1:
        assert starts[-1] == length - SMALL.clip
        exact = [Fraction(i * (length - SMALL.clip), views - 1) for i in range(views)]
        # Truncated; where a start is a whole number, linspace may fall just short of it.
        assert all(s <= e <= s + 1 for s, e in zip(starts, exact))


@given(SEEDS, st.integers(1, 400), st.integers(1, 4))
def test_a_view_is_the_log_mel_of_its_stretch(seed, length, views):
    samples = np.random.default_rng(seed).normal(0, 0.1, length)
    got = frontend.log_mel_views(samples, SMALL.rate, SMALL, views)
    assert got.shape == (views, SMALL.frames, 128)
    starts = frontend.view_starts(length, SMALL, views) if length >= SMALL.clip else [0] * views
    for view, start in zip(got, starts):
        frames = defined_log_mel(samples[start : start + SMALL.clip - 1] if length >= SMALL.clip else samples, SMALL)
        assert np.abs(view[: len(frames)] - frames).max() < 1e-5
        assert (view[len(frames) :] == view[len(frames) - 1]).all()  # the last frame is repeated


def defined_log_mel(samples, recipe):
    """Frames of 2048 with 1024 zeros at both ends, a Hann window in their middle, triangles on the HTK mel scale."""
    window = np.zeros(2048)
    for i in range(recipe.window):
        window[(2048 - recipe.window) // 2 + i] = (1 - np.cos(2 * np.pi * i / recipe.window)) / 2
    padded = np.pad(np.asarray(samples, np.float64), 1024)
    frames = [padded[t : t + 2048] * window for t in range(0, len(samples) + 1, recipe.hop)]
    magnitudes = np.abs(np.fft.rfft(frames))
    mels = np.linspace(0, 2595 * np.log10(1 + recipe.rate / 2 / 700), 130)
    edges = 700 * (10 ** (mels / 2595) - 1)
    bins = np.arange(1025) * recipe.rate / 2048
    bands = [np.interp(bins, edges[b : b + 3], [0, 1, 0]) for b in range(128)]
    return np.log(magnitudes @ np.array(bands).T + 1e-6)
