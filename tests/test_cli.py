"""The command line: what it prints for people and for programs, and what bad input gets."""

import csv
import importlib.util
import io
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from audio_files import hiss, sound
from stand_ins import SPEECH, tiny_classifier

import minirep
from minirep import RECIPES, Architecture, Classifier, cli, random_network
from minirep.architecture import INCEPTION, REP
from minirep.cli import classify as cli_classify
from minirep.cli import main
from minirep.cli.terminal import Progress
from minirep.files.models import model_path
from minirep.reparam import is_fused
from minirep.text import cells
from minirep.tree import named_arrays

DIGITS = (*cli_classify.DEMO, "unknown", "silence")
needs_model = pytest.mark.skipif(not model_path().exists(), reason="the default model is not there yet")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.npz"
    minirep.save(tiny_classifier({"class": 12}, {"class": DIGITS}, provenance={"source": "chance"}), path)
    return str(path)


@pytest.fixture(scope="module")
def two_heads(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "two-heads.npz"
    labels = {"verb": ("cut", "öffnen"), "noun": ("三", "two\nlines", "door")}
    minirep.save(tiny_classifier({"verb": 2, "noun": 3}, labels, kind=INCEPTION), path)
    return str(path)


@pytest.fixture
def clip(tmp_path):
    path = tmp_path / "clip.wav"
    path.write_bytes(sound(hiss(8000)))
    return str(path)


class Typed(io.TextIOWrapper):
    """A text stream as sys.stdin, sys.stdout or a terminal would be."""

    def __init__(self, data=b"", encoding="utf-8", terminal=False):
        super().__init__(io.BytesIO(data), encoding)
        self.terminal = terminal

    def isatty(self):
        return self.terminal

    def text(self):
        self.flush()
        return self.buffer.getvalue().decode(self.encoding)


def run(*arguments, **options):
    """``python -m minirep`` in a process of its own."""
    return subprocess.run([sys.executable, "-m", "minirep", *arguments], capture_output=True, timeout=60, **options)


# --- classify -------------------------------------------------------------------------------------------------------


def test_one_file_gets_a_table_with_bars(model, clip, capsys):
    assert main(["classify", "--model", model, clip]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == clip and len(out) == 6
    expected = minirep.load(model).classify(clip).top(5)
    for line, (label, p) in zip(out[1:], expected):
        assert line.split()[:3] == [label, f"{100 * p:.1f}", "%"]
        assert len(line) <= 80
    lengths = [line.count("█") for line in out[1:]]
    assert lengths == sorted(lengths, reverse=True) and lengths[0] > 0


def test_several_files_get_a_line_each_unless_top_is_given(model, clip, capsys):
    assert main(["classify", "--model", model, clip, clip]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert main(["classify", "--model", model, clip, clip, "--top", "3"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 2 * (1 + 3)


def test_top_may_exceed_the_classes(model, clip, capsys):
    assert main(["classify", "--model", model, clip, "--top", "999"]) == 0
    assert len(capsys.readouterr().out.splitlines()) == 1 + 12


def test_two_heads(two_heads, clip, capsys):
    assert main(["classify", "--model", two_heads, clip]) == 0
    out = capsys.readouterr().out
    assert " verb\n" in out and " noun\n" in out and "öffnen" in out and "三" in out
    assert "'two\\nlines'" in out and len(out.splitlines()) == 1 + 1 + 2 + 1 + 3
    assert main(["classify", "--model", two_heads, clip, clip]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert len(lines) == 2 and all(line.count("%") == 2 for line in lines)


def test_json(two_heads, clip, tmp_path, capsys):
    missing = str(tmp_path / "missing.wav")
    assert main(["classify", "--model", two_heads, "--json", clip, missing, "--top", "2"]) == 1
    captured = capsys.readouterr()
    first, second = json.loads(captured.out)
    expected = minirep.load(two_heads).classify(clip)
    assert list(first) == ["file", "heads"] and first["file"] == clip and list(first["heads"]) == ["verb", "noun"]
    for head, found in first["heads"].items():
        assert [entry["label"] for entry in found] == [label for label, _ in expected.top(2, head)]
        np.testing.assert_allclose([e["probability"] for e in found], [p for _, p in expected.top(2, head)], rtol=1e-6)
    assert list(second) == ["file", "error"] and second["file"] == missing
    assert captured.err.startswith(f"minirep: {missing}: ") and captured.err.count(missing) == 1


def test_csv(two_heads, clip, capsys):
    assert main(["classify", "--model", two_heads, "--csv", clip, clip]) == 0
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert list(rows[0]) == ["file", "head", "rank", "label", "probability"]
    assert [row["rank"] for row in rows] == ["1", "2", "1", "2", "3"] * 2
    assert {row["label"] for row in rows} == {"cut", "öffnen", "三", '"two\\nlines"', "door"}
    assert sum(float(row["probability"]) for row in rows) == pytest.approx(4, abs=1e-5)


def test_folders_are_searched_and_sorted(model, tmp_path, capsys):
    deep = tmp_path / "deep"
    deep.mkdir()
    (tmp_path / ".hidden.wav").write_bytes(b"")
    (tmp_path / "notes.txt").write_text("no sound")
    for path in (tmp_path / "b.wav", deep / "c.WAV", tmp_path / "a.wav"):
        path.write_bytes(sound(hiss(2000)))
    assert main(["classify", "--model", model, "--json", str(tmp_path)]) == 0
    files = [entry["file"] for entry in json.loads(capsys.readouterr().out)]
    assert files == [str(tmp_path / name) for name in ("a.wav", "b.wav", os.path.join("deep", "c.WAV"))]


def test_a_folder_with_one_bad_file_classifies_the_rest(model, tmp_path, capsys):
    for name in "abc":
        (tmp_path / f"{name}.wav").write_bytes(sound(hiss(2000)))
    (tmp_path / "b.wav").write_bytes(b"")
    (tmp_path / "empty").mkdir()
    assert main(["classify", "--model", model, str(tmp_path), str(tmp_path / "empty")]) == 1
    captured = capsys.readouterr()
    assert [line.split()[0] for line in captured.out.splitlines()] == [str(tmp_path / f"{c}.wav") for c in "ac"]
    errors = captured.err.splitlines()
    assert errors[0].startswith(f"minirep: {tmp_path / 'empty'}: found no sound")
    assert errors[1].startswith(f"minirep: {tmp_path / 'b.wav'}: ") and errors[2] == "minirep: 2 of 4 failed"


BAD_SOUNDS = {
    "empty": b"",
    "no sound": b"This is not a sound. " * 50,
    "cut in its header": sound(hiss(8000))[:30],
    "cut in its samples": sound(hiss(8000))[:-100],
    "no samples": sound([]),
    "NaN": sound([0.0, np.nan, 0.0]),
    "infinite": sound([0.0, np.inf, 0.0]),
    "rate 0": sound(hiss(8000), rate=0),
}


@pytest.mark.parametrize("content", BAD_SOUNDS.values(), ids=BAD_SOUNDS)
def test_bad_sound_gets_one_clear_line(model, tmp_path, capsys, content):
    path = tmp_path / "bad.wav"
    path.write_bytes(content)
    assert main(["classify", "--model", model, str(path)]) == 1
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith(f"minirep: {path}: ")
    assert captured.err.count("\n") == 1 and captured.err.count("bad.wav") == 1


@pytest.mark.parametrize("form", [[], ["--csv"], ["--json"], ["--top", "2"]])
def test_several_processes_print_the_same(model, tmp_path, capsys, form):
    """In the same order, with the same complaints; the folder holds a named pipe and a file that is cut."""
    for i in range(12):
        (tmp_path / f"{i:02}.wav").write_bytes(sound(hiss(2000 + i)))
    (tmp_path / "03.wav").write_bytes(b"")
    command = ["classify", "--model", model, "--backend", "numpy", str(tmp_path), str(tmp_path / "missing.wav"), *form]
    assert main(command) == 1
    expected = capsys.readouterr()
    assert main([*command, "--jobs", "2"]) == 1
    assert capsys.readouterr() == expected and expected.err.count("\n") == 3


@pytest.mark.parametrize(
    "options", ["--jobs 2 -", "--dask x -", "--jobs 2 --timeline a.wav", "--jobs 2 --dask x a.wav"]
)
def test_what_several_processes_cannot_do(model, capsys, options):
    assert main(["classify", "--model", model, *options.split()]) == 2
    assert "--jobs" in capsys.readouterr().err


def test_sound_on_standard_input(model, clip, capsys, monkeypatch):
    monkeypatch.setattr(sys, "stdin", Typed(Path(clip).read_bytes()))
    assert main(["classify", "--model", model, "--csv", "-", clip]) == 0
    rows = list(csv.reader(io.StringIO(capsys.readouterr().out)))[1:]
    assert [row[0] for row in rows] == ["-"] * 5 + [clip] * 5
    assert [row[1:] for row in rows[:5]] == [row[1:] for row in rows[5:]]


@pytest.mark.parametrize("stdin", [Typed(b""), Typed(b"no sound"), None], ids=["empty", "no sound", "closed"])
def test_bad_sound_on_standard_input(model, capsys, monkeypatch, stdin):
    monkeypatch.setattr(sys, "stdin", stdin)
    assert main(["classify", "--model", model, "-"]) == 1
    err = capsys.readouterr().err
    assert err.startswith("minirep: -: ") and err.count("\n") == 1


def test_views_and_backend(model, clip, capsys):
    assert main(["classify", "--model", model, "--views", "3", "--backend", "numpy", clip]) == 0
    assert main(["classify", "--model", model, "--backend", "abacus", clip]) == 2


@pytest.mark.parametrize(
    "arguments",
    ["--top 0", "--top -1", "--top x", "--views 0", "--views ²", "--json --csv", "--demo", "--dem"],
)
def test_unusable_arguments(model, clip, capsys, arguments):
    assert main(["classify", "--model", model, clip, *arguments.split()]) == 2
    assert "error" in capsys.readouterr().err


def test_nothing_to_classify(capsys):
    assert main(["classify"]) == 2
    assert capsys.readouterr().err.startswith("minirep: error: classify: expected")


@pytest.mark.parametrize("content", [None, b"", b"no model", b"PK\x03\x04"], ids=["missing", "empty", "text", "cut"])
@pytest.mark.parametrize("name", ["model.npz", "model.pyth"])
def test_unusable_model(clip, tmp_path, capsys, name, content):
    path = tmp_path / name
    if content is not None:
        path.write_bytes(content)
    for command in (["classify", clip, "--model"], ["info"], ["fuse", "-o", str(tmp_path / "new.npz")]):
        assert main([*command, str(path)]) == 2
        captured = capsys.readouterr()
        assert captured.out == "" and captured.err.startswith("minirep: error: ") and captured.err.count("\n") == 1
    assert not (tmp_path / "new.npz").exists()


def test_demo_counts_what_is_right(model, capsys):
    assert main(["classify", "--demo", "--model", model]) == 0
    *lines, last = capsys.readouterr().out.splitlines()
    right = sum(line.split()[0] == line.split()[1] + ".wav" for line in lines)
    assert len(lines) == 10 and last == f"{right} of 10 right"
    assert main(["classify", "--demo", "--model", model, "--json"]) == 0
    captured = capsys.readouterr()
    assert [entry["file"] for entry in json.loads(captured.out)] == [f"{digit}.wav" for digit in cli_classify.DEMO]
    assert captured.err == f"{right} of 10 right\n"


@needs_model
def test_the_default_model_knows_the_demo_clips(capsys):
    assert main(["classify", "--demo"]) == 0
    assert int(capsys.readouterr().out.splitlines()[-1].split()[0]) >= 9


@needs_model
def test_the_sounds_model_knows_most_of_its_clips(tmp_path, capsys):
    assert main(["classify", "--demo", "--model", "sounds", "--json"]) == 0
    captured = capsys.readouterr()
    entries = json.loads(captured.out)
    names = [Path(entry["file"]).stem.removesuffix("-2").replace("-", " ") for entry in entries]
    assert len(names) == 12 and set(names) < set(minirep.load("sounds").labels["class"])
    right = sum(entry["heads"]["class"][0]["label"] == name for entry, name in zip(entries, names))
    assert captured.err == f"{right} of 12 right\n" and right >= 8
    copy = str(tmp_path / "copy.npz")
    minirep.save(minirep.load("sounds"), copy, half=True)
    assert main(["classify", "--demo", "--model", copy, "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == entries


# --- odd names, closed pipes, terminals -----------------------------------------------------------------------------


@pytest.mark.parametrize("name", [b"two\nlines.wav", b"caf\xe9.wav", "三.wav".encode(), b"\x1b[31m.wav", b"-x.wav"])
def test_odd_names(model, tmp_path, capsys, name):
    folder = os.fsencode(tmp_path)
    try:
        Path(os.fsdecode(os.path.join(folder, name))).write_bytes(sound(hiss(2000)))
    except OSError:
        pytest.skip("no such names on this file system")
    for form, good in (([], 0), (["--csv"], 0), (["--json"], 0)):
        assert main(["classify", "--model", model, str(tmp_path), *form]) == good
        out = capsys.readouterr().out
        assert "\x1b" not in out or form == ["--csv"]
    assert os.fsencode(json.loads(out)[0]["file"]) == os.path.join(folder, name)
    Path(os.fsdecode(os.path.join(folder, name))).write_bytes(b"")
    assert main(["classify", "--model", model, str(tmp_path)]) == 1
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "\x1b" not in err and err.count(".wav") == 1


def test_plain_ascii_where_the_terminal_knows_no_more(two_heads, clip, monkeypatch):
    monkeypatch.setattr(sys, "stdout", Typed(encoding="ascii"))
    assert main(["classify", "--model", two_heads, clip]) == 0
    text = sys.stdout.text()
    assert "###" in text and "\\xf6ffnen" in text and "\\u4e09" in text


def test_lines_fit_the_terminal(model, two_heads, tmp_path, monkeypatch):
    folder = tmp_path / "a folder with a rather long name" / "and another one in it with a longer one"
    folder.mkdir(parents=True)
    for name in ("first.wav", "second.wav"):
        (folder / name).write_bytes(sound(hiss(2000)))
    monkeypatch.setenv("COLUMNS", "80")
    for file in (model, two_heads):
        monkeypatch.setattr(sys, "stdout", Typed(terminal=True))
        assert main(["classify", "--model", file, str(folder)]) == 0
        lines = sys.stdout.text().splitlines()
        assert all(cells(line) <= 80 for line in lines)
        assert "..." in lines[0] and "first.wav" in lines[0] and "second.wav" in lines[1]


def test_progress_is_drawn_on_a_terminal_and_wiped(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Typed(terminal=True))
    progress = Progress(3, patience=0)
    progress.step()
    drawn = sys.stderr.text()
    assert "1 of 3" in drawn and "█" in drawn
    progress.clear()
    assert sys.stderr.text().endswith("\r" + " " * (len(drawn) - 1) + "\r")
    progress.step()
    Progress(2)  # of the next file: it begins on an empty line
    assert sys.stderr.text().endswith(" \r") and Progress.shown is None
    monkeypatch.setattr(sys, "stderr", Typed(terminal=False))
    Progress(3, patience=0).step()
    assert sys.stderr.text() == ""


@pytest.mark.parametrize(
    "option",
    [["--top", "1_0"], ["--top", "٢"], ["--views", "٣"], ["--jobs", "x"], ["--hop", "1_0"], ["--smooth", "1" * 20]],
)
def test_numbers_in_other_notations_and_huge_ones_are_refused(option, capsys):
    assert main(["classify", "--demo", *option]) == 2
    assert f"argument {option[0]}: found '{option[1]}'" in capsys.readouterr().err


def test_too_little_memory_is_an_error_of_one_line(monkeypatch, capsys):
    def measure(*_):
        raise MemoryError("Unable to allocate 122 GiB")

    monkeypatch.setattr("minirep.cli.bench.measure", measure)
    assert main(["bench"]) == 2
    assert capsys.readouterr().err == "minirep: error: too little memory (Unable to allocate 122 GiB)\n"


def test_a_closed_pipe_ends_quietly(model, clip):
    command = [sys.executable, "-m", "minirep", "classify", "--csv", "--model", model, *[clip] * 20]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == cli.CLOSED_PIPE


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="needs a device that is always full")
def test_a_full_disk_gets_one_line(model, clip):
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-m", "minirep", "classify", "--model", model, clip], stdout=full, stderr=subprocess.PIPE
        )
    assert done.returncode == 2 and done.stderr.startswith(b"minirep: error: ") and done.stderr.count(b"\n") == 1


def test_interrupted(model, clip, monkeypatch):
    def stop(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(Classifier, "classify", stop)
    assert main(["classify", "--model", model, clip]) == 130


def test_unforeseen_errors_are_not_hidden(model, clip, monkeypatch):
    def fail(*_, **__):
        raise ZeroDivisionError

    monkeypatch.setattr(Classifier, "classify", fail)
    with pytest.raises(ZeroDivisionError):
        main(["classify", "--model", model, clip])


# --- convert and fuse -----------------------------------------------------------------------------------------------


def test_fuse(model, clip, tmp_path, capsys):
    new = tmp_path / "fused.npz"
    assert main(["fuse", model, "-o", str(new)]) == 0
    assert capsys.readouterr().out.startswith(f"{new}: written, merged, ")
    before, after = minirep.load(model, fused=False), minirep.load(new, fused=False)
    assert is_fused(after.network) and not is_fused(before.network)
    assert (after.recipe, after.labels, after.provenance) == (before.recipe, before.labels, before.provenance)
    p, q = (clf.classify(clip).probabilities["class"] for clf in (before, after))
    np.testing.assert_allclose(p, q, atol=1e-5)


def test_a_bare_network_can_be_fused_and_shown(tmp_path, capsys):
    bare = tmp_path / "bare.npz"
    minirep.save(tiny_classifier({"class": 3}, None).network, bare)
    assert main(["fuse", str(bare), "-o", str(tmp_path / "fused.npz"), "--half"]) == 0
    assert main(["info", str(tmp_path / "fused.npz")]) == 0
    assert "3 classes" in capsys.readouterr().out


def test_convert_keeps_branches_and_halves_sizes(model, tmp_path, capsys):
    assert main(["convert", model, "-o", str(tmp_path / "full.npz"), "--keep-branches"]) == 0
    assert main(["convert", model, "-o", str(tmp_path / "half.npz"), "--keep-branches", "--half"]) == 0
    full, half = (minirep.load(tmp_path / f"{name}.npz", fused=False).network for name in ("full", "half"))
    assert not is_fused(full) and full.stem.bn is not None and half.dtype == np.float32
    np.testing.assert_allclose(full.stem.weight, half.stem.weight, atol=1e-3)
    assert (tmp_path / "half.npz").stat().st_size < (tmp_path / "full.npz").stat().st_size


@pytest.mark.parametrize("command", ["convert", "fuse"])
def test_the_input_is_never_overwritten(tmp_path, capsys, command):
    path = tmp_path / "model.npz"
    minirep.save(tiny_classifier({"class": 2}, None), path)
    before = path.read_bytes()
    (tmp_path / "link.npz").symlink_to(path)
    for name in ("model.npz", "link.npz", os.path.join(".", "model.npz")):
        assert main([command, str(path), "-o", str(tmp_path / name)]) == 2
        assert "is the input file" in capsys.readouterr().err
    assert path.read_bytes() == before


def test_output_that_cannot_be_written(model, tmp_path, capsys):
    (tmp_path / "folder").mkdir()
    for target in (tmp_path / "missing" / "new.npz", tmp_path / "folder", tmp_path):
        assert main(["fuse", model, "-o", str(target)]) == 2
        err = capsys.readouterr().err
        assert err.startswith("minirep: error: ") and "cannot be written" in err and err.count("\n") == 1
    assert [path.name for path in tmp_path.rglob("*")] == ["folder"]
    assert main(["fuse", model]) == 2  # no output named


def test_labels(two_heads, tmp_path, capsys):
    (tmp_path / "verbs.txt").write_bytes("\ufeffschneiden\r\nöffnen\r\n\r\n".encode())
    (tmp_path / "nouns.txt").write_text("a\nb\nc", "utf-8")
    new = str(tmp_path / "new.npz")
    verbs, nouns = f"verb={tmp_path / 'verbs.txt'}", f"noun={tmp_path / 'nouns.txt'}"
    assert main(["convert", two_heads, "-o", new, "--labels", verbs, "--labels", nouns]) == 0
    assert minirep.load(new).labels == {"verb": ("schneiden", "öffnen"), "noun": ("a", "b", "c")}
    assert main(["convert", two_heads, "-o", new, "--labels", nouns]) == 0
    assert minirep.load(new).labels["verb"] == ("cut", "öffnen")


BAD_LABELS = {
    "too few": ("a\nb", "found 2 labels, expected 12"),
    "too many": ("x\n" * 13, "found 13 labels, expected 12"),
    "a gap": ("a\n\nb", "found no label in line 2"),
    "empty": ("", "found no label in line 1"),
    "no text": ("\udcff\udcfe", "found no UTF-8 text"),
    "missing": (None, "cannot be read"),
}


@pytest.mark.parametrize("text, reason", BAD_LABELS.values(), ids=BAD_LABELS)
def test_bad_labels_write_nothing(model, tmp_path, capsys, text, reason):
    path, new = tmp_path / "labels=1.txt", tmp_path / "new.npz"
    if text is not None:
        path.write_bytes(text.encode("utf-8", "surrogateescape"))
    for argument in (str(path), f"class={path}"):
        assert main(["convert", model, "-o", str(new), "--labels", argument]) == 2
        err = capsys.readouterr().err
        assert err.startswith(f"minirep: error: {path}: {reason}") and err.count("\n") == 1
    assert not new.exists()


def test_labels_need_a_head_where_there_are_several(two_heads, tmp_path, capsys):
    (tmp_path / "nouns.txt").write_text("a\nb\nc")
    path, new = str(tmp_path / "nouns.txt"), str(tmp_path / "new.npz")
    assert main(["convert", two_heads, "-o", new, "--labels", path]) == 2
    assert "HEAD=FILE" in capsys.readouterr().err
    assert main(["convert", two_heads, "-o", new, "--labels", f"noun={path}", "--labels", f"noun={path}"]) == 2
    assert "twice" in capsys.readouterr().err


@pytest.mark.skipif("MINIREP_GOLDEN" not in os.environ, reason="needs the cases that MINIREP_GOLDEN names")
def test_convert_published_checkpoints(tmp_path, capsys):
    for path in sorted(Path(os.environ["MINIREP_GOLDEN"]).glob("*/checkpoint.pyth")):
        new = tmp_path / f"{path.parent.name}.npz"
        assert main(["convert", str(path), "-o", str(new)]) == 0
        clf = minirep.load(new)
        assert is_fused(clf.network) and len(clf.provenance["sha256"]) == 64
        assert main(["info", str(path)]) == 0
        out = capsys.readouterr().out
        assert clf.recipe.name in out and all(len(line) <= 80 for line in out.splitlines()[2:])


# --- info -----------------------------------------------------------------------------------------------------------

# Millions of parameters and 10^9 operations of the papers, as stored and as the authors merge; "Published size" above.
PUBLISHED = {
    "vggsound": ("11.8349 M   2.6247 G", "11.6914 M   2.5527 G"),
    "epic-sounds": ("11.6989 M   2.1325 G", "11.5554 M   2.0739 G"),
    "epic-kitchens-100": ("11.8800 M   2.1327 G", None),
}


@pytest.mark.parametrize("recipe", PUBLISHED)
def test_published_totals_come_out_exactly(recipe, capsys):
    stored, merged = PUBLISHED[recipe]
    assert main(["info", "--architecture", recipe]) == 0
    *_, first, second = capsys.readouterr().out.splitlines()
    assert first.split("stored")[1].strip() == stored
    assert merged is None or second.split("do")[1].strip() == merged
    assert main(["info", "--architecture", recipe, "--kind", "inception"]) == 0
    assert capsys.readouterr().out.splitlines()[-1].split("stored")[1].strip() == stored


@pytest.mark.parametrize("recipe", ["vggsound", "epic-sounds"])
@pytest.mark.parametrize("kind", [REP, INCEPTION])
def test_counts_do_not_depend_on_the_weights(recipe, kind, tmp_path, capsys):
    heads, frames = RECIPES[recipe].heads, RECIPES[recipe].frames
    arch = Architecture(kind, heads=heads, frames=frames)
    minirep.save(Classifier(random_network(arch), RECIPES[recipe]), tmp_path / "full.npz")
    assert main(["info", "--json", str(tmp_path / "full.npz")]) == 0
    of_file = json.loads(capsys.readouterr().out)
    name = "rep" if kind == REP else "inception"
    assert main(["info", "--json", "--architecture", recipe, "--kind", name]) == 0
    of_zeros = json.loads(capsys.readouterr().out)
    for part in ("network", "recipe", "heads", "input", "stored", "fused", "published"):
        assert of_file[part] == of_zeros[part]


def test_info_adds_up_and_matches_the_forward_pass(model, capsys):
    assert main(["info", "--json", model]) == 0
    info = json.loads(capsys.readouterr().out)
    assert info["file"] == model and info["bytes"] == os.path.getsize(model) and info["format"] == "minirep model"
    assert info["labels"]["class"] == list(DIGITS) and info["provenance"] == {"source": "chance"}
    assert info["network"] == {
        "kind": REP, "width": 2, "depths": [1, 1, 1, 1], "fused": False, "dtype": "float32",
        "kernels": {"time": [[21, 11, 3]] * 4, "frequency": [[21, 11, 3]] * 4}, "order": "time-frequency",
    }  # fmt: skip
    for form in ("stored", "fused"):
        for count in ("parameters", "multiply_adds", "norm_ops"):
            assert info[form]["total"][count] == sum(part[count] for part in info[form]["parts"])
    net = minirep.load(model).network
    for part, (name, y) in zip(info["fused"]["parts"], minirep.stages(net, np.zeros(info["input"], np.float32))):
        assert (part["name"], part["shape"]) == (name, list(y.shape[1:]))
    assert info["fused"]["total"]["parameters"] == sum(array.size for array in named_arrays(net).values())


def test_info_for_people(model, two_heads, tmp_path, capsys):
    assert main(["info", model]) == 0
    out = capsys.readouterr().out
    for text in ("AudioRepInceptionNeXt, not merged", "speech-commands-v2: 16000", "12 classes: zero, one", "chance"):
        assert text in out
    assert all(len(line) <= 80 for line in out.splitlines()[1:]) and out.count("stored") == 3
    assert main(["fuse", two_heads, "-o", str(tmp_path / "fused.npz")]) == 0
    assert main(["info", str(tmp_path / "fused.npz")]) == 0
    out = capsys.readouterr().out
    assert "AudioInceptionNeXt, merged" in out and "papers" not in out and "head noun" in out
    assert main(["info", model, "--architecture", "vggsound"]) == 2
    assert main(["info", "--architecture", "birds"]) == 2 and main(["info", model, "--kind", "rep"]) == 2


def test_kernels_that_differ_from_stage_to_stage(tmp_path, capsys):
    arch = Architecture(
        width=2, depths=(1, 1), time_kernels=((5, 3), (7,)), freq_kernels=((3,), (3,)),
        time_strides=(1, 2), freq_strides=(1, 2), heads={"class": 2}, frames=64,
    )  # fmt: skip
    recipe = replace(SPEECH, name="own", frames=64, clip_seconds=0.128)
    minirep.save(Classifier(random_network(arch), recipe), tmp_path / "own.npz")
    assert main(["info", str(tmp_path / "own.npz")]) == 0
    assert "5, 3 | 7 along time; 3 along frequency" in capsys.readouterr().out
    arch = replace(arch, order="frequency-time")
    minirep.save(Classifier(random_network(arch), recipe), tmp_path / "other.npz")
    assert main(["info", str(tmp_path / "other.npz")]) == 0
    assert "3 along frequency; 5, 3 | 7 along time" in capsys.readouterr().out  # as they come in the network


# --- the command itself ---------------------------------------------------------------------------------------------


def test_version_and_help(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"minirep {minirep.__version__}\n"
    there = [name for name, (module, _) in cli.COMMANDS.items() if importlib.util.find_spec(f"minirep.{module}")]
    for command in [[], *([name] for name in there)]:
        assert main([*command, "--help"]) == 0
        assert all(len(line) <= 120 for line in capsys.readouterr().out.splitlines())
    assert main([]) == 2 and main(["dance"]) == 2


def test_help_imports_nothing_heavy():
    code = (
        "import sys; from minirep.cli import main; main(['--help'])\n"
        "heavy = {'numba', 'scipy', 'soundfile', 'matplotlib', 'torch', 'minirep.cli.info'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, timeout=60)
    assert done.returncode == 0, done.stderr


def test_a_process_of_its_own(model, clip):
    done = run("classify", "--model", model, "-", input=Path(clip).read_bytes())
    assert done.returncode == 0 and done.stderr == b"" and done.stdout.decode().splitlines()[0] == "-"
    done = run("classify", "--model", model, "-", input=b"no sound")
    assert done.returncode == 1 and done.stderr.startswith(b"minirep: -: ") and b"<stdin>" not in done.stderr
