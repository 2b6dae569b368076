"""``minirep classify``: classify sound files; the output is for people or for programs."""

import argparse
import contextlib
import io
import json
import os
import sys
from importlib import resources
from pathlib import Path

from ..classify import Classifier, Prediction
from ..errors import MinirepError
from ..files.models import load, read
from ..files.write import irregular
from ..text import cells, pad, printable, shorten
from . import timeline
from .arguments import add_backend, add_model, add_precision, add_views, at_least_one
from .pool import add_jobs, answers
from .terminal import BLOCKS, JsonArray, Progress, Report, bar, can_show, columns, complain, percent, say, say_row
from .work import Work

# Suffixes of sound files in a folder. A file that is named on the command line may have any suffix.
EXTENSIONS = (
    ".wav", ".wave", ".rf64", ".w64", ".flac", ".ogg", ".oga", ".opus", ".spx", ".mp3", ".m4a", ".mp4", ".aac", ".wma",
    ".webm", ".3gp", ".amr", ".aif", ".aiff", ".aifc", ".au", ".snd", ".caf",
)  # fmt: skip
DEMO = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine")
TOP = 5


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "files", nargs="*", metavar="FILE|FOLDER", help="sound files, folders of them, or - for a WAV on standard input"
    )
    parser.add_argument(
        "--demo", action="store_true", help="classify clips that ship with minirep: ten digits, or for sounds twelve"
    )
    add_model(parser)
    parser.add_argument(
        "--top",
        type=at_least_one,
        metavar="N",
        help=f"print the N most probable classes of each file (default: {TOP}; 1 in the table of several files)",
    )
    form = parser.add_mutually_exclusive_group()
    form.add_argument("--json", action="store_true", help="print a JSON array with an object for each file")
    form.add_argument("--csv", action="store_true", help="print CSV: file,head,rank,label,probability")
    add_views(parser)
    parser.add_argument("--partial", action="store_true", help="classify what is left of a truncated file")
    add_backend(parser)
    add_precision(parser)
    add_jobs(parser)
    timeline.add_arguments(parser)


def run(args) -> int:
    if args.demo == bool(args.files):
        raise MinirepError("classify: expected either files and folders or --demo")
    sources, failed = demo_clips(args.model) if args.demo else find_sounds(args.files)
    timeline.check(args, sources)
    elsewhere = args.jobs > 1 or args.dask is not None
    if elsewhere and (args.timeline or any(path == "-" for _, path in sources)):
        raise MinirepError("--jobs and --dask cannot be combined with --timeline or standard input")
    clf = load(args.model, args.backend, threads=1 if args.jobs > 1 else None, precision=args.precision)
    if args.timeline:
        sounds = [(name, _standard_input() if path == "-" else path) for name, path in sources]
        return timeline.run(args, clf, sounds, failed)
    total = len(sources) + len(failed)
    report = _report(args, [name for name, _ in sources], clf)
    for name, reason in failed:
        complain(f"{printable(name)}: {reason}")
        report.fail(name, reason)
    right, progress = 0, Progress(len(sources))
    files = [_standard_input() if path == "-" else path for _, path in sources]
    try:
        found = answers(Work(clf, args.views, args.partial), files, args.jobs, args.dask)
        with contextlib.closing(found):
            for (name, _), answer in zip(sources, found):
                progress.clear()
                if isinstance(answer, str):
                    failed.append((name, answer))
                    complain(f"{printable(name)}: {answer}")
                    report.fail(name, answer)
                else:
                    prediction = Prediction(answer, clf.labels)
                    right += prediction.top(1)[0][0] == demo_label(name)
                    report.add(name, prediction)
                progress.step()
    finally:
        progress.clear()
    report.close()
    if args.demo:
        say(f"{right} of {len(sources)} right", sys.stderr if args.json or args.csv else None)
    elif failed and total > 1:
        complain(f"{len(failed)} of {total} failed")
    return 1 if failed else 0


