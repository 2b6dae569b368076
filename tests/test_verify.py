"""``minirep verify``: what it accepts, what it must find, and what it prints."""

import json
import os
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyth
from audio_files import sound
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, architectures, float_network, log_mels
from trees import same

import minirep
from minirep import RECIPES, Architecture, Classifier, MinirepError, random_network, read_checkpoint, reparam
from minirep.architecture import INCEPTION, REP
from minirep.cli import main
from minirep.cli.output import finite
from minirep.cli.verify import as_json
from minirep.files.modelfile import Model, read_model, write_model
from minirep.files.models import model_path
from minirep.proof import bounds, verify
from minirep.tree import map_tree, named_arrays

GOLDEN = sorted(Path(os.environ["MINIREP_GOLDEN"]).glob("*/checkpoint.pyth")) if "MINIREP_GOLDEN" in os.environ else []
JIT_OFF = os.environ.get("NUMBA_DISABLE_JIT", "0") not in ("", "0")
RECIPE = replace(RECIPES["speech-commands-v2"], frames=64)


def classifier(kind=REP, seed=0):
    arch = Architecture(kind, 3, (1, 2), ((21, 11, 3), (9, 5)), ((5, 3, 1), (21, 3)), (1, 2), (1, 2), frames=64,
                        heads={"class": 4}) if kind == REP else Architecture(kind, 3, (1, 1), ((7, 3),) * 2,
                        ((5, 3),) * 2, (1, 2), (1, 2), frames=64, heads={"verb": 2, "noun": 3})  # fmt: skip
    return Classifier(random_network(arch, seed), RECIPE)


def model(clf) -> Model:
    return Model(clf.network, clf.recipe, clf.labels, clf.provenance)


@pytest.fixture(params=[REP, INCEPTION])
def clf(request):
    return classifier(request.param)


@pytest.fixture
def path(clf, tmp_path):
    minirep.save(clf, tmp_path / "model.npz")
    return str(tmp_path / "model.npz")


def stored_kernels(net):
    """What the authors' merge leaves beside the branches: {path of the layer: merged kernel, without the identity}."""
    return {
        f"{name}.paths.{p}.{a}": reparam.merge_branches(layer).branches[0]
        for name, block in net.blocks.items()
        for p, path in enumerate(block.paths)
        for a, layer in enumerate(path)
    }


def test_a_network_is_within_its_bounds(clf):
    report = verify.verify(model(clf), log_mels((3, 64, 128), 0))
    assert report.within and report.outside == [] and not report.merged
    for precision, rows in report.rows.items():
        blocks = ["stages.0.0", "stages.1.0"] + ["stages.1.1"] * (len(clf.network.stages[1]) - 1)
        ends = [f"{part}.{head}" for head in clf.labels for part in ("heads", "probabilities")]
        assert [row.name for row in rows] == ["stem", *blocks, *ends]
        for row in rows[1 : 1 + len(blocks)]:
            used = {step.step for step in row.steps}
            assert used == (
                {"fold", "merge", "identity", "fuse"} if len(clf.labels) == 1 else {"fold", "collapse", "fuse"}
            )
            # A bound that is hardly used proves little. These are within what their worst cases allow, and near it.
            assert max(step.difference.used for step in row.steps) > 1e-3
            unit = np.finfo(precision).eps
            assert all(step.difference.absolute <= 1e5 * unit for step in row.steps)
    assert {p.views for p in report.outcome} == {3}
    assert all(p.agree == 3 and p.absolute < 1e-5 for p in report.outcome)


def test_the_compiled_backend_is_held_against_the_function_itself(clf):
    pytest.importorskip("numba")
    report = verify.verify(model(clf), log_mels((1, 64, 128), 0))
    if JIT_OFF:
        assert report.backends == {}
        return
    assert list(report.backends) == ["numba, merged", "numba, as stored"]
    for rows in report.backends.values():
        assert [row.name for row in rows] == [
            "stem", *clf.network.blocks, *(f"probabilities.{head}" for head in clf.labels)
        ]  # fmt: skip
        assert all(row.within and row.rounding.absolute > 0 for row in rows)
    merged = verify.verify(model(clf.fused()), log_mels((1, 64, 128), 0))
    assert list(merged.backends) == ["numba, merged"]  # there is no other form


