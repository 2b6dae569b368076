"""Write the model that a command has made, and print results."""

import json
import math
import os
from collections.abc import Iterable

from ..errors import expect
from ..files.modelfile import Model, write_model
from ..files.write import writable
from ..reparam import is_fused
from ..text import printable
from .terminal import say


def show(args, found: dict, lines: Iterable[str]) -> None:
    """Print results: with ``--json`` as a JSON object, else as ``lines`` for people."""
    for line in [json.dumps(finite(found), indent=1, allow_nan=False)] if args.json else lines:
        say(line)


def finite(value):
    """Replace numbers that are not finite, which JSON does not have, by None."""
    if isinstance(value, dict):
        return {key: finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def refuse_source(args) -> None:
    """Raise a MinirepError if the output is the input file itself."""
    same = os.path.exists(args.output) and os.path.samefile(args.source, args.output)
    expect(not same, f"{args.output}: is the input file; expected another output file")


def write(args, model: Model) -> None:
    """Write the model to ``args.output``, but never over its input file, and print what was written."""
    refuse_source(args)
    write_model(args.output, model, args.half)
    form = "merged" if is_fused(model.network) else "not merged"
    report(args.output, f"written, {form}")


def report(path: str, what: str) -> None:
    """Print what was done with a file, and its size; print nothing if its bytes went to standard output."""
    if writable(path) is not None:
        say(f"{printable(path)}: {what}, {os.path.getsize(path):,} bytes")
