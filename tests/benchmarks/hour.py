"""An hour of made-up sound with known events through `minirep.Stream`: what it finds, and what it costs.

    python tests/benchmarks/hour.py [--minutes 60] [--rate 16000] [--backend numpy] [--seed 0]

The sound is made while it is fed, from the demo clips and from noise, hum, clicks and tones computed here, always the
same for a seed; it arrives in blocks of 1 to 5000 samples. An event counts as found when one of its label is reported
that overlaps it, give or take a hop; whatever else is reported is false. Needs NumPy alone.
"""

import argparse
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))

import minirep  # noqa: E402
from minirep.audio import open_recording, resample  # noqa: E402
from minirep.stream import HOP, SMOOTH, Event, Stream  # noqa: E402

BLOCK = 5000  # samples that arrive at a time, at the most
GAP = (3.0, 15.0)  # seconds from one clip to the next
LOUD = (0.15, 0.6)  # the highest sample of a clip
QUIET = (1e-5, 3e-3)  # of the background, root mean square


@dataclass(frozen=True)
class Known:
    """A clip that was put in: seconds."""

    start: float
    end: float
    label: str


class Sound:
    """Pieces of sound, one after the other; ``known`` says which clips have been given so far."""

    def __init__(self, rate: int, seed: int):
        self.rate, self.known, self._rng = rate, [], np.random.default_rng(seed)
        folder = ROOT / "minirep/data/demo"
        recordings = {path.stem: resample(open_recording(path), rate) for path in sorted(folder.glob("*.wav"))}
        self._clips = {label: recording.read(0, recording.length) for label, recording in recordings.items()}

    def blocks(self, seconds: float) -> Iterator[np.ndarray]:
        """The sound in blocks of odd sizes, up to its end."""
        count, end, waiting = 0, round(seconds * self.rate), np.zeros(0, np.float32)
        while count < end:
            piece = self._piece(count / self.rate)[: end - count]
            count += len(piece)
            waiting = np.concatenate([waiting, piece])
            while len(waiting) >= BLOCK or (count == end and len(waiting)):
                size = self._rng.integers(1, BLOCK + 1)
                yield waiting[:size]
                waiting = waiting[size:]

    def _piece(self, start: float) -> np.ndarray:
        """A stretch of background with one clip in it."""
        label = self._rng.choice(sorted(self._clips))
        clip, before = self._clips[label], round(self._rng.uniform(*GAP) * self.rate)
        sound = self._background(before + len(clip))
        sound[before:] += clip * (self._rng.uniform(*LOUD) / np.abs(clip).max())
        begin = start + before / self.rate
        self.known.append(Known(begin, begin + len(clip) / self.rate, label))
        return sound

    def _background(self, count: int) -> np.ndarray:
        """(count,) of one kind: digital silence, white or low noise, hum, clicks, or a tone that glides."""
        rng, times = self._rng, np.arange(count) / self.rate
        match rng.integers(6):
            case 0:
                return np.zeros(count, np.float32)
            case 1:
                sound = rng.normal(size=count)
            case 2:  # a mean over the last n samples: what is left is low
                sums = np.cumsum(rng.normal(size=count + 32))
                sound = sums[32:] - sums[:-32]
            case 3:
                hertz = rng.choice((50, 60))
                sound = sum(np.sin(2 * np.pi * k * hertz * times) / k for k in range(1, 8))
            case 4:
                sound = 0.1 * rng.normal(size=count)
                sound[rng.integers(0, count, max(1, count // self.rate))] = 50.0
            case _:
                low, high = np.exp(rng.uniform(np.log(100), np.log(4000), 2))
                sound = np.sin(2 * np.pi * np.cumsum(np.linspace(low, high, count)) / self.rate)
        level = np.exp(rng.uniform(*np.log(QUIET)))
        return (sound * (level / np.sqrt(np.mean(sound**2)))).astype(np.float32)


def matched(known: list[Known], events: list[Event], slack: float) -> int:
    """How many events name a clip at its place; each clip counts once."""
    left, count = list(known), 0
    for event in events:
        for clip in left:
            if clip.label == event.label and event.start < clip.end + slack and clip.start - slack < event.end:
                left.remove(clip)
                count += 1
                break
    return count


def resident() -> float:
    """MiB of this process in memory now."""
    with open("/proc/self/statm") as file:  # Linux
        return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 2**20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--rate", type=int, default=16000, help="of the sound that arrives (default: 16000)")
    parser.add_argument("--model", help="model.npz or checkpoint.pyth (default: the shipped one)")
    parser.add_argument("--backend", default="numpy", choices=("auto", "numpy", "numba"))
    parser.add_argument("--hop", type=float, default=HOP)
    parser.add_argument("--threshold", type=float, help="default: the model's own")
    parser.add_argument("--smooth", type=int, default=SMOOTH)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()

    seconds = 60 * args.minutes
    sound = Sound(args.rate, args.seed)
    stream = Stream(minirep.load(args.model, args.backend), args.rate, args.hop, args.threshold, args.smooth)
    events, memory, spent, began = [], {}, 0.0, time.perf_counter()
    # The first seconds of a process fill caches and buffers: that is no growth.
    marks = {"start": min(30.0, 0.1 * seconds), "middle": seconds / 2, "end": seconds}
    for block in sound.blocks(seconds):
        before = time.process_time()
        events += stream.feed(block)
        spent += time.process_time() - before
        for name, at in marks.items():
            if name not in memory and stream.seconds >= at - 1e-6:
                memory[name] = resident()
    events += stream.close()

    known = [clip for clip in sound.known if clip.end <= stream.seconds]
    right = matched(sound.known, events, args.hop)
    print(f"{stream.seconds / 60:.1f} minutes at {args.rate} Hz, a window every {stream.hop:g} s, seed {args.seed}")
    print(f"clips {len(known)}, events {len(events)}, right {right}")
    print(f"precision {100 * right / max(1, len(events)):.1f} %, recall {100 * right / max(1, len(known)):.1f} %")
    print("memory " + ", ".join(f"{name} {mib:.1f} MiB" for name, mib in memory.items()))
    print(
        f"{spent / stream.seconds:.4f} processor seconds a second of sound, {time.perf_counter() - began:.0f} s in all"
    )


if __name__ == "__main__":
    main()
