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
                out += [".. code-block:: text", ""]
            literal = True
        out.append(line if literal or doctest else SPECIAL.sub(lambda m: m[1] or "\\" + m[2], line))
    lines[:] = out


def plain_defaults(app, what, name, obj, options, signature, returns):
    """Defaults that are no Python as they are printed: a dataclass's "<factory>", and modules, with their paths."""
    signature = re.sub(r"<module '([\w.]+)' from '[^']*'>", r"\1", signature or "").replace("<factory>", "...")
    return signature or None, returns


def skip_field_numbers(app, what, name, obj, skip, options):
    """Python describes the fields of a named tuple as "Alias for field number 0": that tells nobody anything."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app):
    app.connect("autodoc-skip-member", skip_field_numbers)
    app.connect("autodoc-process-signature", plain_defaults)
    app.connect("autodoc-process-docstring", mark, priority=400)  # before numpydoc, at 500
    return {"parallel_read_safe": True, "parallel_write_safe": True}