@pytest.mark.skipif(JIT_OFF, reason="Numba's compiler is off")
def test_a_fault_of_the_compiled_backend_is_found(clf, monkeypatch):
    pytest.importorskip("numba")
    from minirep.fast import CompiledNetwork

    honest = CompiledNetwork.walk

    def faulty(self, x):
        for name, y in honest(self, x):
            yield name, y + np.float32(1e-2) if name == "stages.1.0" else y

    monkeypatch.setattr(CompiledNetwork, "walk", faulty)
    report = verify.verify(model(clf), log_mels((1, 64, 128), 0))
    found = [name for name in report.outside if name.startswith("stages.1.0 in numba")]
    assert found == [f"stages.1.0 in numba, {form}: as a whole" for form in ("merged", "as stored")]


def test_a_fault_in_a_merged_kernel_is_found_and_its_block_named(clf, monkeypatch):
    honest = reparam.absorb_identity

    def faulty(layer):
        layer = honest(layer)
        weight = layer.branches[0].weight.copy()
        if len(weight) == 21 and layer.axis == "time":  # stage 0 has the only one
            weight[3, 1] = weight[3, 1] + 1e-3
        return replace(layer, branches=(replace(layer.branches[0], weight=weight),))

    monkeypatch.setattr(reparam, "absorb_identity", faulty)
    report = verify.verify(model(classifier()), log_mels((1, 64, 128), 0))
    assert not report.within
    where = "paths.0.0 along time, step identity, channel 1"
    assert report.outside == [f"stages.0.0 in float32: {where}", f"stages.0.0 in float64: {where}"]


def test_stored_merged_kernels_are_compared_with_those_the_branches_give():
    given, x = model(classifier()), log_mels((1, 64, 128), 0)
    stored, place = stored_kernels(given.network), "stages.1.1.paths.0.1"
    report = verify.verify(given, x, stored)
    assert report.within
    assert list(report.stored) == [f"{path}.branches.0.{part}" for path in stored for part in ("weight", "bias")]
    changed = stored[place]
    weight, bias = changed.weight.copy(), changed.bias.copy()
    weight[7, 2] += 1e-3
    bias[4] += 1e-3
    for part, value, where in (("weight", weight, "tap 7, channel 2"), ("bias", bias, "channel 4")):
        report = verify.verify(given, x, stored | {place: replace(changed, **{part: value})})
        assert report.outside == [f"the merged kernel stored as {place}.branches.0.{part}, {where}"]
    wrong = replace(changed, weight=changed.weight[1:-1])
    with pytest.raises(MinirepError, match=r"stages.1.1.paths.0.1.*expected \(21, 6\)"):
        verify.verify(given, x, {place: wrong})


def test_a_merged_network_is_held_against_float64(clf, tmp_path, capsys):
    minirep.save(clf.fused(), tmp_path / "fused.npz", half=True)
    assert main(["verify", str(tmp_path / "fused.npz")]) == 0
    printed = capsys.readouterr().out
    assert "already merged" in printed and "no branches left to compare" in printed and "within its bound" in printed


@pytest.mark.parametrize("half", [False, True], ids=["single", "half"])
def test_the_weights_of_a_merged_file_are_those_of_its_network(path, clf, half, tmp_path, capsys):
    merged, fused = str(tmp_path / "merged.npz"), clf.fused()
    total = sum(array.size for array in named_arrays(fused.network).values())
    minirep.save(fused, merged, half=half)
    assert main(["verify", path, "--merged", merged]) == 0
    assert f"merged.npz: {total:,} of {total:,} weights are the correctly rounded ones" in capsys.readouterr().out

    def changed(name, node):
        if name != "stages.1.0.paths.0.1.branches.0.weight":
            return node
        weight = node.copy()
        weight[1, 2] += 1e-2
        return weight

    wrong = Classifier(map_tree(fused.network, changed), fused.recipe, fused.labels)
    minirep.save(wrong, merged, half=half)
    assert main(["verify", path, "--merged", merged]) == 1
    out = capsys.readouterr().out
    assert f"{total - 1:,} of {total:,} weights" in out
    found = [line for line in out.splitlines() if line.startswith("NOT WITHIN ITS BOUND: ")]
    where = "stages.1.0.paths.0.1.branches.0.weight, tap 1, channel 2 (the merged model)"
    assert found[0] == f"NOT WITHIN ITS BOUND: {where}"
    assert all("stages.1.0: as a whole (the merged model)" in line for line in found[1:])


