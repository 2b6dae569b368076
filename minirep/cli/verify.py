"""``minirep verify``: prove on your own file that merging does not change the function (`minirep.proof.verify`)."""

import argparse
import os
import re
import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from itertools import groupby

import numpy as np

from ..audio import open_recording
from ..errors import MinirepError
from ..figures import draw_verification, picture_format
from ..files.checkpoint import published_key, stored_merged
from ..files.modelfile import is_model
from ..files.models import model_path, read
from ..frontend import log_mel_views
from ..network import Network
from ..proof.coarse import with_bfloat16
from ..proof.exported import with_exported
from ..proof.verify import Difference, Report, Row, precisions, verify, worst
from ..recipe import MELS, Recipe
from ..reparam import STEPS, fuse
from ..text import one_line, printable
from ..tree import named_arrays
from .arguments import share
from .output import show
from .terminal import Progress, table

COLUMNS = {  # of the tables, with their meaning
    "largest": "largest absolute difference between the two outputs",
    "relative": "that difference over the largest number in the output",
    "ulps": "that difference in units in the last place (ulp) of the number there",
    "bound": "bound on the rounding error there, computed from the weights",
    "used": "largest ratio of difference to bound; above 100 %, the functions differ",
}
STEP_COLUMNS = {  # the largest share of the bound after one step of merging alone, in any part of the block
    "fold": "that ratio after folding batch norm into the convolution before it",
    "merge": "after padding and adding the branches' kernels",
    "identity": "after adding the identity to the centre tap",
    "collapse": "after multiplying two 1 x 1 convolutions with no ReLU between them",
}
# The start of a line about something outside its bound: the path in the tree, and the part of a block.
NAMED = re.compile(
    r"(the merged kernel stored as )?(stem|stages|heads|probabilities)((?:\.\w+)*)"
    r"(?: in [^:]+: (entry|shortcut|paths[.\w]*|expand_project))?"
)


def add_arguments(parser) -> None:
    purpose = (
        "Prove on your own file that merging does not change the function. Every block is run before and after each "
        "step of merging, in float32 and float64 and on every backend. The outputs must agree within a bound on "
        "rounding errors, which is computed from the weights. Exit status: 0 all agree, 1 some do not (each is named), "
        "2 unusable file."
    )
    parser.formatter_class = argparse.RawDescriptionHelpFormatter
    parser.description = textwrap.fill(purpose, 96)
    parser.epilog = "columns:\n" + "\n".join(_legend(COLUMNS | STEP_COLUMNS))
    share(parser, "model", metavar="FILE")
    other = parser.add_mutually_exclusive_group()
    other.add_argument("--merged", metavar="MODEL", help="check that this model is FILE merged, field by field")
    other.add_argument("--exported", metavar="ONNX", help="check this .onnx in ONNX Runtime and OpenVINO")
    share(parser, "--precision", help="also check the merged network in bfloat16")
    add = parser.add_argument
    add("--clips", nargs="+", metavar="FILE", help="sound files to run (default: synthetic sounds)")
    add("--steps", action="store_true", help="list each merging step of each part (fuse: all steps at once)")
    share(parser, "--json", help="print all results as a JSON object")
    add("--plot", metavar="PNG", help="draw errors, bounds and a kernel before and after merging")


def run(args) -> int:
    path = model_path(args.model)
    if args.plot:
        picture_format(args.plot)  # a missing extra is an error before the work
    model = read(path)
    network, checkpoint = model.network, bool(args.model) and not is_model(path)
    stored = {}
    if checkpoint and any(branch.bn is not None for layer in network.layers for branch in layer.branches):
        stored = stored_merged(path)
    log_mels = clip_log_mels(args.clips, model.recipe) if args.clips else synthetic(network, model.recipe)
    merged = read(args.merged) if args.merged else None
    progress = Progress(len(precisions(network)) * (1 + len(network.blocks)))
    try:
        report = verify(model, log_mels, stored, merged, progress.step)
    except MinirepError as error:
        raise MinirepError(f"{printable(path)}: {error}") from None
    if args.precision == "bfloat16":
        report = with_bfloat16(report, network, log_mels)
    report = with_exported(report, model, args.exported, log_mels) if args.exported else report
    keys = published_keys(network) if checkpoint else []
    show(args, as_json(path, report, keys), lines(path, network, report, keys, args))
    if args.plot:
        largest = max(network.layers, key=lambda layer: (len(layer.branches), len(layer.branches[0].weight)))
        draw_verification(report, largest, args.plot)
    return 0 if report.within else 1


