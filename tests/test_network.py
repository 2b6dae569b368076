"""The network: how it is built and checked, what flows through it, and what it costs."""

import dataclasses

import numpy as np
import pytest
import strategies
from hypothesis import given, settings
from hypothesis import strategies as st

import minirep
from minirep import RECIPES, Architecture, MinirepError, fuse, ops, random_network
from minirep.architecture import INCEPTION, REP, build
from minirep.check import check
from minirep.count import costs, total
from minirep.network import Conv, forward
from minirep.reparam import merge_only
from minirep.tree import named_arrays

SMALL = {kind: random_network(Architecture(kind=kind, width=4, depths=(1, 2, 1, 1))) for kind in (REP, INCEPTION)}


def log_mels(n=1, frames=64, seed=0):
    return np.random.default_rng(seed).normal(-5, 3, (n, frames, 128)).astype(np.float32)


@pytest.mark.parametrize("kind", SMALL)
def test_stages_have_the_published_shapes(kind):
    shapes = {name: y.shape for name, y in minirep.stages(SMALL[kind], log_mels(2, 512))}
    assert shapes == {
        "stem": (2, 128, 32, 4),
        "stage1": (2, 128, 32, 4),
        "stage2": (2, 64, 16, 8),
        "stage3": (2, 32, 8, 16),
        "stage4": (2, 16, 4, 32),
    }


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([REP, INCEPTION]), st.integers(1, 200), st.integers(1, 3))
def test_any_length_and_batch(kind, frames, n):
    p = forward(SMALL[kind], log_mels(n, frames))["class"]
    assert p.shape == (n, 309) and p.dtype == np.float32
    np.testing.assert_allclose(p.sum(1), 1, atol=1e-5)


@pytest.mark.parametrize("kind", SMALL)
def test_examples_do_not_see_each_other(kind):
    x = log_mels(3)
    alone = np.concatenate([forward(SMALL[kind], x[i : i + 1])["class"] for i in range(3)])
    np.testing.assert_allclose(forward(SMALL[kind], x)["class"], alone, rtol=1e-4, atol=1e-7)


def test_a_long_input_is_averaged_over_positions():
    net = SMALL[REP]
    x = log_mels(1, 512 + 64)  # two frames more after the strides: three positions
    logits = strategies.logits(net, x)["class"]
    assert logits.shape == (1, 3, 1, 309)
    np.testing.assert_allclose(forward(net, x)["class"], ops.softmax(logits).mean((1, 2)), rtol=1e-5)


def test_one_example_needs_no_batch_axis():
    x = log_mels()
    np.testing.assert_array_equal(forward(SMALL[REP], x[0])["class"], forward(SMALL[REP], x)["class"])


@pytest.mark.parametrize("bad", [np.zeros(3), np.zeros((1, 0, 128)), np.array([["a"]]), np.zeros((1, 2, 3, 4))])
def test_bad_log_mels(bad):
    with pytest.raises(MinirepError, match="log-mels"):
        forward(SMALL[REP], bad)


def test_what_tells_the_two_networks_apart():
    rep, inception = SMALL[REP].stages[0][0], SMALL[INCEPTION].stages[0][0]
    assert [[len(layer.branches) for layer in path] for path in rep.paths] == [[3, 3]]
    assert [[len(layer.branches) for layer in path] for path in inception.paths] == [[1, 1]] * 3
    assert rep.entry.relu and rep.expand_project[0].relu
    assert not inception.entry.relu and not inception.expand_project[0].relu
    assert rep.shortcut is None and SMALL[REP].stages[1][0].shortcut is not None  # stage 1 keeps width and stride


@pytest.mark.parametrize("kind", SMALL)
def test_either_axis_may_come_first(kind):
    """The same weights in the other order are another function, of the same cost."""
    arch = Architecture(kind=kind, width=4, depths=(1, 2, 1, 1), order="frequency-time")
    other = random_network(arch)
    assert [layer.axis for layer in other.stages[0][0].paths[0]] == ["frequency", "time"]
    assert not np.allclose(forward(other, log_mels())["class"], forward(SMALL[kind], log_mels())["class"], atol=1e-6)
    assert total(costs(other, 64)) == total(costs(SMALL[kind], 64))


