"""``minirep bundle``: a model and the code that runs it in one file."""

import argparse

from ..files.bundle import bundle
from .arguments import add_half
from .output import refuse_source, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "The file runs with any Python 3.10 or later that has NumPy: python app.pyz classify FILE. It knows the "
        "commands classify and listen, reads all from itself and writes nothing."
    )
    parser.add_argument("source", metavar="MODEL", help="model.npz or checkpoint.pyth")
    parser.add_argument(
        "-o", "--output", required=True, metavar="APP", help="the program to write, such as app.pyz, or -"
    )
    add_half(parser)


def run(args) -> int:
    refuse_source(args)
    bundle(args.source, args.output, args.half)
    report(args.output, "written")
    return 0
