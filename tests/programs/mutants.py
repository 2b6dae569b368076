"""Mutation testing: do the properties fail when the code is wrong?

The program plants one fault at a time in a copy of the package, runs the properties on it, and counts the faults that
they catch.

    python tests/programs/mutants.py            print caught/planted; the exit status is 0 if no fault survives
    python tests/programs/mutants.py identity   try only the faults whose names contain the word

A fault replaces one expression inside one function. It is caught if a property *fails*. A copy that cannot be imported
stops the program, and so does a fault whose expression is no longer in its function exactly once: `PLACES` must then
be updated.
"""

import ast
import os
import shutil
import subprocess
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PROPERTIES = ("test_exact.py", "test_laws.py")
HELPERS = ("naive.py", "strategies.py", "trees.py")

# (file, function or class.method): {name of the fault: (an expression, what replaces it)}
PLACES = {
    ("reparam.py", "fold"): {
        "epsilon left out when folding": ("conv.bn.variance + conv.bn.eps", "conv.bn.variance"),
        "no square root when folding": ("s = conv.bn.scale / sqrt(", "s = conv.bn.scale / ("),
        "sign of the mean": ("(bias - conv.bn.mean)", "(bias + conv.bn.mean)"),
        "mean not scaled": ("bias=(bias - conv.bn.mean) * s", "bias=bias * s - conv.bn.mean"),
        "shift lost": ("* s + conv.bn.shift", "* s"),
        "own bias lost when folding": ("if conv.bias is None else conv.bias\n", "\n"),
        "weights not scaled": ("weight=conv.weight * s", "weight=conv.weight"),
        "scale on the wrong axis": (
            "weight=conv.weight * s",
            "weight=(conv.weight.reshape(conv.weight.shape[-1], -1) * s[:, None]).reshape(conv.weight.shape)",
        ),
    },
    ("reparam.py", "fold_block"): {
        "shortcut not folded": ("else fold(block.shortcut)", "else replace(block.shortcut, bn=None)"),
    },
    ("reparam.py", "fuse"): {
        "stem left as it is": ("rounded_once(fold, network.stem)", "replace(network.stem, bn=None)"),
    },
    ("reparam.py", "pad_kernel"): {
        "padding off by one": ("(extra, extra)", "(extra + 1, extra - 1)"),
        "padding at one end": ("(extra, extra)", "(0, 2 * extra)"),
    },
    ("reparam.py", "merge_branches"): {
        "bias of one branch dropped": ("branch.bias for branch in folded", "b.bias for b in folded[:1]"),
        "one branch dropped": ("size) for branch in folded", "size) for branch in folded[:2]"),
        "first branch's size for all": ("max(len(branch.weight) for branch in folded)", "len(folded[0].weight)"),
        "branches averaged": ("Conv(weight,", "Conv(weight / len(folded),"),
    },
    ("reparam.py", "absorb_identity"): {
        "identity added twice": ("= weight[len(weight) // 2] + 1", "= weight[len(weight) // 2] + 2"),
        "identity on the wrong tap": ("weight[len(weight) // 2] =", "weight[len(weight) // 2 - 1] ="),
        "identity on the first tap": ("weight[len(weight) // 2] = weight[len(weight) // 2]", "weight[0] = weight[0]"),
        "identity on one channel": (
            "weight[len(weight) // 2] = weight[len(weight) // 2]",
            "weight[len(weight) // 2, 0] = weight[len(weight) // 2, 0]",
        ),
        "identity forgotten": ("weight[len(weight) // 2] + 1", "weight[len(weight) // 2]"),
        "identity kept beside its tap": (", identity=False", ""),
        "identity in the input's own kernel": ("conv.weight.copy()", "conv.weight"),
    },
    ("reparam.py", "collapse"): {
        "collapse the wrong way round": (
            "first.weight @ second.weight",
            "(second.weight @ first.weight)[: len(first.weight), : second.weight.shape[1]]",
        ),
        "collapse loses the first bias": ("bias=first.bias @ second.weight + second.bias", "bias=second.bias"),
        "collapse loses the second bias": (
            "bias=first.bias @ second.weight + second.bias",
            "bias=first.bias @ second.weight",
        ),
    },
    ("reparam.py", "collapse_linear"): {
        "collapse across a ReLU": ("if merged[-1].relu", "if False"),
    },
    ("ops.py", "depthwise"): {
        "time and frequency swapped": ('"time": 1, "frequency": 2', '"time": 2, "frequency": 1'),
        "frequency taken for time": ('"time": 1, "frequency": 2', '"time": 1, "frequency": 1'),
        "depthwise: ReLU missing": ("return relu(y)", "return y"),
        "depthwise: identity missing": ("x if layer.identity else 0", "0"),
        "depthwise: identity always": ("x if layer.identity else 0", "x"),
    },
    ("ops.py", "band_matrices"): {
        "depthwise: convolution for correlation": ("= weight.T", "= weight[::-1].T"),
        "depthwise: one matrix for all channels": ("= weight.T", "= weight.T[:1]"),
    },
    ("ops.py", "depthwise_conv"): {
        "depthwise: off by one": (
            "first - start + half : last - start + half",
            "first - start + half - 1 : last - start + half - 1",
        ),
        "depthwise: first input in reach dropped": ("max(0, start - half)", "max(0, start - half + 1)"),
        "depthwise: last input in reach dropped": ("min(length, stop + half)", "min(length, stop + half - 1)"),
    },
    ("ops.py", "epilogue"): {
        "ReLU of a convolution missing": ("if conv.relu else y", "if False else y"),
        "bias of a convolution missing": ("if conv.bias is not None", "if False"),
        "residual missing": ("if residual is not None", "if False"),
    },
    ("ops.py", "expand_project"): {
        "ReLU after the residual missing": ("relu(h)", "h"),
        "ReLU before the residual": (
            "epilogue(h @ convs[-1].weight, convs[-1], rest[start:stop])",
            "relu(epilogue(h @ convs[-1].weight, convs[-1])) + rest[start:stop]",
        ),
        "positions in tiles: one short": ("min(start + step, len(x))", "min(start + step, len(x) - 1)"),
    },
    ("ops.py", "batch_norm"): {
        "batch norm: epsilon left out": ("bn.variance + bn.eps", "bn.variance"),
        "batch norm: sign of the mean": ("(x - bn.mean)", "(x + bn.mean)"),
        "batch norm: shift missing": (" + bn.shift", ""),
    },
    ("ops.py", "stem"): {
        "stem: axes of the padding swapped": ("(kt // 2, kf // 2)", "(kf // 2, kt // 2)"),
        "stem: stride of one": ("(2, 2)", "(1, 1)"),
    },
    ("ops.py", "conv2d"): {
        "stem: taps transposed": ("weight.transpose(2, 0, 1, 3)", "weight.transpose(2, 1, 0, 3)"),
    },
    ("ops.py", "max_pool"): {
        "stem: pooling off by one": ("j : j + f : 2", "j + 1 : j + f + 1 : 2"),
        "stem: pooling of 2 x 3": ("for i in range(3)", "for i in range(2)"),
    },
    ("ops.py", "pointwise"): {
        "stride at the wrong places": (":: stride[0],", "stride[0] - 1 :: stride[0],"),
        "strides swapped": (":: stride[0], :: stride[1]", ":: stride[1], :: stride[0]"),
    },
    ("ops.py", "logits"): {
        "head: sum for mean": ("average_pool(x, window)", "average_pool(x, window) * window[0]"),
        "head: bias missing": (" + linear.bias", ""),
    },
    ("ops.py", "pool_window"): {
        "head: window one row short": ("min(pool[0], x.shape[1])", "max(1, min(pool[0], x.shape[1]) - 1)"),
        "head: sides of the window swapped": (
            "min(pool[0], x.shape[1]), min(pool[1], x.shape[2])",
            "min(pool[1], x.shape[1]), min(pool[0], x.shape[2])",
        ),
    },
    ("ops.py", "softmax"): {
        "softmax over the wrong axis": ("e.sum(axis=-1, keepdims=True)", "e.sum(axis=0, keepdims=True)"),
    },
    ("network.py", "Block.map_layers"): {
        "fused layers in the published order": (
            "change(layer) for layer in path",
            "replace(change(layer), axis=axis) for layer, axis in zip(path, ('time', 'frequency'))",
        ),
    },
    ("network.py", "block_forward"): {
        "a path of a block dropped": ("y if total is None else total + y", "y"),
        "shortcut without its stride": ("block.shortcut, block.stride", "block.shortcut, block.stride[::-1]"),
        "shortcut's convolution skipped": (
            "if block.shortcut is None",
            "if block.shortcut is None or x.shape == entered.shape",
        ),
        "layers of a path in parallel": ("ops.depthwise(y, layer)", "ops.depthwise(entered, layer)"),
    },
    ("network.py", "walk"): {
        "a stage skips its last block": (
            "block_forward(block, x, ops)",
            'block_forward(block, x, ops) if name.endswith(".0") else x',
        ),
    },
    ("architecture.py", "_block"): {
        "order of the axes ignored": ("for axis in arch.axes", "for axis in ('time', 'frequency')"),
        "the axes' kernels swapped": (
            '"time": arch.time_kernels[stage], "frequency": arch.freq_kernels[stage]',
            '"time": arch.freq_kernels[stage], "frequency": arch.time_kernels[stage]',
        ),
    },
    ("frontend.py", "view_starts"): {
        "view off by one": ("length - recipe.clip", "length - recipe.clip + 1"),
    },
    ("frontend.py", "log_mel_views"): {
        "view one sample longer": ("s + recipe.clip - 1", "s + recipe.clip"),
    },
    ("frontend.py", "pad_frames"): {
        "first frame repeated": ('mode="edge"', 'mode="reflect"'),
    },
    ("frontend.py", "hann"): {
        "symmetric window": ("/ length)", "/ (length - 1))"),
    },
    ("frontend.py", "centre_offset"): {
        "window off its frame's centre": ("(FFT_SIZE - recipe.window) // 2", "(FFT_SIZE - recipe.window) // 2 + 1"),
    },
    ("frontend.py", "log_mel_of_frames"): {
        "power instead of magnitude": ("magnitudes[:, bins] @", "magnitudes[:, bins] ** 2 @"),
    },
    ("files/modelfile.py", "_from_json"): {
        "epsilon lost in a file": (
            "NODES[kind](**children)",
            'NODES[kind](**children | ({"eps": 0.0} if kind == "BatchNorm" else {}))',
        ),
    },
}
FAULTS = {name: (*at, *change) for at, faults in PLACES.items() for name, change in faults.items()}


