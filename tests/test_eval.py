"""``minirep eval``: what it measures, what it says of a bad manifest, and how it goes on where it was."""

import csv
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from audio_files import hiss, sound
from stand_ins import tiny_classifier

import minirep
from minirep import Classifier
from minirep.architecture import INCEPTION
from minirep.cli import classify as cli_classify
from minirep.cli import eval as cli_eval
from minirep.cli import main, pool
from minirep.evaluate import measures
from minirep.evaluate.manifest import read_manifest
from minirep.evaluate.predictions import Predictions

DEMO = Path(minirep.__file__).parent / "data/demo"
DIGITS = (*cli_classify.DEMO, "unknown", "silence")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model.npz"
    minirep.save(tiny_classifier({"class": 12}, {"class": DIGITS}).fused(), path)
    return str(path)


@pytest.fixture(scope="module")
def two_heads(tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "two-heads.npz"
    labels = {"verb": ("cut", "öffnen"), "../noun": ("三", "two\nlines", "a,b")}
    minirep.save(tiny_classifier({"verb": 2, "../noun": 3}, labels, kind=INCEPTION), path)
    return str(path)


@pytest.fixture
def digits(tmp_path):
    """A manifest of the ten spoken digits."""
    return manifest(tmp_path, *((DEMO / f"{digit}.wav", digit) for digit in DIGITS[:10]))


def manifest(folder, *rows, header=("path", "label"), name="test.csv"):
    path = folder / name
    with open(path, "w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([header, *rows])
    return str(path)


def table(path):
    with open(path, encoding="utf-8", newline="") as file:
        return list(csv.reader(file))


def test_measures_are_those_of_the_probabilities(model, digits, capsys):
    assert main(["eval", digits, "--model", model, "--json"]) == 0
    captured = capsys.readouterr()
    found = json.loads(captured.out)
    clf = minirep.load(model)
    p = np.stack([clf.classify(DEMO / f"{digit}.wav").probabilities["class"] for digit in DIGITS[:10]])
    expected = measures.measure(p, np.arange(10))
    head = found["heads"]["class"]
    assert found["failed"] == 0 and len(found["sha256"]) == 64 and captured.err == ""
    for name in ("clips", "top1", "top5", "mean_class_accuracy", "map", "mauc", "d_prime", "calibration_error"):
        assert head[name] == pytest.approx(getattr(expected, name)), name
    assert [entry["label"] for entry in head["classes"]] == list(DIGITS)
    assert [entry["right"] for entry in head["classes"]] == expected.right.tolist()
    assert head["classes"][0]["auc"] == pytest.approx(expected.auc[0]) and head["classes"][11]["recall"] is None


def test_for_people(model, digits, capsys):
    assert main(["eval", digits, "--model", model]) == 0
    out = capsys.readouterr().out.splitlines()
    assert out[0] == "10 clips" and out[1].startswith("  top-1") and out[1].endswith(" %")
    assert out[9].split() == ["class", "right", "of", "recall", "AP", "AUC"] and len(out) == 21
    assert out[-1] == "  no clips of 2 of 12 classes: unknown, silence" and all(len(line) <= 80 for line in out)


def test_a_golden_table():
    p = np.array([[0.8, 0.1, 0.1], [0.3, 0.5, 0.2], [0.6, 0.3, 0.1]])
    clf = tiny_classifier({"class": 3}, {"class": ("dog", "cat", "owl")})
    lines = list(cli_eval._lines(clf, {"class": measures.measure(p, np.array([0, 1, 1]))}))
    assert lines == [
        "3 clips",
        "  top-1                     66.7 %",
        "  top-5                    100.0 %",
        "  mean per-class accuracy   75.0 %",
        "  mAP                        1.000",
        "  mAUC                       1.000",
        "  d-prime                      inf",
        "  calibration error          0.433",
        "",
        "  class  right  of   recall     AP    AUC",
        "  dog        1   1  100.0 %  1.000  1.000",
        "  cat        1   2   50.0 %  1.000  1.000",
        "  no clips of 1 of 3 classes: owl",
    ]


def test_bad_rows_are_told_and_the_others_measured(model, tmp_path, capsys):
    (tmp_path / "good.wav").write_bytes(sound(hiss(8000)))
    (tmp_path / "bad.wav").write_bytes(b"no sound")
    rows = [
        ("good.wav", "one"), ("missing.wav", "one"), ("bad.wav", "two"), ("other.wav", "eleven"),
        ("other.wav",), ("good.wav", "two"), ("./good.wav", "one"), ("", "one"), ("a", "b", "c"),
        (".", "one"), ("two\nlines.wav", "nine"),
    ]  # fmt: skip
    path = manifest(tmp_path, *rows)
    assert main(["eval", path, "--model", model]) == 1
    captured = capsys.readouterr()
    assert captured.out.startswith("1 clips\n")
    *errors, last = captured.err.splitlines()
    assert last == "minirep: 10 of 11 rows failed" and all(e.startswith(f"minirep: {path}: line ") for e in errors)
    by_line = {int(e.split("line ")[1].split(":")[0]): e for e in errors}
    assert sorted(by_line) == [3, 4, 5, 6, 7, 8, 9, 10, 11, 12]
    told = {3: "missing.wav", 4: "bad.wav", 5: "'eleven'", 6: "1 columns, expected 2", 7: "line 2", 8: "line 2",
            9: "no path", 10: "3 columns", 12: "two\\nlines"}  # fmt: skip
    for line, text in told.items():
        assert text in by_line[line], by_line[line]


NO_MANIFESTS = {
    "missing": None,
    "empty": b"",
    "no header": b"a.wav,one\n",
    "other columns": b"file,label\na.wav,one\n",
    "semicolons": b"path;label\na.wav;one\n",
    "no rows": b"path,label\n\n",
    "no text": b"path,label\n\xff\xfe\n",
    "UTF-16": "path,label\na.wav,one\n".encode("utf-16"),
    "zeros": b"\0" * (1 << 21),
    "a zero": b"path,label\na\0.wav,one\n",
    "a huge field": b"path,label\n" + b"x" * 200_000 + b",one\n",
    "a huge line": b"path,label\n" + b"x" * 2_000_000,
    "an open quote": b'path,label\n"a.wav,one\nb.wav,two\n',
    "a folder": "folder",
}


@pytest.mark.parametrize("content", NO_MANIFESTS.values(), ids=NO_MANIFESTS)
def test_what_is_no_manifest(model, tmp_path, capsys, content):
    path = tmp_path / "m.csv"
    if content == "folder":
        path.mkdir()
    elif content is not None:
        path.write_bytes(content)
    assert main(["eval", str(path), "--model", model]) == 2
    captured = capsys.readouterr()
    assert captured.out == "" and captured.err.startswith(f"minirep: error: {path}: ")
    assert captured.err.count("\n") == 1 and len(captured.err) < 600


def test_byte_order_mark_line_ends_and_a_head_column(tmp_path):
    path = tmp_path / "m.csv"
    path.write_bytes("\ufeffpath,label,head\r\n\r\na.wav,zwölf,class\r\n".encode())
    (clip,), faults = read_manifest(path, {"class": ("elf", "zwölf")})
    assert clip.truth == {"class": 1} and clip.lines == {"class": 3} and not faults
    assert clip.path == "a.wav" and clip.file == str(tmp_path / "a.wav")
    clips, ((line, reason),) = read_manifest(path, {"class": ("zwölf", "zwölf")})
    assert not clips and line == 3 and "several classes" in reason


def test_heads(two_heads, tmp_path, capsys):
    for name in "ab":
        (tmp_path / f"{name}.wav").write_bytes(sound(hiss(8000)))
    rows = [("a.wav", "cut", "verb"), ("a.wav", "三", "../noun"), ("b.wav", "a,b", "../noun"), ("b.wav", "x", "adverb")]
    path = manifest(tmp_path, *rows, header=("path", "label", "head"))
    folder = tmp_path / "out"
    folder.mkdir()
    outputs = ["--confusion", str(folder / "c.csv"), "--predictions", str(folder / "p.csv")]
    for _ in range(2):  # the second time from the predictions
        assert main(["eval", path, "--model", two_heads, "--json", *outputs]) == 1
        captured = capsys.readouterr()
        found = json.loads(captured.out)
        assert {head: m["clips"] for head, m in found["heads"].items()} == {"verb": 1, "../noun": 2}
        assert "line 5: found head 'adverb', expected one of verb, ../noun" in captured.err
    assert sorted(p.name for p in folder.iterdir()) == ["c-___noun.csv", "c-verb.csv", "p.csv"]
    matrix = table(folder / "c-___noun.csv")
    assert (
        matrix[0] == ["true \\ predicted", "三", '"two\\nlines"', "a,b"]
        and [row[0] for row in matrix[1:]] == matrix[0][1:]
    )
    assert [sum(map(int, row[1:])) for row in matrix[1:]] == [1, 0, 1]
    assert main(["eval", path, "--model", two_heads]) == 1 and "\n../noun: 2 clips\n" in capsys.readouterr().out
    assert main(["eval", manifest(tmp_path, ("a.wav", "cut")), "--model", two_heads]) == 2
    assert "path,label,head" in capsys.readouterr().err


# --- predictions: written as they come, gone on from ------------------------------------------------------------------


def test_it_goes_on_where_it_was_interrupted(model, digits, tmp_path, monkeypatch, capsys):
    whole, part = str(tmp_path / "whole.csv"), str(tmp_path / "part.csv")
    command = ["eval", digits, "--model", model, "--predictions"]
    assert main([*command, whole]) == 0
    expected = capsys.readouterr().out
    classify, seen = Classifier.classify, []

    def interrupted(self, source, **options):
        seen.append(source)
        if len(seen) == 5:
            raise KeyboardInterrupt
        return classify(self, source, **options)

    monkeypatch.setattr(Classifier, "classify", interrupted)
    assert main([*command, part]) == 130
    err = capsys.readouterr().err
    assert err == f"minirep: interrupted after 4 of 10 clips: {part} has them; the same command goes on from there\n"
    assert len(table(part)) == 2 + 4
    with open(part, "a") as file:  # as a process that is killed may leave it
        file.write(f"{DEMO}/five.wav,class,five,five,0.25,0.")
    assert main([*command, part]) == 0
    captured = capsys.readouterr()
    assert captured.out == expected and captured.err == f"minirep: {part}: has 4 of 10 clips already\n"
    assert Path(part).read_bytes() == Path(whole).read_bytes() and len(seen) == 5 + 6
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_predictions_hold_what_all_measures_need(model, digits, tmp_path):
    path = tmp_path / "p.csv"
    assert main(["eval", digits, "--model", model, "--predictions", str(path), "--jobs", "1"]) == 0
    first, header, *rows = table(path)
    assert first[0].startswith("# minirep eval; model ") and first[0].endswith("; views 1; paths relative to .")
    assert header == ["path", "head", "label", "predicted", *(f"class: {label}" for label in DIGITS)]
    clf = minirep.load(model)
    for row, digit in zip(rows, DIGITS):
        prediction = clf.classify(DEMO / f"{digit}.wav")
        assert row[:4] == [str(DEMO / f"{digit}.wav"), "class", digit, prediction.top(1)[0][0]]
        np.testing.assert_array_equal(np.array(row[4:], float).astype(np.float32), prediction.probabilities["class"])


def test_rows_of_other_clips_stay_and_labels_are_the_manifests(model, digits, tmp_path, capsys):
    path = tmp_path / "p.csv"
    command = ["--model", model, "--predictions", str(path)]
    assert main(["eval", digits, *command]) == 0
    other = manifest(tmp_path, (DEMO / "three.wav", "unknown"), name="other.csv")
    assert main(["eval", other, *command, "--json"]) == 0
    assert json.loads(capsys.readouterr().out.split("unknown, silence\n")[1])["heads"]["class"]["clips"] == 1
    rows = table(path)[2:]
    assert len(rows) == 10 and rows[0][:3] == [str(DEMO / "three.wav"), "class", "unknown"]


def test_predictions_of_something_else_are_left_alone(model, two_heads, digits, tmp_path, capsys):
    path = tmp_path / "p.csv"
    assert main(["eval", digits, "--model", model, "--predictions", str(path)]) == 0
    good = path.read_bytes()
    deeper = tmp_path / "deeper"
    deeper.mkdir()
    elsewhere = manifest(deeper, (DEMO / "one.wav", "one"))
    other_model = str(tmp_path / "other.npz")
    minirep.save(tiny_classifier({"class": 12}, {"class": DIGITS}), other_model)
    commands = [["eval", digits, "--model", model, "--views", "2"], ["eval", elsewhere, "--model", model],
                ["eval", digits, "--model", other_model]]  # fmt: skip
    for command in commands:
        assert main([*command, "--predictions", str(path)]) == 2 and path.read_bytes() == good
    for bad in (b"", b"my diary\n", good.replace(b"class,one,", b"klass,one,"), good.replace(b"0.", b"7.", 30),
                good.replace(b",0.", b",nan.", 30), b"\x00\xff" * 100):  # fmt: skip
        path.write_bytes(bad)
        capsys.readouterr()
        assert main(["eval", digits, "--model", model, "--predictions", str(path)]) == 2
        err = capsys.readouterr().err
        assert path.read_bytes() == bad and err.startswith(f"minirep: error: {path}: ") and err.count("\n") == 1


def test_outputs_that_cannot_be_or_must_not_be_written(model, digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(cli_eval, "read_manifest", lambda *_: pytest.fail("the work began"))
    (tmp_path / "folder").mkdir()
    before = Path(digits).read_bytes(), Path(model).read_bytes()
    for option in ("--confusion", "--predictions"):
        for path in (digits, model, str(tmp_path / "folder"), str(tmp_path / "missing" / "x.csv"), "/dev/null/x"):
            assert main(["eval", digits, "--model", model, option, path]) == 2
            assert capsys.readouterr().err.startswith(f"minirep: error: {path}: ")
    same = str(tmp_path / "same.csv")
    assert main(["eval", digits, "--model", model, "--confusion", same, "--predictions", same]) == 2
    assert (Path(digits).read_bytes(), Path(model).read_bytes()) == before


# --- processes --------------------------------------------------------------------------------------------------------


def test_several_processes_say_the_same(model, tmp_path, capsys):
    rows = [(DEMO / f"{digit}.wav", digit) for digit in DIGITS[:10]]
    path = manifest(tmp_path, *rows[:3], ("missing.wav", "one"), *rows[3:])
    one, two = tmp_path / "one.csv", tmp_path / "two.csv"
    command = ["eval", path, "--model", model, "--backend", "numpy", "--predictions"]
    assert main([*command, str(one)]) == 1
    expected = capsys.readouterr()
    before = dict(os.environ)
    assert main([*command, str(two), "--jobs", "2"]) == 1
    assert capsys.readouterr() == expected and dict(os.environ) == before
    assert one.read_bytes() == two.read_bytes()


@pytest.mark.skipif(os.name != "posix", reason="needs signals")
def test_ctrl_c_ends_all_processes(model, tmp_path):
    (tmp_path / "a.wav").write_bytes(sound(hiss(400_000)))
    for i in range(3000):
        (tmp_path / f"{i}.wav").symlink_to("a.wav")
    path = manifest(tmp_path, *((f"{i}.wav", "one") for i in range(3000)))
    predictions = tmp_path / "p.csv"
    command = [sys.executable, "-m", "minirep", "eval", path, "--model", model, "--jobs", "2", "--views", "4"]
    process = subprocess.Popen(
        [*command, "--predictions", str(predictions)], stderr=subprocess.PIPE, start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),  # what a shell starts with & is deaf to it
    )  # fmt: skip
    while process.poll() is None and not (predictions.exists() and predictions.read_bytes().count(b"\n") > 4):
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)  # as a terminal does: to all of them
    _, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.startswith(b"minirep: interrupted after ") and err.count(b"\n") == 1
    labels = {"class": DIGITS}
    found = Predictions(predictions, table(predictions)[0][0], labels, np.float32).found
    assert 2 < len(found) < 3000
    with pytest.raises(ProcessLookupError):
        for _ in range(100):  # the last of its processes may be on its way out
            os.killpg(process.pid, 0)
            time.sleep(0.05)


def test_a_process_that_dies_is_one_line(model, digits, monkeypatch, capsys):
    monkeypatch.setattr(pool, "_begin", _die)
    assert main(["eval", digits, "--model", model, "--jobs", "2"]) == 2
    err = capsys.readouterr().err
    assert err.startswith("minirep: error: one of 2 processes was killed")


def _die(*_):
    os._exit(9)


class Deadly(pool.Work):
    """Work that ends its process at some files; at one of them only the first time."""

    def answer(self, file):
        marker = Path(file).with_suffix(".once")
        if "poison" in file or ("once" in file and not marker.exists()):
            marker.touch()
            os._exit(9)
        return super().answer(file)


def test_a_file_that_ends_its_process_is_lost_alone(tmp_path):
    """And a process that is ended by somebody else costs nothing."""
    clf = tiny_classifier({"class": 5}, backend="numpy")
    files = [str(DEMO / f"{digit}.wav") for digit in DIGITS[:10]] * 3
    for name in ("once.wav", "poison.wav", "poison2.wav"):
        shutil.copy(files[0], tmp_path / name)
    once, *deadly = (str(tmp_path / name) for name in ("once.wav", "poison.wav", "poison2.wav"))
    mixed = [*files[:3], *deadly, *files[3:14], once, *files[14:], deadly[0]]
    found = list(pool.answers(Deadly(clf, None), mixed, 2))
    expected = list(pool.answers(pool.Work(clf, None), mixed, 1))
    assert len(found) == len(mixed)
    for file, answer, there in zip(mixed, found, expected):
        if "poison" in file:
            assert answer == "the process that read it was killed, perhaps because memory ran out"
        else:
            np.testing.assert_array_equal(answer["class"], there["class"])


# --- pictures ---------------------------------------------------------------------------------------------------------


def test_pictures(model, digits, tmp_path):
    pytest.importorskip("matplotlib")
    names = ["--confusion-picture", str(tmp_path / "c.svg"), "--calibration-picture", str(tmp_path / "b.PNG")]
    assert main(["eval", digits, "--model", model, *names]) == 0
    assert b"</svg>" in (tmp_path / "c.svg").read_bytes() and (tmp_path / "b.PNG").read_bytes().startswith(b"\x89PNG")


@pytest.mark.parametrize("classes", [2, 309])
def test_a_matrix_of_any_size_with_any_labels(tmp_path, classes):
    pytest.importorskip("matplotlib")
    from minirep.figures import draw_confusion

    matrix = np.random.default_rng(0).integers(0, 5, (classes, classes))
    labels = ["$\\oops", "三 " * 40, *(f"a class called {i}" for i in range(classes - 2))]
    draw_confusion(matrix, labels, tmp_path / "c.png", "noun $")
    width, height = np.frombuffer((tmp_path / "c.png").read_bytes()[16:24], ">u4")
    assert classes * 10 < width < 8000 and classes * 10 < height < 8000


def test_a_missing_extra_is_told_before_the_work(model, digits, tmp_path, monkeypatch, capsys):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    monkeypatch.setattr(cli_eval, "read_manifest", lambda *_: pytest.fail("the work began"))
    for option in ("--confusion-picture", "--calibration-picture"):
        assert main(["eval", digits, "--model", model, option, str(tmp_path / "c.png")]) == 2
        assert "pip install 'minirep[plot]'" in capsys.readouterr().err


def test_what_is_no_picture(model, digits, tmp_path, capsys):
    pytest.importorskip("matplotlib")
    assert main(["eval", digits, "--model", model, "--confusion-picture", str(tmp_path / "c.doc")]) == 2
    assert "ends in .png" in capsys.readouterr().err


def test_numpy_is_enough(model, digits):
    code = (
        "import sys; from minirep.cli import main; status = main(sys.argv[1:])\n"
        "heavy = {'scipy', 'sklearn', 'matplotlib', 'soundfile', 'numba'} & set(sys.modules)\n"
        "assert not heavy and not status, heavy"
    )
    command = [sys.executable, "-c", code, "eval", digits, "--model", model, "--backend", "numpy"]
    done = subprocess.run(command, capture_output=True, timeout=120)
    assert done.returncode == 0, done.stderr
