"""``minirep fuse``: merge a model."""

import argparse

from ..files.models import read
from ..reparam import fuse
from .arguments import share
from .output import write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="MODEL", help="model.npz or .safetensors with branches")
    share(parser, "--output", "--half")


def run(args) -> int:
    model = read(args.source)
    write(args, model._replace(network=fuse(model.network)))
    return 0
