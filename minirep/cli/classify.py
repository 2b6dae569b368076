"""``minirep classify``: classify sound files; the output is for people or for programs."""

import argparse
import contextlib
import io
import json
import os
import sys
from collections.abc import Iterator
from importlib import resources
from pathlib import Path

from ..classify import Classifier, Prediction
from ..errors import expect
from ..files.models import load, read
from ..files.write import irregular
from ..text import cells, pad, printable, shorten
from . import timeline
from .arguments import at_least_one, share
from .pool import Work, answers
from .terminal import bar, columns, complain, percent, say, say_array, say_row

# Suffixes of sound files in a folder. A file that is named on the command line may have any suffix.
EXTENSIONS = (
    ".wav", ".wave", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".spx", ".mp3", ".m4a", ".mp4", ".aac", ".wma",
    ".webm", ".3gp", ".amr", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf",
)  # fmt: skip
DEMO = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TOP = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    sources = "sound files, folders of them, or - for a WAV on standard input"
    add("files", nargs="*", metavar="FILE|FOLDER", help=sources)
    demo = "classify clips that ship with minirep: ten digits, or for sounds twelve"
    add("--demo", action="store_true", help=demo)
    share(parser, "--model")
    top = f"print the N most probable classes of each file (default: {TOP}; 1 in the table of several files)"
    add("--top", type=at_least_one, metavar="N", help=top)
    form = parser.add_mutually_exclusive_group()
    share(form, "--json", help="print a JSON array with an object for each file")
    form.add_argument("--csv", action="store_true", help="print CSV: file,head,rank,label,probability")
    share(parser, "--views")
    add("--partial", action="store_true", help="classify what is left of a truncated file")
    share(parser, "--backend", "--precision")
    share(parser.add_mutually_exclusive_group(), "--jobs", "--dask")
    timeline.add_arguments(parser)


def run(args) -> int:
    expect(args.demo != bool(args.files), "classify: expected either files and folders or --demo")
    sources, failed = demo_clips(args.model) if args.demo else find_sounds(args.files)
    timeline.check(args, sources)
    elsewhere, here = args.jobs > 1 or args.dask is not None, args.timeline or any(path == "-" for _, path in sources)
    expect(not (elsewhere and here), "--jobs and --dask cannot be combined with --timeline or standard input")
    clf = load(args.model, args.backend, threads=1 if args.jobs > 1 else None, precision=args.precision)
    stdin = getattr(sys.stdin, "buffer", io.BytesIO())  # sys.stdin is None if the parent process has closed it
    sources = [(name, stdin if path == "-" else path) for name, path in sources]
    if args.timeline:
        return timeline.run(args, clf, sources, failed)
    total, right = len(sources) + len(failed), list[str]()
    names, files = [name for name, _ in sources], [source for _, source in sources]
    work = Work(clf, args.views, args.partial)
    with contextlib.closing(answers(work, files, args.jobs, args.dask)) as answered:
        found = _classified(names, answered, clf, failed, right)
        if args.json:
            print_json(found, args.top or TOP)
        elif args.csv:
            print_csv(found, args.top or TOP)
        elif len(names) > 1 and args.top is None:
            print_lines(found, names, clf)
        else:
            print_table(found, args.top or TOP)
    if args.demo:
        say(f"{len(right)} of {total} right", sys.stderr if args.json or args.csv else None)
    elif failed and total > 1:
        complain(f"{len(failed)} of {total} failed")
    return 1 if failed else 0


def _classified(names, answered, clf: Classifier, failed: list, right: list[str]) -> Iterator[tuple]:
    """Yield (name, `Prediction`, or the reason why there is none) of each file; first come those in ``failed``.

    Failures are reported to stderr, and added to ``failed``. The demo clips that are recognized are added to ``right``.
    """
    for name, reason in tuple(failed):
        complain(f"{printable(name)}: {reason}")
        yield name, reason
    for name, answer in zip(names, answered):
        if isinstance(answer, str):
            failed.append((name, answer))
            complain(f"{printable(name)}: {answer}")
            yield name, answer
        else:
            prediction = Prediction(answer, clf.labels)
            if prediction.top(1)[0][0] == demo_label(name):
                right.append(name)
            yield name, prediction


def demo_clips(model=None):
    """Return ([(name, path)] of the shipped clips for a model: for its recipe, else the digits; and no failures)."""
    recipe = read(model).recipe
    name = "demo-sounds" if recipe is not None and recipe.name == "sounds" else "demo"
    folder = Path(str(resources.files("minirep").joinpath(f"data/{name}")))
    expect(folder.is_dir(), "the demo clips are not part of this bundle; expected files or folders")
    names = sorted(path.stem for path in folder.glob("*.wav")) if name == "demo-sounds" else DEMO
    return [(f"{name}.wav", str(folder / f"{name}.wav")) for name in names], []


