"""Are the properties worth anything? Plants faults in the merging and the forward pass, one at a time, and counts how
many the property part of the suite catches.

    python tests/mutants.py            prints caught/planted; exit status 0 only if no fault survives
    python tests/mutants.py identity   only the faults whose names contain the word

Each fault is one replaced stretch of source in a copy of the package. A fault counts as caught when a property *fails*; a
copy that cannot even be imported counts as nothing and stops the script, and so does a fault whose place in the source is
gone: then this list is what has to be mended.
"""
# ruff: noqa: E501 (a table of faults)

import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).parent.parent
PROPERTIES = ("tests/test_exact.py", "tests/test_laws.py")

# name: (file, what stands there, what is put in its place)
FAULTS = {
    # reparam.py
    "epsilon left out when folding": ("reparam.py", "sqrt(conv.bn.variance + conv.bn.eps)", "sqrt(conv.bn.variance)"),
    "no square root when folding": ("reparam.py", "sqrt(conv.bn.variance + conv.bn.eps)", "(conv.bn.variance + conv.bn.eps)"),
    "sign of the mean": ("reparam.py", "(bias - conv.bn.mean) * s", "(bias + conv.bn.mean) * s"),
    "mean not scaled": ("reparam.py", "(bias - conv.bn.mean) * s + conv.bn.shift", "bias * s - conv.bn.mean + conv.bn.shift"),
    "shift lost": ("reparam.py", "(bias - conv.bn.mean) * s + conv.bn.shift", "(bias - conv.bn.mean) * s"),
    "own bias lost when folding": ("reparam.py", "if conv.bias is None else conv.bias\n    if", "\n    if"),
    "weights not scaled": ("reparam.py", "weight=conv.weight * s, bias=", "weight=conv.weight, bias="),
    "scale on the wrong axis": (
        "reparam.py",
        "weight=conv.weight * s, bias=",
        "weight=(conv.weight.reshape(conv.weight.shape[-1], -1) * s[:, None]).reshape(conv.weight.shape), bias=",
    ),
    "padding off by one": ("reparam.py", "np.pad(kernel, ((extra, extra),", "np.pad(kernel, ((extra + 1, extra - 1),"),
    "padding at one end": ("reparam.py", "np.pad(kernel, ((extra, extra),", "np.pad(kernel, ((0, 2 * extra),"),
    "bias of one branch dropped": ("reparam.py", "sum(branch.bias for branch in folded)", "sum(b.bias for b in folded[:1])"),
    "one branch dropped": ("reparam.py", "widen(branch.weight, size) for branch in folded)", "widen(b.weight, size) for b in folded[:2])"),
    "first branch's size for all": ("reparam.py", "size = max(len(branch.weight) for branch in folded)", "size = len(folded[0].weight)"),
    "branches averaged": ("reparam.py", "sum(widen(branch.weight, size) for branch in folded)", "sum(widen(b.weight, size) for b in folded) / len(folded)"),
    "identity added twice": ("reparam.py", "weight[len(weight) // 2] += 1", "weight[len(weight) // 2] += 2"),
    "identity on the wrong tap": ("reparam.py", "weight[len(weight) // 2] += 1", "weight[len(weight) // 2 - 1] += 1"),
    "identity on the first tap": ("reparam.py", "weight[len(weight) // 2] += 1", "weight[0] += 1"),
    "identity on one channel": ("reparam.py", "weight[len(weight) // 2] += 1", "weight[len(weight) // 2, 0] += 1"),
    "identity forgotten": ("reparam.py", "weight[len(weight) // 2] += 1", "pass"),
    "identity kept beside its tap": ("reparam.py", "branches=(replace(conv, weight=weight),), identity=False)", "branches=(replace(conv, weight=weight),))"),
    "identity in the input's own kernel": ("reparam.py", "weight = conv.weight.copy()", "weight = conv.weight"),
    "collapse the wrong way round": ("reparam.py", "weight=first.weight @ second.weight", "weight=(second.weight @ first.weight)[: len(first.weight), : second.weight.shape[1]]"),
    "collapse loses the first bias": ("reparam.py", "first.bias @ second.weight + second.bias", "second.bias"),
    "collapse loses the second bias": ("reparam.py", "first.bias @ second.weight + second.bias", "first.bias @ second.weight"),
    "collapse across a ReLU": ("reparam.py", "if merged[-1].relu else", "if False else"),
    "shortcut not folded": ("reparam.py", "None if block.shortcut is None else fold(block.shortcut)", "block.shortcut and replace(block.shortcut, bn=None)"),
    "stem left as it is": ("reparam.py", "stem=fold(network.stem),", "stem=replace(network.stem, bn=None),"),
    "fused layers in the published order": (
        "reparam.py",
        "paths=tuple(tuple(fuse_layer(layer) for layer in path) for path in block.paths)",
        "paths=tuple(tuple(replace(fuse_layer(layer), axis=axis) for layer, axis in zip(path, ('time', 'frequency'))) for path in block.paths)",
    ),
    # ops.py
    "time and frequency swapped": ("ops.py", '{"time": 1, "frequency": 2}', '{"time": 2, "frequency": 1}'),
    "frequency taken for time": ("ops.py", '{"time": 1, "frequency": 2}', '{"time": 1, "frequency": 1}'),
    "depthwise: convolution for correlation": ("ops.py", "= weight.T\n", "= weight[::-1].T\n"),
    "depthwise: off by one": ("ops.py", "first - start + half : last - start + half]", "first - start + half - 1 : last - start + half - 1]"),
    "depthwise: first input in reach dropped": ("ops.py", "max(0, start - half)", "max(0, start - half + 1)"),
    "depthwise: last input in reach dropped": ("ops.py", "min(length, stop + half)", "min(length, stop + half - 1)"),
    "depthwise: one matrix for all channels": ("ops.py", "= weight.T\n", "= weight.T[:1]\n"),
    "positions in tiles: one short": ("ops.py", "min(start + step, rows)) for", "min(start + step, rows - 1)) for"),
    "depthwise: ReLU missing": ("ops.py", "        y = y + after(depthwise_conv(x, branch.weight, axis), branch)\n    return relu(y)", "        y = y + after(depthwise_conv(x, branch.weight, axis), branch)\n    return y"),
    "depthwise: identity missing": ("ops.py", "y = x if layer.identity else 0", "y = 0"),
    "depthwise: identity always": ("ops.py", "y = x if layer.identity else 0", "y = x"),
    "ReLU of a convolution missing": ("ops.py", "if conv.relu else y", "if False else y"),
    "bias of a convolution missing": ("ops.py", "if conv.bias is not None:", "if False:"),
    "residual missing": ("ops.py", "if residual is not None:", "if False:"),
    "ReLU after the residual missing": ("ops.py", "y[start:stop] = relu(h)", "y[start:stop] = h"),
    "ReLU before the residual": ("ops.py", "after(h @ convs[-1].weight, convs[-1], rest[start:stop])", "relu(after(h @ convs[-1].weight, convs[-1])) + rest[start:stop]"),
    "batch norm: epsilon left out": ("ops.py", "sqrt(bn.variance + bn.eps)", "sqrt(bn.variance)"),
    "batch norm: sign of the mean": ("ops.py", "(x - bn.mean)", "(x + bn.mean)"),
    "batch norm: shift missing": ("ops.py", " + bn.shift\n", "\n"),
    "stem: axes of the padding swapped": ("ops.py", "(2, 2), (kt // 2, kf // 2)", "(2, 2), (kf // 2, kt // 2)"),
    "stem: stride of one": ("ops.py", "conv2d(x, conv.weight, (2, 2),", "conv2d(x, conv.weight, (1, 1),"),
    "stem: taps transposed": ("ops.py", "weight.transpose(2, 0, 1, 3)", "weight.transpose(2, 1, 0, 3)"),
    "stem: pooling off by one": ("ops.py", "x[:, i : i + t : 2, j : j + f : 2] for", "x[:, i : i + t : 2, j + 1 : j + f + 1 : 2] for"),
    "stem: pooling of 2 x 3": ("ops.py", "for i in range(3) for j in range(3)", "for i in range(2) for j in range(3)"),
    "stride at the wrong places": ("ops.py", "x[:, :: stride[0], :: stride[1]], conv.weight", "x[:, stride[0] - 1 :: stride[0], :: stride[1]], conv.weight"),
    "strides swapped": ("ops.py", "x[:, :: stride[0], :: stride[1]], conv.weight", "x[:, :: stride[1], :: stride[0]], conv.weight"),
    "head: sum for mean": ("ops.py", "matmul(average_pool(x, window), linear.weight)", "matmul(average_pool(x, window) * window[0], linear.weight)"),
    "head: window one row short": ("ops.py", "min(pool[0], x.shape[1]), min", "max(1, min(pool[0], x.shape[1]) - 1), min"),
    "head: sides of the window swapped": ("ops.py", "min(pool[0], x.shape[1]), min(pool[1], x.shape[2])", "min(pool[1], x.shape[1]), min(pool[0], x.shape[2])"),
    "head: bias missing": ("ops.py", "linear.weight) + linear.bias", "linear.weight)"),
    "softmax over the wrong axis": ("ops.py", "e / e.sum(axis=-1, keepdims=True)", "e / e.sum(axis=0, keepdims=True)"),
    # network.py
    "order of the axes ignored": ("network.py", "for axis in arch.axes]", "for axis in ('time', 'frequency')]"),
    "the axes' kernels swapped": ("network.py", 'sizes = {"time": arch.time_kernels[stage], "frequency": arch.freq_kernels[stage]}', 'sizes = {"time": arch.freq_kernels[stage], "frequency": arch.time_kernels[stage]}'),
    "a path of a block dropped": ("network.py", "total = y if total is None else total + y", "total = y"),
    "shortcut without its stride": ("network.py", "ops.pointwise(x, block.shortcut, block.stride)", "ops.pointwise(x, block.shortcut, block.stride[::-1])"),
    "shortcut's convolution skipped": ("network.py", "residual = x if block.shortcut is None else", "residual = x if block.shortcut is None or x.shape == reduced.shape else"),
    "layers of a path in parallel": ("network.py", "y = ops.depthwise(y, layer)", "y = ops.depthwise(reduced, layer)"),
    "a stage skips its last block": ("network.py", "        for block in blocks:\n            x = block_forward", "        for block in blocks[: max(1, len(blocks) - 1)]:\n            x = block_forward"),
    # frontend.py and store.py
    "view off by one": ("frontend.py", "np.linspace(0, length - recipe.clip, views)", "np.linspace(0, length - recipe.clip + 1, views)"),
    "view one sample longer": ("frontend.py", "recording.read(s, s + recipe.clip - 1)", "recording.read(s, s + recipe.clip)"),
    "first frame repeated": ("frontend.py", 'mode="edge")\n', 'mode="reflect")\n'),
    "symmetric window": ("frontend.py", "np.arange(length) / length)", "np.arange(length) / (length - 1))"),
    "window off its frame's centre": ("frontend.py", "return FFT_SIZE // 2 - (FFT_SIZE - recipe.window) // 2", "return FFT_SIZE // 2 - (FFT_SIZE - recipe.window) // 2 + 1"),
    "power instead of magnitude": ("frontend.py", "magnitudes[:, bins] @ weights", "magnitudes[:, bins] ** 2 @ weights"),
    "epsilon lost in a file": ("store.py", "    return children if kind == \"dict\" else NODES[kind](**children)", "    children.pop('eps', None)\n    children |= {'eps': 0.0} if kind == 'BatchNorm' else {}\n    return children if kind == \"dict\" else NODES[kind](**children)"),
}  # fmt: skip


