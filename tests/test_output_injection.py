"""Names from outside, of files, labels and models, in what minirep prints and writes: shown, never obeyed."""

import csv
import io
import json
import os
import re
import zipfile
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import minirep
from minirep import RECIPES, Architecture, Classifier, random_network
from minirep.cli import main
from minirep.cli.terminal import say_row
from minirep.files.bundle import about, bundle
from minirep.text import as_cell, from_cell

DEMO = Path(minirep.__file__).parent / "data" / "demo"
SPEECH = RECIPES["speech-commands-v2"]
FORMULA = re.compile(r"\s*[=+\-@\t\r\uff1d\uff0b\uff0d\uff20].", re.S)
ESCAPES = "\x1b]0;owned\x07\x1b[31m"
EVIL = [
    "=1+1",
    "+1",
    "-1+2",
    "@SUM(1)",
    "\t=1",
    "\r=1",
    " =1",
    "\uff1d1",
    '=cmd|" /C calc"!A0',
    f"a{ESCAPES}",
    "two\nlines",
]
EVIL += ["'=1", '"two\\nlines"', "\u202egnp", "\udcff", "-", "=", "'", '"', "plain, with comma", "三"]
names = st.text(st.one_of(st.sampled_from("=+-@'\"\\\t\r\n\x1b\u202e\udcff ab,"), st.characters()))


def harmless(cell: str) -> bool:
    """Whether neither a terminal nor a spreadsheet obeys a cell."""
    return cell.isprintable() and not (len(cell) > 1 and FORMULA.match(cell))


# --- the one function -------------------------------------------------------------------------------------------------


@given(names)
@example("")
def test_every_text_becomes_a_harmless_cell_and_comes_back(text):
    assert harmless(as_cell(text)) and from_cell(as_cell(text)) == text


@given(st.text(st.sampled_from("abc xyz/_.,;三ö0123")))
@example("-")  # standard input
def test_ordinary_text_stays_as_it_is(text):
    assert as_cell(text) == text


@given(st.one_of(st.integers(), st.floats(), st.none()))
def test_numbers_stay_as_they_are(number):
    assert as_cell(number) is number


@given(st.lists(names, min_size=1))
def test_a_row_is_one_line_and_comes_back(row):
    screen = io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", screen)
        say_row(*row)
    text = screen.getvalue()
    assert text.endswith("\n") and text[:-1].isprintable()
    (cells,) = csv.reader([text])
    assert [from_cell(cell) for cell in cells] == row


@given(st.text())
@example("'unfinished")
@example('"no JSON')
@example('"\\ud800"')
@example('"[1]')
def test_any_cell_can_be_read(cell):
    assert isinstance(from_cell(cell), str)


# --- every table ------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.npz"
    heads = {"=head": len(EVIL), "@b": 3}
    arch = Architecture(width=2, depths=(1, 1, 1, 1), heads=heads, frames=SPEECH.frames)
    labels = {"=head": tuple(map(printed, EVIL)), "@b": ("+x", "-y", "z")}
    minirep.save(Classifier(random_network(arch), SPEECH, labels, backend="numpy"), path)
    return str(path)


def printed(label):
    return label.replace("\udcff", "\ufffe")  # a model file is UTF-8


@pytest.fixture
def recordings(tmp_path):
    if os.name == "nt":
        pytest.skip("Windows has no such names")
    folder = tmp_path / "=folder"
    folder.mkdir()
    for name in ("=1+1.wav", "-2.wav", "@a.wav", "+\x1b[31m.wav", "two\nlines.wav", os.fsdecode(b"\xff.wav"), "'q.wav"):
        (folder / name).write_bytes((DEMO / "one.wav").read_bytes())
    return folder


def cells_of(text):
    return list(csv.reader(io.StringIO(text, newline="")))


