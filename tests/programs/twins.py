"""Makes tests/data/twin-rep.npz and twin-inception.npz: networks, front end and merged kernels, computed by PyTorch.

    python tests/programs/twins.py

Nothing of minirep computes here. The networks are written down once more from their papers, in float64, on a published
state of random weights (`pyth.published_state`), the log-mels by `torch.stft`, the merged kernels by sums of padded
kernels. `test_golden.py` reads the state through `minirep.read_checkpoint` and compares. Each file holds:

    state          all weights, one after the other (float32)
    log_mels       (1, 33, 128), what the network hears; probs, its probabilities, (1, 3)
    s1 ... s5      what stem and stages give for them, (N, C, T, F)
    <recipe>       log-mels of `tone`, every 64th frame
    merged.<path>  merged kernels of a block by the path of the array, float64
"""

import sys
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "tests/data"
SHAPE = {"width": 1, "depths": (1, 1, 1, 1), "time": (13, 13, 5, 5), "freq": (5, 13, 13, 5)}
SUFFIXES = ("", "_medium", "_small")
RECIPES = {
    "speech-commands-v2": (16000, 80, 32, 16367),
    "epic-sounds": (24000, 240, 120, 49919),
}  # window, hop, samples
EPS = 1e-5


def tone(rate: int, count: int) -> np.ndarray:
    """A tone that rises, with an overtone."""
    t = np.arange(count) / rate
    return (0.3 * np.sin(2 * np.pi * (300 * t + 900 * t * t)) + 0.1 * np.sin(2 * np.pi * 3100 * t)).astype(np.float32)


def log_mel(samples: np.ndarray, rate: int, window: int, hop: int) -> np.ndarray:
    import torch

    hann = torch.hann_window(window, periodic=True, dtype=torch.float64)
    x = torch.from_numpy(samples.astype(np.float64))
    spectrum = torch.stft(x, 2048, hop, window, hann, center=True, pad_mode="constant", return_complex=True).abs().T
    hertz = np.arange(1025) * rate / 2048
    corners = 700 * (np.exp(np.linspace(0, 1127 * np.log1p(rate / 2 / 700), 130) / 1127) - 1)
    up = (hertz[:, None] - corners[:-2]) / (corners[1:-1] - corners[:-2])
    down = (corners[2:] - hertz[:, None]) / (corners[2:] - corners[1:-1])
    return np.log(spectrum.numpy() @ np.maximum(0, np.minimum(up, down)) + 1e-6)


def network(state: dict, x: np.ndarray, inception: bool) -> dict[str, np.ndarray]:
    """Stem, stages and probabilities of log-mels (N, frames, 128)."""
    import torch
    from torch.nn import functional as F

    a = {key: torch.from_numpy(np.asarray(array, np.float64)) for key, array in state.items()}

    def conv(x, key, norm, stride=1, groups=1):
        weight = a[f"{key}.weight"]
        y = F.conv2d(x, weight, None, stride, tuple(k // 2 for k in weight.shape[2:]), groups=groups)
        values = (a[f"{norm}.{name}"] for name in ("running_mean", "running_var", "weight", "bias"))
        return F.batch_norm(y, *values, eps=EPS)

    y = F.relu(conv(torch.from_numpy(x)[:, None], "s1.pathway0_stem.conv", "s1.pathway0_stem.bn", 2))
    y = F.max_pool2d(y, 3, 2, 1)
    found = {"s1": y}
    for stage in (2, 3, 4, 5):
        block, stride = f"s{stage}.pathway0_res0", 2 if stage > 2 else 1
        inner = f"{block}.branch2."

        def branch(x, axis, suffix, inner=inner):
            return conv(x, f"{inner}{axis}{suffix}", f"{inner}{axis}_bn{suffix}", groups=x.shape[1])

        h = conv(y, f"{inner}a_head", f"{inner}a_head_bn", stride)
        if inception:
            h = sum(F.relu(branch(F.relu(branch(h, "a", suffix)), "b", suffix)) for suffix in SUFFIXES)
            h = conv(h, f"{inner}c", f"{inner}c_bn")
        else:
            h = F.relu(h)
            for axis in "ab":
                h = F.relu(h + sum(branch(h, axis, suffix) for suffix in SUFFIXES))
            h = F.relu(conv(h, f"{inner}c", f"{inner}c_bn"))
        shortcut = conv(y, f"{block}.branch1", f"{block}.branch1_bn", stride) if stage > 2 else y
        y = F.relu(shortcut + conv(h, f"{inner}d", f"{inner}d_bn"))
        found[f"s{stage}"] = y
    pooled = F.avg_pool2d(y, (1, 4), 1).permute(0, 2, 3, 1)  # for 32 frames; with more there are more positions
    logits = pooled @ a["head.projection.weight"].T + a["head.projection.bias"]
    found["probs"] = logits.softmax(-1).mean(dim=(1, 2))
    return {name: value.numpy() for name, value in found.items()}


def merged(state: dict, inception: bool) -> dict[str, np.ndarray]:
    """The merged kernels of the first block of the second stage."""
    a = {key: np.asarray(array, np.float64) for key, array in state.items()}
    inner, path = "s3.pathway0_res0.branch2.", "merged.stages.1.0"

    def folded(key, norm):
        s = a[f"{inner}{norm}.weight"] / np.sqrt(a[f"{inner}{norm}.running_var"] + EPS)
        weight = a[f"{inner}{key}.weight"] * s[:, None, None, None]
        return weight, a[f"{inner}{norm}.bias"] - a[f"{inner}{norm}.running_mean"] * s

    if inception:
        (w4, b4), (w5, b5) = folded("c", "c_bn"), folded("d", "d_bn")
        product = w5[:, :, 0, 0] @ w4[:, :, 0, 0]
        return {f"{path}.expand_project.0.weight": product.T, f"{path}.expand_project.0.bias": w5[:, :, 0, 0] @ b4 + b5}
    found = {}
    for i, axis in enumerate("ab"):
        weight, bias = 0, 0
        for suffix in SUFFIXES:
            w, b = folded(f"{axis}{suffix}", f"{axis}_bn{suffix}")
            taps = w.reshape(len(w), -1).T  # (taps, C)
            extra = (13 - len(taps)) // 2
            weight, bias = weight + np.pad(taps, ((extra, extra), (0, 0))), bias + b
        weight[6] += 1
        found |= {f"{path}.paths.0.{i}.branches.0.weight": weight, f"{path}.paths.0.{i}.branches.0.bias": bias}
    return found


def main() -> None:
    sys.path.insert(0, str(ROOT / "tests/helpers"))
    import pyth

    for seed, kind in enumerate(("rep", "inception")):
        state = pyth.published_state(**SHAPE, seed=seed)
        x = np.random.default_rng(seed).normal(-4, 2, (1, 33, 128)).astype(np.float16).astype(np.float64)
        outputs = network(state, x, kind == "inception") | merged(state, kind == "inception")
        for recipe, (rate, window, hop, count) in RECIPES.items() if kind == "rep" else ():
            outputs[recipe] = log_mel(tone(rate, count), rate, window, hop)[::64].astype(np.float32)
        floats = {k: v if k.startswith("merged") else v.astype(np.float32) for k, v in outputs.items()}
        weights = np.concatenate([np.ravel(v) for v in state.values() if np.asarray(v).dtype.kind == "f"])
        np.savez_compressed(DATA / f"twin-{kind}.npz", state=weights, log_mels=x.astype(np.float16), **floats)


if __name__ == "__main__":
    main()
