"""Write the model that a command has made, and print results."""

import json
import os

from ..errors import MinirepError
from ..files.modelfile import Model, write_model
from ..files.write import writable
from ..reparam import is_fused
from ..text import printable
from .terminal import say


def show(args, found: dict, lines) -> None:
    """Print results: with ``--json`` as a JSON object, else as ``lines(found)``, for people."""
    for line in [json.dumps(found, indent=1, allow_nan=False)] if args.json else lines(found):
        say(line)


def refuse_source(args) -> None:
    """Raise a MinirepError if the output is the input file itself."""
    if os.path.exists(args.output) and os.path.samefile(args.source, args.output):
        raise MinirepError(f"{args.output}: is the input file; expected another output file")


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
