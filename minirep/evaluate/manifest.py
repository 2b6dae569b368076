"""The recordings that a classifier is measured on, and their labels: a CSV file with ``path,label``.

Paths are relative to the file's own folder. For a network with several heads, there is a third column, ``head``, and a
recording has one row for each head.
"""

import csv
import os
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field

from ..errors import MinirepError, expect, naming
from ..text import printable, quoted

COLUMNS = ["path", "label"]
LINE = 1 << 20  # characters: a longer line is not a row of a table


@dataclass(slots=True)
class Clip:
    """A recording and its labels."""

    path: str  # as written in the manifest
    file: str  # its path for opening it
    truth: dict[str, int] = field(default_factory=dict)  # {head: index of the right class}
    lines: dict[str, int] = field(default_factory=dict)  # {head: line in the manifest}


def read_manifest(path, labels: dict[str, tuple[str, ...]]) -> tuple[list[Clip], list[tuple[int, str]]]:
    """Read a manifest for a classifier with these ``labels``, {head: names}; return (clips, [(line, error)]).

    Rows that cannot be used are skipped and returned as errors. Raises a MinirepError if the file is not a manifest.
    """
    table = rows(path)
    _, header = next(table, (1, []))
    forms = [[*COLUMNS, "head"]] if len(labels) > 1 else [COLUMNS, [*COLUMNS, "head"]]
    expect(
        header in forms,
        f"{printable(path)}: found {quoted(','.join(header))} in its first line, expected "
        f"{' or '.join(','.join(form) for form in forms)}; the model's heads: {', '.join(map(printable, labels))}",
    )
    folder, faults = os.path.dirname(path), []
    clips: dict[str, Clip] = {}
    index = {head: _indices(names) for head, names in labels.items()}
    for line, cells in table:
        try:
            expect(len(cells) == len(header), f"found {len(cells)} columns, expected {len(header)}")
            name, label, head = cells if len(cells) == 3 else (*cells, next(iter(labels)))
            truth = _class(index, head, label)
            expect(name, "found no path, expected that of a sound file")
            file = os.path.normpath(os.path.join(folder, name))
            clip = clips.setdefault(file, Clip(name, file))
            if head in clip.truth:
                raise MinirepError(f"found {quoted(name)} again, expected it once: it is in line {clip.lines[head]}")
        except MinirepError as error:
            faults.append((line, str(error)))
        else:
            clip.truth[head], clip.lines[head] = truth, line
    expect(clips or faults, f"{printable(path)}: found a header and no rows, expected a row for each clip")
    return list(clips.values()), faults


def _indices(names: tuple[str, ...]) -> dict[str, int]:
    """Return {label: its index}; the index of a name that several classes have is -1, because it is ambiguous."""
    count = Counter(names)
    return {name: i if count[name] == 1 else -1 for i, name in enumerate(names)}


def _class(index: dict[str, dict[str, int]], head: str, label: str) -> int:
    """Return the index of a label; raise a MinirepError if the head or the label is unknown."""
    expect(head in index, f"found head {quoted(head)}, expected one of {', '.join(map(printable, index))}")
    found = index[head].get(label)
    if found is None:
        names = list(index[head])
        few = ", ".join(map(quoted, names[:3]))
        some = few if len(names) <= 3 else f"{few} ... ({len(names)} labels; minirep info prints those of a model)"
        raise MinirepError(f"found label {quoted(label)}, expected one of {some}")
    several = "the name of several classes of the model; expected that of a single class"
    expect(found >= 0, f"found label {quoted(label)}, {several}")
    return found


def rows(path, damaged: bool = False) -> Iterator[tuple[int, list[str]]]:
    """Yield (line, cells) of each row of a CSV file in UTF-8; empty lines are skipped.

    Raises a MinirepError if the file is not CSV. With ``damaged``, a truncated last line is omitted.
    """
    with naming(path):
        try:
            with open(path, encoding="utf-8-sig", errors="replace" if damaged else "strict", newline="") as file:
                reader = csv.reader(_lines(file, damaged), strict=not damaged)
                line = 1
                for cells in reader:
                    if cells:
                        yield line, cells
                    line = reader.line_num + 1
        except UnicodeError:
            raise MinirepError("found no UTF-8 text; expected a CSV file") from None
        except csv.Error as error:
            raise MinirepError(f"found no CSV in line {line} and what follows: {error}") from None


def _lines(file, damaged: bool) -> Iterator[str]:
    """Yield the lines of a text; raise a MinirepError for one that is too long, such as a disk full of zeros."""
    for number, text in enumerate(iter(lambda: file.readline(LINE), ""), 1):
        what = "a zero byte" if "\0" in text else f"more than {LINE:,} characters" if len(text) == LINE else ""
        expect(not what, f"found {what} in line {number}; expected a CSV file")
        if text.endswith("\n") or not damaged:
            yield text
