"""``minirep fuse``: the same model with fewer parts."""

import argparse

from .. import reparam, store
from .convert import add_output, write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="MODEL", help="model.npz, with its branches")
    add_output(parser)


def run(args) -> int:
    network, recipe, labels, provenance = store.read(args.source)
    write(args, reparam.fuse(network), recipe, labels, provenance)
    return 0
