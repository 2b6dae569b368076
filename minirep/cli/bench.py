"""``minirep bench``: the time of each part of a network on this computer, and its share of the peak.

Nearly all of a network's arithmetic is matrix products. So NumPy's rate on a product of two large matrices is taken as
the peak. A share above 100 % means that the compiled kernels are faster than the library that NumPy uses.
"""

import argparse
import os
import statistics
import subprocess
import sys
import time
from functools import partial

import numpy as np

from .. import network as networks
from ..count import costs
from ..errors import MinirepError, MissingExtra
from ..files.models import read
from ..precision import as_precision
from ..recipe import MELS
from ..reparam import fuse
from .arguments import add_model_argument, add_precision
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
    add_model_argument(parser)
    add_precision(parser)
    parser.add_argument("--threads", metavar="N,N...", help="numbers of threads (default: 1 and all available cores)")
    parser.add_argument("--batch", type=int, default=1, metavar="N", help="batch size (default: 1)")
    parser.add_argument(
        "--repeat", type=int, default=10, metavar="N", help="runs, of which the median is taken (default: 10)"
    )
    parser.add_argument("--json", action="store_true", help="print a JSON object")


def run(args) -> int:
    if args.batch < 1 or args.repeat < 1:
        raise MinirepError(f"bench: found --batch {args.batch}, --repeat {args.repeat}; expected at least 1 of each")
    network, recipe, _, _ = read(args.model)
    network = fuse(network)
    network = as_precision(network, args.precision) if args.precision else network
    frames = recipe.frames if recipe else network.pool[0] * 32
    with np.errstate(all="ignore"):  # a network whose numbers overflow is as fast as another
        found = measure(network, frames, args.batch, thread_counts(args.threads), args.repeat)
    show(args, found, lines)
    return 0


def thread_counts(text) -> list[int]:
    """Convert "1,2" to [1, 2]; by default, return 1 and the number of available cores."""
    try:
        from ..fast.threads import allowed_threads
    except ImportError:  # without Numba there is nothing to choose
        return [1]
    if text is None:
        return sorted({1, allowed_threads()})
    return [allowed_threads(number.strip()) for number in text.split(",")]


def measure(network, frames: int, batch: int, threads: list[int], repeat: int) -> dict:
    """Measure all stages: NumPy with its own threads, then the compiled backend with each number of threads."""
    x = np.random.default_rng(0).normal(-5.0, 3.0, (batch, frames, MELS)).astype(network.dtype)
    ways: list[tuple] = [("numpy", None, partial(networks.stages, network, x), partial(networks.forward, network, x))]
    try:
        from ..fast import CompiledNetwork, available

        for n in threads if available(network) else ():
            fast = CompiledNetwork(network, n)
            ways.append(("numba", n, partial(fast.stages, x), partial(fast, x)))
    except (ImportError, MissingExtra):
        pass
    progress = Progress(len(ways) + len(threads))
    work = {row.name: 2 * batch * row.multiply_adds for row in costs(network, frames)}
    peaks = {}
    for n in threads:
        peaks[n] = peak(n)
        progress.step()
    results = []
    for backend, n, stages, forward in ways:
        parts = []
        for name, seconds in times_of(stages, forward, repeat).items():
            flops = work.get(name, sum(work.values())) / seconds
            share = flops / peaks[n] if n else None  # NumPy chooses its own number of threads
            parts.append({"name": name, "seconds": seconds, "flops": flops, "share_of_peak": share})
        results.append({"backend": backend, "threads": n, "parts": parts})
        progress.step()
    progress.clear()
    found = {"frames": frames, "batch": batch, "multiply_adds": sum(work.values()) // 2}
    return found | {"peak_flops": {str(n): value for n, value in peaks.items()}, "results": results}


def times_of(stages, forward, repeat: int) -> dict[str, float]:
    """Return {part: median of its seconds}; the whole pass is timed by itself, and includes the heads."""
    forward()  # compiles, packs weights and allocates
    times: dict[str, list[float]] = {}
    for _ in range(repeat):
        start = time.perf_counter()
        for name, _ in stages():
            times.setdefault(name, []).append(time.perf_counter() - start)
            start = time.perf_counter()
    for _ in range(repeat):
        start = time.perf_counter()
        forward()
        times.setdefault("whole", []).append(time.perf_counter() - start)
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
