"""minirep beside PyTorch, ONNX Runtime and OpenVINO: the same weights, the same input, the same number of threads.

    python tests/benchmarks/peers.py [--threads 1,2] [--rounds 20] [--only 'rep/.*'] [--json results.json]

Needs `pip install 'minirep[bench]'`. For each number of threads one process runs all contenders in turn, again and
again; the time of each is the median. All outputs are compared before anything is timed. A pause before each turn lets
the threads of the one before fall asleep, and one run that is not timed brings its own weights into the caches.
"""

import argparse
import importlib.metadata
import json
import os
import platform
import re
import statistics
import subprocess
import sys
import tempfile
import time
from functools import lru_cache
from pathlib import Path

import numpy as np

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
sys.path.insert(0, str(ROOT))

FRAMES, HEADS = 416, {"class": 44}
PACKAGES = ("numpy", "numba", "llvmlite", "torch", "onnx", "onnxruntime", "openvino", "librosa")
PRECISIONS = {"fp32": {"INFERENCE_PRECISION_HINT": "f32"}, "as installed": {}}  # of OpenVINO
PAUSE = 0.25  # seconds: some runtimes keep their threads busy for 0.2 s after the last run
GOALS = [  # (row of the table, ours, theirs: the fastest of them counts, goal per number of threads)
    ("AudioRepInceptionNeXt fused, fp32", "rep/minirep fused", ["rep/onnxruntime", "rep/openvino fp32"],
     {1: 0.95, 2: 0.9}),
    ("AudioInceptionNeXt fused, fp32", "inc/minirep fused", ["inc/onnxruntime unfused", "inc/openvino fp32 unfused"],
     {1: 0.35, 2: 0.35}),
    ("AudioRepInceptionNeXt fused, bfloat16", "rep/minirep bfloat16 fused", ["rep/openvino as installed fused"],
     {1: 1.0, 2: 1.0}),
    ("AudioInceptionNeXt fused, bfloat16", "inc/minirep bfloat16 fused", ["inc/openvino as installed unfused"],
     {1: 0.35, 2: 0.35}),
    ("default model, one clip", "digits/minirep fused", ["digits/onnxruntime"], {1: 0.8}),
    ("NumPy alone, AudioRepInceptionNeXt fused", "rep/numpy fused", ["rep/torch fused"], {1: 0.8}),
    ("log-mel of one clip", "log-mel/minirep", ["log-mel/librosa"], {1: 0.7}),
    ("WAV to probabilities", "wav/minirep", ["wav/librosa + onnxruntime"], {1: 0.8}),
]  # fmt: skip


# --- the contenders -----------------------------------------------------------------------------------------------


def contenders(threads: int, folder: Path) -> tuple[dict, dict]:
    """({name: function without arguments}, {group of names that must agree: tolerance})."""
    import torch
    import twins

    import minirep

    torch.set_num_threads(threads)
    torch.set_grad_enabled(False)
    x = np.random.default_rng(0).normal(-5, 3, (1, FRAMES, 128)).astype(np.float32)
    runs = {}
    for short, kind in (("rep", "AudioRepInceptionNeXt"), ("inc", "AudioInceptionNeXt")):
        module, network = twins.pair(kind, 64, HEADS, FRAMES)
        merged = minirep.fuse(network)
        runs |= ours(short, network, merged, x, threads)
        runs |= theirs(short, {"unfused": module, "fused": twins.Merged(merged).eval()}, x, threads, folder)
    clf = default_model(threads)
    x = np.random.default_rng(0).normal(-5, 3, (1, clf.recipe.frames, 128)).astype(np.float32)
    runs |= ours("digits", clf.network, clf.network, x, threads)
    runs |= theirs("digits", {"fused": twins.Merged(clf.network).eval()}, x, threads, folder)
    return runs | sounds(clf, folder, threads)


def default_model(threads: int):
    """The shipped model; until there is one, its architecture with random weights."""
    import minirep
    from minirep.files.models import model_path

    if model_path().exists():
        return minirep.load(threads=threads)
    arch = minirep.Architecture(width=16, heads={"class": 12})
    network = minirep.fuse(minirep.random_network(arch))
    return minirep.Classifier(network, minirep.RECIPES["speech-commands-v2"], threads=threads)


