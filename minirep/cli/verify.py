"""``minirep verify``: proves on a file of your own that merging leaves the function as it is (`minirep.verify`)."""

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import numpy as np

from .. import checkpoint, reparam, store
from ..audio import open_recording
from ..config import MELS, Recipe
from ..errors import MinirepError, MissingExtra
from ..frontend import log_mel_views
from ..network import Conv, Depthwise, Network
from ..report import Progress, say, shown, table
from ..verify import STEPS, Difference, Report, Row, precisions, verify, worst


def add_arguments(parser) -> None:
    parser.description = (
        "Prove on a file of your own that merging leaves the function as it is: every block is run before and after "
        "each step of merging, in float32 and float64, and has to stay within the bound that its weights set to "
        "rounding errors. Exit status 0: it does; 1: it does not, and what does not is named; 2: no usable file."
    )
    parser.add_argument("model", nargs="?", metavar="FILE",
                        help="model.npz or checkpoint.pyth (default: the shipped digits model)")  # fmt: skip
    parser.add_argument("--merged", metavar="MODEL", help="a merged model.npz: are its weights those that FILE's give?")
    parser.add_argument("--clips", nargs="+", metavar="FILE", help="sound files to try (default: synthetic sounds)")
    parser.add_argument("--steps", action="store_true", help="a line for each step of merging in each part of a block")
    parser.add_argument("--json", action="store_true", help="print a JSON object with everything")
    parser.add_argument("--plot", metavar="PNG", help="draw errors, bounds and one kernel before and after")


def run(args) -> int:
    path = store.default_model() if args.model is None else args.model
    figure = _pyplot() if args.plot else None  # a missing extra is told before the work
    network, recipe, _, _ = store.read(path)
    stored = {}
    if args.model and not store.is_model(path) and any(conv.bn is not None for conv in depthwise_convs(network)):
        stored = checkpoint.stored_merged(path)
    log_mels = clip_log_mels(args.clips, recipe) if args.clips else synthetic(network, recipe)
    progress = Progress(len(precisions(network)) * (1 + sum(map(len, network.stages))))
    merged = store.read(args.merged)[0] if args.merged else None
    report = verify(network, log_mels, stored, merged, progress.step)
    progress.clear()
    if args.json:
        say(json.dumps(as_json(path, report), indent=1))
    else:
        for line in lines(path, network, report, args):
            say(line)
    if figure:
        plot(figure, network, report, args.plot)
    return 0 if report.within else 1


def depthwise_convs(network: Network) -> Iterator[Conv]:
    """Every branch of every depthwise layer."""
    for block in (block for blocks in network.stages for block in blocks):
        for layer in (layer for path in block.paths for layer in path):
            yield from layer.branches


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
    yield f"{shown(path)}: {blocks} blocks, {'already merged' if report.merged else 'not merged'}; {clips}"
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
        yield f"{shown(args.merged)}: its {len(report.given)} arrays of weights differ from those that merging gives"
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


# --- for the eye --------------------------------------------------------------------------------------------------


def _pyplot():
    try:
        import matplotlib

        matplotlib.use("agg")
        from matplotlib import pyplot
    except ImportError:
        raise MissingExtra("matplotlib", "plot", "--plot") from None
    return pyplot


def plot(pyplot, network: Network, report: Report, path) -> None:
    """Errors beside their bounds, block by block; and one kernel: its branches, and what they merge to."""
    layers = [layer for blocks in network.stages for block in blocks for p in block.paths for layer in p]
    layer = max(layers, key=lambda layer: (len(layer.branches), len(layer.branches[0].weight)))
    figure, (left, right) = pyplot.subplots(1, 2, figsize=(13, 5.2), layout="constrained", width_ratios=(3, 2))
    _plot_errors(left, report)
    _plot_kernel(right, layer)
    try:
        figure.savefig(path, dpi=120, format=None if Path(path).suffix else "png")
    except (OSError, ValueError) as error:  # no such folder; no such format
        raise MinirepError(f"{path}: cannot be written: {error}") from None
    finally:
        pyplot.close(figure)


def _plot_errors(axes, report: Report) -> None:
    for (precision, rows), color in zip(report.rows.items(), ("#b3541e", "#1f5f8b")):
        found = [(row.name, row.rounding if report.merged else row.fused) for row in rows]
        names, differences = zip(*[(name, d) for name, d in found if d is not None])
        axes.plot(names, [d.bound for d in differences], "_", color=color, ms=11, mew=2, label=f"{precision}: bound")
        # No difference at all has no place on a logarithmic axis: such a block shows its bound alone.
        errors = [d.absolute or np.nan for d in differences]
        axes.plot(names, errors, "o", color=color, ms=5, label=f"{precision}: largest difference")
    axes.set_yscale("log")
    axes.set_title(
        "Computed against exact" if report.merged else "Merged against unmerged, the same input given to both"
    )
    axes.set_ylabel("absolute difference")
    axes.tick_params("x", rotation=90)
    axes.grid(axis="y", alpha=0.3)
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=4, frameon=False)


def _plot_kernel(axes, layer: Depthwise) -> None:
    """The first channel of a layer: each branch with its batch norm folded, and their sum."""
    merged = reparam.fuse_layer(layer).branches[0].weight[:, 0]
    half = len(merged) // 2
    taps = np.arange(len(merged)) - half
    axes.bar(taps, merged, color="0.82", width=0.9, label="merged")
    if len(layer.branches) == 1 and layer.branches[0].bn is not None:
        axes.plot(taps, layer.branches[0].weight[:, 0], ".-", lw=1, label="before its batch norm")
    elif len(layer.branches) > 1:
        for kernel in (reparam.fold(branch).weight[:, 0] for branch in layer.branches):
            at = taps[: len(kernel)] + half - len(kernel) // 2
            axes.plot(at, kernel, ".-", lw=1, label=f"branch of {len(kernel)}")
    if layer.identity:
        axes.plot([0], [1], "k+", ms=10, mew=2, label="identity")
    axes.set_title(f"One kernel along {layer.axis}, first channel")
    axes.set_xlabel("tap, from the centre")
    axes.grid(axis="y", alpha=0.3)
    axes.legend()
