"""Parse the part of YAML that the configuration of a checkpoint uses, without a package.

It covers mappings and lists nested by indentation, also ``- - 1``; lists and mappings in one line, ``[[1], [2]]``,
``{a: 1}``; plain and quoted scalars, also over several lines; and comments. Anchors, tags, block scalars and several
documents in one text are errors.

Source: YAML 1.1 (yaml.org/spec/1.1), chapters 7 to 9, as far as ``safe_dump`` of PyYAML uses them.
"""

import json
import re
from functools import partial

from ..errors import expect

MAX_TEXT = 1 << 16  # characters; the published configurations have 4,000
MAX_DEPTH = 16

# a key and its value, a piece of a list or mapping in one line, what may follow both
KEY = re.compile(r"""([^\s'"\[\]{},#&*!|>%@:-][^\s:]*|'[^']*'|"[^"\\]*"):(?: +(.*))?$""")
QUOTED = r"""'(?:[^']|'')*'|"(?:[^"\\]|\\.)*\""""
TOKEN = re.compile(rf"""([\[\]{{}},]|:(?=\s|$)|{QUOTED}|[^\s\[\]{{}},:'"](?:[^\[\]{{}},:]|:(?!\s))*)""")
DASH = re.compile(r"-(?: \s*|$)")
END = re.compile(r"\s*(?:#.*)?$")
BETWEEN = re.compile(r"(?:\s+|#.*)*")

WORDS: dict[str, bool | None] = {"": None, "~": None, "null": None}
WORDS |= {"true": True, "yes": True, "on": True, "false": False, "no": False, "off": False}
INTEGER = re.compile(r"[-+]?\d{1,18}")
FLOAT = re.compile(r"[-+]?(\d{1,30}\.\d{0,30}|\.\d{1,30}|\d{1,30}(?=e))(e[-+]?\d{1,3})?", re.IGNORECASE)
ESCAPE = re.compile(r"\\(?:x([\da-fA-F]{2})|u([\da-fA-F]{4})|U00([\da-fA-F]{6})|(.))")
ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "0": "\0", "e": "\x1b", "a": "\a", "b": "\b"}
_require = partial(expect, error=ValueError)


def parse(text: str):
    """Parse a text into a mapping, list or scalar, of dict, list, str, int, float, bool and None.

    Raises a ValueError that quotes what is not understood.

    >>> parse("NET:\\n  SIZES: [[5], [21]]\\n  DEPTHS:\\n  - - 3\\n  - - 4\\n  NAME: 'x'")
    {'NET': {'SIZES': [[5], [21]], 'DEPTHS': [[3], [4]], 'NAME': 'x'}}
    """
    _require(len(text) <= MAX_TEXT, f"a text of {len(text)} characters, expected at most {MAX_TEXT}")
    if text.lstrip().startswith(("[", "{")):
        return _flow(text)
    rows = _rows(text)
    if not rows:
        return None
    value, end = _tree(rows, 0, 0)
    if end < len(rows):
        raise ValueError(f"found {(rows[end][1] or '-')[:60]!r} where its indentation does not fit")
    return value


def _rows(text: str) -> list[list]:
    """Return [indentation, key, text of the value] for each key and for each "-" (whose key is None).

    "- - 21" becomes two dashes, the second one indented by two more. A line that is indented more than a key or dash
    with a value continues that value, as in long text.
    """
    rows: list[list] = []
    for number, line in enumerate(text.splitlines(), 1):
        rest = line.strip()
        indent = len(line) - len(line.lstrip(" "))
        if not rest or rest.startswith("#"):
            continue
        if rows and rows[-1][2] and indent > rows[-1][0]:
            rows[-1][2] += " " + rest
            continue
        start = len(rows)
        while dash := DASH.match(rest):
            rows.append([indent, None, ""])
            indent, rest = indent + dash.end(), rest[dash.end() :]
        if key := KEY.match(rest):
            rows.append([indent, key[1].strip("'\""), "" if END.match(key[2] or "") else key[2]])
        else:
            _require(len(rows) > start, f"line {number} is not understood: {line.strip()[:60]!r}")
            rows[-1][2] = "" if END.match(rest) else rest
    return rows


def _tree(rows: list[list], start: int, depth: int):
    """Return (value, next row): the mapping or list that starts at a row, and has all rows of its indentation."""
    _require(depth <= MAX_DEPTH, f"nested more than {MAX_DEPTH} deep")
    indent, first, _ = rows[start]
    items, i = [], start
    while i < len(rows) and rows[i][0] == indent and (rows[i][1] is None) == (first is None):
        _, key, text = rows[i]
        i += 1
        # Deeper rows are the value. So is a list that is not deeper than its key: PyYAML writes it so.
        listed = i < len(rows) and rows[i][0] == indent and key is not None and rows[i][1] is None
        if i < len(rows) and (rows[i][0] > indent or listed):
            _require(not text, f"both a value and something nested in it: {text[:60]!r}")
            value, i = _tree(rows, i, depth + 1)
        else:
            value = _value(text)
        items.append((key, value))
    return ([value for _, value in items] if first is None else dict(items)), i


def _value(text: str):
    if text.startswith(("[", "{", "'", '"')):
        return _flow(text)
    understood = not text.startswith(tuple("&*!|>%@`]},"))
    _require(understood, f"anchors, tags and block scalars are not understood: {text[:60]!r}")
    text = re.split(r"(?:^|\s)#", text, maxsplit=1)[0].strip()  # without the comment after it
    _require(": " not in text and not text.endswith(":"), f"a key inside a value: {text[:60]!r}")
    return _scalar(text)


def _scalar(text: str):
    if text.startswith("'"):
        return text[1:-1].replace("''", "'")
    if text.startswith('"'):
        return ESCAPE.sub(_unescaped, text[1:-1])
    if text.lower() in WORDS:
        return WORDS[text.lower()]
    if INTEGER.fullmatch(text):
        return int(text)
    return float(text) if FLOAT.fullmatch(text) else text


def _unescaped(escape: re.Match) -> str:
    code = escape[1] or escape[2] or escape[3]
    return chr(int(code, 16)) if code else ESCAPES.get(escape[4], escape[4])


def _flow(text: str):
    """Parse a list [a, b] or a mapping {a: b}, nested in any way, or a quotation. Only its scalars differ from JSON."""
    pieces: list[str] = []
    token, depth, i = "", 0, 0
    while (i := BETWEEN.match(text, i).end()) < len(text):  # type: ignore[union-attr]  # it matches anywhere
        found = TOKEN.match(text, i)
        if not found:
            raise ValueError(f"found {text[i : i + 60]!r}, expected a list, a mapping or a whole quotation")
        before, token, i = token, found[1].strip(), found.end()
        if token == ":" and pieces:  # a key is text
            pieces[-1] = json.dumps(before.strip("'\""))
        if token in "]}" and before == "," and pieces[-2] not in "[{,":  # JSON has no comma behind the last item
            pieces.pop()
        pieces.append(token if token in "[]{},:" else json.dumps(_scalar(token)))
        depth += (token in "[{") - (token in "]}")
        _require(depth <= MAX_DEPTH, f"nested more than {MAX_DEPTH} deep")
    _require(depth <= 0, f"a list or mapping without its end: {text[:60]!r}")
    try:
        return json.loads(" ".join(pieces))
    except ValueError:
        raise ValueError(f"found {text[:60]!r}, expected a list, a mapping or a scalar") from None
