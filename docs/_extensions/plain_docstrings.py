"""Docstrings of minirep are plain text with names in backticks; here they become what Sphinx expects.

What stands further in than its paragraph is shown as it stands; ``|x|`` and ``a * b`` mean nothing special.
"""

import re

SPECIAL = re.compile(r"(`+[^`]*`+)|([|*]|(?<=\w)_(?!\w))")


def mark(app, what, name, obj, options, lines):
    out, literal, doctest = [], False, False
    for i, line in enumerate(lines):
        after_gap = i == 0 or not lines[i - 1].strip()
        if not line.strip():
            doctest = False
        elif line.lstrip().startswith(">>>"):
            doctest = True
        if line.strip() and not line.startswith("    "):
            literal = False
        elif line.startswith("    ") and not literal and not doctest and after_gap:
            before = next((text.strip() for text in reversed(lines[:i]) if text.strip()), "")
            if not before.endswith("::"):
                out += ["::", ""]
            literal = True
        out.append(line if literal or doctest else SPECIAL.sub(lambda m: m[1] or "\\" + m[2], line))
    lines[:] = out


def default_of_factory(app, what, name, obj, options, signature, returns):
    """A dataclass's "<factory>" is no Python, and a signature with it would not be laid out."""
    return (signature or "").replace("<factory>", "...") or None, returns


def setup(app):
    app.connect("autodoc-process-signature", default_of_factory)
    app.connect("autodoc-process-docstring", mark, priority=400)  # before numpydoc, at 500
    return {"parallel_read_safe": True, "parallel_write_safe": True}
