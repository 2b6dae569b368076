"""The authors' checkpoints: every weight in its place, every misfit named.

Most are made by tests/helpers/pyth.py, so NumPy is enough; a few by PyTorch, and skip without it.
"""

import collections
import hashlib
import os
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pytest
import pyth
from trees import layer_at

import minirep
from minirep import RECIPES, MinirepError, read_checkpoint
from minirep.architecture import INCEPTION, ORDERS, REP
from minirep.files.checkpoint import stored_merged
from minirep.network import Conv, forward
from minirep.recipe import published_labels
from minirep.reparam import fuse, is_fused, merge_branches


@pytest.fixture
def path(tmp_path):
    return tmp_path / "checkpoint.pyth"


def read(path, *args, **kwargs):
    """The classifier in a file with such a checkpoint."""
    return read_checkpoint(pyth.write(path, pyth.checkpoint(*args, **kwargs)))


def refused(path, *args, **kwargs) -> str:
    """The one line that such a checkpoint gets."""
    with pytest.raises(MinirepError) as caught:
        read(path, *args, **kwargs)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and len(message.splitlines()) == 1 and len(message) < 1000
    return message


def without(state, *endings):
    return {key: array for key, array in state.items() if not key.endswith(endings)}


# --- every weight in its place ---------------------------------------------------------------------------------------


def assert_conv(conv, state, key, norm=None, spatial=None):
    """A Conv holds the published weight and batch norm. ``spatial``: the axis that a depthwise kernel lies along."""
    weight = state[f"{key}.weight"]
    if spatial is None and weight.shape[2:] == (1, 1):
        expected = weight[:, :, 0, 0].T
    elif spatial is None:
        expected = weight.transpose(2, 3, 1, 0)
    else:
        expected = (weight[:, 0, :, 0] if spatial == 2 else weight[:, 0, 0, :]).T
    np.testing.assert_array_equal(conv.weight, expected)
    assert conv.weight.dtype == np.float32 and conv.weight.flags.c_contiguous
    if norm is None:
        assert conv.bn is None
        np.testing.assert_array_equal(conv.bias, state[f"{key}.bias"])
    else:
        assert conv.bias is None
        for ours, theirs in (
            ("scale", "weight"),
            ("shift", "bias"),
            ("mean", "running_mean"),
            ("variance", "running_var"),
        ):
            np.testing.assert_array_equal(getattr(conv.bn, ours), state[f"{norm}.{theirs}"])


def assert_network(net, state, kind, depths, merged=False, branches=3, order="time-frequency"):
    """Each node of the tree against the description of the format, apart from minirep's own table."""
    assert_conv(net.stem, state, "s1.pathway0_stem.conv", "s1.pathway0_stem.bn")
    assert net.stem.relu and tuple(map(len, net.stages)) == depths
    for i, blocks in enumerate(net.stages):
        for j, block in enumerate(blocks):
            base = f"s{i + 2}.pathway0_res{j}"
            b2 = f"{base}.branch2."
            assert_conv(block.entry, state, f"{b2}a_head", f"{b2}a_head_bn")
            assert_conv(block.expand_project[0], state, f"{b2}c", f"{b2}c_bn")
            assert_conv(block.expand_project[1], state, f"{b2}d", f"{b2}d_bn")
            assert (block.shortcut is not None) == (i > 0 and j == 0)
            if block.shortcut:
                assert_conv(block.shortcut, state, f"{base}.branch1", f"{base}.branch1_bn")
            assert len(block.paths) == (1 if kind == REP else branches)
            for p, path in enumerate(block.paths):
                assert "-".join(layer.axis for layer in path) == order
                for layer in path:
                    axis, spatial = {"time": ("a", 2), "frequency": ("b", 3)}[layer.axis]
                    assert layer.identity == (kind == REP)
                    if merged:
                        (conv,) = layer.branches
                        assert_conv(conv, state, f"{b2}{axis}_reparam", spatial=spatial)
                        continue
                    suffixes = pyth.SUFFIXES[:branches] if kind == REP else pyth.SUFFIXES[p : p + 1]
                    for suffix, conv in zip(suffixes, layer.branches, strict=True):
                        assert_conv(conv, state, b2 + axis + suffix, f"{b2}{axis}_bn{suffix}", spatial)
    for head, linear in net.heads.items():
        key = "head.projection" + ("" if len(net.heads) == 1 else f"_{head}")
        np.testing.assert_array_equal(linear.weight, state[f"{key}.weight"].T)
        np.testing.assert_array_equal(linear.bias, state[f"{key}.bias"])


