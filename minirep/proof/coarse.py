"""How far rounding to bfloat16 carries a network, block by block (``verify --precision bfloat16``)."""

from dataclasses import dataclass, replace
from functools import partial

import numpy as np

from ..errors import expect
from ..network import Array, Network, forward, walk
from ..precision import as_precision, map_pointwise
from ..reparam import fuse
from .verify import VIEWS, Report, check_backend, compare_outcomes, compiled


@dataclass(frozen=True)
class Plain:
    """The plain operations, as `check_backend` runs a backend."""

    network: Network

    def walk(self, log_mels: Array):
        return walk(self.network, log_mels[..., None].astype(self.network.dtype))

    def __call__(self, log_mels: Array) -> dict[str, Array]:
        return forward(self.network, log_mels)


def with_bfloat16(report: Report, network: Network, log_mels: np.ndarray) -> Report:
    """Add what the merged network computes in bfloat16, on every backend, against itself before it was rounded."""
    expect(network.dtype == np.float32, f"--precision bfloat16: found a network in {network.dtype}, expected float32")
    merged = fuse(network)
    rounded = as_precision(merged, "bfloat16")
    bounded = map_pointwise(merged, lambda conv: replace(conv, bfloat16=True))  # two roundings, of weights not rounded
    runs = {"numpy": Plain(rounded), "numba": compiled(rounded)}
    found = {name: check_backend(bounded, log_mels[:VIEWS], run) for name, run in runs.items() if run is not None}
    outcome = compare_outcomes("bfloat16", partial(forward, merged), runs, log_mels)
    return replace(
        report,
        rows=report.rows | {"bfloat16": found.pop("numpy")},
        backends=report.backends | {f"{name}, bfloat16": rows for name, rows in found.items()},
        outcome=[*report.outcome, *outcome],
    )
