"""Writing the model that a command has made and reporting so, or printing what it has found."""

import json
import os

from ..errors import MinirepError
from ..files.modelfile import Model, write_model
from ..files.write import writable
from ..reparam import is_fused
from ..text import printable
from .terminal import say


def show(args, found: dict, lines) -> None:
    """Print what was found: as a JSON object if ``--json`` asks for it, else as ``lines(found)``, for people."""
    for line in [json.dumps(found, indent=1, allow_nan=False)] if args.json else lines(found):
        say(line)


def refuse_source(args) -> None:
    """Raise a MinirepError where the output is the very file that was read."""
    if os.path.exists(args.output) and os.path.samefile(args.source, args.output):
        raise MinirepError(f"{args.output}: is the input file; expected another output file")


def write(args, model: Model) -> None:
    """Write the model to ``args.output`` and print what was written; never over the file it came from."""
    refuse_source(args)
    write_model(args.output, model, args.half)
    form = "merged" if is_fused(model.network) else "not merged"
    report(args.output, f"written, {form}")


def report(path: str, what: str) -> None:
    """Print what was done with a file, and its size; nothing where its bytes went to standard output."""
    if writable(path) is not None:
        say(f"{printable(path)}: {what}, {os.path.getsize(path):,} bytes")
