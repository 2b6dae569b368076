"""``minirep verify``: what it accepts, what it must find, and what it prints."""

import json
import os
import struct
import sys
from dataclasses import replace
from pathlib import Path

import mutants
import numpy as np
import pytest
import pyth
from hypothesis import given, settings
from hypothesis import strategies as st
from strategies import SEEDS, architectures, float_network, same

import minirep
from minirep import RECIPES, Architecture, Classifier, MinirepError, bounds, network, reparam, store, verify
from minirep.checkpoint import read_checkpoint
from minirep.cli import main
from minirep.cli.verify import as_json
from minirep.config import INCEPTION, REP

GOLDEN = sorted(Path(os.environ["MINIREP_GOLDEN"]).glob("*/checkpoint.pyth")) if "MINIREP_GOLDEN" in os.environ else []
RECIPE = replace(RECIPES["speech-commands-v2"], frames=64)


def classifier(kind=REP, seed=0):
    arch = Architecture(kind, 3, (1, 2), ((21, 11, 3), (9, 5)), ((5, 3, 1), (21, 3)), (1, 2), (1, 2), frames=64,
                        heads={"class": 4}) if kind == REP else Architecture(kind, 3, (1, 1), ((7, 3),) * 2,
                        ((5, 3),) * 2, (1, 2), (1, 2), frames=64, heads={"verb": 2, "noun": 3})  # fmt: skip
    return Classifier(network.random_network(arch, seed), RECIPE)


@pytest.fixture(params=[REP, INCEPTION])
def clf(request):
    return classifier(request.param)


@pytest.fixture
def path(clf, tmp_path):
    minirep.save(clf, tmp_path / "model.npz")
    return str(tmp_path / "model.npz")


def log_mels(n=1):
    return np.random.default_rng(0).normal(-5, 3, (n, 64, 128)).astype(np.float32)


def stored_kernels(net):
    """What the authors' merge leaves beside the branches: {path of the layer: merged kernel, without the identity}."""
    return {
        f"stages.{i}.{j}.paths.{p}.{a}": reparam.merge_branches(layer).branches[0]
        for i, blocks in enumerate(net.stages)
        for j, block in enumerate(blocks)
        for p, path in enumerate(block.paths)
        for a, layer in enumerate(path)
    }


def test_a_network_is_within_its_bounds(clf):
    report = verify.verify(clf.network, log_mels(3))
    assert report.within and report.outside == [] and not report.merged
    for precision, rows in report.rows.items():
        heads = [f"heads.{head}" for head in clf.labels]
        blocks = ["stages.0.0", "stages.1.0"] + ["stages.1.1"] * (len(clf.network.stages[1]) - 1)
        assert [row.name for row in rows] == ["stem", *blocks, *heads]
        for row in rows[1 : -len(heads)]:
            used = {step.step for step in row.steps}
            assert used == ({"fold", "merge", "identity"} if len(heads) == 1 else {"fold", "collapse"})
            # A bound that is hardly used proves little. These are within what their worst cases allow, and near it.
            assert max(step.difference.used for step in row.steps) > 1e-3
            unit = np.finfo(precision).eps
            assert all(step.difference.absolute <= 1e5 * unit for step in row.steps)
    assert {p.views for p in report.probabilities} == {3}
    assert all(p.agree == 3 and p.absolute < 1e-5 for p in report.probabilities)


def test_a_fault_in_a_merged_kernel_is_found_and_its_block_named(clf, monkeypatch):
    honest = reparam.absorb_identity

    def faulty(layer):
        layer = honest(layer)
        weight = layer.branches[0].weight.copy()
        if len(weight) == 21 and layer.axis == "time":  # stage 0 has the only one
            weight[3, 1] += 1e-3
        return replace(layer, branches=(replace(layer.branches[0], weight=weight),))

    monkeypatch.setattr(reparam, "absorb_identity", faulty)
    report = verify.verify(classifier().network, log_mels())
    assert not report.within
    where = "paths.0.0 along time, step identity"
    assert report.outside == [f"stages.0.0 in float32: {where}", f"stages.0.0 in float64: {where}"]


def test_stored_merged_kernels_are_compared_with_those_the_branches_give():
    net = classifier().network
    stored = stored_kernels(net)
    report = verify.verify(net, log_mels(), stored)
    assert report.within and list(report.stored) == list(stored)
    changed = stored["stages.1.1.paths.0.1"]
    weight = changed.weight.copy()
    weight[7, 2] += 1e-3
    report = verify.verify(net, log_mels(), stored | {"stages.1.1.paths.0.1": replace(changed, weight=weight)})
    assert report.outside == ["the merged kernel stored for stages.1.1.paths.0.1"]
    bias = replace(changed, bias=changed.bias + np.float32(1e-3))
    assert not verify.verify(net, log_mels(), {"stages.1.1.paths.0.1": bias}).within
    wrong = replace(changed, weight=changed.weight[1:-1])
    with pytest.raises(MinirepError, match=r"stages.1.1.paths.0.1.*expected \(21, 6\)"):
        verify.verify(net, log_mels(), {"stages.1.1.paths.0.1": wrong})


