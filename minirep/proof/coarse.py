"""Bounds on the rounding to bfloat16, block by block (``verify --precision bfloat16``)."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ..errors import expect
from ..network import Array, Linear, Network, forward, walk
from ..precision import as_precision, map_pointwise
from ..recipe import MELS
from ..reparam import fuse
from ..tree import map_arrays
from .verify import VIEWS, Report, Row, check_backend, compare_outcomes, compiled, difference, try_backend


@dataclass(frozen=True)
class Plain:
    """The NumPy operations, in the form in which `check_backend` runs a backend."""

    network: Network

    def walk(self, log_mels: Array):
        return walk(self.network, log_mels[..., None].astype(self.network.dtype))

    def __call__(self, log_mels: Array) -> dict[str, Array]:
        return forward(self.network, log_mels)


def with_bfloat16(report: Report, network: Network, log_mels: np.ndarray) -> Report:
    """Add to the report the merged network in bfloat16, on every backend, compared with the network before rounding."""
    expect(network.dtype == np.float32, f"--precision bfloat16: found a network in {network.dtype}, expected float32")
    merged = fuse(network)
    rounded = as_precision(merged, "bfloat16")
    bounded = map_pointwise(merged, lambda conv: replace(conv, bfloat16=True))  # two roundings, of weights not rounded
    runs = {"numpy": Plain(rounded), "numba": compiled(rounded)}
    found = {"numpy": check_backend(bounded, log_mels[:VIEWS], runs["numpy"])}
    if runs["numba"] is not None:
        found["numba"] = try_backend(bounded, log_mels[:VIEWS], runs["numba"])
        found["numba, whole numbers"] = check_rounding(rounded)
    outcome = compare_outcomes("bfloat16", partial(forward, merged), runs, log_mels)
    return replace(
        report,
        rows=report.rows | {"bfloat16": found.pop("numpy")},
        backends=report.backends | {f"{name}, bfloat16": rows for name, rows in found.items()},
        outcome=[*report.outcome, *outcome],
    )


def check_rounding(network: Network) -> list[Row]:
    """Run each block with small whole numbers as weights, which the compiled backend must compute exactly.

    Sums of such numbers are exact in any order. Only numbers above 256 are rounded to bfloat16, to nearest. A kernel
    that truncates them would stay within the bound of `with_bfloat16`.
    """
    rng = np.random.default_rng(0)
    x = rng.integers(-600, 600, (3, 20, MELS)).astype(np.float32)

    def few(array: Array) -> Array:  # about two of 1 and -1 for each output, so that sums stay below 2^24
        kept = rng.random(array.shape) < 2 * array.shape[-1] / array.size
        return (kept * rng.choice([-1, 1], array.shape)).astype(np.float32)

    rows = []
    for name, block in network.blocks.items():
        c_in, c = len(block.entry.weight), block.expand_project[-1].weight.shape[-1]
        stem = replace(network.stem, weight=np.zeros((5, 7, 1, c_in)), bias=np.zeros(c_in))
        heads = {"class": Linear(np.zeros((c, 2)), np.zeros(2))}
        small = map_arrays(Network(stem, ((block,),), network.pool, heads), few)
        (*_, (_, exact)), (*_, (_, found)) = Plain(small).walk(x), compiled(small).walk(x)
        rows.append(Row(name, None, difference(exact, found, np.zeros_like(exact))))
    return rows
