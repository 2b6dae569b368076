"""Questions that the papers leave open, answered on a small scale, with small networks.

    python questions.py train   --sounds work/sounds.npz --esc10 esc10.tar   # accuracy of each variant (accuracy.py)
    python questions.py measure                                              # time of each, and of convolutions
    python questions.py lengths --sounds work/sounds.npz                     # recordings longer than a clip
    python questions.py report                                               # all results as tables

Each part appends lines to its own files in --out and skips what they already hold. You can stop `train` and start it
again, and several processes share its work. `answers/` has the results; docs/measured/open-questions.md describes
them, and docs/figures/draw.py draws them. The sounds and the training steps are those of ../training.
"""

import argparse
import dataclasses
import functools
import itertools
import pathlib
import statistics
import sys
import time

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "training"))
import accuracy
from accuracy import DOMAINS, SMALL, VARIANTS, add, lines, table
from augment import RECIPE
from prepare import RATE, UNKNOWN
from train import BFLOAT16
from twin import Twin, save_checkpoint

import minirep
from minirep.count import costs, total


def twin_of(variant, **size):
    return Twin(**{**SMALL, **size}, **VARIANTS[variant], heads=RECIPE.heads, frames=RECIPE.frames, dropout=0.1)


def classifier_of(variant, folder, fused=True, **size):
    """The variant with fresh weights, through minirep's own converter."""
    path = folder / "variant.pyth"
    save_checkpoint(path, twin_of(variant, **size), "digits")
    return minirep.load(path, fused=fused, backend="numpy")


# --- time ----------------------------------------------------------------------------------------------------------


def alternating(calls, rounds=15):
    """Median seconds of each of several functions called in turn."""
    times = [[] for _ in calls]
    for _ in range(rounds + 1):
        for call, seconds in zip(calls, times, strict=True):
            started = time.perf_counter()
            call()
            seconds.append(time.perf_counter() - started)
    return [statistics.median(seconds[1:]) for seconds in times]  # the first one warms up


def measure_variants(args):
    """Every variant at width 32 and the published depths, merged and not, on both backends; one thread, one clip."""
    results, size = args.out / "time.jsonl", {"width": 32, "depths": (3, 4, 6, 3)}
    if results.exists():
        return
    x = np.random.default_rng(0).standard_normal((1, 416, 128), np.float32)  # 4.16 s
    rows, calls = [], []
    for variant, fused in itertools.product(VARIANTS, (True, False)):
        network = classifier_of(variant, args.out, fused, **size).network
        adds = total(costs(network, 416)).multiply_adds
        for backend in ("numpy", "numba"):
            clf = minirep.Classifier(network, RECIPE, backend=backend, threads=1)
            calls.append(functools.partial(clf.probabilities, x))
            rows.append({"variant": variant, "fused": fused, "backend": backend, "multiply_adds": adds})
    for row, seconds in zip(rows, alternating(calls), strict=True):
        add(results, milliseconds=round(1e3 * seconds, 3), **row)