def misplaced() -> list[str]:
    """The faults whose place is no longer in the source, or there twice."""
    return [
        name for name, (file, old, _) in FAULTS.items() if (ROOT / "minirep" / file).read_text("utf-8").count(old) != 1
    ]


def plant(folder: Path, fault) -> None:
    """A copy of the package and the tests in ``folder``, with a fault in it."""
    ignore = shutil.ignore_patterns("__pycache__", "data", "golden")
    shutil.copytree(ROOT / "minirep", folder / "minirep", ignore=ignore)
    (folder / "minirep/data").mkdir()
    for name in ("__init__.py", "class_names.json"):
        shutil.copy(ROOT / "minirep/data" / name, folder / "minirep/data")
    (folder / "tests").mkdir()
    for name in ("conftest.py", "naive.py", "strategies.py", *(Path(p).name for p in PROPERTIES)):
        shutil.copy(ROOT / "tests" / name, folder / "tests")
    if fault is not None:
        file, old, new = fault
        path = folder / "minirep" / file
        path.write_text(path.read_text("utf-8").replace(old, new), "utf-8")


def fails(fault) -> tuple[bool, str]:
    """Whether a property fails with this fault, and which one."""
    with tempfile.TemporaryDirectory() as folder:
        plant(Path(folder), fault)
        environment = os.environ | {
            "HYPOTHESIS_PROFILE": "mutants",
            "PYTHONPATH": folder,
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MINIREP_BACKENDS": "numpy",  # what is planted is the reference; compiling it each time takes minutes
        }
        command = [
            sys.executable,
            "-m",
            "pytest",
            "-x",
            "-q",
            "--tb=line",
            "-p",
            "no:cacheprovider",
            "--rootdir",
            folder,
        ]
        command += ["-c", os.devnull, *PROPERTIES]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode not in (0, 1) or "rror collecting" in done.stdout:
            raise SystemExit(f"the properties could not be run:\n{done.stdout}\n{done.stderr}")
        failed = [line.split("::")[1].split(" ")[0] for line in done.stdout.splitlines() if line.startswith("FAILED")]
        return done.returncode == 1, "".join(failed)


def main(word: str = "") -> int:
    start = time.monotonic()
    if misplaced():
        raise SystemExit(f"not in the source exactly once, mend the list: {', '.join(misplaced())}")
    if fails(None)[0]:
        raise SystemExit("the properties fail without any fault")
    chosen = {name: fault for name, fault in FAULTS.items() if word in name}
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        total = 0
        for name, (caught, by) in zip(chosen, pool.map(fails, chosen.values())):
            print(f"{'caught  ' if caught else 'SURVIVED'}  {name:40}  {by}", flush=True)
            total += caught
    print(f"faults caught: {total}/{len(chosen)} in {time.monotonic() - start:.0f} s")
    return 0 if total == len(chosen) else 1


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