# The totals the papers and the authors' code give (parameters, operations), unmerged and merged.
PUBLISHED = {
    (REP, "vggsound"): ((11.8349, 2.6247), (11.6914, 2.5527)),
    (REP, "epic-sounds"): ((11.6989, 2.1325), (11.5554, 2.0739)),
    (REP, "epic-kitchens-100"): ((11.8800, 2.1327), None),
    (INCEPTION, "vggsound"): ((11.8349, 2.6247), None),
    (INCEPTION, "epic-sounds"): ((11.6989, 2.1325), None),
}


def empty(name, shape):
    return np.broadcast_to(np.float32(0), shape)  # the shape without the memory


@pytest.mark.parametrize("kind,name", PUBLISHED)
def test_costs_are_the_published_totals(kind, name):
    recipe = RECIPES[name]
    net = build(Architecture(kind=kind, heads=recipe.heads, frames=recipe.frames), empty)
    for form, published in zip((net, merge_only(net)), PUBLISHED[kind, name]):
        if published:
            cost = total(costs(form, recipe.frames))
            assert (round(cost.parameters / 1e6, 4), round(cost.published / 1e9, 4)) == published


@pytest.mark.parametrize("kind", SMALL)
def test_costs_follow_the_activations(kind):
    for net in (SMALL[kind], fuse(SMALL[kind])):
        rows = {row.name: row.shape for row in costs(net, 100)}
        for name, y in minirep.stages(net, log_mels(1, 100)):
            assert rows[name] == y.shape[1:]
    assert total(costs(fuse(SMALL[kind]), 100)).norm_ops == 0


def test_parameters_are_the_arrays_sizes():
    sizes = [array.size for array in named_arrays(SMALL[REP]).values()]
    statistics = sum(2 * conv.bn.mean.size for conv in SMALL[REP].convs)
    assert total(costs(SMALL[REP], 64)).parameters == sum(sizes) - statistics


def damaged():
    net = SMALL[REP]
    block = net.stages[0][0]

    def with_block(**changes):
        changed = dataclasses.replace(block, **changes)
        return dataclasses.replace(net, stages=((changed,), *net.stages[1:]))

    even = dataclasses.replace(block.paths[0][0], branches=(Conv(np.zeros((4, 4), np.float32)),))
    yield "stem.weight", dataclasses.replace(net, stem=Conv(np.zeros((5, 7, 4), np.float32)))
    yield "stages.0.0.entry.weight", with_block(entry=Conv(np.zeros((3, 4), np.float32)))
    yield "stages.0.0.entry.weight", with_block(entry=Conv(np.zeros((4, 4), np.float64)))
    yield "stages.0.0.entry.bias", with_block(entry=Conv(np.zeros((4, 4), np.float32), np.zeros(5, np.float32)))
    yield "odd number of taps", with_block(paths=((even,),))
    yield "stages.0.0.expand_project.1.weight", with_block(expand_project=block.expand_project[:1] * 2)
    yield "stages.0.0.shortcut", with_block(stride=(2, 2))
    yield "stages.0.0.stride", with_block(stride=(0, 1))
    yield "heads", dataclasses.replace(net, heads={})
    yield "pool", dataclasses.replace(net, pool=(0, 4))
    yield "tree", None


@pytest.mark.parametrize("names,net", list(damaged()))
def test_check_names_what_does_not_fit(names, net):
    assert check(SMALL[REP]) is SMALL[REP]
    with pytest.raises(MinirepError, match=names):
        check(net)


@pytest.mark.parametrize(
    "change",
    [
        {"kind": "ResNet"},
        {"width": 0},
        {"depths": ()},
        {"depths": (1, 2)},
        {"time_kernels": ((20,),) * 4},
        {"freq_kernels": ((),) * 4},
        {"heads": {}},
        {"order": "time"},
        {"freq_strides": (1, 0, 1, 1)},
        {"kind": INCEPTION, "time_kernels": ((3,),) * 4},
    ],
)
def test_bad_architectures(change):
    with pytest.raises(MinirepError, match=r"^architecture: "):
        Architecture(**change)