def published_keys(network: Network) -> list[dict[str, str]]:
    """Return {path in the tree: key in the checkpoint} of every array, as stored and merged."""
    axes = tuple(layer.axis for layer in network.layers[:2])
    alone = all(branch.bn is None for layer in network.layers for branch in layer.branches)  # merged kernels
    forms = ((network, alone), (fuse(network), True))
    return [{name: published_key(name, merged, axes) for name in named_arrays(form)} for form, merged in forms]


def in_file_terms(name: str, forms: list[dict[str, str]]) -> str:
    """Return the name of a part outside its bound with the checkpoint keys of its weights, shortened by `patterns`."""
    found = NAMED.match(name)
    if not forms or not found:
        return name
    kernel, kind, path, part = found.groups()
    keys, merged = forms[::-1] if kernel else forms
    path = f"{kind.replace('probabilities', 'heads')}{path}{f'.{part}' if part else ''}"
    if name.endswith(" model)"):
        path = path.partition(".branches.")[0]  # its one kernel is made of all branches
        if not any(".expand_project.1." in tree for tree in merged):
            path = re.sub(r"(?<=\.expand_project)\..*", "", path)  # and its one 1 x 1 convolution of two
    below: list[str] = []
    while path and not below:
        below = [key for tree, key in keys.items() if f"{tree}.".startswith(f"{path}.")]
        path = path.rpartition(".")[0]
    shared = patterns(sorted(below), {*keys.values()}.difference(below))
    return f"{name} ({', '.join(shared)})" if all("." in key for key in shared) else name


def patterns(keys: list[str], others: set[str]) -> list[str]:
    """Abbreviate sorted keys: a star means all keys with this beginning, if none of the ``others`` has it."""
    start = os.path.commonprefix(keys)  # noqa: RUF071 (of keys, no paths)
    if len(keys) < 2 or not any(other.startswith(start) for other in others):
        return [start + "*" * (len(keys) > 1)]
    groups = groupby(keys, lambda key: key[: len(start) + 1])
    return [pattern for _, group in groups for pattern in patterns(list(group), others)]


def clip_log_mels(paths, recipe: Recipe | None) -> np.ndarray:
    """Return the views of sound files, (N, frames, 128)."""
    if recipe is None:
        raise MinirepError("--clips: the file holds a network without a recipe; expected a model with one")
    return np.concatenate([log_mel_views(open_recording(path), None, recipe) for path in paths])