def place(file: str, function: str, expression: str) -> int:
    """Return where the expression is in the source of a module, as an index of its characters.

    ValueError unless the function is there and holds the expression exactly once.
    """
    source = (ROOT / "minirep" / file).read_text("utf-8")
    node = ast.parse(source)
    for name in function.split("."):
        inner = [n for n in ast.walk(node) if isinstance(n, (ast.FunctionDef, ast.ClassDef)) and n.name == name]
        if len(inner) != 1:
            raise ValueError(f"{file}: found {len(inner)} definitions of {name}, expected one")
        (node,) = inner
    lines = [f"{line}\n" for line in source.split("\n")]
    start = len("".join(lines[: node.lineno - 1]))
    text = "".join(lines[node.lineno - 1 : node.end_lineno])
    if text.count(expression) != 1:
        raise ValueError(f"{file}: found {expression!r} {text.count(expression)} times in {function}, expected once")
    return start + text.index(expression)


def misplaced() -> dict[str, str]:
    """Return the faults whose expressions are not in their functions exactly once: {name: what was found}."""
    found = {}
    for name, (file, function, expression, _) in FAULTS.items():
        try:
            place(file, function, expression)
        except (ValueError, OSError) as error:
            found[name] = str(error)
    return found


def plant(folder: Path, fault) -> None:
    """Copy the package and the properties to ``folder``, with a fault in the copy unless it is None."""
    ignore = shutil.ignore_patterns("__pycache__", "data")
    shutil.copytree(ROOT / "minirep", folder / "minirep", ignore=ignore)
    (folder / "minirep/data").mkdir()
    (folder / "tests/helpers").mkdir(parents=True)
    copied = ("minirep/data/__init__.py", "minirep/data/class_names.json", "tests/conftest.py")
    for name in (*copied, *(f"tests/{p}" for p in PROPERTIES), *(f"tests/helpers/{h}" for h in HELPERS)):
        shutil.copy(ROOT / name, folder / name)
    if fault is not None:
        file, function, expression, replacement = fault
        start = place(file, function, expression)
        path = folder / "minirep" / file
        source = path.read_text("utf-8")
        path.write_text(source[:start] + replacement + source[start + len(expression) :], "utf-8")


