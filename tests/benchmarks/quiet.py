"""Processor seconds for an hour of a quiet room, with and without a gate (`minirep listen --gate`).

    python tests/benchmarks/quiet.py [--minutes 10] [--level -70] [--gate -60] [--rate 16000]

The room is white noise at a constant level (root mean square, dB below full scale), fed in blocks of a tenth of a
second. Each backend goes through the same minutes with the gate and without, in turns; the seconds are scaled to an
hour. One thread.
"""

import argparse
import os
import sys
import time
from pathlib import Path

for name in ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "MINIREP_NUM_THREADS"):
    os.environ[name] = "1"

import numpy as np  # noqa: E402

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

import minirep  # noqa: E402
from minirep import Stream  # noqa: E402
from minirep.fast import available  # noqa: E402


def cost(clf, gate: float | None, blocks: list, rate: int) -> float:
    """Processor seconds for a second of sound."""
    stream = Stream(clf, rate, gate=gate)
    begin = time.process_time()
    for block in blocks:
        stream.feed(block)
    stream.close()
    return (time.process_time() - begin) / stream.seconds


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--level", type=float, default=-70)
    parser.add_argument("--gate", type=float, default=-60)
    parser.add_argument("--rate", type=int, default=16000)
    args = parser.parse_args()
    noise = np.random.default_rng(0).normal(size=args.rate) * 10 ** (args.level / 20)
    block = args.rate // 10
    second = [np.float32(noise[i : i + block]) for i in range(0, args.rate, block)]
    clf = minirep.load()
    print(f"white noise at {args.level:g} dB, {args.rate} Hz: processor seconds an hour")
    for backend in ("numpy", "numba") if available(clf.network) else ("numpy",):
        clf = minirep.load(backend=backend)
        cost(clf, None, second * 3, args.rate)  # what is slow the first time
        found = {None: [], args.gate: []}
        for _ in range(5):
            for gate, seconds in found.items():
                seconds.append(3600 * cost(clf, gate, second * round(12 * args.minutes), args.rate))
        off, on = (float(np.median(seconds)) for seconds in found.values())
        print(f"  {backend}: {off:.1f} without a gate, {on:.1f} with {args.gate:g} dB ({off / on:.1f} times less)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
