"""Any name as one printable line, and text of a given width.

File names, labels and what else comes out of a file may hold line breaks, terminal escape sequences or bytes that are
no text. Whatever goes into a message, a table or a picture passes through `printable` or `quoted` first.
"""

import os
import unicodedata


def printable(text, most: int | None = None) -> str:
    """Return a name (text, bytes or path) as one printable line of at most ``most`` characters.

    >>> printable("two\\nlines"), printable("a long name", 6)
    ("'two\\\\nlines'", 'a long...')
    """
    text = os.fsdecode(text)
    text = text if most is None or len(text) <= most else text[:most] + "..."
    return text if text.isprintable() else ascii(text)


def quoted(value, most: int = 80) -> str:
    """Return a value from a file as a part of one line: text in quotes, all escaped, at most ``most`` characters.

    >>> quoted("two\\nlines"), quoted("a long name", 10)
    ("'two\\\\nlines'", "'a long...")
    """
    text = repr(value[:most] if isinstance(value, str) else value)
    return text if len(text) <= most else text[: most - 3] + "..."


def one_line(message: str, most: int = 1000) -> str:
    """Return a message with names from a file in it: printable, and no longer than anybody would read."""
    short = message if len(message) <= most else message[:most] + "..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short)


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