@pytest.mark.parametrize("kind", [REP, INCEPTION])
def test_branches(path, kind):
    shape = {"width": 3, "depths": (2, 1, 1, 2), "time": (21, 15, 13, 21), "freq": (7, 21, 11, 5)}
    state = pyth.published_state(**shape)
    net = read(path, state, pyth.config(kind=kind, **shape)).network
    assert_network(net, state, kind, shape["depths"])
    assert net.pool == (16, 4)


# What the published settings cannot say, as our own training writes it.
@pytest.mark.parametrize("kind", [REP, INCEPTION])
@pytest.mark.parametrize("own, largest, small, expansion, order", [
    ("ORDER: frequency-time", 21, (11, 3), 4, "frequency-time"),
    ("SMALL_KERNELS: []", 11, (), 4, "time-frequency"),
    ("SMALL_KERNELS: [3]\n  ORDER: time-frequency", 21, (3,), 4, "time-frequency"),
    ("EXPANSION: 2\n  SMALL_KERNELS: [3]\n  ORDER: frequency-time", 11, (3,), 2, "frequency-time"),
    ("EXPANSION: 8", 21, (11, 3), 8, "time-frequency"),
])  # fmt: skip
def test_shapes_that_were_not_published(path, kind, own, largest, small, expansion, order):
    sizes = {"time": (largest,) * 4, "freq": (largest, 13, 15, largest)}
    state = pyth.published_state(small=small, expansion=expansion, **sizes)
    cfg = pyth.config(kind=kind, **sizes)
    net = read(path, state, f"{cfg}MINIREP:\n  {own}\n").network
    assert_network(net, state, kind, (1, 2, 1, 1), branches=1 + len(small), order=order)
    if (expansion, small) != (4, (11, 3)):
        assert "do not fit" in refused(path, state, cfg)  # weights alone never make it another network


@pytest.mark.parametrize("own, words", [
    ("ORDER: time", "unknown order 'time'"),
    ("ORDER: 3", "MINIREP.ORDER = 3, expected str"),
    ("EXPANSION: 0", "expansion 0"),
    ("SMALL_KERNELS: [11, 3, 1]", "expected two at most"),
    ("SMALL_KERNELS: [11, 4]", "odd"),
    ("SMALL_KERNELS: [11, x]", "odd"),
    ("SMALL_KERNELS: 11", "expected list"),
    ("ODER: frequency-time", "'ODER' in MINIREP, expected"),
    ("1: 2", "'1' in MINIREP, expected"),
])  # fmt: skip
def test_settings_of_our_own_that_do_not_fit(path, own, words):
    assert words in refused(path, cfg=f"{pyth.config()}MINIREP:\n  {own}\n")


def test_merged_kernels_along_frequency_first(path):
    state = pyth.published_state(merged="both")
    pyth.write(path, pyth.checkpoint(state, f"{pyth.config()}MINIREP:\n  ORDER: frequency-time\n"))
    assert_conv(stored_merged(path)["stages.1.0.paths.0.1"], state, "s3.pathway0_res0.branch2.a_reparam", spatial=2)


def test_merged_beside_branches(path):
    state = pyth.published_state(merged="both")
    assert_network(read(path, state).network, state, REP, (1, 2, 1, 1))
    layers = stored_merged(path)
    assert len(layers) == 10
    conv = layers["stages.1.0.paths.0.1"]
    assert_conv(conv, state, "s3.pathway0_res0.branch2.b_reparam", spatial=3)
    assert isinstance(conv, Conv) and conv.bn is None and not conv.relu


def test_merged_alone(path):
    state = pyth.published_state(merged="alone")
    net = read(path, state).network
    assert_network(net, state, REP, (1, 2, 1, 1), merged=True)
    assert len(stored_merged(path)) == 10 and not is_fused(net) and is_fused(fuse(net))
    x = np.random.default_rng(0).normal(size=(1, 64, 128)).astype(np.float32)
    np.testing.assert_allclose(forward(net, x)["class"], forward(fuse(net), x)["class"], atol=1e-6)