def test_every_field_of_a_merged_file_is_compared(path, clf, tmp_path, capsys):
    """Weights alone do not make a model: strides, the ReLUs, the labels and the recipe count as well."""
    fused = clf.fused()
    net, first = fused.network, fused.network.stages[1][0]
    flat = replace(first, entry=replace(first.entry, relu=not first.entry.relu))
    turned = first.map_layers(lambda layer: replace(layer, axis={"time": "frequency"}.get(layer.axis, "time")))
    head = next(iter(clf.labels))
    others = {
        "stages.1.0.entry.relu": {"network": replace(net, stages=(net.stages[0], (flat, *net.stages[1][1:])))},
        "stages.1.0.paths.0.0.axis": {"network": replace(net, stages=(net.stages[0], (turned, *net.stages[1][1:])))},
        "pool.1": {"network": replace(net, pool=(net.pool[0], net.pool[1] + 1))},
        f"labels.{head}.0": {"labels": {**clf.labels, head: ("another", *clf.labels[head][1:])}},
        "recipe.rate": {"recipe": replace(clf.recipe, rate=8000)},
    }
    for name, change in others.items():
        write_model(tmp_path / "merged.npz", model(fused)._replace(**change))
        assert main(["verify", path, "--merged", str(tmp_path / "merged.npz")]) == 1
        found = [line for line in capsys.readouterr().out.splitlines() if line.startswith("NOT WITHIN ITS BOUND: ")]
        assert any(line.startswith(f"NOT WITHIN ITS BOUND: {name}: found ") for line in found), (name, found)


def test_a_merged_file_of_another_network_is_told(path, clf, tmp_path, capsys):
    other = classifier(REP if len(clf.labels) > 1 else INCEPTION).fused()
    minirep.save(other, tmp_path / "merged.npz")
    assert main(["verify", path, "--merged", str(tmp_path / "merged.npz")]) == 1
    out = capsys.readouterr().out
    for name in ("stages.0.0.paths", "stages.0.0.expand_project", "stages.1", "heads", "labels", "recipe.heads"):
        assert f"NOT WITHIN ITS BOUND: {name}: found " in out


@given(architectures(), SEEDS, st.booleans())
def test_every_merged_weight_is_within_its_bound(arch, seed, extreme):
    net = float_network(arch, seed, "float32", extreme)
    merged = verify.check_merged(
        Model(net, None, {}, {}), Model(reparam.fuse(net), None, {}, {}), log_mels((1, 8, 8), 0)
    )
    assert merged.fields == [] and all(d.within for d in merged.weights.values())
    assert merged.exact == merged.total
    assert len(merged.weights) == len(named_arrays(reparam.fuse(net)))


def test_what_overflows_is_not_within_its_bound():
    net = classifier().network
    huge = replace(net, stem=replace(net.stem, weight=net.stem.weight * np.float32(1e37)))
    report = verify.verify(Model(huge, None, {}, {}), log_mels((1, 64, 128), 0))
    rows = {precision: rows[0].within for precision, rows in report.rows.items()}
    assert rows == {"float32": False, "float64": True}
    assert json.loads(json.dumps(finite(as_json("x", report, {})), allow_nan=False))["within"] is False


def test_differences_are_measured():
    a, b = np.array([1.0, 0.0, -4.0]), np.array([1.0, 0.5, -4.25])
    d = verify.difference(a, b, np.array([0.0, 2.0, 0.5]))
    assert (d.absolute, d.relative, d.bound, d.used) == (0.5, 0.125, 2.0, 0.5)
    assert not verify.difference(a, b, np.array([1.0, 0.25, 1.0])).within
    assert not verify.difference(a, a, np.array([1.0, np.inf, 1.0])).within  # nothing is promised there
    assert not verify.difference(np.array([np.nan]), np.array([np.nan]), np.ones(1)).within
    zeros = np.zeros(3)
    assert verify.difference(zeros, zeros, zeros).within