def synthetic(network: Network, recipe: Recipe | None) -> np.ndarray:
    """Return the log-mels of three synthetic sounds: noise, a gliding tone with overtones, and clicks in silence."""
    rng = np.random.default_rng(0)
    if recipe is None:  # the input is not known: random log-mels of the size for which the head is made
        return rng.normal(-5.0, 3.0, (3, network.pool[0] * 32, MELS)).astype(np.float32)
    t = np.arange(recipe.clip) / recipe.rate
    tone = sum(np.sin(2 * np.pi * n * (200 * t + 300 * t * t / t[-1])) / n for n in range(1, 9))
    clicks = np.where(np.arange(recipe.clip) % (recipe.rate // 4) < 20, 0.5, 0.0)
    sounds = [rng.normal(0, 0.1, recipe.clip), 0.2 * tone, clicks]
    return np.concatenate([log_mel_views(sound, recipe.rate, recipe, views=1) for sound in sounds])


def as_json(path, report: Report, keys: list[dict[str, str]]) -> dict:
    outside = [in_file_terms(name, keys) for name in report.outside]
    content: dict = {"file": str(path), "within": report.within, "outside": outside} | asdict(report)
    for part in ("rows", "backends"):
        for where, rows in getattr(report, part).items():
            for row, values in zip(rows, content[part][where]):
                values["within"] = row.within
    return content


def lines(path, network: Network, report: Report, keys: list[dict[str, str]], args) -> Iterator[str]:
    clips = f"{len(args.clips)} clips" if args.clips else "synthetic clips"
    state = "already merged" if report.merged else "not merged"
    yield f"{printable(path)}: {len(network.blocks)} blocks, {state}; {clips}"
    if report.merged:
        yield "There are no branches left to compare with. Each block is compared with itself in float64, within the"
        yield "bound on rounding errors."
    for precision, rows in report.rows.items():
        alone = report.merged or precision == "bfloat16"  # no form to compare with
        yield f"\n{precision}: {'computed against exact' if alone else 'merged against unmerged'}"
        yield from (f"  {line}" for line in table(_table(rows, alone), left=1))
        if args.steps and not alone:
            steps = [[row.name, s.part, s.step, *_cells(s.difference)] for row in rows for s in row.steps]
            yield from (f"  {line}" for line in table([["block", "part", "step", *COLUMNS], *steps], left=3))
    yield ""
    yield from _legend(COLUMNS if report.merged else COLUMNS | STEP_COLUMNS)
    yield from [""] * bool(report.backends)
    for where, rows in report.backends.items():
        most = max(row.rounding.used for row in rows)
        yield f"{where}: each of {len(rows)} parts computed against exact; at most {_percent(most)} of the bound used"
    yield ""
    for p in report.outcome:
        against = " from float32" if p.precision == "bfloat16" else " from float64" * report.merged
        apart = f"differ by {p.absolute:.1e} at most{against}" if np.isfinite(p.absolute) else "are not all finite"
        same = f"the top class is the same for {p.agree} of {p.views} views"
        yield f"{p.precision}, {p.backend}: probabilities {apart}; {same}"
    if report.stored:
        count, used = len(report.stored) // 2, _percent(worst(report.stored.values()).used)
        yield f"\nThe file holds {count} merged kernels beside the branches. They differ from the sums"
        yield f"of its branches by at most {used} of the bound."
    if report.given:
        given, kind = report.given, "the model's" if args.exported else "the correctly rounded ones"
        yield f"\n{printable(args.merged or args.exported)}: {given.exact:,} of {given.total:,} weights are {kind}."
        if given.weights and not args.exported:
            used = _percent(worst(given.weights.values()).used)
            yield f"Its {len(given.weights)} arrays differ from those that merging gives by at most {used} of the bound"
            yield "on merging in its precision."
    yield ""
    for name in report.outside:
        yield one_line(f"NOT WITHIN ITS BOUND: {in_file_terms(name, keys)}")
    if report.within:
        yield "Every block is within its bound."


def _legend(columns: dict[str, str]) -> list[str]:
    return [f"  {name:9} {meaning}" for name, meaning in columns.items()]


def _percent(share: float) -> str:
    """Format a share with two digits: from 0.01 % to thousands of times the bound."""
    return f"{100 * share:.2g} %" if share < 1 else f"{share:.2g} x"


def _cells(d: Difference) -> list[str]:
    return [f"{d.absolute:.1e}", f"{d.relative:.1e}", f"{d.ulps:.3g}", f"{d.bound:.1e}", _percent(d.used)]


def _table(rows: list[Row], merged: bool) -> list[list[str]]:
    """Return a line for each block, with its steps, if it has any, as shares of their bounds."""
    if merged:
        return [["block", *COLUMNS]] + [[row.name, *_cells(row.rounding)] for row in rows]
    found = [name for name in STEPS if any(s.step == name for row in rows for s in row.steps)]
    lines = [["block", *COLUMNS, *found]]
    for row, fused in ((row, row.fused) for row in rows if row.fused is not None):
        steps = {name: [s.difference for s in row.steps if s.step == name] for name in found}
        cells = [_percent(worst(ds).used) if ds else "" for ds in steps.values()]
        lines.append([row.name, *_cells(fused), *cells])
    return lines