def test_branches_alone_have_no_stored_merged(path):
    assert stored_merged(pyth.write(path, pyth.checkpoint())) == {}


def test_two_heads(path):
    heads = {"verb": 97, "noun": 300}
    state = pyth.published_state(heads=heads)
    front_end = {"rate": 24000, "clip": 2.08, "hop": 5, "window": 10, "frames": 416, "views": 10}
    clf = read(path, state, pyth.config(classes=(97, 300), dataset="epickitchens", **front_end))
    assert_network(clf.network, state, REP, (1, 2, 1, 1))
    assert clf.recipe == RECIPES["epic-kitchens-100"]
    assert list(clf.labels) == ["verb", "noun"] and clf.labels == published_labels("epic-kitchens-100")


# --- every way of storing it -----------------------------------------------------------------------------------------


def test_prefix_of_training_on_several_gpus(path):
    state = pyth.published_state()
    assert_network(read(path, pyth.tensors(state, prefix="module.")).network, state, REP, (1, 2, 1, 1))


def test_prefix_on_some_keys_only(path):
    state = pyth.tensors(pyth.published_state())
    state["module.s1.pathway0_stem.conv.weight"] = state.pop("s1.pathway0_stem.conv.weight")
    assert "keys start with 'module.'" in refused(path, state)


@pytest.mark.parametrize("kind, dtype", [("Double", np.float64), ("Half", np.float16), ("BFloat16", None)])
def test_other_types_become_float32(path, kind, dtype):
    state = pyth.published_state()
    if dtype is None:  # bfloat16 keeps the upper half of a float32
        rounded = {
            key: (a.view(np.uint32) & 0xFFFF0000).view(np.float32) for key, a in state.items() if a.dtype == "f4"
        }
    else:
        rounded = {key: a.astype(dtype).astype(np.float32) for key, a in state.items()}
    assert_network(read(path, pyth.tensors(state, kind=kind)).network, rounded, REP, (1, 2, 1, 1))


def test_parameters_and_strides_in_any_order(path):
    state = pyth.published_state()
    stored = pyth.tensors(state)
    weight = state["s2.pathway0_res0.branch2.c.weight"]  # (8, 2, 1, 1), its storage holds the transpose
    stored["s2.pathway0_res0.branch2.c.weight"] = pyth.Stored(weight.T, shape=weight.shape, strides=(1, 8, 8, 8))
    assert_network(read(path, stored).network, state, REP, (1, 2, 1, 1))


def test_one_storage_for_all_is_read_once(path, monkeypatch):
    state = without(pyth.published_state(), "num_batches_tracked")
    flat = np.concatenate([np.zeros(5, np.float32), *(a.ravel() for a in state.values())])
    stored, offset = collections.OrderedDict(), 5
    for key, array in state.items():
        stored[key] = pyth.Stored(flat, shape=array.shape, offset=offset, key="0")
        offset += array.size
    pyth.write(path, pyth.checkpoint(stored))
    reads, read_entry = [], zipfile.ZipFile.read
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda z, info: reads.append(info.filename) or read_entry(z, info))
    assert_network(read_checkpoint(path).network, state, REP, (1, 2, 1, 1))
    assert reads.count("archive/data/0") == 1


def test_optimizer_state_is_not_read(path):
    """Neither its numbers, which are broken here, nor what it says of their places."""
    state = pyth.published_state()
    momentum = pyth.tensors({f"m{i}": np.full(10, 12345.0, np.float32) for i in range(3)})
    momentum["lost"] = pyth.Stored(np.zeros(3, np.float32), shape=(1 << 40,), key="nowhere")
    optimizer = {
        "state": {i: {"momentum_buffer": t} for i, t in enumerate(momentum.values())},
        "param_groups": [{"lr": 0.1}],
    }
    pyth.write(path, pyth.checkpoint(state, optimizer_state=optimizer))
    whole, broken = path.read_bytes(), np.full(10, 12345.0, np.float32).tobytes()
    assert whole.count(broken) == 3
    path.write_bytes(whole.replace(broken, broken[::-1]))  # the checksums are wrong now
    assert_network(read_checkpoint(path).network, state, REP, (1, 2, 1, 1))


# --- recipe, labels, provenance --------------------------------------------------------------------------------------


