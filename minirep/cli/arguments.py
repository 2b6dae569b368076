"""Arguments that several commands share: their types and their settings."""

import argparse
import math
from collections.abc import Callable
from functools import partial

from ..classify import BACKENDS
from ..precision import PRECISIONS


def _number(text: str, kind: type, holds: Callable[[float], bool], expected: str) -> float:
    """Parse an argument that must be a number of this type for which ``holds`` is true, and not NaN."""
    try:
        value = kind(text) if text.isascii() and "_" not in text else math.nan  # Python reads 1_0 and other digits
    except ValueError:
        value = math.nan
    if not holds(value):
        raise argparse.ArgumentTypeError(f"found {text!r}, expected {expected}")
    return value


at_least_one = partial(_number, kind=int, holds=lambda x: 1 <= x <= 10**6, expected="a whole number from 1 to 1000000")
port = partial(_number, kind=int, holds=lambda x: 0 <= x <= 65535, expected="a whole number from 0 to 65535")
positive = partial(_number, kind=float, holds=lambda x: 0 < x < math.inf, expected="a number above 0")
not_negative = partial(_number, kind=float, holds=lambda x: 0 <= x < math.inf, expected="a number of at least 0")
decibels = partial(_number, kind=float, holds=lambda x: x <= 0, expected="decibels, at most 0, such as -60")
probability = partial(_number, kind=float, holds=lambda x: 0 < x <= 1, expected="a number above 0 and up to 1")

MODEL = "model.npz, .safetensors, checkpoint.pyth, or a shipped model, digits or sounds (default: digits)"
SHARED: dict[str, dict] = {
    "model": dict(nargs="?", metavar="MODEL", help=MODEL),
    "--model": dict(metavar="M", help=MODEL),
    "--views": dict(type=at_least_one, metavar="V", help="clips per recording, evenly spaced (default: the model's)"),
    "--backend": dict(choices=BACKENDS, default="auto", help="compiled kernels (numba) or plain NumPy"),
    "--precision": dict(
        choices=PRECISIONS, help="bfloat16 is faster on processors with instructions for it (default: as stored)"
    ),
    "--jobs": dict(
        type=at_least_one, default=1, metavar="N", help="number of processes, with one thread each (default: 1)"
    ),
    "--dask": dict(
        metavar="ADDRESS", help="address of a Dask scheduler (tcp://host:8786), whose workers read the files"
    ),
    "--json": dict(action="store_true", help="print a JSON object"),
    "--output": dict(required=True, metavar="MODEL", help="the model.npz or .safetensors to write"),
    "--half": dict(action="store_true", help="float16 weights: half the size, 3 significant digits"),
}


def share(parser, *names: str, **changes) -> None:
    """Add arguments that other commands have, too, with ``changes`` of their settings."""
    for name in names:
        short = ["-o"] if name == "--output" else []
        parser.add_argument(*short, name, **{**SHARED[name], **changes})
