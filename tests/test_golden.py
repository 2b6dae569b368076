"""Against other code. First, twins that PyTorch has computed: tests/data/twin-*.npz, made by tests/programs/twins.py.

Then against the authors' own code: reference cases in a folder that MINIREP_GOLDEN names; without it these tests skip.

Each case is a folder with checkpoint.pyth and expected.npz: input log-mels ``x``, outputs ``s1`` to ``s5`` of the stem
and the stages as (N, C, T, F), probabilities ``probs``, and ``long_probs`` of the input with its first frames appended.
``s1`` and ``s2`` hold the first example's first frames, ``s3`` and ``s4`` the first example, ``s5`` all. The folder
"frontend" holds recordings (.wav) with the log-mel views (.npz) of a recipe.
"""

import os
import wave
from pathlib import Path

import numpy as np
import pytest
import pyth
import twins
from trees import layer_at

import minirep
from minirep import read_checkpoint
from minirep.files.checkpoint import stored_merged
from minirep.network import forward, stages
from minirep.recipe import published_labels
from minirep.reparam import fuse, merge_branches
from minirep.tree import named_arrays

FOLDER = os.environ.get("MINIREP_GOLDEN")
CASES = sorted(path.parent for path in Path(FOLDER).glob("*/expected.npz")) if FOLDER else []
CLIPS = sorted(Path(FOLDER, "frontend").glob("*.wav")) if FOLDER else []
PUBLISHED_NAMES = {"s1": "stem", "s2": "stage1", "s3": "stage2", "s4": "stage3", "s5": "stage4"}

golden = pytest.mark.skipif(not FOLDER, reason="MINIREP_GOLDEN names no folder of reference cases")


# --- twins --------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module", params=["rep", "inception"])
def twin(request, tmp_path_factory):
    """(the network of a checkpoint, what PyTorch computed of it)."""
    with np.load(twins.DATA / f"twin-{request.param}.npz") as stored:
        expected = dict(stored)
    state, rest = pyth.published_state(**twins.SHAPE), expected.pop("state")
    for key, array in state.items():
        if np.asarray(array).dtype.kind == "f":
            state[key], rest = rest[: array.size].reshape(array.shape), rest[array.size :]
    assert rest.size == 0
    kind = {"rep": "AudioRepInceptionNeXt", "inception": "AudioInceptionNeXt"}[request.param]
    path = tmp_path_factory.mktemp("twin") / "checkpoint.pyth"
    pyth.write(path, pyth.checkpoint(state, pyth.config(kind, **twins.SHAPE, frames=32)))
    return read_checkpoint(path).network, expected


@pytest.mark.parametrize("form", ["branches", "fused"])
def test_a_twin_of_every_stage_and_the_probabilities(twin, form):
    net, expected = twin
    net = fuse(net) if form == "fused" else net
    x = expected["log_mels"].astype(np.float32)
    for published, y in zip(PUBLISHED_NAMES, dict(stages(net, x)).values()):
        wanted = expected[published].transpose(0, 2, 3, 1)  # (N, C, T, F) -> (N, T, F, C)
        np.testing.assert_allclose(y, wanted, rtol=0, atol=2e-6 * np.abs(wanted).max(), err_msg=published)
    np.testing.assert_allclose(forward(net, x)["class"], expected["probs"], rtol=0, atol=1e-6)


def test_a_twin_of_the_merged_kernels(twin):
    net, expected = twin
    found, wanted = named_arrays(fuse(net)), {k[7:]: v for k, v in expected.items() if k.startswith("merged.")}
    assert len(wanted) in (2, 4)
    for path, array in wanted.items():
        assert np.array_equal(found[path], array.astype(np.float32)), path


@pytest.mark.parametrize("recipe", twins.RECIPES)
def test_a_twin_of_the_front_end(recipe):
    rate, _, _, count = twins.RECIPES[recipe]
    (view,) = minirep.log_mel_views(twins.tone(rate, count), rate, recipe, views=1)
    with np.load(twins.DATA / "twin-rep.npz") as expected:
        np.testing.assert_allclose(view[::64], expected[recipe], rtol=0, atol=2e-5)


# --- the authors' code --------------------------------------------------------------------------------------------


def name(path):
    return path.stem


@pytest.fixture(scope="module", params=CASES, ids=name)
def case(request):
    """(classifier, expected arrays) of a folder."""
    with np.load(request.param / "expected.npz") as expected:
        return read_checkpoint(request.param / "checkpoint.pyth"), dict(expected)


@pytest.fixture(params=["branches", "fused"])
def network(case, request):
    return fuse(case[0].network) if request.param == "fused" else case[0].network


@golden
def test_probabilities(case, network):
    x, expected = case[1]["x"][:, 0], case[1]
    (probabilities,) = forward(network, x).values()
    np.testing.assert_allclose(probabilities, expected["probs"], rtol=0, atol=1e-5)


@golden
def test_long_input(case, network):
    x, expected = case[1]["x"][:, 0], case[1]
    longer = np.concatenate([x, x[:, : int(expected["x_long_tail"])]], axis=1)
    (probabilities,) = forward(network, longer).values()
    np.testing.assert_allclose(probabilities, expected["long_probs"], rtol=0, atol=1e-5)


@golden
def test_stages(case, network):
    outputs = dict(stages(network, case[1]["x"][:, 0]))
    for published, ours in PUBLISHED_NAMES.items():
        expected = case[1][published].transpose(0, 2, 3, 1)  # (N, C, T, F) -> (N, T, F, C)
        y = outputs[ours][: expected.shape[0], : expected.shape[1]]
        np.testing.assert_allclose(y, expected, rtol=0, atol=1e-4 * np.abs(expected).max(), err_msg=ours)


@golden
def test_the_whole_classifier(case):
    classifier, expected = case
    probabilities = classifier.probabilities(expected["x"][:, 0])["class"]
    np.testing.assert_allclose(probabilities, expected["probs"], rtol=0, atol=1e-5)
    assert classifier.recipe == minirep.RECIPES[classifier.recipe.name]
    assert classifier.labels == published_labels(classifier.recipe.name)


@golden
@pytest.mark.parametrize("folder", CASES, ids=name)
def test_merged_kernels_beside_the_branches_are_theirs(folder):
    network = read_checkpoint(folder / "checkpoint.pyth").network
    for path, conv in stored_merged(folder / "checkpoint.pyth").items():
        (merged,) = merge_branches(layer_at(network, path)).branches
        np.testing.assert_allclose(conv.weight, merged.weight, rtol=0, atol=1e-6 * np.abs(merged.weight).max())
        np.testing.assert_allclose(conv.bias, merged.bias, rtol=0, atol=1e-6 * max(1, np.abs(merged.bias).max()))


@golden
@pytest.mark.parametrize("clip", CLIPS, ids=name)
def test_front_end(clip):
    with np.load(clip.with_suffix(".npz")) as expected:
        views = expected["views"]
    recipe = clip.name.split("--")[0]
    rate, samples = wav_samples(clip)
    np.testing.assert_allclose(minirep.log_mel_views(samples, rate, recipe, views=len(views)), views, rtol=0, atol=1e-5)


def wav_samples(path):
    """(rate, mono float samples) of a 16-bit WAV file, by the standard library."""
    with wave.open(str(path)) as file:
        assert (file.getsampwidth(), file.getnchannels()) == (2, 1)
        return file.getframerate(), np.frombuffer(file.readframes(file.getnframes()), "<i2").astype(np.float32) / 32768