def test_recipe_and_provenance(path):
    clf = read(path, pyth.published_state(heads={"class": 35}), pyth.config(classes=(35,)))
    assert clf.recipe == RECIPES["speech-commands-v2"]
    assert clf.labels == published_labels("speech-commands-v2")
    assert clf.provenance == {"source": "checkpoint.pyth", "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}


def test_the_files_own_values_win(path):
    clf = read(path, cfg=pyth.config(rate=8000, views=3, frames=256))
    assert (clf.recipe.rate, clf.recipe.views, clf.recipe.frames) == (8000, 3, 256)
    assert clf.recipe.name == "speech-commands-v2" and clf.network.pool == (8, 4)
    assert clf.labels == {"class": ("class 0", "class 1", "class 2")}  # three classes are not the published 35


def test_unknown_data_set(path):
    recipe = read(path, cfg=pyth.config(dataset="birdsong", rate=32000)).recipe
    assert recipe.name == "birdsong" and recipe.rate == 32000 and recipe.repeat == "frame"


@pytest.mark.parametrize("configured", [10, 35])
def test_urbansound_may_be_configured_for_35(path, configured):
    cfg = pyth.config(classes=(configured,), dataset="urbansound8k", clip=4.16, hop=10, window=20, frames=416, views=2)
    clf = read(path, pyth.published_state(heads={"class": 10}), cfg)
    assert clf.recipe == RECIPES["urbansound8k"] and clf.labels == published_labels("urbansound8k")


def test_urbansound_with_the_35_outputs_of_its_configuration(path):
    cfg = pyth.config(classes=(35,), dataset="urbansound8k")
    labels = read(path, pyth.published_state(heads={"class": 35}), cfg).labels["class"]
    assert labels[:10] == published_labels("urbansound8k")["class"]
    assert labels[10:] == tuple(f"class {i}" for i in range(10, 35))


def test_our_own_extras(path):
    extras = {
        "recipe": "digits",
        "labels": {"class": ["one", "two", "élan"]},
        "licence": "CC0",
        "credit": "Ada",
        "more": 1,
    }
    clf = read(path, minirep=extras)
    assert clf.recipe.name == "digits" and clf.recipe.rate == 16000
    assert clf.labels == {"class": ("one", "two", "élan")}
    assert clf.provenance["licence"] == "CC0" and clf.provenance["credit"] == "Ada"


@pytest.mark.parametrize("extras, words", [
    ({"labels": {"class": ["a", "b"]}}, "labels: found {'class': 2} names, expected {'class': 3}"),
    ({"labels": {"verb": ["a", "b", "c"]}}, "labels: found {'verb': 3}"),
    ({"labels": ["a", "b", "c"]}, "expected labels as"),
    ({"labels": {"class": "abc"}}, "expected labels as"),
    ({"labels": {"class": ["a", "b", 3]}}, "printable text"),
    ({"labels": {"class": ["a", "b", "\ud800"]}}, "printable text"),
    ({"recipe": 3}, "printable text"),
    ({"credit": "two\nlines"}, "printable text"),
    ([1], "expected a dictionary"),
])  # fmt: skip
def test_bad_extras(path, extras, words):
    assert words in refused(path, minirep=extras)


# --- no backend is chosen before it is used ---------------------------------------------------------------------------


def in_a_process(*command, **environment):
    """Run Python with these arguments and variables; return what it printed on stdout."""
    done = subprocess.run(
        [sys.executable, *map(str, command)], env=os.environ | environment, capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_converting_prepares_no_backend(path, tmp_path):
    """A number of threads that the compiled backend would refuse does not matter: nothing is computed."""
    pyth.write(path, pyth.checkpoint())
    branches, merged = tmp_path / "branches.npz", tmp_path / "merged.npz"
    for command in (("convert", path, "-o", merged), ("convert", path, "-o", branches, "--keep-branches"),
                    ("fuse", branches, "-o", tmp_path / "later.npz")):  # fmt: skip
        in_a_process("-m", "minirep", *command, MINIREP_NUM_THREADS="abc")
    assert is_fused(minirep.load(merged, fused=False).network)
    assert (tmp_path / "later.npz").read_bytes() == merged.read_bytes()


LOADS = {
    "read_checkpoint": "minirep.read_checkpoint(sys.argv[1])",
    "load": "minirep.load(sys.argv[1], backend='numpy').classify([0.0] * 16000, 16000)",
}


@pytest.mark.parametrize("load", LOADS)
def test_reading_a_checkpoint_imports_no_compiler(path, load):
    pyth.write(path, pyth.checkpoint())
    code = f"import sys, minirep; {LOADS[load]}; print(*{{'numba', 'llvmlite', 'minirep.fast'}} & set(sys.modules))"
    assert in_a_process("-c", code, path) == "\n"
    assert in_a_process("-c", code, path, MINIREP_NUM_THREADS="abc") == "\n"


def test_a_checkpoint_is_computed_with_by_a_backend_chosen_at_first_use(path, monkeypatch):
    pytest.importorskip("numba")
    monkeypatch.setenv("MINIREP_NUM_THREADS", "abc")
    clf = read(path)
    with pytest.raises(MinirepError, match="MINIREP_NUM_THREADS: found 'abc'"):
        clf.prepare()
    with pytest.raises(MinirepError, match="MINIREP_NUM_THREADS: found 'abc'"):
        minirep.load(path)
    monkeypatch.delenv("MINIREP_NUM_THREADS")
    x = np.random.default_rng(0).normal(-5, 3, (1, 64, 128)).astype(np.float32)
    np.testing.assert_allclose(clf.probabilities(x)["class"], forward(clf.network, x)["class"], rtol=1e-4, atol=1e-6)


# --- what does not fit is named --------------------------------------------------------------------------------------


def test_missing_keys(path):
    message = refused(path, without(pyth.published_state(), "a_medium.weight"))
    assert "missing: s2.pathway0_res0.branch2.a_medium.weight, s3.pathway0_res0.branch2.a_medium.weight" in message
    assert "and 2 more" in message


def test_extra_keys(path):
    state = pyth.published_state()
    state["s2.pathway0_res0.branch2.attention\n.weight"] = np.zeros(3, np.float32)
    assert "not expected: 's2.pathway0_res0.branch2.attention\\n.weight'" in refused(path, state)


def test_misshaped_keys(path):
    state = pyth.published_state()
    state["s3.pathway0_res1.branch2.b.weight"] = np.zeros((4, 1, 21, 1), np.float32)  # along the wrong axis
    state["s1.pathway0_stem.bn.num_batches_tracked"] = np.zeros(2, np.int64)
    message = refused(path, state)
    assert "of another shape: s3.pathway0_res1.branch2.b.weight (4, 1, 21, 1) for (4, 1, 1, 21), s1." in message


def test_all_at_once(path):
    state = without(pyth.published_state(), "s2.pathway0_res0.branch2.a_head.weight") | {"x": np.zeros(1, np.float32)}
    state["head.projection.weight"] = np.zeros((3, 5), np.float32)
    message = refused(path, state)
    assert "missing: s2" in message and "not expected: 'x'" in message and "of another shape: head" in message


def test_empty_blocks(path):
    state = {f"s2.pathway0_res{i}.branch2.x": np.zeros(1, np.float32) for i in range(900)}
    assert "too few" in refused(path, state | pyth.published_state())


def test_long_names(path):
    """A message stays short whatever stands in the file."""
    state = {key.replace("projection", "projection_" + "x" * 5000): a for key, a in pyth.published_state().items()}
    refused(path, state)
    refused(
        path, pyth.published_state() | {f"head.projection_{'x' * 30}{i}.bias": np.zeros(1, "f4") for i in range(99)}
    )
    refused(path, minirep={"labels": {str(i) * 100: ["x"] for i in range(99)}})
    refused(path, cfg=pyth.config(width="x" * 5000))


def test_merged_kernels_in_some_layers_only(path):
    message = refused(path, without(pyth.published_state(merged="both"), "res1.branch2.b_reparam.bias"))
    assert "missing: s3.pathway0_res1.branch2.b_reparam.bias" in message


def test_merged_kernels_are_foreign_to_audioinceptionnext(path):
    assert "not expected" in refused(path, pyth.published_state(merged="both"), pyth.config(kind=INCEPTION))


def test_counters_may_be_missing(path):
    state = without(pyth.published_state(), "num_batches_tracked")
    assert_network(read(path, state).network, state, REP, (1, 2, 1, 1))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_weights_that_are_not_finite(path, value):
    state = pyth.published_state()
    state["s2.pathway0_res0.branch2.d_bn.bias"][1] = value
    assert "s2.pathway0_res0.branch2.d_bn.bias holds NaN" in refused(path, state)


def test_weights_too_large_for_float32(path):
    state = pyth.published_state()
    state["head.projection.bias"] = np.array([1e300, 0, 0])
    assert "head.projection.bias holds NaN" in refused(path, pyth.tensors(state, kind="Double"))


def test_negative_variances(path):
    state = pyth.published_state()
    state["s1.pathway0_stem.bn.running_var"][0] = -1
    assert "negative" in refused(path, state)


def test_whole_numbers_for_weights(path):
    state = pyth.published_state()
    state["head.projection.bias"] = np.zeros(3, np.int64)
    assert "head.projection.bias holds whole numbers" in refused(path, state)


def test_tensors_that_overlap(path):
    """A small storage that all tensors look at must not fill the memory."""
    shape = {"width": 16}
    state = without(pyth.published_state(**shape), "num_batches_tracked")
    storage = np.zeros(max(array.size for array in state.values()), np.float32)
    stored = collections.OrderedDict((k, pyth.Stored(storage, shape=a.shape, key="0")) for k, a in state.items())
    assert "overlap" in refused(path, stored, pyth.config(**shape))


@pytest.mark.parametrize("changes, words", [
    ({"depths": (1, 1, 1, 1)}, "have (1, 2, 1, 1) blocks in the stages, the configuration says (1, 1, 1, 1) or (3,"),
    ({"classes": (4,)}, "the weights have heads for {'class': 3} classes, the configuration says [4]"),
    ({"classes": (3, 4)}, "[3, 4]"),
    ({"kind": "x" * 10_000}, "unknown kind 'xxx"),
    ({"classes": range(9_000)}, "the configuration says [0, 1,"),
    ({"width": 4}, "of another shape: s1.pathway0_stem.conv.weight (2, 1, 5, 7) for (4, 1, 5, 7)"),
    ({"time": (21, 15, 21, 21)}, "s3.pathway0_res0.branch2.a.weight (4, 1, 21, 1) for (4, 1, 15, 1)"),
    ({"time": (21, 21, 21)}, "one a stage"),
    ({"time": (20,) * 4}, "odd"),
    ({"kind": "ResNet"}, "unknown kind 'ResNet'"),
    ({"width": "wide"}, "RESNET.WIDTH_PER_GROUP = 'wide', expected int"),
    ({"width": 0}, "width 0"),
    ({"width": "true"}, "expected int"),
    ({"rate": -1}, "expected positive numbers"),
    ({"rate": "1.5"}, "AUDIO_DATA.SAMPLING_RATE = 1.5, expected int"),
    ({"clip": "x"}, "AUDIO_DATA.CLIP_SECS"),
    ({"frames": "[512]"}, "AUDIO_DATA.NUM_FRAMES"),
    ({"dataset": "''"}, "TRAIN.DATASET"),
    ({"dataset": "3"}, "TRAIN.DATASET"),
    ({"views": "0"}, "expected positive numbers"),
])  # fmt: skip
def test_configuration_that_does_not_fit(path, changes, words):
    assert words in refused(path, cfg=pyth.config(**changes))


@pytest.mark.parametrize("old, new, words", [
    ("NUM_FREQUENCIES: 128", "NUM_FREQUENCIES: 64", "AUDIO_DATA.NUM_FREQUENCIES = 64, expected 128"),
    ("HEAD_ACT: softmax", "HEAD_ACT: sigmoid", "MODEL.HEAD_ACT = 'sigmoid', expected softmax"),
    ("NUM_GROUPS: 1", "NUM_GROUPS: 2", "RESNET.NUM_GROUPS"),
    ("NUM_GROUPS: 1", "FREQUENCY_DILATIONS: [[1], [2], [1], [1]]", "FREQUENCY_DILATIONS"),
    ("[[1], [2], [2], [2]]", "[[1], [2], [2, 2], [2]]", "RESNET.TIME_STRIDES"),
    ("[[1], [2], [2], [2]]", "[[2], [2], [2], [2]]", "missing: s2.pathway0_res0.branch1.weight"),
    ("WIDTH_PER_GROUP: 2", "", "RESNET.WIDTH_PER_GROUP"),
    ("RESNET:", "RESNET2:", "RESNET."),
    ("MODEL:", "MODEL: 3", "a key inside a value"),
    ("TRAIN:", "TRAIN: &anchor", "not understood"),
    ("DATASET: speech", "DATASET: [[[[[[[[[[[[[[[[[[[[[[[[", "nested"),
    ("DATASET: speech", "DATASET: [", "without its end"),
])  # fmt: skip
def test_damaged_configuration(path, old, new, words):
    text = pyth.config()
    assert old in text and words in refused(path, cfg=text.replace(old, new))


def test_no_configuration(path):
    for cfg in (3, [None], "", "- 1", {"RESNET": {}}, "x" * 100_000):
        assert "configuration" in refused(path, cfg=cfg)


def test_depths_may_come_from_either_setting(path):
    state = pyth.published_state(depths=(2, 2, 2, 2))
    assert read(path, state, pyth.config(depths=(1, 1, 1, 1), depth=18)).network
    assert read(path, state, pyth.config(depths=(2, 2, 2, 2), depth=50)).network
    assert "the configuration says (1, 1, 1, 1) or (3, 4, 6, 3)" in refused(
        path, state, pyth.config(depths=(1, 1, 1, 1))
    )


@pytest.mark.parametrize("content", [
    [1, 2], {"epoch": 3}, {"model_state": 3}, {"model_state": {}}, {"model_state": {"a": 1}}, 3, None,
    {"model_state": {3: pyth.Stored(np.zeros(1))}},
])  # fmt: skip
def test_no_weights(path, content):
    with pytest.raises(MinirepError, match=r"model_state|configuration"):
        read_checkpoint(pyth.write(path, content))


@pytest.mark.skipif(os.name == "nt", reason="names that Windows does not allow")
@pytest.mark.parametrize("name", ["two\nlines", "/".join(["x" * 200] * 4)])
def test_any_name_of_the_file_comes_once_and_whole_before_what_was_found(tmp_path, name):
    path = tmp_path / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"junk")
    with pytest.raises(MinirepError) as error:
        read_checkpoint(path)
    assert str(error.value).startswith(str(path).replace("\n", "\\n") + ": not a checkpoint; expected a zip")


def test_several_lines_of_names_stay_one_line(path):
    state = pyth.published_state() | {f"x{i}\n\ud800" + "y" * 500: np.zeros(1, np.float32) for i in range(50)}
    assert "and 47 more" in refused(path, state)


# --- files that PyTorch wrote ----------------------------------------------------------------------------------------


@pytest.fixture
def twin(monkeypatch):
    """tutorials/training/twin.py: both networks in PyTorch."""
    torch = pytest.importorskip("torch")
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # the networks here are too small to share
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "tutorials" / "training")
    yield pytest.importorskip("twin")
    torch.set_num_threads(threads)