def ours(short, network, merged, x, threads) -> dict:
    from minirep.fast import CompiledNetwork
    from minirep.network import forward
    from minirep.precision import as_precision

    compiled = {"fused": CompiledNetwork(merged, threads),
                "bfloat16 fused": CompiledNetwork(as_precision(merged, "bfloat16"), threads)}  # fmt: skip
    plain = {"fused": merged}
    if merged is not network:
        compiled["unfused"], plain["unfused"] = CompiledNetwork(network, threads), network
    runs = {f"{short}/minirep {form}": lambda c=c: first(c(x)) for form, c in compiled.items()}
    return runs | {f"{short}/numpy {form}": lambda n=n: first(forward(n, x)) for form, n in plain.items()}


def theirs(short, modules, x, threads, folder) -> dict:
    import torch

    runs = {}
    x = x[:, None]
    tensor = torch.from_numpy(x)
    for form, module in modules.items():
        runs[f"{short}/torch {form}"] = lambda module=module: first(module(tensor)).numpy()
        path = str(folder / f"{short}-{form}.onnx")
        torch.onnx.export(Outputs(module), (tensor,), path, input_names=["x"], dynamo=False)
        session = onnx_session(path, threads)
        runs[f"{short}/onnxruntime {form}"] = lambda session=session: session.run(None, {"x": x})[0]
        for name, settings in PRECISIONS.items():
            if short == "digits" and name != "fp32":
                continue  # OpenVINO 2026.4 does not come to an end with this model in bf16
            settings = settings | {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
            model = openvino_core().compile_model(path, "CPU", settings)
            runs[f"{short}/openvino {name} {form}"] = lambda model=model: model(x)[0]
    return runs


def sounds(clf, folder, threads) -> dict:
    """The way from a recording: log-mel alone, and a WAV file to probabilities."""
    import wave

    import librosa

    import minirep

    recipe = clf.recipe
    samples = np.random.default_rng(0).normal(0, 0.1, recipe.clip).clip(-1, 1)
    path = str(folder / "clip.wav")
    with wave.open(path, "wb") as file:
        file.setparams((1, 2, recipe.rate, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    session = onnx_session(str(folder / "digits-fused.onnx"), threads)
    view = samples[: recipe.clip - 1].astype(np.float32)

    def with_librosa():
        y, _ = librosa.load(path, sr=recipe.rate)
        return session.run(None, {"x": librosa_log_mel(librosa, y[: recipe.clip - 1], recipe)[None, None]})[0]

    return {
        "log-mel/minirep": lambda: minirep.log_mel_views(view, recipe.rate, recipe, 1)[0],
        "log-mel/librosa": lambda: librosa_log_mel(librosa, view, recipe),
        "wav/minirep": lambda: clf.classify(path, views=1).probabilities["class"][None],
        "wav/librosa + onnxruntime": with_librosa,
    }


@lru_cache(maxsize=1)
def openvino_core():
    import openvino

    return openvino.Core()


def onnx_session(path, threads):
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    return onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])


def librosa_log_mel(librosa, y, recipe):
    """minirep's log-mel as a user of librosa would write it."""
    mel = librosa.feature.melspectrogram(
        y=y, sr=recipe.rate, n_fft=2048, hop_length=recipe.hop, win_length=recipe.window, power=1, n_mels=128,
        htk=True, norm=None, pad_mode="constant",
    )  # fmt: skip
    return np.log(mel.T[: recipe.frames] + 1e-6)


def first(outputs):
    return next(iter(outputs.values()))


def Outputs(module):
    """The same module with a tensor in place of a dictionary, as ONNX wants it."""
    from torch import nn

    class First(nn.Module):
        def __init__(self):
            super().__init__()
            self.inner = module

        def forward(self, x):
            return first(self.inner(x))

    return First().eval()


# --- measuring ----------------------------------------------------------------------------------------------------


def compare(runs: dict) -> dict:
    """{name: the largest difference from minirep in NumPy, in probabilities, or in the logarithm for log-mels}."""
    print(f"comparing {len(runs)} outputs", file=sys.stderr)
    outputs = {name: np.asarray(run()) for name, run in runs.items()}
    found = {}
    for name, y in outputs.items():
        group = name.partition("/")[0] + "/"
        reference = next(outputs[name] for name in outputs if name.startswith(group))
        found[name] = float(np.abs(y - reference).max())
        allowed = 2e-2 if "as installed" in name or "bfloat16" in name or group == "log-mel" else 1e-4
        if not found[name] < allowed:
            raise SystemExit(f"{name}: differs by {found[name]}, allowed {allowed}")
    return found


def measure(runs: dict, rounds: int) -> dict:
    """{name: seconds of each timed run}, the contenders taking turns."""
    times = {name: [] for name in runs}
    for done in range(rounds):
        print(f"round {done + 1} of {rounds}", file=sys.stderr)
        for name, run in runs.items():
            time.sleep(PAUSE)
            run()
            start = time.perf_counter()
            run()
            times[name].append(time.perf_counter() - start)
    return times


def child(threads: int, rounds: int, only: str) -> dict:
    """All of it for one number of threads, in this process."""
    with tempfile.TemporaryDirectory() as folder:
        runs = {name: run for name, run in contenders(threads, Path(folder)).items() if re.fullmatch(only, name)}
        differences = compare(runs)
        times = measure(runs, rounds)
    return {
        name: {"median": statistics.median(t), "fastest": min(t), "difference": differences[name]}
        for name, t in times.items()
    }


def machine() -> dict:
    model = platform.processor() or platform.machine()
    if Path("/proc/cpuinfo").exists():
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        model = next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), model)
    versions = {name: importlib.metadata.version(name) for name in PACKAGES}
    return {"cpu": model, "cores": os.cpu_count(), "python": platform.python_version(), **versions}


