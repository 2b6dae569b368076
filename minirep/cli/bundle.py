"""``minirep bundle``: a model and the code that runs it in one file."""

import argparse
import os

from ..bundle import bundle
from ..errors import MinirepError
from ..report import say, shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "The file runs with any Python 3.10 or later that has NumPy: python app.pyz classify FILE. It knows the "
        "commands classify and listen, reads all from itself and writes nothing."
    )
    parser.add_argument("source", metavar="MODEL", help="model.npz or checkpoint.pyth")
    parser.add_argument("-o", "--output", required=True, metavar="APP", help="the program to write, such as app.pyz")
    parser.add_argument("--half", action="store_true", help="store 16-bit weights: half the size, 3 digits")


def run(args) -> int:
    if os.path.exists(args.output) and os.path.samefile(args.source, args.output):
        raise MinirepError(f"{args.output}: is the file to read; expected another name to write to")
    bundle(args.source, args.output, args.half)
    say(f"{shown(args.output)}: written, {os.path.getsize(args.output):,} bytes")
    return 0
