"""Folders of many short clips: files a second and memory, beside librosa and ONNX Runtime on the same files.

    python tests/benchmarks/folders.py [--counts 100,1000,10000] [--jobs 1,2] [--rounds 3] [--only minirep]

Needs `pip install 'minirep[bench]'`. The clips are the demo clips at the model's rate, a second or so each. Every run
is a process of its own, from its start to its end; contenders take turns. minirep is `minirep classify --csv --jobs N`.
The other is the program that a user of librosa and ONNX Runtime would write: the default model from `minirep export`,
one thread, the files spread over N processes by `multiprocessing.Pool.imap`. The labels of both are compared.

A row has files a second by the clock, processor seconds per 1,000 files (which other load on the machine hardly
changes), and the largest memory of any of its processes.
"""

import argparse
import csv
import io
import json
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
import wave
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]
ONE_THREAD = dict.fromkeys(("OPENBLAS_NUM_THREADS", "OMP_NUM_THREADS", "MINIREP_NUM_THREADS", "NUMBA_NUM_THREADS"), "1")


# --- the other program ----------------------------------------------------------------------------------------------


def begin(network: str) -> None:
    """What each of its processes needs."""
    global librosa, log_mel_of, session, recipe
    import librosa
    from peers import librosa_log_mel as log_mel_of
    from peers import onnx_session

    recipe = Numbers()
    session = onnx_session(network, 1)


class Numbers:
    """The default model's recipe, as its user would know it."""

    rate, hop, window, frames, clip = 16000, 160, 320, 128, 20465


def label(path: str) -> tuple[str, int]:
    y, _ = librosa.load(path, sr=recipe.rate)
    x = log_mel_of(librosa, y[: recipe.clip - 1], recipe)
    x = np.pad(x, ((0, recipe.frames - len(x)), (0, 0)), mode="edge")
    return path, int(session.run(None, {session.get_inputs()[0].name: x[None].astype(np.float32)})[0].argmax())


def other(network: str, jobs: int, folder: str) -> None:
    paths = [str(path) for path in sorted(Path(folder).rglob("*.wav"))]
    if jobs == 1:
        begin(network)
        rows = map(label, paths)
    else:
        from multiprocessing import get_context

        pool = get_context("spawn").Pool(jobs, begin, [network])
        rows = pool.imap(label, paths, chunksize=8)
    for row in rows:
        print(*row, sep=",")


# --- measuring ------------------------------------------------------------------------------------------------------


def measured(command: list[str]) -> tuple[str, dict]:
    """(what a command prints, its seconds and memory), from a process between, which has no other children."""
    helper = [sys.executable, __file__, "--measure", *command]
    done = subprocess.run(helper, capture_output=True, text=True, check=True, env=os.environ | ONE_THREAD)
    return done.stdout, json.loads(done.stderr.splitlines()[-1])


def measure(command: list[str]) -> None:
    start = time.monotonic()
    subprocess.run(command, check=True)
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    found = {"s": time.monotonic() - start, "cpu": used.ru_utime + used.ru_stime, "MiB": used.ru_maxrss / 1024}
    print(json.dumps(found), file=sys.stderr)


def fill(folder: Path, count: int, rate: int) -> None:
    """The demo clips at the model's rate, again and again; files, and no links to ten of them."""
    from minirep.audio import open_recording, resample

    clips = [resample(open_recording(path), rate) for path in sorted((ROOT / "minirep/data/demo").glob("*.wav"))]
    clips = [(clip.read(0, clip.length) * 32767).astype("<i2").tobytes() for clip in clips]
    for i in range(count):
        inner = folder / f"{i // 1000:03}"
        inner.mkdir(parents=True, exist_ok=True)
        with wave.open(str(inner / f"{i:06}.wav"), "wb") as file:
            file.setparams((1, 2, rate, 0, "NONE", ""))
            file.writeframes(clips[i % len(clips)])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--counts", default="100,1000,10000")
    parser.add_argument("--jobs", default="1,2")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default="")
    args = parser.parse_args()
    import minirep

    labels = minirep.load().labels["class"]
    print("| files | jobs | | files a second | processor s per 1,000 files | peak MiB |\n|---|---|---|---|---|---|")
    for count in map(int, args.counts.split(",")):
        for jobs in map(int, args.jobs.split(",")):
            with tempfile.TemporaryDirectory() as place:
                folder, network = Path(place, "clips"), str(Path(place, "net.onnx"))
                fill(folder, count, minirep.load().recipe.rate)
                command = [sys.executable, "-m", "minirep"]
                subprocess.run([*command, "export", "-o", network], check=True, capture_output=True)
                ours = [*command, "classify", "--csv", "--top", "1", "--jobs", str(jobs), str(folder)]
                programs = {
                    "minirep": ours,
                    "minirep, NumPy": [*ours, "--backend", "numpy"],
                    "librosa + ONNX Runtime": [sys.executable, __file__, "--other", network, str(jobs), str(folder)],
                }
                programs = {name: program for name, program in programs.items() if args.only in name}
                found, answers = {name: [] for name in programs}, {}
                for _ in range(args.rounds):
                    for name, program in programs.items():
                        printed, numbers = measured(program)
                        found[name].append(numbers)
                        answers[name] = named(name, printed, labels)
            assert all(len(answer) == count for answer in answers.values())
            for name, rounds in found.items():
                s, cpu, mib = (statistics.median(numbers[key] for numbers in rounds) for key in ("s", "cpu", "MiB"))
                print(f"| {count:,} | {jobs} | {name} | {count / s:.0f} | {1000 * cpu / count:.1f} | {mib:.0f} |")
            same = [sum(map(str.__eq__, a, b)) for a in answers.values() for b in answers.values()]
            print(f"the same label for {min(same)} of {count} files", file=sys.stderr, flush=True)
    return 0


def named(name: str, printed: str, labels: tuple[str, ...]) -> list[str]:
    """The label of each file, from what was printed."""
    rows = list(csv.reader(io.StringIO(printed)))
    return [labels[int(row[1])] for row in rows] if name.startswith("librosa") else [row[3] for row in rows[1:]]


if __name__ == "__main__":
    if sys.argv[1:2] == ["--measure"]:
        sys.exit(measure(sys.argv[2:]))
    if sys.argv[1:2] == ["--other"]:
        sys.exit(other(sys.argv[2], int(sys.argv[3]), sys.argv[4]))
    sys.exit(main())