def test_a_merged_network_is_held_against_float64(clf, tmp_path, capsys):
    minirep.save(clf.fused(), tmp_path / "fused.npz", half=True)
    assert main(["verify", str(tmp_path / "fused.npz")]) == 0
    printed = capsys.readouterr().out
    assert "already merged" in printed and "no branches left to compare" in printed and "within its bound" in printed


@pytest.mark.parametrize("half", [False, True], ids=["single", "half"])
def test_the_weights_of_a_merged_file_are_those_of_its_network(path, clf, half, tmp_path, capsys):
    merged = str(tmp_path / "merged.npz")
    minirep.save(clf.fused(), merged, half=half)
    assert main(["verify", path, "--merged", merged]) == 0
    assert "merged.npz: its " in capsys.readouterr().out
    net = clf.fused().network
    block = net.stages[1][0]
    layer = block.paths[0][1]
    weight = layer.branches[0].weight.copy()
    weight[1, 2] += 1e-3
    layer = replace(layer, branches=(replace(layer.branches[0], weight=weight),))
    block = replace(block, paths=((block.paths[0][0], layer), *block.paths[1:]))
    minirep.save(replace(net, stages=(net.stages[0], (block, *net.stages[1][1:]))), merged, half=half)
    assert main(["verify", path, "--merged", merged]) == 1
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == "NOT WITHIN ITS BOUND: stages.1.0.paths.0.1.branches.0.weight of the merged model"
    minirep.save(classifier(REP if len(clf.labels) > 1 else INCEPTION).fused(), merged)
    assert main(["verify", path, "--merged", merged]) == 2
    assert "not merged from this network" in capsys.readouterr().err


@given(architectures(), SEEDS, st.booleans())
def test_every_merged_weight_is_within_its_bound(arch, seed, extreme):
    net = float_network(arch, seed, "float32", extreme)
    merged = verify.check_merged(net, reparam.fuse(net))
    assert all(d.within for d in merged.values())
    assert len(merged) == len(list(verify.arrays(reparam.fuse(net))))


def test_what_overflows_is_not_within_its_bound():
    net = classifier().network
    huge = replace(net, stem=replace(net.stem, weight=net.stem.weight * np.float32(1e37)))
    report = verify.verify(huge, log_mels())
    rows = {precision: rows[0].within for precision, rows in report.rows.items()}
    assert rows == {"float32": False, "float64": True}
    assert json.loads(json.dumps(as_json("x", report), allow_nan=False))["within"] is False


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
    assert set(row["steps"][0]["difference"]) == {"absolute", "relative", "ulps", "bound", "used"}


def test_clips_are_listened_to(path, tmp_path, capsys):
    data = (np.sin(np.arange(16000) / 5) * 9999).astype("<i2").tobytes()
    header = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 1, 1, 16000, 32000, 2, 16,
                         b"data", len(data))  # fmt: skip
    (tmp_path / "tone.wav").write_bytes(header + data)
    assert main(["verify", path, "--clips", str(tmp_path / "tone.wav"), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["probabilities"][0]["views"] == RECIPE.views
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
    minirep.save(store.load(path), tmp_path / "fused.npz")
    assert main(["verify", str(tmp_path / "fused.npz"), "--plot", str(tmp_path / "fused.png")]) == 0
    assert main(["verify", path, "--plot", str(tmp_path / "none" / "out.png")]) == 2
    assert main(["verify", path, "--plot", str(tmp_path / "out.nonsense")]) == 2


def test_without_matplotlib_the_extra_is_named(path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert main(["verify", path, "--plot", "out.png"]) == 2
    assert "minirep[plot]" in capsys.readouterr().err


@pytest.mark.skipif(not store.default_model().exists(), reason="the default model is not there yet")
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
    assert last == "NOT WITHIN ITS BOUND: the merged kernel stored for stages.1.1.paths.0.1"
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
    fused, later = store.read_model(a)[0], store.read_model(c)[0]
    assert same(fused, later) and same(fused, reparam.fuse(read_checkpoint(checkpoint).network))


def test_gamma():
    assert bounds.gamma(1, np.float64) == pytest.approx(2**-53)
    assert bounds.gamma(2**24, np.float32) == np.inf


def test_every_fault_has_its_place_in_the_source():
    """Whoever changes a line that tests/mutants.py plants a fault in, changes it there as well."""
    assert mutants.misplaced() == []