def _report(args, names: list[str], clf: Classifier):
    if args.json:
        return JsonReport(args.top or TOP)
    if args.csv:
        return CsvReport(args.top or TOP)
    if len(names) > 1 and args.top is None:
        return LineReport(names, clf)
    return TableReport(args.top or TOP)


def _standard_input():
    return io.BytesIO() if sys.stdin is None else sys.stdin.buffer  # the parent process may have closed it


def demo_clips(model=None):
    """Return ([(name, path)] of the shipped clips for a model: for its recipe, else the digits; and no failures)."""
    recipe = read(model).recipe
    name = "demo-sounds" if recipe is not None and recipe.name == "sounds" else "demo"
    folder = Path(str(resources.files("minirep").joinpath(f"data/{name}")))
    if not folder.is_dir():
        raise MinirepError("the demo clips are not part of this bundle; expected files or folders")
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


class TableReport(Report):
    """A report for people: a table of the most probable classes of each file."""

    def __init__(self, top: int):
        self.top = top
        self.blocks = can_show(BLOCKS, sys.stdout)
        self.width = min(100, columns(sys.stdout) or 80)

    def add(self, name: str, prediction: Prediction) -> None:
        say(printable(name))
        for head in prediction.probabilities:
            rows = [(printable(label), p) for label, p in prediction.top(self.top, head)]
            if len(prediction.probabilities) > 1:
                say(f" {head}")
            widest = min(40, max(cells(label) for label, _ in rows))
            for label, p in rows:
                line = f"  {pad(shorten(label, widest), widest)}  {percent(p)}  "
                say((line + bar(p, self.width - cells(line) - 1, self.blocks)).rstrip())


class LineReport(TableReport):
    """A report for people on many files: one line per file, with the most probable class of every head."""

    def __init__(self, names: list[str], clf: Classifier):
        super().__init__(1)
        widest = [max(cells(printable(label)) for label in labels) for labels in clf.labels.values()]
        self.labels = [min(label, 30) for label in widest]
        self.name = max(cells(printable(name)) for name in names)
        self.bar = 20
        width = columns(sys.stdout)
        if width is not None:  # on a terminal, names that are too long lose their beginning
            room = width - sum(13 + label for label in self.labels) - 1
            self.bar = 20 if self.name + 20 * len(self.labels) <= room else 8
            self.name = min(self.name, max(20, room - self.bar * len(self.labels)))

    def add(self, name: str, prediction: Prediction) -> None:
        line = pad(shorten(printable(name), self.name, start=True), self.name)
        for head, width in zip(prediction.probabilities, self.labels):
            ((label, p),) = prediction.top(1, head)
            filled = pad(bar(p, self.bar, self.blocks), self.bar)
            line += f"  {pad(shorten(printable(label), width), width)}  {percent(p)}  {filled}"
        say(line.rstrip())


class JsonReport(JsonArray):
    """A report for programs: [{"file", "heads": {head: [{"label", "probability"}, ...]}}, {"file", "error"}, ...].

    Everything beyond ASCII is escaped, so that os.fsencode restores the bytes of file names that are not valid text.
    """

    def __init__(self, top: int):
        super().__init__()
        self.top = top

    def add(self, name: str, prediction: Prediction) -> None:
        heads = {
            head: [{"label": label, "probability": _digits(p)} for label, p in prediction.top(self.top, head)]
            for head in prediction.probabilities
        }
        self.put(json.dumps({"file": name, "heads": heads}, allow_nan=False))

    def fail(self, name: str, reason: str) -> None:
        self.put(json.dumps({"file": name, "error": reason}))


class CsvReport(Report):
    """A report for programs and spreadsheets: a row per class, the most probable first; failures are on stderr only."""

    def __init__(self, top: int):
        self.top = top
        say_row("file", "head", "rank", "label", "probability")

    def add(self, name: str, prediction: Prediction) -> None:
        for head in prediction.probabilities:
            for rank, (label, p) in enumerate(prediction.top(self.top, head), 1):
                say_row(name, head, rank, label, _digits(p))


def _digits(p: float) -> float:
    """Round to seven significant digits, which a float32 has."""
    return float(f"{p:.7g}")
