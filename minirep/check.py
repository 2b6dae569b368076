"""Check that the shapes in a tree fit together, before a network is used or stored."""

import math
import numbers

import numpy as np

from .architecture import MAX_BRANCHES, MAX_TAPS
from .errors import expect
from .network import Array, BatchNorm, Block, Conv, Depthwise, Linear, Network

LEAST_EPS = float(np.finfo(np.float32).tiny)
MAX_ARRAYS = 10_000  # weights of a network in a file; the published ones have 900
MAX_STEP = 2048  # of a stride or a pooling window; the published ones have 16
MAX_GROWTH = 2  # how many times as large as its factors the product of linear neighbours may be


def check(network: Network) -> Network:
    """Return the network itself if every shape fits its neighbours; else raise a MinirepError with the first misfit."""
    _expect(isinstance(network, Network), "tree", type(network).__name__, "Network")
    dtype = network.dtype if isinstance(getattr(network.stem, "weight", None), np.ndarray) else np.dtype(np.float32)
    c = _conv(network.stem, (None, None, 1, None), "stem", dtype)
    for name, block in network.blocks.items():
        c = _block(block, c, name, dtype)
    _expect(_pair(network.pool), "pool", network.pool, f"two whole numbers from 1 to {MAX_STEP}")
    _expect(isinstance(network.heads, dict) and network.heads, "heads", network.heads, "at least one")
    for head, linear in network.heads.items():
        _expect(isinstance(head, str) and head and head.isprintable(), "heads", ascii(head), "a printable name")
        _expect(isinstance(linear, Linear), f"heads.{head}", type(linear).__name__, "Linear")
        _array(linear.weight, (c, None), f"heads.{head}.weight", dtype)
        _array(linear.bias, linear.weight.shape[-1:], f"heads.{head}.bias", dtype)
    return network


def fault(array: Array, name: str) -> str:
    """Return what is wrong with the numbers of a weight, as the end of an error message; "" if nothing is wrong."""
    if not np.isfinite(array).all():
        return f"holds NaN, infinite or huge values, expected finite {array.dtype}"
    return "holds negative variances, expected 0 or more" if name.endswith(".variance") and (array < 0).any() else ""


def _expect(holds: object, name: str, found: object, expected: object) -> None:
    expect(holds, f"network: {name}: found {found}, expected {expected}")


def _pair(values: object) -> bool:
    return isinstance(values, tuple) and len(values) == 2 and all(type(v) is int and 1 <= v <= MAX_STEP for v in values)


def _array(value: Array, shape: tuple[int | None, ...], name: str, dtype: np.dtype) -> None:
    """Check one array; None in ``shape`` allows any size."""
    found = value.shape if isinstance(value, np.ndarray) else type(value).__name__
    fits = isinstance(value, np.ndarray) and len(found) == len(shape)
    fits = fits and all(s in (None, f) and f > 0 for f, s in zip(found, shape))
    _expect(fits, name, found, tuple("any" if s is None else s for s in shape))
    _expect(value.dtype == dtype, name, value.dtype, dtype)


def _conv(node: Conv, shape: tuple[int | None, ...], name: str, dtype: np.dtype) -> int:
    """Check one convolution and return its number of output channels."""
    _expect(isinstance(node, Conv), name, type(node).__name__, "Conv")
    _array(node.weight, shape, f"{name}.weight", dtype)
    channels = node.weight.shape[-1:]
    if node.bias is not None:
        _array(node.bias, channels, f"{name}.bias", dtype)
    if node.bn is not None:
        _expect(isinstance(node.bn, BatchNorm), f"{name}.bn", type(node.bn).__name__, "BatchNorm")
        for part in ("scale", "shift", "mean", "variance"):
            _array(getattr(node.bn, part), channels, f"{name}.bn.{part}", dtype)
        eps = node.bn.eps  # below float32's normal range it would be rounded to a few bits
        fits = isinstance(eps, numbers.Real) and (eps == 0 or LEAST_EPS <= eps < math.inf)
        _expect(fits, f"{name}.bn.eps", repr(eps), f"0 or a number of at least {LEAST_EPS:.3g}")
    _expect(isinstance(node.relu, bool), f"{name}.relu", repr(node.relu), "True or False")
    return channels[0]


def _depthwise(node: Depthwise, c: int, name: str, dtype: np.dtype) -> None:
    _expect(isinstance(node, Depthwise), name, type(node).__name__, "Depthwise")
    _expect(node.axis in ("time", "frequency"), f"{name}.axis", repr(node.axis), "time or frequency")
    found = len(node.branches)
    _expect(1 <= found <= MAX_BRANCHES, name, f"{found} branches", f"1 to {MAX_BRANCHES}")
    _expect(isinstance(node.identity, bool), f"{name}.identity", repr(node.identity), "True or False")
    for b, branch in enumerate(node.branches):
        _conv(branch, (None, c), f"{name}.branches.{b}", dtype)
        taps = len(branch.weight)
        fits = taps % 2 and taps <= MAX_TAPS
        _expect(fits, f"{name}.branches.{b}.weight", f"{taps} taps", f"an odd number of taps up to {MAX_TAPS}")


def _block(node: Block, c_in: int, name: str, dtype: np.dtype) -> int:
    """Check one block and return its number of output channels."""
    _expect(isinstance(node, Block), name, type(node).__name__, "Block")
    c = _conv(node.entry, (c_in, None), f"{name}.entry", dtype)
    _expect(node.paths and node.expand_project, name, "no paths or no expand_project", "at least one of each")
    for i, path in enumerate(node.paths):
        for j, layer in enumerate(path):
            _depthwise(layer, c, f"{name}.paths.{i}.{j}", dtype)
    inputs, size = c, 0  # of the convolutions that merging multiplies with each other
    for j, conv in enumerate(node.expand_project):
        where = f"{name}.expand_project.{j}"
        c, size = _conv(conv, (c, None), where, dtype), size + conv.weight.size
        found = f"{size} weights that merge to {inputs} x {c}"
        _expect(inputs * c <= MAX_GROWTH * size, where, found, f"at most {MAX_GROWTH} times as many")
        inputs, size = (c, 0) if conv.relu else (inputs, size)
    _expect(_pair(node.stride), f"{name}.stride", node.stride, f"two whole numbers from 1 to {MAX_STEP}")
    if node.shortcut is None:
        found = f"{c_in} to {c} channels at stride {node.stride}"
        _expect(c == c_in and node.stride == (1, 1), f"{name}.shortcut", found, "a convolution for it")
    else:
        _conv(node.shortcut, (c_in, c), f"{name}.shortcut", dtype)
    return c
