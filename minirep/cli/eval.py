"""``minirep eval``: measure a model's accuracy and calibration on labelled recordings."""

import argparse
import contextlib
import csv
import io
import math
import os
import re
from collections.abc import Iterator

import numpy as np

from ..classify import Classifier
from ..errors import expect
from ..evaluate.manifest import Clip, read_manifest
from ..evaluate.measures import Measures, calibration, confusion, measure
from ..evaluate.predictions import Predictions, heading
from ..figures import draw_calibration, draw_confusion, picture_format
from ..files.models import load, model_path
from ..files.write import replacing, sha256, writable
from ..text import as_cell, printable, shorten
from .arguments import share
from .output import show
from .pool import Work, answers
from .terminal import complain, percent, table


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "The first line of MANIFEST names its columns: path,label or, for a model with several heads, "
        "path,label,head. Paths are relative to its folder. With --predictions, an interrupted run resumes where it "
        "stopped. With several heads, each gets its own files: FILE-head.csv."
    )
    add = parser.add_argument
    add("manifest", metavar="MANIFEST", help="a CSV file of recordings and their labels")
    share(parser, "--model")
    share(parser, "--json", help="print all results as a JSON object")
    predictions = "write all probabilities to this file; recordings that it already holds are skipped"
    add("--predictions", metavar="CSV", help=predictions)
    add("--confusion", metavar="CSV", help="write the confusion matrix")
    add("--confusion-picture", metavar="PICTURE", help="draw the confusion matrix (.png, .svg, .pdf)")
    add("--calibration-picture", metavar="PICTURE", help="draw the reliability diagram")
    share(parser, "--views", "--backend", "--precision")
    share(parser.add_mutually_exclusive_group(), "--jobs", "--dask")


def run(args) -> int:
    for picture in filter(None, (args.confusion_picture, args.calibration_picture)):
        picture_format(picture)  # an error before the work, if it cannot be drawn
    clf = load(args.model, args.backend, threads=None if args.jobs == 1 else 1, precision=args.precision)
    outputs = {head: _outputs(args, head, clf) for head in clf.labels}
    _check_outputs(args, [path for named in outputs.values() for path in named.values()])
    model = sha256(model_path(args.model))
    clips, faults = read_manifest(args.manifest, clf.labels)
    for number, reason in faults:
        complain(f"{printable(args.manifest)}: line {number}: {reason}")
    found = _classify(args, clf, model, clips)
    measured = {}
    for head, labels in clf.labels.items():
        known = [clip for clip in clips if head in clip.truth and (clip.path, head) in found]
        if known:
            p = np.stack([found[clip.path, head] for clip in known])  # (N, C)
            truth = np.array([clip.truth[head] for clip in known])  # (N,)
            measured[head] = measure(p, truth)
            _write(outputs[head], labels, p, truth, head if len(clf.labels) > 1 else "")
    rows = len(faults) + sum(len(clip.truth) for clip in clips)
    failed = rows - sum(measures.clips for measures in measured.values())
    show(args, _as_json(args, model, clf, measured, failed), _lines(clf, measured))
    if failed:
        complain(f"{failed} of {rows} rows failed")
    return 1 if failed else 0


def _outputs(args, head: str, clf: Classifier) -> dict[str, str]:
    """Return {what: path} of a head's output files; if there are several heads, their names contain the head."""
    named = {"matrix": args.confusion, "matrix picture": args.confusion_picture, "bars": args.calibration_picture}
    named = {what: path for what, path in named.items() if path}
    if len(clf.labels) == 1:
        return named
    safe = re.sub(r"[^\w-]", "_", head)  # a head can have any name
    return {what: "-{}".join(os.path.splitext(path)).format(safe) for what, path in named.items()}


def _check_outputs(args, paths: list[str]) -> None:
    """Refuse output files that cannot be written or would overwrite an input, before hours of work."""
    taken = {os.path.realpath(path) for path in (args.manifest, args.model) if path}
    for path in [*paths, *filter(None, [args.predictions])]:
        place = os.path.realpath(path)
        named = f"{printable(path)}: is an input file or is named twice; expected another output file"
        expect(place not in taken, named)
        printed = f"{path}: found standard output, where eval prints its results; expected a file"
        expect(writable(path) is not None, printed)
        taken.add(place)


