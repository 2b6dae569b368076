"""The pictures that minirep draws with Matplotlib (extra ``plot``), which is imported for the first one."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from .errors import MissingExtra, expect
from .files.write import replacing, writable
from .frontend import FLOOR, hertz_to_mel
from .network import Depthwise
from .recipe import MELS, Recipe
from .reparam import absorb_identity, fold, merge_branches
from .stream import Event
from .text import cells, printable, shorten

if TYPE_CHECKING:
    from .evaluate.measures import Calibration
    from .proof.verify import Report

MAX_NAMES = 400  # labels along an axis of a confusion matrix
CELL = (0.42, 0.13)  # inches per class in a picture of few classes, and of many: the smallest readable label
MAX_COLUMNS = 1600  # of the log-mel of a long recording
MAX_LANES = 24  # labels under it
TICKS = (100, 300, 1000, 3000, 10000)  # Hz


def picture_format(path) -> str:
    """Return the picture format that ``path`` ends in; raise a MinirepError if it cannot be drawn or written."""
    writable(path)
    known = figure_type()().canvas.get_supported_filetypes()
    form = Path(path).suffix[1:].lower()
    endings = f".{', .'.join(sorted(known))}"
    expect(form in known, f"{path}: found no picture format, expected a name that ends in .png or one of {endings}")
    return form


def figure_type():
    """Return Matplotlib's Figure; raise MissingExtra if Matplotlib is not installed."""
    try:
        from matplotlib.figure import Figure  # without pyplot, which needs a screen and shares state
    except ImportError as error:
        raise MissingExtra("matplotlib", "plot", "drawing a picture") from error
    return Figure


def _save(figure, path, dpi: int = 100) -> None:
    form = picture_format(path)
    with replacing(path) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # characters that the font lacks are drawn as boxes
        figure.savefig(file, format=form, dpi=dpi)


