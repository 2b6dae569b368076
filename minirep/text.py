"""Any name as one printable line, and text of a given width.

File names, labels and other text from files may contain line breaks, terminal escape sequences or bytes that are not
text. All text in messages, tables and pictures passes through `printable` or `quoted` first.
"""

import json
import os
import unicodedata
from typing import Any

# Text in a table must not begin with these: spreadsheets read the first eight as the start of a formula (four are
# full-width forms), and `as_cell` itself uses the others.
MARKS = tuple("=+-@\uff1d\uff0b\uff0d\uff20'\"")


def printable(text: str | bytes | os.PathLike[str]) -> str:
    """Return a name (text, bytes or path) as one printable line.

    >>> printable("two\\nlines")
    "'two\\\\nlines'"
    """
    text = os.fsdecode(text)
    return text if text.isprintable() else ascii(text)


def quoted(value: object, most: int = 80) -> str:
    """Return a value from a file as part of one line: text quoted and escaped, at most ``most`` characters.

    >>> quoted("two\\nlines"), quoted("a long name", 10)
    ("'two\\\\nlines'", "'a long...")
    """
    text = repr(value[:most] if isinstance(value, str) else value)
    return text if len(text) <= most else text[: most - 3] + "..."


def one_line(message: str, most: int = 1000) -> str:
    """Return a message that contains text from a file as one printable line of limited length."""
    short = message if len(message) <= most else message[:most] + "..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short)


def as_cell(value: Any) -> Any:
    """Return a value for a CSV file that no terminal or spreadsheet takes as a command; `from_cell` reverses it.

    Text that is not printable becomes a JSON string. Other text that begins with = + - @ or a quotation mark gets an
    apostrophe in front. All other values, such as numbers, stay as they are.

    >>> as_cell("nine"), as_cell("=1+1"), as_cell("two\\nlines"), as_cell(-0.5)
    ('nine', "'=1+1", '"two\\\\nlines"', -0.5)
    """
    if not isinstance(value, str):
        return value
    if not value.isprintable():
        return json.dumps(value)
    return f"'{value}" if len(value) > 1 and value.lstrip().startswith(MARKS) else value


def from_cell(cell: str) -> str:
    """Return the text from which `as_cell` made a cell; other cells stay as they are.

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
    """Return how many columns a text takes in a terminal: two for East Asian wide characters, none for accents.

    >>> cells("abc"), cells("三")
    (3, 2)
    """
    wide = sum(unicodedata.east_asian_width(c) in "WF" for c in text)
    return len(text) + wide - sum(unicodedata.combining(c) != 0 for c in text)


def pad(text: str, width: int, right: bool = False) -> str:
    """Return the text with spaces after it, or with ``right`` before it, up to ``width`` columns."""
    spaces = " " * (width - cells(text))
    return spaces + text if right else text + spaces


def shorten(text: str, width: int, start: bool = False) -> str:
    """Return the text if it fits in ``width`` columns; else its beginning, or with ``start`` its end, and dots.

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
