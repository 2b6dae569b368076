"""Output for people: tables, bars and a progress line that fit the terminal and its character set."""

import csv
import io
import shutil
import sys
import time
import warnings
from collections.abc import Iterable

from ..errors import MinirepWarning
from ..text import as_cell, cells, pad, printable

BLOCKS = " ▏▎▍▌▋▊▉█"  # eighths of a character cell, from none to all


def say(text: str, stream=None, end: str = "\n") -> None:
    """Print a line to stdout, or to ``stream``. Characters that its encoding lacks are escaped."""
    Progress.clear()
    stream = sys.stdout if stream is None else stream
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + end)


def say_row(*values) -> None:
    """Print a row of CSV to stdout."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(map(as_cell, values))  # these are also what it puts into quotes
    say(line.getvalue()[:-2])


def say_array(entries: Iterable[str]) -> None:
    """Print a JSON array to stdout, each entry as soon as it is there."""
    before = "["
    for entry in entries:
        say(f"{before}\n{entry}", end="")
        before = ","
    say("[]" if before == "[" else "\n]")


def complain(text: str) -> None:
    """Print an error or a warning to stderr, as one line."""
    sys.stdout.flush()  # if both go to the same place, this keeps their order
    say(f"minirep: {printable(text)}", sys.stderr)


def report_warnings() -> None:
    """Print the warnings of minirep to stderr, one line each."""
    usual = warnings.showwarning

    def show(message, category, *where, **more):
        if issubclass(category, MinirepWarning):
            complain(str(message))
        else:
            usual(message, category, *where, **more)

    warnings.simplefilter("always", MinirepWarning)
    warnings.showwarning = show


def columns() -> int | None:
    """Return the width of the terminal; None if stdout is none, so that lines can have any length."""
    return shutil.get_terminal_size().columns if sys.stdout.isatty() else None


def bar(share: float, width: int, stream=None) -> str:
    """Return a bar of ``share`` (0 to 1) times ``width`` columns: in ASCII if stdout, or ``stream``, lacks the blocks.

    >>> bar(0.55, 5)
    '██▊'
    """
    try:
        BLOCKS.encode((stream or sys.stdout).encoding or "utf-8")
    except UnicodeEncodeError:
        return "#" * round(share * width)
    whole, eighths = divmod(round(share * width * 8), 8)
    return BLOCKS[8] * whole + BLOCKS[eighths].strip()


def percent(share: float) -> str:
    """Format a share (0 to 1) as a percentage.

    >>> percent(0.0424)
    '  4.2 %'
    """
    return f"{100 * share:5.1f} %"


def table(rows: list[list[str]], left: int = 2) -> list[str]:
    """Format rows as lines: the first ``left`` columns left-aligned, the others, which are numbers, right-aligned."""
    widths = [max(cells(cell) for cell in column) for column in zip(*rows)]
    return ["  ".join(pad(c, w, i >= left) for i, (c, w) in enumerate(zip(row, widths))).rstrip() for row in rows]


class Progress:
    """A progress bar on stderr, only on a terminal, and only if the work takes longer than ``patience`` seconds."""

    shown: str | None = None  # the bar that is drawn now; `say` erases it, and the next step draws it again

    def __init__(self, total: int, patience: float = 0.5):
        self.clear()  # the bar of an earlier file, which may be longer
        self._total, self._done = total, 0
        self._from = time.monotonic() + patience
        self._on = total > 1 and sys.stderr.isatty()

    def step(self) -> None:
        self._done += 1
        if self._done >= self._total:
            self.clear()
        elif self._on and time.monotonic() > self._from:
            width = min(40, max(10, shutil.get_terminal_size().columns - 24))
            filled = bar(self._done / self._total, width, sys.stderr)
            Progress.shown = f"[{pad(filled, width)}] {self._done} of {self._total}"
            sys.stderr.write("\r" + Progress.shown)
            sys.stderr.flush()

    @staticmethod
    def clear() -> None:
        if Progress.shown is not None:
            sys.stderr.write("\r" + " " * len(Progress.shown) + "\r")
            sys.stderr.flush()
            Progress.shown = None