def test_the_command_for_people_and_for_programs(path, clf, capsys):
    assert main(["verify", path]) == 0
    table = capsys.readouterr().out
    assert "float32" in table and "float64" in table and "stages.1.0" in table and table.endswith("its bound.\n")
    assert main(["verify", path, "--steps"]) == 0
    assert "paths.0.1 along frequency" in capsys.readouterr().out
    assert main(["verify", path, "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["within"] is True and report["merged"] is False and report["outside"] == []
    row = report["rows"]["float32"][1]
    assert row["name"] == "stages.0.0" and row["within"] and set(row["fused"]) == set(row["rounding"])
    assert set(row["steps"][0]["difference"]) == {"absolute", "relative", "ulps", "bound", "used", "place"}


def test_clips_are_listened_to(path, tmp_path, capsys):
    (tmp_path / "tone.wav").write_bytes(sound(0.3 * np.sin(np.arange(16000) / 5), coding="i16"))
    assert main(["verify", path, "--clips", str(tmp_path / "tone.wav"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["outcome"][0]["views"] == RECIPE.views
    assert main(["verify", path, "--clips", str(tmp_path / "none.wav")]) == 2
    minirep.save(classifier().network, tmp_path / "bare.npz")
    assert main(["verify", str(tmp_path / "bare.npz")]) == 0
    assert main(["verify", str(tmp_path / "bare.npz"), "--clips", str(tmp_path / "tone.wav")]) == 2
    assert "without a recipe" in capsys.readouterr().err


def test_bad_files_are_one_line(tmp_path, capsys):
    (tmp_path / "bad.npz").write_bytes(b"nothing")
    for name in ("bad.npz", "none.npz", "none.pyth"):
        assert main(["verify", str(tmp_path / name)]) == 2
        assert len(capsys.readouterr().err.splitlines()) == 1


def test_a_picture_is_drawn(path, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert main(["verify", path, "--plot", str(tmp_path / "out.png")]) == 0
    assert (tmp_path / "out.png").read_bytes()[:4] == b"\x89PNG"
    minirep.save(minirep.load(path), tmp_path / "fused.npz")
    assert main(["verify", str(tmp_path / "fused.npz"), "--plot", str(tmp_path / "fused.png")]) == 0
    assert main(["verify", path, "--plot", str(tmp_path / "none" / "out.png")]) == 2
    assert main(["verify", path, "--plot", str(tmp_path / "out.nonsense")]) == 2


def test_without_matplotlib_the_extra_is_named(path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    assert main(["verify", path, "--plot", "out.png"]) == 2
    assert "minirep[plot]" in capsys.readouterr().err


@pytest.mark.skipif(not model_path().exists(), reason="the default model is not there yet")
def test_the_default_model(capsys):
    assert main(["verify"]) == 0


@pytest.mark.parametrize("checkpoint", GOLDEN, ids=lambda path: path.parent.name)
def test_the_reference_checkpoints(checkpoint, capsys):
    assert main(["verify", str(checkpoint)]) == 0


def merged_checkpoint(path, seed=0, tap=0.0):
    """A checkpoint with merged kernels beside the branches, as the authors' merge leaves it; one tap is changed."""
    state = pyth.published_state(merged="both", seed=seed)
    pyth.write(path, pyth.checkpoint(state))
    for layer, conv in stored_kernels(read_checkpoint(path).network).items():
        _, stage, block, _, _, axis = layer.split(".")
        key = f"s{int(stage) + 2}.pathway0_res{block}.branch2.{'ab'[int(axis)]}_reparam"
        state[f"{key}.weight"] = conv.weight.T.reshape(state[f"{key}.weight"].shape).copy()
        state[f"{key}.bias"] = conv.bias
    state["s3.pathway0_res1.branch2.b_reparam.weight"][1, 0, 0, 17] += tap
    pyth.write(path, pyth.checkpoint(state))
    return str(path)


def test_one_changed_tap_beside_the_branches_of_a_checkpoint_is_found(tmp_path, capsys):
    assert main(["verify", merged_checkpoint(tmp_path / "checkpoint.pyth")]) == 0
    assert "10 merged kernels" in capsys.readouterr().out
    assert main(["verify", merged_checkpoint(tmp_path / "checkpoint.pyth", tap=1e-3)]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == (
        "NOT WITHIN ITS BOUND: the merged kernel stored as stages.1.1.paths.0.1.branches.0.weight, tap 17, channel 1 "
        "(s3.pathway0_res1.branch2.b_reparam.weight)"
    )
    pyth.write(tmp_path / "alone.pyth", pyth.checkpoint(pyth.published_state(merged="alone")))
    assert main(["verify", str(tmp_path / "alone.pyth")]) == 0  # nothing beside them to compare with
    assert "merged kernels" not in capsys.readouterr().out


@settings(max_examples=8)
@given(SEEDS, st.integers(1, 3), st.sampled_from([None, "both", "alone"]))
def test_convert_and_fuse_commute(tmp_path_factory, seed, width, merged):
    """To fuse what was converted equals to convert what was fused, bit for bit."""
    folder = tmp_path_factory.getbasetemp()
    checkpoint, a, b, c = (str(folder / name) for name in ("x.pyth", "a.npz", "b.npz", "c.npz"))
    state = pyth.published_state(width, merged=merged, seed=seed)
    pyth.write(Path(checkpoint), pyth.checkpoint(state, pyth.config(width=width)))
    assert main(["convert", checkpoint, "-o", a]) == 0
    assert main(["convert", checkpoint, "-o", b, "--keep-branches"]) == 0
    assert main(["fuse", b, "-o", c]) == 0
    fused, later = read_model(a).network, read_model(c).network
    assert same(fused, later) and same(fused, reparam.fuse(read_checkpoint(checkpoint).network))


def test_gamma():
    assert bounds.gamma(1, np.float64) == pytest.approx(2**-53)
    assert bounds.gamma(2**24, np.float32) == np.inf