def in_child(threads: int, rounds: int, only: str) -> dict:
    """The number of threads of NumPy's BLAS can only be set before it is imported."""
    names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    command = [sys.executable, __file__, "--child", str(threads), "--rounds", str(rounds), "--only", only]
    return json.loads(
        subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1]
    )


# --- the table ----------------------------------------------------------------------------------------------------


def goals(results: dict) -> list[str]:
    rows = ["| | threads | minirep, ms | peer, ms | ratio | goal |", "|---|---|---|---|---|---|"]
    for title, ours, theirs, wanted in GOALS:
        for threads, goal in wanted.items():
            times = results.get(str(threads), {})
            peers = {name: t["median"] for name, t in times.items() if name.startswith(tuple(theirs))}
            if ours in times and peers:
                name = min(peers, key=peers.get)
                mine, other = times[ours]["median"], peers[name]
                peer = name.partition("/")[2]
                rows.append(f"| {title} | {threads} | {mine * 1e3:.2f} | {other * 1e3:.2f} ({peer}) "
                            f"| {mine / other:.2f} | {goal} |")  # fmt: skip
    return rows


def everything(results: dict) -> list[str]:
    names = list(next(iter(results.values())))
    rows = ["| | " + " | ".join(f"{t} thread{'s' * (t != '1')}" for t in results) + " | difference |"]
    rows.append("|---|" + "---|" * (len(results) + 1))
    for name in names:
        cells = [f"{r[name]['median'] * 1e3:.2f}" for r in results.values()]
        rows.append(f"| {name} | {' | '.join(cells)} | {max(r[name]['difference'] for r in results.values()):.1e} |")
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", default="1,2", help="numbers of threads, each in a process of its own")
    parser.add_argument("--rounds", type=int, default=20)
    parser.add_argument("--only", default=".*", help="run contenders whose names match this regular expression")
    parser.add_argument("--json", help="write all results here")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(args.child, args.rounds, args.only)))
        return
    results = {t: in_child(int(t), args.rounds, args.only) for t in args.threads.split(",")}
    about = machine()
    if args.json:
        Path(args.json).write_text(json.dumps({"machine": about, "results": results}, indent=1))
    print(", ".join(f"{name} {value}" for name, value in about.items()), "\n")
    print("\n".join([*goals(results), "", *everything(results)]))


if __name__ == "__main__":
    main()
