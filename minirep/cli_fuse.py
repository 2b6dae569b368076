"""``minirep fuse``: the same model with fewer parts."""

import argparse

from . import reparam
from .cli_convert import add_output, read, write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="MODEL", help="model.npz, with its branches")
    add_output(parser)


def run(args) -> int:
    network, recipe, labels, provenance = read(args.source)
    write(args, reparam.fuse(network), recipe, labels, provenance)
    return 0