@pytest.mark.parametrize("options", [[], ["--timeline", "--threshold", "0.01", "--all"]], ids=["classify", "timeline"])
def test_csv(model, recordings, capsys, monkeypatch, options):
    monkeypatch.chdir(recordings)
    files = sorted(os.listdir("."))
    command = ["classify", "--model", model, "--csv", *(options or ["--top", "99"]), *files]
    command = [f"./{word}" if word in files and word[0] == "-" else word for word in command]
    assert main(command) == 0
    table = cells_of(capsys.readouterr().out)
    assert len(table) > 1 and all(harmless(cell) for row in table for cell in row)
    rows = [dict(zip(table[0], row)) for row in table[1:]]
    assert {from_cell(row["file"]).removeprefix("./") for row in rows} == set(files)
    labels = minirep.load(model).labels
    found = {(from_cell(row["head"]), from_cell(row["label"])) for row in rows}
    assert found <= {(head, label) for head in labels for label in labels[head]}
    if not options:
        assert len(found) == sum(map(len, labels.values()))
        assert all(0 <= float(row["probability"]) <= 1 for row in rows)


def test_json_has_every_name_as_it_is(model, recordings, capsys):
    assert main(["classify", "--model", model, "--json", str(recordings)]) == 0
    out = capsys.readouterr().out
    assert {Path(entry["file"]).name for entry in json.loads(out)} == set(os.listdir(recordings))
    assert all(line.isprintable() for line in out.splitlines())


def test_matrix_and_predictions(model, recordings, tmp_path, capsys):
    head = "=head"
    files = sorted(f for f in os.listdir(recordings) if "\udcff" not in f)
    with open(tmp_path / "manifest.csv", "w", encoding="utf-8", newline="") as file:
        rows = [[f"=folder/{name}", printed(EVIL[i]), head] for i, name in enumerate(files)]
        csv.writer(file).writerows([["path", "label", "head"], *rows])
    outputs = ["--confusion", str(tmp_path / "c.csv"), "--predictions", str(tmp_path / "p.csv")]
    command = ["eval", str(tmp_path / "manifest.csv"), "--model", model, *outputs, "--json"]
    assert main(command) == 0
    first = capsys.readouterr().out
    written = [path for path in tmp_path.glob("*.csv") if path.name != "manifest.csv"]
    assert len(written) == 2
    for path in written:
        with open(path, encoding="utf-8", newline="") as file:
            table = list(csv.reader(file))
        assert all(harmless(cell) for row in table for cell in row), path
    (matrix,) = (path for path in written if path.name.startswith("c"))
    assert [from_cell(cell) for cell in cells_of(matrix.read_bytes().decode())[0][1:]] == list(map(printed, EVIL))
    predictions = (tmp_path / "p.csv").read_bytes()
    assert main(command) == 0  # from the predictions, under the same names
    captured = capsys.readouterr()
    assert captured.out == first and f"has {len(files)} of {len(files)} clips already" in captured.err
    assert (tmp_path / "p.csv").read_bytes() == predictions


# --- what is known of a bundle's model --------------------------------------------------------------------------------


@given(st.dictionaries(st.text(min_size=1), st.text()))
def test_a_bundles_text_is_a_line_for_each_fact(provenance):
    lines = about(provenance).split("\n")
    assert lines.pop() == "" and all(line.isprintable() for line in lines)
    assert len(lines) == 2 + len({"licence", "credit"} | provenance.keys())


def test_a_bundles_text_holds_no_escapes_and_no_forged_lines(tmp_path, model):
    clf = minirep.load(model)
    provenance = {"credit": f"nobody{ESCAPES}\nlicence: public domain", "source\x1b[2J": "x" * 5000}
    minirep.save(Classifier(clf.network, clf.recipe, clf.labels, provenance, backend="numpy"), tmp_path / "m.npz")
    bundle(tmp_path / "m.npz", tmp_path / "app.pyz")
    with zipfile.ZipFile(tmp_path / "app.pyz") as archive:
        lines = archive.read("MODEL.txt").decode().splitlines()
    assert all(line.isprintable() for line in lines)
    assert [line for line in lines if line.startswith("licence")] == ["licence: not stated"]
    assert any("x" * 5000 in line for line in lines), "a licence is never cut short"
