"""Output for people: tables, bars and a progress line that fit the terminal and its character set."""

import csv
import io
import shutil
import sys
import time
import warnings

from ..errors import MinirepWarning
from ..text import as_cell, cells, pad, printable

BLOCKS = " ▏▎▍▌▋▊▉█"  # eighths of a character cell, from none to all


def say(text: str, stream=None) -> None:
    """Print a line to stdout, or to ``stream``. Characters that its encoding lacks are escaped."""
    stream = sys.stdout if stream is None else stream
    encoding = stream.encoding or "utf-8"
    stream.write(text.encode(encoding, "backslashreplace").decode(encoding) + "\n")


def say_row(*values) -> None:
    """Print a row of CSV to stdout."""
    line = io.StringIO()
    csv.writer(line, lineterminator="\r\n").writerow(map(as_cell, values))  # these are also what it puts into quotes
    say(line.getvalue()[:-2])


class Report:
    """A report on several files. Call `add` or `fail` for each (for a timeline `begin`, `add`, `end`), then `close`."""

    def fail(self, name: str, reason: str) -> None:
        pass  # already on stderr

    def end(self, failure: str | None) -> None:
        pass

    def close(self) -> None:
        pass


class JsonArray(Report):
    """A JSON array that is written to stdout entry by entry."""

    def __init__(self) -> None:
        self._before = "["

    def put(self, entry: str) -> None:
        sys.stdout.write(f"{self._before}\n{entry}")
        self._before = ","

    def close(self) -> None:
        say("[]" if self._before == "[" else "\n]")


def complain(text: str) -> None:
    """Print an error or a warning to stderr, as one line."""
    if Progress.shown is not None:
        Progress.shown.clear()
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


def can_show(characters: str, stream) -> bool:
    """Return whether the stream's encoding has these characters."""
    try:
        characters.encode(stream.encoding or "utf-8")
    except UnicodeEncodeError:
        return False
    return True


def columns(stream) -> int | None:
    """Return the width of a stream's terminal; None if it has none, so that lines can have any length."""
    return shutil.get_terminal_size().columns if stream.isatty() else None


def bar(share: float, width: int, blocks: bool = True) -> str:
    """Return a bar of ``share`` (0 to 1) times ``width`` columns, in block characters or plain ASCII.

    >>> bar(0.55, 5), bar(0.55, 5, blocks=False)
    ('██▊', '###')
    """
    share = min(max(share, 0.0), 1.0)
    if not blocks:
        return "#" * round(share * width)
    whole, eighths = divmod(round(share * width * 8), 8)
    return BLOCKS[8] * whole + (BLOCKS[eighths] if eighths else "")


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

    shown: "Progress | None" = None  # the one that is drawn now

    def __init__(self, total: int, patience: float = 0.5):
        self._total, self._done, self._drawn = total, 0, ""
        self._from = time.monotonic() + patience
        self._on = total > 1 and sys.stderr.isatty()

    def step(self) -> None:
        self._done += 1
        if self._on and self._done < self._total and time.monotonic() > self._from:
            width = min(40, max(10, shutil.get_terminal_size().columns - 24))
            filled = bar(self._done / self._total, width, can_show(BLOCKS, sys.stderr))
            Progress.shown = self
            self._drawn = f"[{pad(filled, width)}] {self._done} of {self._total}"
            self._write("\r" + self._drawn)

    def clear(self) -> None:
        """Erase the bar, so that other lines can be printed; the next step draws it again."""
        if self._drawn:
            self._write("\r" + " " * len(self._drawn) + "\r")
            self._drawn, Progress.shown = "", None

    def _write(self, text: str) -> None:
        sys.stderr.write(text)
        sys.stderr.flush()