SMALL = {"width": 4, "depths": (1, 2, 1, 1), "frames": 64}


def assert_same_function(model, path, heads=("class",)):
    """The file gives the probabilities of the PyTorch model, branches and fused, on its own length and a longer one."""
    import torch

    net = read_checkpoint(path).network
    for frames in (64, 101):
        x = np.random.default_rng(frames).normal(-5, 2, (2, frames, 128)).astype(np.float32)
        with torch.no_grad():
            expected = model.eval()(torch.from_numpy(x[:, None]))
        for ours in (forward(net, x), forward(fuse(net), x)):
            assert set(ours) == set(heads)
            for head in heads:
                # logits are up to some hundred here, where neighbouring float32 numbers are 1e-5 apart
                np.testing.assert_allclose(ours[head], expected[head].numpy(), rtol=0, atol=5e-5)


@pytest.mark.parametrize("kind", [REP, INCEPTION])
def test_twin(path, twin, kind):
    model = twin.randomise(twin.Twin(kind, time_kernels=(21, 15, 13, 21), freq_kernels=(11, 21, 21, 9), **SMALL))
    twin.save_checkpoint(path, model)
    assert_same_function(model, path)


@pytest.mark.parametrize("kind", [REP, INCEPTION])
@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("scales, expansion", [
    ((21,), 4), ((11,), 4), ((3,), 4), ((21, 11), 4), ((21, 3), 8), ((11, 3), 2), ((21, 11, 3), 2)
])  # fmt: skip
def test_twin_of_another_shape(path, twin, kind, order, scales, expansion):
    model = twin.randomise(twin.Twin(kind, scales=scales, order=order, expansion=expansion, **SMALL))
    twin.save_checkpoint(path, model)
    assert_same_function(model, path)


