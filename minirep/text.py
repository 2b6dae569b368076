"""Any name as one printable line, and text of a given width.

File names, labels and what else comes out of a file may hold line breaks, terminal escape sequences or bytes that are
no text. Whatever goes into a message, a table or a picture passes through `printable` or `quoted` first.
"""

import json
import os
import unicodedata
from typing import Any

# What text in a table must not begin with: spreadsheets take the first eight for formulas (four are full-width forms),
# the others are marks of our own.
MARKS = tuple("=+-@\uff1d\uff0b\uff0d\uff20'\"")


def printable(text: str | bytes | os.PathLike[str], most: int | None = None) -> str:
    """Return a name (text, bytes or path) as one printable line of at most ``most`` characters.

    >>> printable("two\\nlines"), printable("a long name", 6)
    ("'two\\\\nlines'", 'a long...')
    """
    text = os.fsdecode(text)
    text = text if most is None or len(text) <= most else text[:most] + "..."
    return text if text.isprintable() else ascii(text)


def quoted(value: object, most: int = 80) -> str:
    """Return a value from a file as a part of one line: text in quotes, all escaped, at most ``most`` characters.

    >>> quoted("two\\nlines"), quoted("a long name", 10)
    ("'two\\\\nlines'", "'a long...")
    """
    text = repr(value[:most] if isinstance(value, str) else value)
    return text if len(text) <= most else text[: most - 3] + "..."


def one_line(message: str, most: int = 1000) -> str:
    """Return a message with names from a file in it: printable, and of limited length."""
    short = message if len(message) <= most else message[:most] + "..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short)


def as_cell(value: Any) -> Any:
    """Return a value for a cell of a CSV file, which neither a terminal nor a spreadsheet obeys; `from_cell` undoes it.

    Text with anything in it that is not printable becomes a JSON string; other text that begins with = + - @ or a
    quotation mark gets an apostrophe in front. Everything else, numbers above all, stays as it is.

    >>> as_cell("nine"), as_cell("=1+1"), as_cell("two\\nlines"), as_cell(-0.5)
    ('nine', "'=1+1", '"two\\\\nlines"', -0.5)
    """
    if not isinstance(value, str):
        return value
    if not value.isprintable():
        return json.dumps(value)
    return f"'{value}" if len(value) > 1 and value.lstrip().startswith(MARKS) else value


def from_cell(cell: str) -> str:
    """Return the text that `as_cell` made a cell of; other cells stay as they are.

    >>> from_cell("'=1+1"), from_cell(as_cell("two\\nlines"))
    ('=1+1', 'two\\nlines')
    """
    if len(cell) > 1 and cell.startswith("'"):
        return cell[1:]
    try:
        return str(json.loads(cell)) if cell.startswith('"') else cell
    except ValueError:
        return cell


def cells(text: str) -> int:
    """Return how many columns a terminal takes for a text: two for East Asian wide characters, none for accents.

    >>> cells("abc"), cells("三")
    (3, 2)
    """
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 for c in text)


def pad(text: str, width: int, right: bool = False) -> str:
    """Return the text with spaces behind it, or in front of it, up to ``width`` columns."""
    spaces = " " * (width - cells(text))
    return spaces + text if right else text + spaces


def shorten(text: str, width: int, start: bool = False) -> str:
    """Return the text if it fits ``width`` columns; else its beginning, or with ``start`` its end, and dots.

    >>> shorten("recordings/monday/one.wav", 12, start=True)
    '...y/one.wav'
    """
    if cells(text) <= width:
        return text
    kept, used = "", 3
    for character in reversed(text) if start else text:
        used += cells(character)
        if used > width:
            break
        kept += character
    return "..." + kept[::-1] if start else kept + "..."
