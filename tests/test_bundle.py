"""Bundles: one file that runs with NumPy alone, writes nothing, and is the same whenever it is made."""

import io
import json
import os
import subprocess
import sys
import zipfile
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from stand_ins import tiny_classifier

import minirep
from minirep.cli import main
from minirep.files import bundle
from minirep.files.modelfile import read_model
from minirep.files.models import model_path

CLIP = Path(minirep.__file__).parent / "data/demo/seven.wav"


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model with its branches, which a bundle is to merge."""
    path = tmp_path_factory.mktemp("model") / "model.npz"
    labels = {"class": ("yes", "nö", "silence")}
    minirep.save(tiny_classifier({"class": 3}, labels), path)
    return path


@pytest.fixture(scope="module")
def app(model, tmp_path_factory):
    path = tmp_path_factory.mktemp("app") / "app.pyz"
    assert main(["bundle", str(model), "-o", str(path)]) == 0
    return path


# Python without what site-packages set up at start: an editable install would lend a bundle the modules it lacks.
PYTHON = [sys.executable, "-S", "-s"]
ENVIRONMENT = {k: v for k, v in os.environ.items() if k in ("SYSTEMROOT", "PATH")}
ENVIRONMENT["PYTHONPATH"] = str(Path(np.__file__).parents[1])


def run(app, *arguments, stdin=b"", cwd=None):
    """Run a bundle: isolated from this environment's variables, from this folder and from the user's packages."""
    return subprocess.run(
        [*PYTHON, str(app), *map(str, arguments)],
        input=stdin, capture_output=True, timeout=60, cwd=cwd, env=ENVIRONMENT,
    )  # fmt: skip


def test_it_classifies_as_the_model_does(app, model, tmp_path):
    done = run(app, "classify", CLIP, "--json", cwd=tmp_path)
    assert (done.returncode, done.stderr) == (0, b"")
    (entry,) = json.loads(done.stdout)
    want = minirep.load(model, backend="numpy").classify(CLIP).top(5)
    assert [(e["label"], e["probability"]) for e in entry["heads"]["class"]] == [
        (label, pytest.approx(p, rel=1e-5)) for label, p in want
    ]
    assert os.listdir(tmp_path) == [] and os.listdir(app.parent) == [app.name]  # nothing was unpacked or kept


def test_it_listens(app, tmp_path):
    sound = np.int16(np.random.default_rng(0).normal(0, 3000, 20000)).tobytes()
    done = run(app, "listen", "--all", "--threshold", "0.01", stdin=sound, cwd=tmp_path)
    assert done.returncode == 0 and b"16000 Hz" in done.stderr
    assert json.loads(done.stdout.splitlines()[0])["start"] == 0.0


def test_its_code_and_its_model_come_out_of_itself(app):
    show = f"import sys; sys.path.insert(0, {str(app)!r}); import minirep; print(minirep.__file__, minirep.load())"
    done = subprocess.run([*PYTHON, "-c", show], capture_output=True, text=True, timeout=60, env=ENVIRONMENT)
    assert str(app) in done.stdout and "class: 3, backend 'numpy'" in done.stdout


def test_it_knows_the_commands_it_has_the_code_for(app):
    done = run(app, "--help")
    assert b"classify" in done.stdout and b"listen" in done.stdout
    assert not any(command in done.stdout for command in (b"convert", b"bundle", b"verify", b"bench"))
    assert b"not part of" in run(app, "classify", "--demo").stderr


def test_the_same_model_gives_the_same_bytes(app, model, tmp_path, monkeypatch):
    monkeypatch.setattr("time.localtime", lambda *_: (2001, 2, 3, 4, 5, 6, 0, 0, 0))
    bundle.bundle(model, tmp_path / "again.pyz")
    assert (tmp_path / "again.pyz").read_bytes() == app.read_bytes()
    minirep.save(minirep.load(model), tmp_path / "merged.npz")
    bundle.bundle(tmp_path / "merged.npz", tmp_path / "merged.pyz")
    assert (tmp_path / "merged.pyz").read_bytes() == app.read_bytes()  # the order of merging and bundling is no matter
    with zipfile.ZipFile(app) as archive:
        assert {info.date_time for info in archive.infolist()} == {(1980, 1, 1, 0, 0, 0)}


def test_licences_go_along(app, tmp_path):
    bundle.bundle(model_path(), tmp_path / "digits.pyz")
    with zipfile.ZipFile(tmp_path / "digits.pyz") as archive:
        licence, model = archive.read("LICENSE").decode(), archive.read("MODEL.txt").decode()
    assert licence.startswith("MIT License") and "CC BY-SA 4.0" in model and "Zohar Jackson" in model
    with zipfile.ZipFile(app) as archive:
        assert "licence: not stated" in archive.read("MODEL.txt").decode()
    copy = Path(minirep.__file__).parent / "data/LICENSE"
    original = Path(__file__).parents[1] / "LICENSE"
    assert copy.read_bytes() == original.read_bytes()  # an installed package has no other


@pytest.mark.skipif(os.name == "nt", reason="Windows knows no executable bit")
def test_it_is_a_program(app):
    assert app.read_bytes().startswith(b"#!/usr/bin/env python3\n") and os.access(app, os.X_OK)


def test_half_precision(model, app, tmp_path, capsys):
    assert main(["bundle", str(model), "-o", str(tmp_path / "half.pyz"), "--half"]) == 0
    size = (tmp_path / "half.pyz").stat().st_size
    assert f"{size:,} bytes" in capsys.readouterr().out and size < app.stat().st_size
    assert run(tmp_path / "half.pyz", "classify", CLIP, "--csv").stdout.count(b"\n") == 4


def test_what_cannot_be_bundled(model, tmp_path, capsys):
    bare = tmp_path / "bare.npz"
    minirep.save(minirep.load(model).network, bare)
    for source, target, reason in (
        (bare, "x.pyz", "without a recipe"), (CLIP, "x.pyz", "seven.wav"), (model, "no/x.pyz", "cannot be written"),
        ("none.npz", "x.pyz", "no such file"), (bare, "bare.npz", "another output file"),
    ):  # fmt: skip
        assert main(["bundle", str(source), "-o", str(tmp_path / target)]) == 2
        assert reason in capsys.readouterr().err
    assert os.listdir(tmp_path) == ["bare.npz"]


def test_it_says_what_it_needs():
    """Even an old Python must be able to read the first lines, up to the one that says what is missing."""
    compile(bundle.MAIN, "__main__.py", "exec")
    assert 'f"' not in bundle.MAIN and ":=" not in bundle.MAIN
    old = SimpleNamespace(version_info=type("version", (tuple,), {})((3, 8, 1)), exit=sys.exit)
    with pytest.raises(SystemExit, match=r"found Python 3\.8, expected 3\.10"):
        exec(bundle.MAIN.replace("import sys\n", ""), {"sys": old})


def test_models_are_read_from_open_files(model):
    with open(model, "rb") as file:
        read = read_model(file)
    assert read_model(io.BytesIO(model.read_bytes()))[2] == read[2] == read_model(model)[2]
    with pytest.raises(minirep.MinirepError, match="model: not a whole"):
        read_model(io.BytesIO(model.read_bytes()[:-100]))


def test_a_bundle_of_sounds_names_the_authors_and_knows_no_other_shipped_model(tmp_path):
    app = tmp_path / "app.pyz"
    assert main(["bundle", "sounds", "-o", str(app), "--half"]) == 0
    with zipfile.ZipFile(app) as archive:
        assert b"freesound" in archive.read("minirep/data/CREDITS-ESC-10.md")
        assert "CREDITS-ESC-10.md" in archive.read("MODEL.txt").decode()
    done = run(app, "classify", str(CLIP), "--model", "digits")
    assert done.returncode == 2 and b"digits: found no such model in this bundle" in done.stderr
