"""``minirep bundle``: pack a model and the code that runs it into one file."""

import argparse

from ..files.bundle import bundle
from .arguments import share
from .output import refuse_source, report


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "The file runs on any Python 3.10 or later with NumPy: python app.pyz classify FILE. It has the commands "
        "classify and listen, needs no other file and writes none."
    )
    parser.add_argument("source", metavar="MODEL", help="model.npz, .safetensors, checkpoint.pyth, digits or sounds")
    share(parser, "--output", metavar="APP", help="the program to write, such as app.pyz, or -")
    share(parser, "--half")


def run(args) -> int:
    refuse_source(args)
    bundle(args.source, args.output, args.half)
    report(args.output, "written")
    return 0
