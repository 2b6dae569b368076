"""A whole network as one compiled call, for any input size and number of threads."""

import ctypes
import threading
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np

from ..count import costs, total
from ..network import Network, as_input, stage_ends
from . import build
from . import threads as teams
from .plan import Plan, Weights, Workspace

MIN_MULTIPLY_ADDS = 50_000_000  # per thread: with fewer, synchronising threads costs more than it saves
PLANS = 8  # input shapes whose plan and workspaces are kept


def supports(network: Network) -> bool:
    """Return whether the kernels cover a network: every one that `minirep.architecture.build` makes, in float32.

    They do not cover other types, a stem with even kernel sizes, a ReLU in a depthwise branch, or a path without
    layers. `minirep.ops` runs such networks.
    """
    paths = [path for block in network.blocks.values() for path in block.paths]
    branches = [branch for layer in network.layers for branch in layer.branches]
    kt, kf, channels, _ = network.stem.weight.shape
    return (
        network.dtype == np.float32
        and kt % 2 == kf % 2 == channels == 1
        and all(paths)
        and not any(branch.relu for branch in branches)
    )


class CompiledNetwork:
    """A compiled network: it maps log-mels (N, frames, 128) to {head: (N, classes)}, as `minirep.network.forward` does.

    It holds the packed weights, and plans and workspaces for the latest input shapes. Several threads can call it at
    the same time, as each call has a workspace of its own. ``threads`` is as for `allowed_threads`.
    """

    def __init__(self, network: Network, threads: int | None = None):
        self.network, self.threads = network, teams.allowed_threads(threads)
        self._requested = threads is not None or teams.requested_threads()
        self._weights = Weights(network)
        self._known: OrderedDict[tuple, tuple[Plan, list[Workspace]]] = OrderedDict()
        self._lock = threading.Lock()
        Plan(network, self._weights, (1, 1, 1), self.threads)  # packs the weights

    def __call__(self, log_mels: np.ndarray) -> dict[str, np.ndarray]:
        with self._at_work(log_mels) as (plan, workspace):
            run_steps(workspace, 0, len(plan.steps), plan.threads)
            return {name: p.copy() for name, p in workspace.probabilities.items()}

    def stages(self, log_mels: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yield ("stem", y), ("stage1", y) ... as `minirep.stages` does."""
        return stage_ends(self.network, self.walk(log_mels))

    def walk(self, log_mels: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yield ("stem", y), ("stages.0.0", y) ... after every block, as `minirep.network.walk` does."""
        with self._at_work(log_mels) as (plan, workspace):
            done = 0
            for name, end, result in plan.ends:
                run_steps(workspace, done, end, plan.threads)
                yield name, workspace.view(result).copy()
                done = end

    @contextmanager
    def _at_work(self, log_mels):
        """Lend a plan and a workspace that holds the input; no other call uses the workspace meanwhile."""
        x = as_input(self.network, log_mels)[..., 0]
        plan, idle = self._plan(x.shape)
        with self._lock:
            workspace = idle.pop() if idle else None
        workspace = workspace or Workspace(plan)
        try:
            workspace.input[:] = x
            yield plan, workspace
        finally:
            idle.append(workspace)

    def _plan(self, shape):
        """Return the plan for an input (n, T, F), with as many threads as have enough work, and its idle workspaces."""
        with self._lock:
            if shape not in self._known:
                work = shape[0] * total(costs(self.network, *shape[1:])).multiply_adds
                useful = self.threads if self._requested else max(1, min(self.threads, work // MIN_MULTIPLY_ADDS))
                self._known[shape] = Plan(self.network, self._weights, shape, useful), []
                if len(self._known) > PLANS:
                    self._known.popitem(last=False)
            self._known.move_to_end(shape)
            return self._known[shape]


def run_steps(workspace: Workspace, first: int, last: int, threads: int) -> None:
    """Run the steps [first, last) of a workspace's plan on a team of threads."""
    run = build.program()
    step_bytes, table_bytes = workspace.steps.strides[0], workspace.tables.strides[1]
    start, count = workspace.steps_at + first * step_bytes, last - first
    arrivals = ctypes.c_int64(0)  # at barriers; a new counter, as threads may still read that of an earlier run

    def work(thread, threads):
        tables, scratch = workspace.tables_at[thread], workspace.scratch_at[thread]
        run(thread, threads, start, step_bytes, count, tables, table_bytes, scratch, ctypes.addressof(arrivals))

    teams.team.run(threads, work)
