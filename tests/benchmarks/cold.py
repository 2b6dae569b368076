"""From nothing to a printed class: one WAV file in a fresh process, its wall time and its peak memory.

    python tests/benchmarks/cold.py [--rounds 7]

minirep with NumPy alone and with its compiled backend (whose program an earlier process has left on disk), beside a
short script of librosa and ONNX Runtime with the same network. Needs `pip install 'minirep[bench]'`.
"""

import argparse
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path[:0] = [str(ROOT), str(HERE)]

SCRIPT = """
import sys, librosa, numpy as np, onnxruntime
model, wav, rate, window, hop, frames = *sys.argv[1:3], *map(int, sys.argv[3:])
y, _ = librosa.load(wav, sr=rate)
mel = librosa.feature.melspectrogram(y=y, sr=rate, n_fft=2048, hop_length=hop, win_length=window, power=1, n_mels=128,
                                     htk=True, norm=None, pad_mode="constant")
x = np.log(mel.T + 1e-6).astype(np.float32)
x = np.pad(x, ((0, max(0, frames - len(x))), (0, 0)), mode="edge")[:frames]
print(onnxruntime.InferenceSession(model).run(None, {"x": x[None, None]})[0].argmax())
"""


def export(path: str) -> None:
    """The default model as ONNX; prints the numbers of its recipe."""
    import torch
    import twins
    from peers import Outputs

    import minirep

    clf = minirep.load()
    x = torch.zeros(1, 1, clf.recipe.frames, 128)
    torch.onnx.export(Outputs(twins.Merged(clf.network).eval()), (x,), path, input_names=["x"], dynamo=False)
    print(clf.recipe.rate, clf.recipe.window, clf.recipe.hop, clf.recipe.frames)


def run(command: list[str]) -> tuple[float, float]:
    """(seconds, MiB at most) of a process that must succeed."""
    start = time.perf_counter()
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if status:
        raise SystemExit(f"{' '.join(command)}: exit status {status}")
    return seconds, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--export", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.export:
        export(args.export)
        return
    with tempfile.TemporaryDirectory() as folder:
        model = str(Path(folder, "model.onnx"))
        # In a process of its own: the memory of this one would count as that of its children.
        exporting = [sys.executable, "-W", "ignore", __file__, "--export", model]
        numbers = subprocess.run(exporting, stdout=subprocess.PIPE, text=True, check=True).stdout.split()
        wav = str(next((ROOT / "minirep" / "data" / "demo").glob("*.wav")))
        classify = [sys.executable, "-m", "minirep", "classify", wav, "--backend"]
        commands = {
            "minirep, NumPy alone": [*classify, "numpy"],
            "minirep, compiled": [*classify, "numba"],
            "librosa + onnxruntime": [sys.executable, "-c", SCRIPT, model, wav, *numbers],
        }
        found = {name: [] for name in commands}
        for turn in range(args.rounds + 1):
            for name, command in commands.items():
                result = run(command)
                found[name] += [result] if turn else []  # the first turn fills the caches
    medians = {name: [statistics.median(column) for column in zip(*runs)] for name, runs in found.items()}
    seconds, memory = medians["librosa + onnxruntime"]
    print("| | seconds | of the peer's | MiB | of the peer's |\n|---|---|---|---|---|")
    for name, (s, m) in medians.items():
        print(f"| {name} | {s:.2f} | {s / seconds:.2f} | {m:.0f} | {m / memory:.2f} |")


if __name__ == "__main__":
    main()
