"""What is heard when in a long recording: its events, and a picture of them under its log-mel.

A recording of hours goes through a `minirep.Stream` piece by piece, and the picture keeps a fixed number of columns: so
how much memory it takes does not depend on how long it is.
"""

from collections.abc import Iterator
from pathlib import Path

import numpy as np

from . import audio, store
from .config import MELS, Recipe
from .errors import MinirepError, MissingExtra
from .frontend import FLOOR, hertz_to_mel
from .stream import Event, Stream

COLUMNS = 1600  # of the picture, at the most
LANES = 24  # labels under the picture, at the most
TICKS = (100, 300, 1000, 3000, 10000)  # Hz


def walk(recording: audio.Recording, stream: Stream, picture: "Picture | None" = None) -> Iterator[list[Event]]:
    """Hop by hop through a recording: the events that ended there. The ``picture`` is shown every window."""
    block = max(1, int(stream.hop * recording.rate))  # so at most one window becomes due at a time
    for start in range(0, recording.length, block):
        yield stream.feed(recording.read(start, start + block))
        if picture is not None and stream.log_mel is not None:
            picture.add(stream.start, stream.log_mel)
    yield stream.close()
    if picture is not None:
        picture.add(stream.start, stream.log_mel, last=True)


class Picture:
    """The log-mel of a whole recording in at most 1600 columns: each shows the loudest of its frames, band by band."""

    def __init__(self, seconds: float, recipe: Recipe):
        self.seconds, self.recipe = seconds, recipe
        self._frames = 1 + int(seconds * recipe.rate / recipe.hop)
        self._per_column = -(-self._frames // COLUMNS)
        # Frames at a window's end that see the silence behind it; the next window has them whole.
        self._cut = -(-recipe.window // recipe.hop)
        self._painted = 0  # frames
        self.columns = np.full((-(-self._frames // self._per_column), MELS), np.log(FLOOR), np.float32)

    def add(self, start: float, log_mel: np.ndarray, last: bool = False) -> None:
        """Paint those frames of a window that no earlier one has shown; it begins at ``start`` (seconds)."""
        first = round(start * self.recipe.rate / self.recipe.hop)
        stop = min(first + len(log_mel) - (0 if last else self._cut), self._frames)
        begin = max(first, self._painted)
        if begin < stop:
            columns = np.arange(begin, stop) // self._per_column
            np.maximum.at(self.columns, columns, log_mel[begin - first : stop - first])
            self._painted = stop


def draw(picture: Picture, events: list[Event], path, title: str = "") -> None:
    """Write the picture with the events in lanes under it, one a label, to ``path`` (.png, .svg, .pdf)."""
    lanes = _lanes(events)
    figure = figure_type()(figsize=(12, 3.6 + 0.28 * max(1, len(lanes))), layout="constrained")
    form = picture_format(path)
    ratios = [3, 0.28 * max(1, len(lanes)) + 0.1]
    above, below = figure.subplots(2, 1, sharex=True, gridspec_kw={"height_ratios": ratios})
    _draw_log_mel(above, picture)
    _draw_lanes(below, lanes, picture.seconds)
    above.set_title(title, loc="left")
    with store.replacing(path) as file:
        figure.savefig(file, format=form, dpi=150)


def picture_format(path) -> str:
    """The format that a picture's name asks for, if it can be drawn; to be called before the work that it is for."""
    known = figure_type()().canvas.get_supported_filetypes()
    form = Path(path).suffix[1:].lower()
    if form not in known:
        raise MinirepError(
            f"{path}: found no ending for a picture, expected .png or one of .{', .'.join(sorted(known))}"
        )
    return form


def figure_type():
    """Matplotlib's Figure; MissingExtra where it is not installed."""
    try:
        from matplotlib.figure import Figure  # on its own, without a screen or anything shared
    except ImportError as error:
        raise MissingExtra("matplotlib", "plot", "drawing a picture") from error
    return Figure


def _lanes(events: list[Event]) -> list[tuple[str, list[Event]]]:
    """(label, its events): those heard most come first, and what does not fit is left out."""
    heads, lanes = {event.head for event in events}, {}
    for event in events:
        lanes.setdefault(f"{event.head}: {event.label}" if len(heads) > 1 else event.label, []).append(event)
    return sorted(lanes.items(), key=lambda lane: -sum(event.end - event.start for event in lane[1]))[:LANES]


def _draw_log_mel(axes, picture: Picture) -> None:
    # The quietest of a recording is often digital silence, at ln(1e-6): shades are for what lies above the background.
    low, high = np.percentile(picture.columns, [5, 99.9])
    axes.imshow(
        picture.columns.T, origin="lower", aspect="auto", extent=(0, picture.seconds, 0, MELS), cmap="magma",
        vmin=min(low, high - 1), vmax=high, interpolation="nearest",
    )  # fmt: skip
    top = picture.recipe.rate / 2
    hertz = [f for f in TICKS if f < top]
    # Band b is centred on point b + 1 of 129 steps on the mel scale, and drawn from b to b + 1.
    axes.set_yticks([(MELS + 1) * hertz_to_mel(f) / hertz_to_mel(top) - 0.5 for f in hertz], [f"{f:,}" for f in hertz])
    axes.set_ylabel("Hz")


def _draw_lanes(axes, lanes: list[tuple[str, list[Event]]], seconds: float) -> None:
    least = seconds / 800  # what is shorter would not be seen
    for lane, (_, events) in enumerate(lanes):
        spans = [(event.start, max(event.end - event.start, least)) for event in events]
        axes.broken_barh(spans, (lane - 0.4, 0.8), facecolors=f"C{lane % 10}")
    axes.set_yticks(range(len(lanes)), [label for label, _ in lanes])
    axes.set_ylim(max(1, len(lanes)) - 0.5, -0.5)
    axes.set_xlim(0, seconds)
    axes.grid(axis="x", alpha=0.3)
    axes.xaxis.set_major_formatter(lambda t, _: _time(t, seconds))
    axes.set_xlabel("h:mm:ss" if seconds >= 3600 else "m:ss" if seconds >= 60 else "s")
    if not lanes:
        axes.text(0.5, 0.5, "no events", transform=axes.transAxes, ha="center", va="center")


def _time(t: float, seconds: float) -> str:
    """A time on an axis of so many seconds."""
    if seconds < 60:
        return f"{t:g}"
    minutes, rest = divmod(round(t), 60)
    return f"{minutes // 60}:{minutes % 60:02}:{rest:02}" if seconds >= 3600 else f"{minutes}:{rest:02}"
