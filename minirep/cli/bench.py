"""``minirep bench``: the time of each part of a network on this computer, and its share of the peak.

Nearly all of a network's arithmetic is matrix products. So NumPy's rate on a product of two large matrices is taken as
the peak. A share above 100 % means that the compiled kernels are faster than the library that NumPy uses.
"""

import argparse
import contextlib
import os
import statistics
import subprocess
import sys
import time
from functools import partial

import numpy as np

from .. import network as networks
from ..count import costs
from ..errors import MinirepError
from ..files.models import read
from ..precision import as_precision
from ..recipe import MELS
from ..reparam import fuse
from .arguments import at_least_one, share
from .output import show
from .pool import BLAS_THREADS
from .terminal import Progress, percent, table

PEAK = """
import time, numpy as np
a, b = np.random.rand(2, 1536, 1536).astype(np.float32)
seconds = []
for _ in range(6):
    start = time.perf_counter(); a @ b; seconds.append(time.perf_counter() - start)
print(2 * 1536**3 / min(seconds))
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    share(parser, "model", "--precision")
    add("--threads", metavar="N,N...", help="numbers of threads (default: 1 and all available cores)")
    add("--batch", type=at_least_one, default=1, metavar="N", help="batch size (default: 1)")
    runs = "runs, of which the median is taken (default: 10)"
    add("--repeat", type=at_least_one, default=10, metavar="N", help=runs)
    share(parser, "--json")


def run(args) -> int:
    network, recipe, _, _ = read(args.model)
    network = fuse(network)
    network = as_precision(network, args.precision) if args.precision else network
    frames = recipe.frames if recipe else network.pool[0] * 32
    with np.errstate(all="ignore"):  # a network whose numbers overflow is as fast as another
        found = measure(network, frames, args.batch, args.threads, args.repeat)
    show(args, found, lines(found))
    return 0


def measure(network, frames: int, batch: int, wanted, repeat: int) -> dict:
    """Measure all stages: NumPy with its own threads, then the compiled backend with each number of threads.

    These are the numbers in ``wanted``, such as "1,2"; by default, 1 and the number of available cores.
    """
    x = np.random.default_rng(0).normal(-5.0, 3.0, (batch, frames, MELS)).astype(network.dtype)
    ways: list[tuple] = [("numpy", None, partial(networks.stages, network, x), partial(networks.forward, network, x))]
    threads = [1]
    with contextlib.suppress(ImportError):  # without Numba there is nothing to choose
        from ..fast import CompiledNetwork, available
        from ..fast.threads import allowed_threads

        counts: list = sorted({1, allowed_threads()}) if wanted is None else [n.strip() for n in wanted.split(",")]
        threads = [*map(allowed_threads, counts)]
        for n in threads if available(network) else ():
            fast = CompiledNetwork(network, n)
            ways.append(("numba", n, partial(fast.stages, x), partial(fast, x)))
    progress = Progress(len(ways) + len(threads))
    work = {row.name: 2 * batch * row.multiply_adds for row in costs(network, frames)}
    work["whole"] = sum(work.values())
    peaks = {}
    for n in threads:
        peaks[n] = peak(n)
        progress.step()
    results = []
    for backend, n, stages, forward in ways:
        parts = []
        for name, seconds in times_of(stages, forward, repeat).items():
            flops = work[name] / seconds
            share = flops / peaks[n] if n else None  # NumPy chooses its own number of threads
            parts.append({"name": name, "seconds": seconds, "flops": flops, "share_of_peak": share})
        results.append({"backend": backend, "threads": n, "parts": parts})
        progress.step()
    found = {"frames": frames, "batch": batch, "multiply_adds": work["whole"] // 2}
    return found | {"peak_flops": {str(n): value for n, value in peaks.items()}, "results": results}


def times_of(stages, forward, repeat: int) -> dict[str, float]:
    """Return {part: median of its seconds}; the whole pass is timed by itself, and includes the heads."""
    forward()  # compiles, packs weights and allocates
    times: dict[str, list[float]] = {}
    for parts in (stages, lambda: [("whole", forward())]):
        for _ in range(repeat):
            start = time.perf_counter()
            for name, _ in parts():
                times.setdefault(name, []).append(time.perf_counter() - start)
                start = time.perf_counter()
    return {name: statistics.median(seconds) for name, seconds in times.items()}


def peak(threads: int) -> float:
    """Measure the FLOP/s of a large matrix product in NumPy, in a process with so many threads."""
    environment = {**os.environ, **dict.fromkeys(BLAS_THREADS, str(threads))}
    done = subprocess.run([sys.executable, "-c", PEAK], env=environment, capture_output=True, text=True, check=False)
    try:
        return float(done.stdout)
    except ValueError:
        found = repr(done.stderr.strip()[-200:])
        raise MinirepError(f"bench: the matrix product gave {found}, expected a number") from None


def lines(found: dict):
    yield f"{found['batch']} x {found['frames']} x {MELS} log-mels, {found['multiply_adds'] / 1e9:.3f} G multiply-adds"
    for threads, flops in found["peak_flops"].items():
        yield f"A large matrix product in NumPy on {threads} thread(s): {flops / 1e9:.0f} GFLOP/s"
    for result in found["results"]:
        threads = f"{result['threads']} thread(s)" if result["threads"] else "its own threads"
        rows = [[f"{result['backend']}, {threads}", "ms", "GFLOP/s", "of the peak"]]
        for part in result["parts"]:
            share = "" if part["share_of_peak"] is None else percent(part["share_of_peak"])
            rows.append([part["name"], f"{part['seconds'] * 1e3:.2f}", f"{part['flops'] / 1e9:.1f}", share])
        yield from ("", *table(rows, left=1))