@pytest.mark.parametrize("merged", ["both", "alone"])
def test_twin_merged_frequency_first(path, twin, merged):
    shape = {"scales": (11, 3), "order": ORDERS[1], **SMALL}
    model, both = twin.randomise(twin.Twin(**shape)), twin.Twin(merged=merged, **shape)
    both.load_state_dict(twin.merged_state(model.state_dict(), keep_branches=merged == "both"))
    twin.save_checkpoint(path, both)
    assert_same_function(both, path)
    assert_same_function(model, path)


def test_twin_with_two_heads_and_an_optimizer(path, twin):
    import torch

    model = twin.randomise(twin.Twin(heads={"verb": 5, "noun": 7}, **SMALL))
    optimizer = torch.optim.SGD(model.parameters(), 0.1, momentum=0.9)
    sum(y.sum() for y in model(torch.zeros(1, 1, 64, 128)).values()).backward()
    optimizer.step()
    twin.save_checkpoint(path, model, "epic-kitchens-100", optimizer=optimizer)
    assert_same_function(model, path, ("verb", "noun"))


@pytest.mark.parametrize("merged", ["both", "alone"])
def test_twin_merged(path, twin, merged):
    model = twin.randomise(twin.Twin(**SMALL))
    both = twin.Twin(merged=merged, **SMALL)
    both.load_state_dict(twin.merged_state(model.state_dict(), keep_branches=merged == "both"))
    twin.save_checkpoint(path, both)
    assert_same_function(both, path)
    assert_same_function(model, path)
    network = read_checkpoint(path).network
    for layer, conv in stored_merged(path).items():
        (ours,) = merge_branches(layer_at(network, layer)).branches
        np.testing.assert_allclose(conv.weight, ours.weight, rtol=0, atol=1e-6)
        np.testing.assert_allclose(conv.bias, ours.bias, rtol=0, atol=1e-6)


