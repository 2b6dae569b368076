"""A whole network as one compiled call, for any input size and number of threads."""

import threading
from collections import OrderedDict
from collections.abc import Iterator

import numpy as np

from .. import ops
from ..count import costs, total
from ..network import Network, as_input
from . import build
from . import threads as teams
from .plan import Plan, Weights, Workspace

WORTH = 50_000_000  # multiply-adds that a thread should have: meeting the others costs more than it saves for fewer
PLANS = 8  # input shapes whose plan and workspaces are kept


def supports(network: Network) -> bool:
    """Whether the kernels cover a network: every one that `minirep.network.build` makes, in float32.

    Left to `minirep.ops`: other types, a stem with even kernels, a ReLU in a depthwise branch, a path without layers.
    """
    paths = [path for blocks in network.stages for block in blocks for path in block.paths]
    branches = [branch for path in paths for layer in path for branch in layer.branches]
    kt, kf, channels, _ = network.stem.weight.shape
    return (
        network.dtype == np.float32
        and kt % 2 == kf % 2 == channels == 1
        and all(paths)
        and not any(branch.relu for branch in branches)
    )


class CompiledNetwork:
    """``compiled(log_mels)`` gives {head: (N, classes)}, as `minirep.network.forward` does.

    It holds the packed weights, and plans and workspaces for the input shapes met so far. Safe to call from several
    threads at once: each call has a workspace to itself.
    """

    def __init__(self, network: Network, threads: int | None = None):
        self.network, self.threads = network, teams.allowed_threads(threads)
        self._asked = threads is not None or teams.asked_for()
        self._weights = Weights(network)
        self._known: OrderedDict[tuple, tuple[Plan, list[Workspace]]] = OrderedDict()
        self._lock = threading.Lock()
        Plan(network, self._weights, (1, 1, 1), self.threads)  # packs the weights

    def __call__(self, log_mels: np.ndarray) -> dict[str, np.ndarray]:
        ((_, x),) = self._run(log_mels, ends=slice(-1, None))
        return {name: ops.head(x, self.network.pool, linear) for name, linear in self.network.heads.items()}

    def stages(self, log_mels: np.ndarray) -> Iterator[tuple[str, np.ndarray]]:
        """Yields ("stem", y), ("stage1", y) ... as `minirep.stages` does."""
        return self._run(log_mels, ends=slice(None))

    def _run(self, log_mels, ends):
        """Run up to each of these ends of stages, and yield what is there."""
        x = as_input(self.network, log_mels)[..., 0]
        plan, idle = self._plan(x.shape)
        with self._lock:
            workspace = idle.pop() if idle else None
        workspace = workspace or Workspace(plan)
        try:
            workspace.input[:] = x
            done = 0
            for name, end, buffer, shape in plan.ends[ends]:
                run_steps(workspace, done, end, plan.threads)
                yield name, workspace.view(buffer, shape).copy()
                done = end
        finally:
            idle.append(workspace)

    def _team(self, shape):
        """How many threads for an input (n, T, F): those asked for, or as many as have enough to do."""
        if self._asked:
            return self.threads
        n, frames, mels = shape
        work = n * total(costs(self.network, frames, mels)).multiply_adds
        return max(1, min(self.threads, work // WORTH))

    def _plan(self, shape):
        with self._lock:
            if shape not in self._known:
                self._known[shape] = Plan(self.network, self._weights, shape, self._team(shape)), []
                if len(self._known) > PLANS:
                    self._known.popitem(last=False)
            self._known.move_to_end(shape)
            return self._known[shape]


def run_steps(workspace: Workspace, first: int, last: int, threads: int) -> None:
    """Run the steps [first, last) of a workspace's plan on a team of threads."""
    run = build.program()
    steps, tables = workspace.steps[first:last], workspace.tables
    counter = np.zeros(1, np.int64)  # of arrivals at the meeting points

    def work(thread, threads):
        run(thread, threads, steps.ctypes.data, steps.strides[0], len(steps), tables[thread].ctypes.data,
            tables.strides[1], workspace.scratch[thread].ctypes.data, counter.ctypes.data)  # fmt: skip

    teams.team.run(threads, work)
