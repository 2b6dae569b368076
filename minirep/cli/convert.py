"""``minirep convert``: a published checkpoint, or another model.npz, becomes a model.npz of our own."""

import argparse
import os
from pathlib import Path

from .. import network as tree
from .. import reparam, store
from ..errors import MinirepError
from ..report import say, shown


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("source", metavar="CHECKPOINT", help="checkpoint.pyth or model.npz")
    add_output(parser)
    parser.add_argument("--keep-branches", action="store_true", help="do not merge the branches and batch norms")
    parser.add_argument(
        "--labels",
        action="append",
        default=[],
        metavar="FILE",
        help="a text file with a class name a line, in index order; HEAD=FILE where there are several heads",
    )


def add_output(parser: argparse.ArgumentParser) -> None:
    """The options of every command that writes a model."""
    parser.add_argument("-o", "--output", required=True, metavar="MODEL", help="the model.npz to write")
    parser.add_argument("--half", action="store_true", help="store 16-bit weights: half the size, 3 digits")


def run(args) -> int:
    network, recipe, labels, provenance = store.read(args.source)
    labels = labels | read_labels(args.labels, classes(network))
    write(args, network if args.keep_branches else reparam.fuse(network), recipe, labels, provenance)
    return 0


def write(args, network: tree.Network, recipe, labels: dict, provenance: dict) -> None:
    """Write the model to ``args.output`` and say so; never over the file it came from."""
    if os.path.exists(args.output) and os.path.samefile(args.source, args.output):
        raise MinirepError(f"{args.output}: is the file to read; expected another name to write to")
    store.write_model(args.output, network, recipe, labels, provenance, args.half)
    form = "merged" if tree.is_fused(network) else "not merged"
    say(f"{shown(args.output)}: written, {form}, {os.path.getsize(args.output):,} bytes")


def classes(network: tree.Network) -> dict[str, int]:
    """The number of classes of each head."""
    return {head: linear.bias.size for head, linear in network.heads.items()}


def read_labels(arguments: list[str], heads: dict[str, int]) -> dict[str, tuple[str, ...]]:
    """{head: class names} from arguments FILE or HEAD=FILE."""
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
    """The lines of a text file; empty ones at its end do not count."""
    try:
        names = [line.strip() for line in Path(path).read_text("utf-8-sig").rstrip().split("\n")]
    except OSError as error:
        raise MinirepError(f"{path}: cannot be read: {error.strerror or error}") from None
    except ValueError:
        raise MinirepError(f"{path}: found no UTF-8 text, expected a label a line") from None
    if "" in names:
        raise MinirepError(f"{path}: found no label in line {names.index('') + 1}, expected one in every line")
    return tuple(names)