@pytest.mark.parametrize("dtype, bound", [("float64", 1e-5), ("float16", 0.02), ("bfloat16", 0.1)])
def test_torch_types_and_strides(path, twin, dtype, bound):
    """Stored by torch in another type, prefixed, with all tensors as views of two storages."""
    import torch

    model = twin.randomise(twin.Twin(**SMALL))
    state = {key: t if t.dtype == torch.int64 else t.to(getattr(torch, dtype)) for key, t in model.state_dict().items()}
    pool = torch.cat([t.reshape(-1) for t in state.values() if t.dtype != torch.int64])
    stored, offset = collections.OrderedDict(), 0
    for key, t in state.items():
        stored["module." + key] = t
        if t.dtype != torch.int64:
            stored["module." + key] = pool[offset : offset + t.numel()].view(t.shape)
            offset += t.numel()
    weight = stored["module.head.projection.weight"]
    stored["module.head.projection.weight"] = torch.nn.Parameter(weight.T.contiguous().T)  # column by column
    torch.save({"model_state": stored, "cfg": twin.config_text(model)}, path)
    net = read_checkpoint(path).network
    np.testing.assert_array_equal(net.heads["class"].weight, weight.to(torch.float32).numpy().T)
    np.testing.assert_array_equal(net.stem.bn.mean, state["s1.pathway0_stem.bn.running_mean"].to(torch.float32).numpy())
    x = torch.randn(1, 1, 64, 128, generator=torch.Generator().manual_seed(0)) - 5
    with torch.no_grad():
        expected = model.eval()(x)["class"].numpy()
    np.testing.assert_allclose(forward(net, x[:, 0].numpy())["class"], expected, rtol=0, atol=bound)


def test_legacy_format(path, twin):
    import torch

    model = twin.Twin(**SMALL)
    content = {"model_state": model.state_dict(), "cfg": twin.config_text(model)}
    torch.save(content, path, _use_new_zipfile_serialization=False)
    with pytest.raises(MinirepError, match=r"before 1\.6"):
        read_checkpoint(path)