def measure_convolutions(args):
    """One layer of stage 3 (26 x 8 positions): depthwise and pointwise against a full convolution of the same size."""
    results = args.out / "convolutions.jsonl"
    if results.exists():
        return
    torch.set_num_threads(1)
    for channels in (64, 256):
        x = torch.randn(1, channels, 26, 8)
        layers = {"1 x 1": ((1, 1), 1)}
        for k in (3, 11, 21):
            layers[f"depthwise {k} x 1"] = ((k, 1), channels)
            layers[f"full {k} x 1"] = ((k, 1), 1)
        for k in (3, 11):
            layers[f"depthwise {k} x {k}"] = ((k, k), channels)
            layers[f"full {k} x {k}"] = ((k, k), 1)
        convs = [torch.nn.Conv2d(channels, channels, k, padding=(k[0] // 2, k[1] // 2), groups=g)
                 for k, g in layers.values()]  # fmt: skip
        with torch.inference_mode():
            seconds = alternating([functools.partial(conv, x) for conv in convs], 101)
        for (name, (k, groups)), s in zip(layers.items(), seconds, strict=True):
            count = 26 * 8 * channels * (channels // groups) * k[0] * k[1]
            add(results, layer=name, channels=channels, multiply_adds=count, microseconds=round(1e6 * s, 1))


def measure(args):
    measure_variants(args)
    measure_convolutions(args)


# --- longer recordings ---------------------------------------------------------------------------------------------


def one_pass(clf, x, times):
    """The whole recording at once: the network is fully convolutional, its head averages over all positions."""
    whole = dataclasses.replace(clf.recipe, clip_seconds=times * 1.279, frames=times * 128)
    return clf.probabilities(minirep.log_mel_views(x, RATE, whole))["class"][0]


def averaged_views(clf, x, times):
    """Views of one clip's length, each half over the one before, their probabilities averaged."""
    return clf.classify(x, RATE, views=2 * times - 1).probabilities["class"]


def surest_view(clf, x, times):
    """The same views, of which that one counts in which a digit is surest."""
    p = clf.probabilities(minirep.log_mel_views(x, RATE, clf.recipe, 2 * times - 1))["class"]
    return p[p[:, :UNKNOWN].max(1).argmax()]


WAYS = {"one pass": one_pass, "views, averaged": averaged_views, "views, the surest": surest_view}


def somewhere_in(digit, n, rng):
    """n samples of faint noise with the digit somewhere in them."""
    x = 0.001 * rng.standard_normal(n).astype(np.float32)
    at = rng.integers(n - len(digit) + 1)
    x[at : at + len(digit)] += digit
    return x


def lengths(args):
    """The shipped model on recordings once to eight times as long as its clip, read in three ways."""
    results = args.out / "lengths.jsonl"
    if results.exists():
        return
    with np.load(args.sounds) as archive:
        sounds = dict(archive)
    chosen = np.flatnonzero(sounds["held"] & np.char.startswith(sounds["group"], "fsdd/"))
    start, labels = sounds["start"], sounds["label"][chosen]
    digits = [sounds["samples"][start[i] : start[i + 1]][: RECIPE.clip - 1] / np.float32(32768) for i in chosen]
    clf, rng = minirep.load(args.model, threads=1), np.random.default_rng(0)
    for times in (1, 2, 4, 8):
        recordings = [somewhere_in(digit, times * RECIPE.clip - 1, rng) for digit in digits]
        for way, read in WAYS.items():
            answers, seconds = [], []
            for x in recordings:
                started = time.perf_counter()
                answers.append(read(clf, x, times))
                seconds.append(time.perf_counter() - started)
            p = np.array(answers)
            right, among_digits = (np.mean(q.argmax(1) == labels) for q in (p, p[:, :UNKNOWN]))
            add(results, seconds=round(times * 1.279, 3), way=way, right=round(float(right), 4),
                right_among_digits=round(float(among_digits), 4),
                milliseconds=round(1e3 * statistics.median(seconds), 2))  # fmt: skip


# --- results ----------------------------------------------------------------------------------------------------------


def report(args):
    """Print every result as a table."""
    accuracy.report(args)
    times = {(r["variant"], r["fused"], r["backend"]): r for r in lines(args.out / "time.jsonl")}
    cases = [(fused, backend) for backend in ("numpy", "numba") for fused in (False, True)]
    head = [f"{backend}, {'merged' if fused else 'branches'}, ms" for fused, backend in cases]
    rows = []
    for variant in VARIANTS:
        found = [times[variant, fused, backend] for fused, backend in cases if (variant, fused, backend) in times]
        adds = [f"{r['multiply_adds'] / 1e6:.0f}" for r in found[:2]]
        rows.append([variant, *adds, *(f"{r['milliseconds']:.1f}" for r in found)])
    table(("network", "branches, M multiply-adds", "merged, M multiply-adds", *head), rows)
    rows = [list(r.values()) for r in lines(args.out / "lengths.jsonl")]
    table(("seconds", "way", "right", "right among digits", "ms"), rows)
    rows = [[*r.values(), round(r["multiply_adds"] / r["microseconds"] / 1e3, 2)]
            for r in lines(args.out / "convolutions.jsonl")]  # fmt: skip
    table(("layer", "channels", "multiply-adds", "microseconds", "multiply-adds a nanosecond"), rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parts = {"train": accuracy.train, "measure": measure, "lengths": lengths, "report": report}
    parser.add_argument("part", choices=parts)
    file, seeds = pathlib.Path, ", ".join(f"{name} {domain.seeds}" for name, domain in DOMAINS.items())
    parser.add_argument("--sounds", type=file, default="work/sounds.npz", help="of prepare.py")
    parser.add_argument("--esc10", type=file, default="esc10.tar", help="a tar of ESC-10's ten folders")
    parser.add_argument("--out", type=file, default="work/questions")
    parser.add_argument("--model", help="for `lengths`; default: the model that ships")
    parser.add_argument(
        "--domains", nargs="+", choices=DOMAINS, default=list(DOMAINS), help="for `train`, in this order"
    )
    parser.add_argument("--seeds", type=int, help=f"of each network, in sounds of each fold; default: {seeds}")
    parser.add_argument("--bfloat16", **BFLOAT16)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    parts[args.part](args)


if __name__ == "__main__":
    main()
