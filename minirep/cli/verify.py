"""``minirep verify``: proves on your own file that merging leaves the function as it is (`minirep.proof.verify`)."""

import json
from collections.abc import Iterator
from dataclasses import asdict

import numpy as np

from ..audio import open_recording
from ..errors import MinirepError
from ..figures import draw_verification, picture_format
from ..files.checkpoint import stored_merged
from ..files.modelfile import is_model
from ..files.models import default_model, read
from ..frontend import log_mel_views
from ..network import Network
from ..proof.verify import Difference, Report, Row, precisions, verify, worst
from ..recipe import MELS, Recipe
from ..reparam import STEPS
from ..text import printable
from .arguments import add_model_argument
from .terminal import Progress, say, table


def add_arguments(parser) -> None:
    parser.description = (
        "Prove on a file of your own that merging leaves the function as it is: every block is run before and after "
        "each step of merging, in float32 and float64, and has to stay within the bound that its weights set to "
        "rounding errors. Exit status 0: it does; 1: it does not, and what does not is named; 2: no usable file."
    )
    add_model_argument(parser, "FILE")
    parser.add_argument("--merged", metavar="MODEL", help="a merged model.npz: are its weights those that FILE's give?")
    parser.add_argument("--clips", nargs="+", metavar="FILE", help="sound files to try (default: synthetic sounds)")
    parser.add_argument("--steps", action="store_true", help="a line for each step of merging in each part of a block")
    parser.add_argument("--json", action="store_true", help="print a JSON object with everything")
    parser.add_argument("--plot", metavar="PNG", help="draw errors, bounds and one kernel before and after")


def run(args) -> int:
    path = default_model() if args.model is None else args.model
    if args.plot:
        picture_format(args.plot)  # a missing extra is an error before the work
    network, recipe, _, _ = read(path)
    stored = {}
    branches = [branch for layer in network.layers for branch in layer.branches]
    if args.model and not is_model(path) and any(branch.bn is not None for branch in branches):
        stored = stored_merged(path)
    log_mels = clip_log_mels(args.clips, recipe) if args.clips else synthetic(network, recipe)
    progress = Progress(len(precisions(network)) * (1 + sum(map(len, network.stages))))
    merged = read(args.merged)[0] if args.merged else None
    report = verify(network, log_mels, stored, merged, progress.step)
    progress.clear()
    if args.json:
        say(json.dumps(as_json(path, report), indent=1))
    else:
        for line in lines(path, network, report, args):
            say(line)
    if args.plot:
        largest = max(network.layers, key=lambda layer: (len(layer.branches), len(layer.branches[0].weight)))
        draw_verification(report, largest, args.plot)
    return 0 if report.within else 1


def clip_log_mels(paths, recipe: Recipe | None) -> np.ndarray:
    """The views of sound files, (N, frames, 128)."""
    if recipe is None:
        raise MinirepError("--clips: the file holds a network without a recipe; expected one that says how to listen")
    return np.concatenate([log_mel_views(open_recording(path), None, recipe) for path in paths])


def synthetic(network: Network, recipe: Recipe | None) -> np.ndarray:
    """Three made-up sounds as log-mels: noise, a gliding tone with overtones, and clicks over silence."""
    rng = np.random.default_rng(0)
    if recipe is None:  # nothing says what the network listens to: random pictures of the size its head is made for
        return rng.normal(-5.0, 3.0, (3, network.pool[0] * 32, MELS)).astype(np.float32)
    t = np.arange(recipe.clip) / recipe.rate
    tone = sum(np.sin(2 * np.pi * n * (200 * t + 300 * t * t / t[-1])) / n for n in range(1, 9))
    clicks = np.where(np.arange(recipe.clip) % (recipe.rate // 4) < 20, 0.5, 0.0)
    sounds = [rng.normal(0, 0.1, recipe.clip), 0.2 * tone, clicks]
    return np.concatenate([log_mel_views(sound, recipe.rate, recipe, views=1) for sound in sounds])


def as_json(path, report: Report) -> dict:
    def numbers(node):
        """Differences as dictionaries; JSON knows no infinity, so that is null."""
        if isinstance(node, dict):
            return {key: numbers(value) for key, value in node.items()}
        if isinstance(node, (list, tuple)):
            return [numbers(value) for value in node]
        return None if isinstance(node, float) and not np.isfinite(node) else node

    content = {"file": str(path), "within": report.within, "outside": report.outside} | asdict(report)
    for precision, rows in report.rows.items():
        for row, values in zip(rows, content["rows"][precision]):
            values["within"] = row.within
    return numbers(content)


def lines(path, network: Network, report: Report, args) -> Iterator[str]:
    """The report for people."""
    blocks = sum(map(len, network.stages))
    clips = f"{len(args.clips)} clips" if args.clips else "synthetic clips"
    yield f"{printable(path)}: {blocks} blocks, {'already merged' if report.merged else 'not merged'}; {clips}"
    if report.merged:
        yield "There are no branches left to compare with. What can be checked: float32 stays as close to the function"
        yield "as rounding allows; the function itself is known from float64."
    for precision, rows in report.rows.items():
        yield ""
        yield f"{precision}: {'computed against exact' if report.merged else 'merged against unmerged'}"
        yield from (f"  {line}" for line in table(_table(rows, report.merged), left=1))
        if args.steps and not report.merged:
            steps = [[row.name, s.part, s.step, *_cells(s.difference)] for row in rows for s in row.steps]
            yield from (f"  {line}" for line in table([["block", "part", "step", *_HEAD], *steps], left=3))
    yield ""
    for p in report.probabilities:
        yield (
            f"{p.precision}, {p.backend}: probabilities differ by {p.absolute:.1e} at most"
            f"{' from float64' * report.merged}; "
            f"the top class is the same for {p.agree} of {p.views} views"
        )
    if report.stored:
        yield ""
        yield f"The file holds {len(report.stored)} merged kernels beside the branches. From those that its branches"
        yield f"give they differ by at most {_percent(worst(report.stored.values()).used)} of what rounding allows."
    if report.given:
        yield ""
        count = len(report.given)
        yield f"{printable(args.merged)}: its {count} arrays of weights differ from those that merging gives"
        yield f"by at most {_percent(worst(report.given.values()).used)} of what rounding allows."
    yield ""
    for name in report.outside:
        yield f"NOT WITHIN ITS BOUND: {name}"
    if report.within:
        yield "Every block is within its bound."


_HEAD = ["largest", "relative", "ulps", "bound", "used"]


def _percent(share: float) -> str:
    """Two digits: shares from 0.01 % to thousands of times the bound."""
    return f"{100 * share:.2g} %" if share < 1 else f"{share:.2g} x"


def _cells(d: Difference) -> list[str]:
    return [f"{d.absolute:.1e}", f"{d.relative:.1e}", f"{d.ulps:.3g}", f"{d.bound:.1e}", _percent(d.used)]


def _table(rows: list[Row], merged: bool) -> list[list[str]]:
    """A line for each block; the steps as shares of their bounds, where a block has them."""
    if merged:
        return [["block", *_HEAD]] + [[row.name, *_cells(row.rounding)] for row in rows]
    found = [name for name in STEPS if any(s.step == name for row in rows for s in row.steps)]
    lines = [["block", *_HEAD, *found]]
    for row in (row for row in rows if row.fused is not None):
        steps = {name: [s.difference for s in row.steps if s.step == name] for name in found}
        cells = [_percent(worst(ds).used) if ds else "" for ds in steps.values()]
        lines.append([row.name, *_cells(row.fused), *cells])
    return lines
