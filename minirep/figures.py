"""Pictures of what was measured: which classes are taken for which, and what a probability is worth.

Matplotlib draws them (extra ``plot``).
"""

import warnings

import numpy as np

from . import store
from .measures import calibration, calibration_error
from .report import cells, shorten, shown
from .timeline import figure_type, picture_format

TICKS = 400  # labels along an axis, at the most
CELL = (0.42, 0.13)  # inches a class in the picture of a few, and of many: the least that a label can be read in


def draw_confusion(matrix: np.ndarray, labels, path, title: str = "") -> None:
    """Write a picture of a confusion matrix (C, C), rows true and columns predicted, to ``path`` (.png, .svg, .pdf).

    A cell's shade is its share of its row, so that rare classes show as well as frequent ones. Up to 30 classes the
    numbers stand in the cells.
    """
    classes = len(matrix)
    ticks = range(0, classes, -(-classes // TICKS))
    names = [shorten(shown(labels[i]), 30) for i in ticks]
    inches = np.interp(classes, [12, 60], CELL)  # a class
    points = min(10, inches * 72 * 0.75)  # the size of letters
    # The room for labels and axes' names is set here: having it found takes Matplotlib a minute for 309 labels.
    side, room = inches * min(classes, TICKS), 0.8 + max(map(cells, names)) * points * 0.6 / 72
    width, height = max(3, room + side + 0.2), room + side + 0.5
    figure = figure_type()(figsize=(width, height))
    axes = figure.add_axes((room / width, room / height, side / width, side / height))
    share = matrix / np.maximum(1, matrix.sum(axis=1, keepdims=True))
    axes.imshow(share, cmap="Blues", vmin=0, vmax=1, interpolation="nearest")
    axes.set_xticks(ticks, names, rotation=90, fontsize=points, parse_math=False)
    axes.set_yticks(ticks, names, fontsize=points, parse_math=False)
    axes.set_xlabel("predicted")
    axes.set_ylabel("true")
    axes.set_title(title, loc="left", parse_math=False)
    if classes <= 30:
        for i, j in np.argwhere(matrix):
            color = "white" if share[i, j] > 0.5 else "black"
            axes.text(j, i, f"{matrix[i, j]}", ha="center", va="center", fontsize=points, color=color)
    _save(figure, path)


def draw_calibration(p: np.ndarray, truth: np.ndarray, path, title: str = "") -> None:
    """Write the reliability diagram of probabilities (N, C) to ``path``: right answers over the probability given.

    Bars on the diagonal are honest; below it the network is too sure of itself. Under it, how many clips a bar is of.
    """
    count, confidence, right = calibration(p, truth)
    edges = np.linspace(0, 1, len(count) + 1)
    figure = figure_type()(figsize=(5, 6), layout="constrained")
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": [3, 1]})
    above.bar(edges[:-1], np.nan_to_num(right), 1 / len(count), align="edge", edgecolor="white", color="C0")
    above.plot(confidence, right, "k.", clip_on=False, label="mean probability of each bar")
    above.plot([0, 1], [0, 1], "k--", lw=1, label="as probable as it says")
    above.set_xlim(0, 1)
    above.set_ylim(0, 1)
    above.set_ylabel("share of right answers")
    above.set_title(
        f"{title}  calibration error {calibration_error(p, truth):.3f}".strip(), loc="left", parse_math=False
    )
    above.legend(loc="upper left")
    below.bar(edges[:-1], count, 1 / len(count), align="edge", edgecolor="white", color="0.6")
    below.set_ylabel("clips")
    below.set_xlabel("probability of the answer")
    _save(figure, path)


def _save(figure, path) -> None:
    form = picture_format(path)
    with store.replacing(path) as file, warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph .* missing")  # a script that the font has not is drawn as boxes
        figure.savefig(file, format=form, dpi=100)
