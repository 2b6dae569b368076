"""A classifier's probabilities for each clip, in a CSV file from which an interrupted run resumes.

The first line describes the run: the model's SHA-256, the number of views, and the folder that paths are relative to.
A header follows, and a row for each clip and head: path, head, right label, predicted label, and the probability of
every class of that head, in columns "head: label". A probability has enough digits to identify the float32.
"""

import csv
import io
import os

import numpy as np

from ..errors import MinirepError, expect
from ..files.write import replacing
from ..text import as_cell, from_cell, printable
from .manifest import Clip, rows

COLUMNS = ["path", "head", "label", "predicted"]
TEXT = ("utf-8", "backslashreplace", "")  # encoding, errors, newline


def heading(model: str, views: int, folder, path) -> str:
    """Return the first line of the file at ``path``, for a ``model`` (its SHA-256) and clips in ``folder``."""
    here = os.path.dirname(os.path.abspath(path))
    try:
        folder = os.path.relpath(folder or ".", here)
    except ValueError:  # on another drive
        folder = os.path.abspath(folder)
    return f"# minirep eval; model {model}; views {views}; paths relative to {printable(folder)}"


class Predictions:
    """The file at ``path``; ``found`` is its content, {(clip's path, head): (right label, probabilities (C,))}.

    Use it in a ``with`` statement. An existing file is read first, `add` appends rows immediately, and `finish` sorts
    the rows. If the run is interrupted, all rows that were added are in the file.
    """

    def __init__(self, path, heading: str, labels: dict[str, tuple[str, ...]], dtype):
        self.path, self.labels = path, labels
        numbers = [as_cell(f"{head}: {label}") for head, names in labels.items() for label in names]
        self._top = [[heading], COLUMNS + numbers]
        self.found = self._read(dtype) if os.path.exists(path) else {}

    def __enter__(self):
        self._write(self.found)  # without what was cut short in its last line
        self._file = open(self.path, "a", -1, *TEXT)
        return self

    def __exit__(self, *_):
        self._file.close()

    def add(self, clip: Clip, probabilities: dict[str, np.ndarray]) -> None:
        """Append the probabilities {head: (C,)} of a clip, for the heads in its ``truth``."""
        for head, truth in clip.truth.items():
            self.found[clip.path, head] = self.labels[head][truth], probabilities[head]
            csv.writer(self._file).writerow(self._row(clip.path, head))
        try:
            self._file.flush()
        except OSError as error:
            raise MinirepError(f"{printable(self.path)}: cannot be written: {error.strerror}") from None

    def finish(self, clips: list[Clip]) -> None:
        """Sort the rows into the order of the clips, with the labels of the clips; rows of other clips follow."""
        ordered = {
            (clip.path, head): (self.labels[head][truth], self.found[clip.path, head][1])
            for clip in clips for head, truth in clip.truth.items() if (clip.path, head) in self.found
        }  # fmt: skip
        self._file.close()
        self.found = ordered | {key: row for key, row in self.found.items() if key not in ordered}
        self._write(self.found)

    def _row(self, path: str, head: str) -> list[str]:
        label, p = self.found[path, head]
        cells: list[str] = []
        for other, names in self.labels.items():  # str() is the shortest text that reads back as the same number
            cells += map(str, p) if other == head else [""] * len(names)
        return [*map(as_cell, (path, head, label, self.labels[head][int(p.argmax())])), *cells]

    def _write(self, keys) -> None:
        with replacing(self.path) as file:
            text = io.TextIOWrapper(file, *TEXT)
            writer = csv.writer(text)
            writer.writerows(self._top)
            writer.writerows(self._row(*key) for key in keys)
            text.detach()

    def _read(self, dtype) -> dict:
        table = rows(self.path, damaged=True)
        same = all(next(table, (0, []))[1] == expected for expected in self._top)
        expect(same, f"{printable(self.path)}: found predictions of another model, other views or "
               "another folder; expected those of this run, or the name of a new file")  # fmt: skip
        starts = np.cumsum([len(COLUMNS), *map(len, self.labels.values())])
        where = {head: slice(a, b) for head, a, b in zip(self.labels, starts, starts[1:])}
        found = {}
        for line, cells in table:
            try:
                path, head, label, _ = map(from_cell, cells[: len(COLUMNS)])
                p = np.array([float(cell) for cell in cells[where[head]]], dtype)
                if len(p) != len(self.labels[head]) or not ((p >= 0) & (p < 1.01)).all():
                    raise ValueError
            except (ValueError, KeyError):
                expected = f"expected {', '.join(COLUMNS)} and the probability of every class"
                raise MinirepError(f"{printable(self.path)}: found no prediction in line {line}, {expected}") from None
            found[path, head] = label, p
        return found
