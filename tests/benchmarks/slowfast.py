"""Auditory SlowFast beside AudioRepInceptionNeXt: do half the multiply-adds take half the time and the memory?

    python tests/benchmarks/slowfast.py [--threads 1,2] [--rounds 15] [--json results.json]

Needs `pip install 'minirep[bench]'`. Both networks at the size of the recipe vggsound (512 frames, 309 classes), with
random weights, one clip. Times are medians of runs that take turns in one process; memory is what a process of its own
grows by when it loads the network and runs it three times.

The network: Kazakos, Nagrani, Zisserman, Damen, "Slow-Fast Auditory Streams for Audio Recognition", ICASSP 2021 (arXiv
2103.03516); its parameters and multiply-adds come out as published, which `check_counts` asserts.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import peers
import torch
import twins
from torch import nn

import minirep

RECIPE = minirep.RECIPES["vggsound"]
PUBLISHED = {  # recipe: (frames, parameters in M, multiply-adds in G, a batch norm counted as two for each element)
    "vggsound": (512, 26.6795, 5.5453),
    "epic-kitchens-100": (400, 26.8823, 4.3326),  # 400 frames in the paper of SlowFast, 416 in the later recipe
}


# --- the network ---------------------------------------------------------------------------------------------------


def conv(inputs: int, outputs: int, kernel: tuple, stride: tuple = (1, 1)) -> nn.Sequential:
    """Convolution over (time, frequency) and batch norm."""
    padding = tuple(k // 2 for k in kernel)
    return nn.Sequential(nn.Conv2d(inputs, outputs, kernel, stride, padding, bias=False), nn.BatchNorm2d(outputs))


class Block(nn.Module):
    """A bottleneck: along time to few channels, along frequency, and back to many."""

    def __init__(self, inputs, inner, outputs, time, stride):
        super().__init__()
        self.a = conv(inputs, inner, (time, 1))
        self.b = conv(inner, inner, (1, 3), (1, stride))
        self.c = conv(inner, outputs, (1, 1))
        self.shortcut = conv(inputs, outputs, (1, 1), (1, stride)) if inputs != outputs else nn.Identity()

    def forward(self, x):
        return (self.c(self.b(self.a(x).relu()).relu()) + self.shortcut(x)).relu()


class SlowFast(nn.Module):
    """A slow stream that sees every fourth frame, with many channels; a fast one that sees all, with few."""

    def __init__(self, heads: dict, alpha=4, beta=8, depths=(3, 4, 6, 3)):
        super().__init__()
        self.alpha = alpha
        self.slow_stem, self.fast_stem = conv(1, 64, (1, 7), (2, 2)), conv(1, 64 // beta, (5, 7), (2, 2))
        self.pool = nn.MaxPool2d(3, 2, 1)
        self.slow, self.fast, self.lateral = nn.ModuleList(), nn.ModuleList(), nn.ModuleList()
        width = 64  # channels of the slow stream that enter a stage
        for stage, (depth, time) in enumerate(zip(depths, (1, 1, 3, 3), strict=True)):
            few, inner, outputs = width // beta, 64 << stage, 256 << stage
            self.lateral.append(conv(few, 2 * few, (7, 1), (alpha, 1)))  # from fast to slow
            self.slow.append(self.stage(depth, width + 2 * few, inner, outputs, time, stage))
            self.fast.append(self.stage(depth, few, inner // beta, outputs // beta, 3, stage))
            width = outputs
        self.heads = nn.ModuleDict({name: nn.Linear(width + width // beta, n) for name, n in heads.items()})

    @staticmethod
    def stage(depth, inputs, inner, outputs, time, number):
        blocks = [Block(inputs, inner, outputs, time, 1 if number == 0 else 2)]
        return nn.Sequential(*blocks, *(Block(outputs, inner, outputs, time, 1) for _ in range(depth - 1)))

    def forward(self, x):  # (N, 1, T, 128) -> {head: (N, classes)}
        slow = self.pool(self.slow_stem(x[:, :, :: self.alpha]).relu())  # (N, 64, T / 16, 32)
        fast = self.pool(self.fast_stem(x).relu())  # (N, 8, T / 4, 32)
        for along_slow, along_fast, lateral in zip(self.slow, self.fast, self.lateral, strict=True):
            slow = along_slow(torch.cat([slow, lateral(fast).relu()], 1))
            fast = along_fast(fast)
        y = torch.cat([slow.mean((2, 3)), fast.mean((2, 3))], 1)
        return {name: linear(y).softmax(-1) for name, linear in self.heads.items()}


def counts(module: nn.Module, frames: int) -> tuple[int, int]:
    """(parameters, multiply-adds) for one clip, counted as published."""
    total = []

    def hook(layer, _, y):
        if isinstance(layer, nn.Conv2d):
            total.append(y.numel() * layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1])
        elif isinstance(layer, nn.BatchNorm2d):
            total.append(2 * y.numel())
        elif isinstance(layer, nn.Linear):
            total.append(layer.in_features * layer.out_features)

    hooks = [layer.register_forward_hook(hook) for layer in module.modules()]
    module.eval()(torch.zeros(1, 1, frames, 128))
    for hook in hooks:
        hook.remove()
    return sum(p.numel() for p in module.parameters()), sum(total)


def check_counts() -> None:
    """The networks built here have the published numbers of parameters and multiply-adds, to the last digit given."""
    for name, (frames, parameters, operations) in PUBLISHED.items():
        found = counts(SlowFast(minirep.RECIPES[name].heads), frames)
        if (round(found[0] / 1e6, 4), round(found[1] / 1e9, 4)) != (parameters, operations):
            raise SystemExit(f"{name}: found {found}, published {parameters} M and {operations} G")


# --- measuring -----------------------------------------------------------------------------------------------------


def networks(folder: Path) -> None:
    """Build the three networks and leave them in files, so that a process that loads one holds nothing else."""
    torch.manual_seed(0)
    module, network = twins.pair("AudioRepInceptionNeXt", 64, RECIPE.heads, RECIPE.frames)
    merged = minirep.fuse(network)
    minirep.save(minirep.Classifier(merged, RECIPE, backend="numpy"), folder / "merged.npz")
    modules = {
        "SlowFast": SlowFast(RECIPE.heads),
        "AudioRepInceptionNeXt unfused": module,
        "AudioRepInceptionNeXt fused": twins.Merged(merged),
    }
    x = torch.zeros(1, 1, RECIPE.frames, 128)
    for name, each in modules.items():
        torch.save(each.eval(), folder / f"{name}.pt")
        path = str(folder / f"{name}.onnx")
        torch.onnx.export(peers.Outputs(each), (x,), path, input_names=["x"], dynamo=False)


def contenders(threads: int, folder: Path) -> dict:
    """{name: a function that loads a network and gives a function that runs it}"""
    x = np.random.default_rng(0).normal(-5, 3, (1, RECIPE.frames, 128)).astype(np.float32)
    made = {}
    for name in ("SlowFast", "AudioRepInceptionNeXt unfused", "AudioRepInceptionNeXt fused"):
        path = str(folder / name)
        made[f"{name} / torch"] = lambda path=path: in_torch(path, x)
        made[f"{name} / onnxruntime"] = lambda path=path: in_onnxruntime(path, x, threads)
        made[f"{name} / openvino fp32"] = lambda path=path: in_openvino(path, x, threads)
    made["AudioRepInceptionNeXt fused / minirep"] = lambda: in_minirep(folder, x, "numba", threads)
    made["AudioRepInceptionNeXt fused / numpy"] = lambda: in_minirep(folder, x, "numpy", threads)
    return made


def in_torch(path, x):
    module, x = torch.load(f"{path}.pt", weights_only=False), torch.from_numpy(x[:, None])
    return lambda: module(x)


def in_onnxruntime(path, x, threads):
    session = peers.onnx_session(f"{path}.onnx", threads)
    return lambda: session.run(None, {"x": x[:, None]})


def in_openvino(path, x, threads):
    settings = peers.PRECISIONS["fp32"] | {"INFERENCE_NUM_THREADS": threads, "PERFORMANCE_HINT": "LATENCY"}
    model = peers.openvino_core().compile_model(f"{path}.onnx", "CPU", settings)
    return lambda: model(x[:, None])


def in_minirep(folder, x, backend, threads):
    clf = minirep.load(folder / "merged.npz", backend=backend, threads=threads)
    return lambda: clf.probabilities(x)


def resident() -> float:
    """MiB of this process at most, so far. (`getrusage` would begin with what the parent had.)"""
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmHWM")).split()[1]) / 1024


def child(args) -> dict:
    """{name: seconds}, or with --memory the MiB that one of them takes."""
    torch.set_num_threads(args.child)
    torch.set_grad_enabled(False)
    made = contenders(args.child, Path(args.folder))
    if not args.memory:
        runs = {name: load() for name, load in made.items()}
        return {name: statistics.median(t) for name, t in peers.measure(runs, args.rounds).items()}
    import onnxruntime  # noqa: F401  imported before, so that what they take is not counted
    import openvino  # noqa: F401

    before = resident()
    run = made[args.memory]()
    for _ in range(3):
        run()
    return {"MiB": resident() - before}


def in_child(threads: int, *options: str) -> dict:
    """The number of threads of NumPy's BLAS can only be set before it is imported."""
    names = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS")
    environment = {**os.environ, **dict.fromkeys(names, str(threads))}
    command = [sys.executable, "-W", "ignore", __file__, "--child", str(threads), *options]
    return json.loads(
        subprocess.run(command, env=environment, stdout=subprocess.PIPE, check=True).stdout.splitlines()[-1]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--threads", default="1,2", help="numbers of threads, each in a process of its own")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--json", help="write all results here")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    parser.add_argument("--memory", help=argparse.SUPPRESS)
    parser.add_argument("--folder", help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.child:
        print(json.dumps(child(args)))
        return
    check_counts()
    with tempfile.TemporaryDirectory() as folder:
        networks(Path(folder))
        options = ["--folder", folder, "--rounds", str(args.rounds)]
        times = {t: in_child(int(t), *options) for t in args.threads.split(",")}
        names = list(next(iter(times.values())))
        memory = {name: in_child(1, *options, "--memory", name)["MiB"] for name in names}
    if args.json:
        Path(args.json).write_text(json.dumps({"machine": peers.machine(), "seconds": times, "MiB": memory}, indent=1))
    print("| | " + " | ".join(f"{t} thread{'s' * (t != '1')}, ms" for t in times) + " | MiB |")
    print("|---|" + "---|" * (len(times) + 1))
    for name in names:
        print(f"| {name} | {' | '.join(f'{1e3 * t[name]:.1f}' for t in times.values())} | {memory[name]:.0f} |")


if __name__ == "__main__":
    main()