def draw_confusion(matrix: np.ndarray, labels, path, title: str = "") -> None:
    """Write a picture of a confusion matrix (C, C), rows true and columns predicted, to ``path`` (.png, .svg, .pdf).

    The shade of a cell is its share of its row, so that rare classes are as visible as frequent ones. With up to 30
    classes, the cells contain the counts.
    """
    classes = len(matrix)
    ticks = range(0, classes, -(-classes // MAX_NAMES))
    names = [shorten(printable(labels[i]), 30) for i in ticks]
    inches = np.interp(classes, [12, 60], CELL)  # a class
    points = min(10, inches * 72 * 0.75)  # the size of letters
    # The room for labels and axis names is computed here: Matplotlib would take a minute for 309 labels.
    side, room = inches * min(classes, MAX_NAMES), 0.8 + max(map(cells, names)) * points * 0.6 / 72
    width, height = max(3, room + side + 0.2), room + side + 0.5
    figure = figure_type()(figsize=(width, height))
    axes = figure.add_axes((room / width, room / height, side / width, side / height))
    share = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks(ticks, names, rotation=90, fontsize=points, parse_math=False)
    axes.set_yticks(ticks, names, fontsize=points, parse_math=False)
    axes.set(xlabel="predicted", ylabel="true")
    axes.set_title(title, loc="left", parse_math=False)
    if classes <= 30:
        for i, j in np.argwhere(matrix):
            color = "white" if share[i, j] > 0.5 else "black"
            axes.text(j, i, f"{matrix[i, j]}", ha="center", va="center", fontsize=points, color=color)
    _save(figure, path)


def draw_calibration(calibration: Calibration, path, title: str = "") -> None:
    """Write a reliability diagram (Guo et al., 2017) to ``path``: the share of right answers against the probability.

    Bars on the diagonal are well calibrated; bars below it are overconfident. A histogram shows the clips in each bar.
    """
    count, confidence, right = calibration.count, calibration.confidence, calibration.right
    edges = np.linspace(0, 1, len(count) + 1)
    figure = figure_type()(figsize=(5, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    above.bar(edges[:-1], np.nan_to_num(right), 1 / len(count), align="edge", edgecolor="white", color="C0")
    above.plot(confidence, right, "k.", clip_on=False, label="mean probability of each bar")
    above.plot([0, 1], [0, 1], "k--", lw=1, label="as probable as it says")
    above.set(xlim=(0, 1), ylim=(0, 1), ylabel="share of right answers")
    above.set_title(f"{title}  calibration error {calibration.error:.3f}".strip(), loc="left", parse_math=False)
    above.legend(loc="upper left")
    below.bar(edges[:-1], count, 1 / len(count), align="edge", edgecolor="white", color="0.6")
    below.set(xlabel="probability of the answer", ylabel="clips")
    _save(figure, path)


class LongLogMel:
    """The log-mel of a whole recording in at most 1600 columns: each shows the maximum of its frames in each band."""

    def __init__(self, seconds: float, recipe: Recipe):
        self.seconds, self.recipe = seconds, recipe
        self._frames = 1 + int(seconds * recipe.rate / recipe.hop)
        self._per_column = -(-self._frames // MAX_COLUMNS)
        # Frames at the end of a window that zeros pad; the next window has them without zeros.
        self._cut = -(-recipe.window // recipe.hop)
        self._painted = 0  # frames
        self.columns = np.full((-(-self._frames // self._per_column), MELS), np.log(FLOOR), np.float32)

    def add(self, start: float, log_mel: np.ndarray, last: bool = False) -> None:
        """Add those frames of a window (frames, 128) that no earlier one had; it starts at ``start`` seconds."""
        first = round(start * self.recipe.rate / self.recipe.hop)
        stop = min(first + len(log_mel) - (0 if last else self._cut), self._frames)
        begin = max(first, self._painted)
        if begin < stop:
            columns = np.arange(begin, stop) // self._per_column
            np.maximum.at(self.columns, columns, log_mel[begin - first : stop - first])
            self._painted = stop


def draw_timeline(picture: LongLogMel, events: list[Event], path, title: str = "") -> None:
    """Write the log-mel with the events below it, one lane per label, to ``path`` (.png, .svg, .pdf)."""
    lanes = _lanes(events)
    height = 0.28 * max(1, len(lanes))
    figure = figure_type()(figsize=(12, 3.6 + height), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, height + 0.1]})
    _draw_log_mel(above, picture)
    _draw_lanes(below, lanes, picture.seconds)
    above.set_title(title, loc="left")
    _save(figure, path, dpi=150)


def _lanes(events: list[Event]) -> list[tuple[str, list[Event]]]:
    """Return (label, its events) in order of total duration, longest first; labels that do not fit are omitted."""
    heads = {event.head for event in events}
    lanes: dict[str, list[Event]] = {}
    for event in events:
        lanes.setdefault(f"{event.head}: {event.label}" if len(heads) > 1 else event.label, []).append(event)
    return sorted(lanes.items(), key=lambda lane: -sum(event.seconds for event in lane[1]))[:MAX_LANES]


def _draw_log_mel(axes, picture: LongLogMel) -> None:
    # The quietest part is often digital silence, at ln(1e-6): the shades are for what is above the background.
    low, high = np.percentile(picture.columns, [5, 99.9])
    shades = {"cmap": "magma", "vmin": min(low, high - 1), "vmax": high, "interpolation": "nearest"}
    axes.imshow(picture.columns.T, origin="lower", aspect="auto", extent=(0, picture.seconds, 0, MELS), **shades)
    top = picture.recipe.rate / 2
    hertz = [f for f in TICKS if f < top]
    # Band b is centred on point b + 1 of 129 steps on the mel scale, and drawn from b to b + 1.
    axes.set_yticks([(MELS + 1) * hertz_to_mel(f) / hertz_to_mel(top) - 0.5 for f in hertz], [f"{f:,}" for f in hertz])
    axes.set_ylabel("Hz")


def _draw_lanes(axes, lanes: list[tuple[str, list[Event]]], seconds: float) -> None:
    for lane, (_, events) in enumerate(lanes):  # an event shorter than a dot would be invisible
        spans = [(event.start, max(event.seconds, seconds / 800)) for event in events]
        axes.broken_barh(spans, (lane - 0.4, 0.8), facecolors=f"C{lane % 10}")
    axes.set_yticks(range(len(lanes)), [label for label, _ in lanes])
    unit = "h:mm:ss" if seconds >= 3600 else "m:ss" if seconds >= 60 else "s"
    axes.set(xlim=(0, seconds), ylim=(max(1, len(lanes)) - 0.5, -0.5), xlabel=unit)
    axes.grid(axis="x", alpha=0.3)
    axes.xaxis.set_major_formatter(lambda t, _: _time(t, seconds))
    if not lanes:
        axes.text(0.5, 0.5, "no events", transform=axes.transAxes, ha="center", va="center")


def _time(t: float, seconds: float) -> str:
    """Return the tick label of a time ``t`` on an axis of so many seconds."""
    if seconds < 60:
        return f"{t:g}"
    minutes, rest = divmod(round(t), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if seconds >= 3600 else f"{minutes}:{rest:02}"


def draw_verification(report: Report, layer: Depthwise, path) -> None:
    """Write a picture to ``path``: the error and the bound of each block, and a kernel with its branches."""
    figure = figure_type()(figsize=(13, 5.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _draw_errors(left, report)
    _draw_kernel(right, layer)
    _save(figure, path, dpi=120)


def _draw_errors(axes, report: Report) -> None:
    for (precision, rows), color in zip(report.rows.items(), ("#b3541e", "#1f5f8b")):
        found = [(row.name, row.rounding if report.merged else row.fused) for row in rows]
        names, differences = zip(*[(name, d) for name, d in found if d is not None])
        axes.plot(names, [d.bound for d in differences], "_", color=color, ms=11, mew=2, label=f"{precision}: bound")
        # A logarithmic axis has no 0: a block without any difference shows its bound alone.
        errors = [d.absolute or np.nan for d in differences]
        axes.plot(names, errors, "o", color=color, ms=5, label=f"{precision}: largest difference")
    title = "Computed against exact" if report.merged else "Merged against unmerged, the same input given to both"
    axes.set(yscale="log", title=title, ylabel="absolute difference")
    axes.tick_params("x", rotation=90)
    axes.grid(axis="y", alpha=0.3)
    axes.figure.legend(*axes.get_legend_handles_labels(), loc="outside lower left", ncols=4, frameon=False)


def _draw_kernel(axes, layer: Depthwise) -> None:
    """Draw the first channel of a layer: each branch with its batch norm folded, and their sum."""
    merged = absorb_identity(merge_branches(layer)).branches[0].weight[:, 0]
    half = len(merged) // 2
    taps = np.arange(len(merged)) - half
    axes.bar(taps, merged, color="0.82", width=0.9, label="merged")
    if len(layer.branches) == 1 and layer.branches[0].bn is not None:
        axes.plot(taps, layer.branches[0].weight[:, 0], ".-", lw=1, label="before its batch norm")
    elif len(layer.branches) > 1:
        for kernel in (fold(branch).weight[:, 0] for branch in layer.branches):
            at = taps[: len(kernel)] + half - len(kernel) // 2
            axes.plot(at, kernel, ".-", lw=1, label=f"branch of {len(kernel)}")
    if layer.identity:
        axes.plot([0], [1], "k+", ms=10, mew=2, label="identity")
    axes.set(title=f"One kernel along {layer.axis}, first channel", xlabel="tap, from the centre")
    axes.grid(axis="y", alpha=0.3)
    axes.legend()
