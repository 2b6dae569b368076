"""How time and memory grow with the length of a clip, the batch, the width of the network and the threads: a plot.

    python tests/benchmarks/growth.py [-o docs/measured/growth.svg]

Each point is the fastest of eleven forward passes of the compiled backend, which take turns with those of all other
points (full size and one thread, unless it is what varies), with the memory that its activations take. Needs
`pip install 'minirep[fast,plot]'`.
"""

import argparse
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from minirep import Architecture, fuse, random_network
from minirep.fast import CompiledNetwork
from minirep.fast.threads import allowed_cores

ROUNDS = 11


class Point:
    """One setting: milliseconds of its passes so far, MiB of its activations."""

    def __init__(self, x, network, threads=1, batch=1, frames=416):
        self.x, self.compiled, self.times = x, CompiledNetwork(network, threads), []
        self.log_mels = np.random.default_rng(0).normal(-5, 3, (batch, frames, 128)).astype(np.float32)
        self.run()
        plan, _ = self.compiled._plan(self.log_mels.shape)
        self.memory = (sum(plan.sizes) + threads * plan.scratch) * 4 / 2**20

    def run(self) -> float:
        start = time.perf_counter()
        self.compiled(self.log_mels)
        return 1e3 * (time.perf_counter() - start)

    def row(self) -> tuple[float, float, float]:
        return self.x, min(self.times), self.memory


def network(width):
    return fuse(random_network(Architecture(width=width, frames=416, heads={"class": 44})))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("-o", default="docs/measured/growth.svg", metavar="FILE")
    args = parser.parse_args()
    full = network(64)
    points = {
        "clip length, s (1 batch, width 64)": [Point(f * 0.005, full, frames=f) for f in range(208, 3329, 208)],
        "batch (2.08 s, width 64)": [Point(n, full, batch=n) for n in range(1, 9)],
        "multiply-adds, relative to width 64": [Point((w / 64) ** 2, network(w)) for w in range(8, 97, 8)],
        "threads (2.08 s, width 64)": [Point(n, full, threads=n) for n in range(1, allowed_cores() + 1)],
    }
    for _ in range(ROUNDS):  # all take turns, so that a slow minute of the machine is no point's own
        for point in (point for row in points.values() for point in row):
            point.times.append(point.run())
    series = {name: [point.row() for point in row] for name, row in points.items()}
    for name, rows in series.items():
        print(name, *(f"{x:.3g}: {ms:.1f} ms, {mib:.1f} MiB" for x, ms, mib in rows), sep="\n  ")
    draw(series, args.o)


def draw(series, path) -> None:
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(1, len(series), figsize=(13, 3.2), layout="constrained")
    for axis, (name, points) in zip(axes, series.items()):
        x, ms, mib = zip(*points)
        axis.plot(x, ms, "o-", color="C0", markersize=3)
        axis.set(xlabel=name, ylim=(0, None), xlim=(0, None))
        axis.set_ylabel("milliseconds", color="C0")
        memory = axis.twinx()
        memory.plot(x, mib, "s--", color="C1", markersize=3)
        memory.set(ylim=(0, None))
        memory.set_ylabel("MiB of activations", color="C1")
    figure.savefig(path, metadata={"Date": None} if path.endswith(".svg") else None)


if __name__ == "__main__":
    main()
