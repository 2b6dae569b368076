"""Arguments that several commands share: their types, and the options for models, backends and outputs."""

import argparse
import math
from collections.abc import Callable

from ..classify import BACKENDS
from ..precision import PRECISIONS

MODEL = "model.npz, .safetensors or checkpoint.pyth (default: the shipped digits model)"


def at_least_one(text: str) -> int:
    """An argument's value: a whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number of at least 1")
    return int(text)


def positive(text: str) -> float:
    """An argument's value: a number above 0."""
    return _number(text, lambda x: 0 < x < math.inf, "a number above 0")


def not_negative(text: str) -> float:
    """An argument's value: a number of at least 0."""
    return _number(text, lambda x: 0 <= x < math.inf, "a number of at least 0")


def decibels(text: str) -> float:
    """An argument's value: a level below full scale, or at it."""
    return _number(text, lambda x: x <= 0, "decibels, at most 0, such as -60")


def probability(text: str) -> float:
    """An argument's value: above 0 and up to 1."""
    return _number(text, lambda x: 0 < x <= 1, "a number above 0 and up to 1")


def _number(text: str, holds: Callable[[float], bool], expected: str) -> float:
    """A number of which that holds; NaN is none."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not holds(value):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected {expected}")
    return value


def add_model(parser) -> None:
    """``--model``: a model file."""
    parser.add_argument("--model", metavar="M", help=MODEL)


def add_model_argument(parser, metavar: str = "MODEL") -> None:
    """A model file as the command's argument."""
    parser.add_argument("model", nargs="?", metavar=metavar, help=MODEL)


def add_views(parser) -> None:
    parser.add_argument(
        "--views", type=at_least_one, metavar="V", help="clips spread over a recording (default: the model's)"
    )


def add_backend(parser) -> None:
    parser.add_argument("--backend", choices=BACKENDS, default="auto", help="what runs the network")


def add_precision(
    parser, meaning: str = "bfloat16: faster where the processor multiplies it; by default as stored"
) -> None:
    parser.add_argument("--precision", choices=PRECISIONS, help=meaning)


def add_half(parser) -> None:
    parser.add_argument("--half", action="store_true", help="store 16-bit weights: half the size, 3 digits")


def add_output(parser) -> None:
    """The options of every command that writes a model."""
    parser.add_argument("-o", "--output", required=True, metavar="MODEL", help="the model.npz or .safetensors to write")
    add_half(parser)