def demo_label(name: str) -> str:
    """Return the right label of a demo clip from its name: "dog bark" for ``dog-bark-2.wav``."""
    return Path(name).stem.removesuffix("-2").replace("-", " ")


def find_sounds(arguments: list[str]):
    """Return ([(name, path)] of all named files and those in named folders, [(folder, why nothing was found)])."""
    sources, failed = [], []
    for argument in arguments:
        if not os.path.isdir(argument):
            sources.append((argument, argument))
            continue
        found, errors = sounds_under(argument)
        for path in filter(irregular, tuple(found)):  # such as a named pipe, which would block
            complain(f"{printable(path)}: skipped: found {irregular(path)}, expected a file")
            found.remove(path)
        sources += [(path, path) for path in found]
        failed += [(error.filename, f"cannot be read ({error.strerror})") for error in errors]
        if not found and not errors:
            failed.append((argument, f"found no sound in this folder, expected files in {' '.join(EXTENSIONS)}"))
    return sources, failed


def sounds_under(folder: str) -> tuple[list[str], list[OSError]]:
    """Return the sound files in a folder and its subfolders, sorted, and the errors of folders that cannot be read.

    Hidden files are skipped, such as those that macOS adds for each file on other file systems.
    """
    errors: list[OSError] = []
    found = [
        os.path.join(parent, file)
        for parent, _, files in os.walk(folder, onerror=errors.append)
        for file in files
        if file.lower().endswith(EXTENSIONS) and not file.startswith(".")
    ]
    return sorted(found), errors


def print_table(found: Iterator[tuple], top: int) -> None:
    """Print, for people, a table of the most probable classes of each file."""
    width = min(100, columns() or 80)
    for name, prediction in _predictions(found):
        say(printable(name))
        for head in prediction.probabilities:
            rows = [(printable(label), p) for label, p in prediction.top(top, head)]
            if len(prediction.probabilities) > 1:
                say(f" {head}")
            widest = min(40, max(cells(label) for label, _ in rows))
            for label, p in rows:
                line = f"  {pad(shorten(label, widest), widest)}  {percent(p)}  "
                say((line + bar(p, width - cells(line) - 1)).rstrip())


def print_lines(found: Iterator[tuple], names: list[str], clf: Classifier) -> None:
    """Print, for people, one line per file, with the most probable class of every head."""
    labels = [min(30, max(cells(printable(label)) for label in labels)) for labels in clf.labels.values()]
    longest, wide = max(cells(printable(name)) for name in names), 20  # columns of the names and of each bar
    screen = columns()
    if screen is not None:  # on a terminal, names that are too long lose their beginning
        room = screen - sum(13 + label for label in labels) - 1
        wide = 20 if longest + 20 * len(labels) <= room else 8
        longest = min(longest, max(20, room - wide * len(labels)))
    for name, prediction in _predictions(found):
        line = pad(shorten(printable(name), longest, start=True), longest)
        for head, width in zip(prediction.probabilities, labels):
            ((label, p),) = prediction.top(1, head)
            line += f"  {pad(shorten(printable(label), width), width)}  {percent(p)}  {pad(bar(p, wide), wide)}"
        say(line.rstrip())


def print_json(found: Iterator[tuple], top: int) -> None:
    """Print [{"file", "heads": {head: [{"label", "probability"}, ...]}}, {"file", "error"}, ...] for programs.

    Everything beyond ASCII is escaped, so that os.fsencode restores the bytes of file names that are not valid text.
    """

    def entry(name: str, prediction: Prediction | str) -> dict:
        if isinstance(prediction, str):
            return {"file": name, "error": prediction}
        heads = {
            head: [{"label": label, "probability": _digits(p)} for label, p in prediction.top(top, head)]
            for head in prediction.probabilities
        }
        return {"file": name, "heads": heads}

    say_array(json.dumps(entry(*each), allow_nan=False) for each in found)


def print_csv(found: Iterator[tuple], top: int) -> None:
    """Print a row per class, the most probable first, for programs and spreadsheets; failures are on stderr only."""
    say_row("file", "head", "rank", "label", "probability")
    for name, prediction in _predictions(found):
        for head in prediction.probabilities:
            for rank, (label, p) in enumerate(prediction.top(top, head), 1):
                say_row(name, head, rank, label, _digits(p))


def _predictions(found: Iterator[tuple]) -> Iterator[tuple[str, Prediction]]:
    return ((name, prediction) for name, prediction in found if isinstance(prediction, Prediction))


def _digits(p: float) -> float:
    """Round to seven significant digits, which a float32 has."""
    return float(f"{p:.7g}")
