"""Arguments that several commands share: their types, and the options for models, backends and outputs."""

import argparse
import math
from collections.abc import Callable
from functools import partial

from ..classify import BACKENDS
from ..precision import PRECISIONS

MODEL = "model.npz, .safetensors, checkpoint.pyth, or a shipped model, digits or sounds (default: digits)"


def at_least_one(text: str) -> int:
    """Parse an argument that must be a whole number of at least 1."""
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"found {text!r}, expected a whole number of at least 1")
    return int(text)


def _number(text: str, holds: Callable[[float], bool], expected: str) -> float:
    """Parse an argument that must be a number for which ``holds`` is true, and not NaN."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not holds(value):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected {expected}")
    return value


positive = partial(_number, holds=lambda x: 0 < x < math.inf, expected="a number above 0")
not_negative = partial(_number, holds=lambda x: 0 <= x < math.inf, expected="a number of at least 0")
decibels = partial(_number, holds=lambda x: x <= 0, expected="decibels, at most 0, such as -60")
probability = partial(_number, holds=lambda x: 0 < x <= 1, expected="a number above 0 and up to 1")


def add_model(parser) -> None:
    parser.add_argument("--model", metavar="M", help=MODEL)


def add_model_argument(parser, metavar: str = "MODEL") -> None:
    parser.add_argument("model", nargs="?", metavar=metavar, help=MODEL)


def add_views(parser) -> None:
    parser.add_argument(
        "--views", type=at_least_one, metavar="V", help="clips per recording, evenly spaced (default: the model's)"
    )


def add_backend(parser) -> None:
    parser.add_argument("--backend", choices=BACKENDS, default="auto", help="compiled kernels (numba) or plain NumPy")


def add_precision(
    parser, meaning: str = "bfloat16 is faster on processors with instructions for it (default: as stored)"
) -> None:
    parser.add_argument("--precision", choices=PRECISIONS, help=meaning)


def add_half(parser) -> None:
    parser.add_argument("--half", action="store_true", help="float16 weights: half the size, 3 significant digits")


def add_output(parser) -> None:
    parser.add_argument("-o", "--output", required=True, metavar="MODEL", help="the model.npz or .safetensors to write")
    add_half(parser)
