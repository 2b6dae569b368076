"""``minirep convert``: convert a published checkpoint, or another model.npz, to a model.npz."""

import argparse
from pathlib import Path

from ..errors import MinirepError
from ..files.models import read
from ..reparam import fuse
from .arguments import share
from .output import write


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="CHECKPOINT", help="checkpoint.pyth, model.npz or .safetensors")
    share(parser, "--output", "--half")
    parser.add_argument("--keep-branches", action="store_true", help="do not merge the branches and batch norms")
    names = "a text file with one class name per line, in index order; HEAD=FILE for a model with several heads"
    parser.add_argument("--labels", action="append", default=[], metavar="FILE", help=names)


def run(args) -> int:
    model = read(args.source)
    network = model.network if args.keep_branches else fuse(model.network)
    labels = model.labels | read_labels(args.labels, model.network.classes)
    write(args, model._replace(network=network, labels=labels))
    return 0


def read_labels(arguments: list[str], heads: dict[str, int]) -> dict[str, tuple[str, ...]]:
    """Return {head: class names} from arguments FILE or HEAD=FILE."""
    labels = {}
    for argument in arguments:
        head, equals, path = argument.partition("=")
        if not equals or head not in heads:
            if len(heads) > 1:
                raise MinirepError(f"--labels {argument}: expected HEAD=FILE with one of the heads {', '.join(heads)}")
            head, path = next(iter(heads)), argument
        if head in labels:
            raise MinirepError(f"--labels {argument}: found labels for head {head!r} twice, expected them once")
        labels[head] = _names(path)
        if len(labels[head]) != heads[head]:
            raise MinirepError(f"{path}: found {len(labels[head])} labels, expected {heads[head]}, one for each class")
    return labels


def _names(path: str) -> tuple[str, ...]:
    """Return the lines of a text file, without empty lines at its end."""
    try:
        names = [line.strip() for line in Path(path).read_text("utf-8-sig").rstrip().split("\n")]
    except OSError as error:
        raise MinirepError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise MinirepError(f"{path}: found no UTF-8 text, expected a label a line") from None
    if "" in names:
        raise MinirepError(f"{path}: found no label in line {names.index('') + 1}, expected one in every line")
    return tuple(names)