def _write(outputs: dict[str, str], labels, p: np.ndarray, truth: np.ndarray, title: str) -> None:
    if "matrix" in outputs:
        with replacing(outputs["matrix"]) as file:
            text = io.TextIOWrapper(file, "utf-8", "backslashreplace", newline="")
            writer = csv.writer(text)
            names = list(map(as_cell, labels))
            writer.writerow(["true \\ predicted", *names])
            writer.writerows([name, *row] for name, row in zip(names, confusion(p, truth).tolist()))
            text.detach()
    if "matrix picture" in outputs:
        draw_confusion(confusion(p, truth), labels, outputs["matrix picture"], title)
    if "bars" in outputs:
        draw_calibration(calibration(p, truth), outputs["bars"], title)


def _classify(args, clf: Classifier, model: str, clips: list[Clip]) -> dict[tuple[str, str], np.ndarray]:
    """Return {(clip's path, head): probabilities}; those in the file of predictions are not computed again."""
    with contextlib.ExitStack() as stack:
        found: dict[tuple[str, str], np.ndarray] = {}
        if args.predictions:
            first = heading(model, args.views or clf.recipe.views, os.path.dirname(args.manifest), args.predictions)
            file = stack.enter_context(Predictions(args.predictions, first, clf.labels, clf.network.dtype))
            found = {key: p for key, (_, p) in file.found.items()}
        rest = [clip for clip in clips if any((clip.path, head) not in found for head in clip.truth)]
        if len(rest) < len(clips):
            complain(f"{printable(args.predictions)}: has {len(clips) - len(rest)} of {len(clips)} clips already")
        files, done = [clip.file for clip in rest], 0
        answered = answers(Work(clf, args.views, pipes=False), files, args.jobs, args.dask)
        stack.enter_context(contextlib.closing(answered))
        try:
            for clip, answer in zip(rest, answered):
                done += 1
                if isinstance(answer, str):
                    for line in clip.lines.values():
                        complain(f"{printable(args.manifest)}: line {line}: {printable(clip.path)}: {answer}")
                    continue
                found |= {(clip.path, head): answer[head] for head in clip.truth}
                if args.predictions:
                    file.add(clip, answer)
        except KeyboardInterrupt:
            where = f"{printable(args.predictions)} has them; the same command goes on from there"
            what = where if args.predictions else "with --predictions FILE, a run can be interrupted and go on later"
            complain(f"interrupted after {done} of {len(rest)} clips: {what}")
            raise
        if args.predictions:
            file.finish(clips)
        return found


def _lines(clf: Classifier, measured: dict[str, Measures]) -> Iterator[str]:
    for i, (head, m) in enumerate(measured.items()):
        labels = clf.labels[head]
        if i:
            yield ""
        yield (f"{printable(head)}: " if len(clf.labels) > 1 else "") + f"{m.clips} clips"
        shares = {"top-1": m.top1, "top-5": m.top5, "mean per-class accuracy": m.mean_class_accuracy}
        numbers = {"mAP": m.map, "mAUC": m.mauc, "d-prime": m.d_prime, "calibration error": m.calibration_error}
        rows = [[name, _share(value)] for name, value in shares.items()]
        rows += [[name, _number(value)] for name, value in numbers.items()]
        yield from (f"  {line}" for line in table(rows, left=1))
        yield ""
        rows = [["class", "right", "of", "recall", "AP", "AUC"]]
        for c in np.flatnonzero(m.of):
            cells = _share(m.recall[c]), _number(m.average_precision[c]), _number(m.auc[c])
            rows.append([shorten(printable(labels[c]), 40), str(m.right[c]), str(m.of[c]), *cells])
        yield from (f"  {line}" for line in table(rows, left=1))
        without = [printable(labels[c]) for c in np.flatnonzero(m.of == 0)]
        if without:
            yield shorten(f"  no clips of {len(without)} of {len(labels)} classes: {', '.join(without)}", 80)


def _share(value: float) -> str:
    return "-" if math.isnan(value) else percent(value).strip()


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.3f}"


def _as_json(args, model: str, clf: Classifier, measured: dict[str, Measures], failed: int) -> dict:
    """Return all measures for programs; those of the classes are in a list of their own."""
    heads = {}
    for head, m in measured.items():
        values = {name: np.asarray(value).tolist() for name, value in vars(m).items()}
        by_class = {name: values.pop(name) for name in list(values) if isinstance(values[name], list)}
        names = ("label", *by_class)
        heads[head] = values | {"classes": [dict(zip(names, row)) for row in zip(clf.labels[head], *by_class.values())]}
    return {
        "manifest": args.manifest, "model": args.model, "sha256": model, "views": args.views or clf.recipe.views,
        "failed": failed, "heads": heads,
    }  # fmt: skip