def fails(fault) -> tuple[bool, str]:
    """Return whether a property fails with this fault, and the name of the first that does."""
    with tempfile.TemporaryDirectory() as folder:
        plant(Path(folder), fault)
        environment = os.environ | {
            "HYPOTHESIS_PROFILE": "mutants",
            "PYTHONPATH": folder,
            "PYTHONDONTWRITEBYTECODE": "1",
            "OMP_NUM_THREADS": "1",
            "OPENBLAS_NUM_THREADS": "1",
            "MINIREP_BACKENDS": "numpy",  # the faults are in the reference; compiling each copy would take minutes
        }
        options = ["-x", "-q", "--tb=line", "-p", "no:cacheprovider", "--rootdir", folder, "-c", os.devnull]
        command = [sys.executable, "-m", "pytest", *options, *(f"tests/{name}" for name in PROPERTIES)]
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True)
        if done.returncode not in (0, 1) or "rror collecting" in done.stdout:
            raise SystemExit(f"the properties could not be run:\n{done.stdout}\n{done.stderr}")
        failed = [line.split("::")[1].split(" ")[0] for line in done.stdout.splitlines() if line.startswith("FAILED")]
        return done.returncode == 1, "".join(failed)


def main(word: str = "") -> int:
    start = time.monotonic()
    if misplaced():
        raise SystemExit("update the list of faults:\n" + "\n".join(f"{n}: {why}" for n, why in misplaced().items()))
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
