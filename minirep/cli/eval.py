"""``minirep eval``: measure a model's accuracy and calibration on labelled recordings."""

import argparse
import contextlib
import csv
import io
import json
import math
import os
import re
from collections.abc import Iterator

import numpy as np

from ..classify import Classifier
from ..errors import MinirepError
from ..evaluate.manifest import Clip, read_manifest
from ..evaluate.measures import Measures, calibration, confusion, measure
from ..evaluate.predictions import Predictions, heading
from ..figures import draw_calibration, draw_confusion, picture_format
from ..files.models import load, model_path
from ..files.write import replacing, sha256, writable
from ..text import as_cell, printable, shorten
from .arguments import add_backend, add_model, add_precision, add_views
from .pool import add_jobs, answers
from .terminal import Progress, complain, percent, say, table
from .work import Work


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "The first line of MANIFEST names its columns: path,label or, for a model with several heads, "
        "path,label,head. Paths are relative to its folder. With --predictions, an interrupted run resumes where it "
        "stopped. With several heads, each gets its own files: FILE-head.csv."
    )
    parser.add_argument("manifest", metavar="MANIFEST", help="a CSV file of recordings and their labels")
    add_model(parser)
    parser.add_argument("--json", action="store_true", help="print all results as a JSON object")
    parser.add_argument(
        "--predictions",
        metavar="CSV",
        help="write all probabilities to this file; recordings that it already holds are skipped",
    )
    parser.add_argument("--confusion", metavar="CSV", help="write the confusion matrix")
    parser.add_argument("--confusion-picture", metavar="PICTURE", help="draw the confusion matrix (.png, .svg, .pdf)")
    parser.add_argument("--calibration-picture", metavar="PICTURE", help="draw the reliability diagram")
    add_views(parser)
    add_backend(parser)
    add_precision(parser)
    add_jobs(parser)


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
    if args.json:
        say(json.dumps(_as_json(args, model, clf, measured, failed), indent=1, allow_nan=False))
    else:
        for line in _lines(clf, measured):
            say(line)
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
        if place in taken:
            raise MinirepError(f"{printable(path)}: is an input file or is named twice; expected another output file")
        if writable(path) is None:
            raise MinirepError(f"{path}: found standard output, where eval prints its results; expected a file")
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
    """Return {(clip's path, head): probabilities}, from the file of predictions if it has them."""
    if not args.predictions:
        found = {}

        def keep(clip, probabilities):
            found.update({(clip.path, head): probabilities[head] for head in clip.truth})

        _classify_rest(args, clf, clips, keep)
        return found
    first = heading(model, args.views or clf.recipe.views, os.path.dirname(args.manifest), args.predictions)
    with Predictions(args.predictions, first, clf.labels, clf.network.dtype) as predictions:
        rest = [clip for clip in clips if any((clip.path, head) not in predictions.found for head in clip.truth)]
        if len(rest) < len(clips):
            complain(f"{printable(args.predictions)}: has {len(clips) - len(rest)} of {len(clips)} clips already")
        _classify_rest(args, clf, rest, predictions.add)
        predictions.finish(clips)
        return {key: p for key, (_, p) in predictions.found.items()}


def _classify_rest(args, clf: Classifier, clips: list[Clip], keep) -> None:
    """Call ``keep(clip, {head: probabilities})`` for each clip that can be read, and report the others."""
    progress, done = Progress(len(clips)), 0
    try:
        work = Work(clf, args.views, pipes=False)
        with contextlib.closing(answers(work, [clip.file for clip in clips], args.jobs, args.dask)) as found:
            for clip, answer in zip(clips, found):
                if isinstance(answer, str):
                    progress.clear()
                    for line in clip.lines.values():
                        complain(f"{printable(args.manifest)}: line {line}: {printable(clip.path)}: {answer}")
                else:
                    keep(clip, answer)
                done += 1
                progress.step()
    except KeyboardInterrupt:
        progress.clear()
        where = f"{printable(args.predictions)} has them; the same command goes on from there"
        what = where if args.predictions else "with --predictions FILE, a run can be interrupted and go on later"
        complain(f"interrupted after {done} of {len(clips)} clips: {what}")
        raise
    finally:
        progress.clear()


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
    """Return all measures for programs; undefined ones, and an infinite d-prime, are null."""

    def plain(value):
        return value.item() if math.isfinite(value) else None

    heads = {}
    for head, m in measured.items():
        names = list(vars(m))
        by_class = names[names.index("right") :]
        heads[head] = {name: plain(np.asarray(getattr(m, name))) for name in names if name not in by_class}
        heads[head]["classes"] = [
            {"label": label} | {name: plain(getattr(m, name)[c]) for name in by_class}
            for c, label in enumerate(clf.labels[head])
        ]
    return {
        "manifest": args.manifest, "model": args.model, "sha256": model, "views": args.views or clf.recipe.views,
        "failed": failed, "heads": heads,
    }  # fmt: skip
