"""What the papers left open, answered on a small scale: small networks, this data, three seeds each.

    python questions.py train   --sounds work/sounds.npz --out work/questions     # accuracy of each variant
    python questions.py measure --out work/questions                              # time of each, and of convolutions
    python questions.py lengths --sounds work/sounds.npz --out work/questions     # recordings longer than a clip
    python questions.py report  --out work/questions                              # all of it as tables

Each part writes lines to a file of its own in --out and leaves out what is there already; `train` can be stopped and
started again, and several at once share the work. The results are in `answers/`; docs/measured/open-questions.md
describes them, and docs/figures/draw.py draws them. The sounds and the training steps are those of ../training.
"""

import argparse
import dataclasses
import functools
import itertools
import json
import pathlib
import statistics
import sys
import time

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "training"))
from augment import RECIPE, Clips, as_recorded, masked, origins
from prepare import RATE, SYNTHESISERS, UNKNOWN
from train import adamw, learn, predictions, rate_at
from twin import FREQUENCY_FIRST, INCEPTION, Twin, save_checkpoint

import minirep
from minirep.count import costs, total

LEFT_OUT = "theo"  # the speaker whose recordings no network hears in training
SMALL = {"width": 8, "depths": (1, 1, 2, 1)}
CLIPS, STEPS, BATCH, PEAK, STRENGTH = 16384, 256, 64, 1e-2, 0.3
VARIANTS = {
    "as published": {},
    "kernel 21": {"scales": (21,)},
    "kernel 11": {"scales": (11,)},
    "kernel 3": {"scales": (3,)},
    "kernels 21, 11": {"scales": (21, 11)},
    "kernels 21, 3": {"scales": (21, 3)},
    "kernels 11, 3": {"scales": (11, 3)},
    "frequency first": {"order": FREQUENCY_FIRST},
    "separate chains": {"kind": INCEPTION},
    "separate chains, frequency first": {"kind": INCEPTION, "order": FREQUENCY_FIRST},
    "expansion 2": {"expansion": 2},
    "expansion 8": {"expansion": 8},
}


def lines(path):
    """What a file of JSON lines holds so far."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def add(path, **row):
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")
    print(row, flush=True)


def twin_of(variant, **size):
    return Twin(**{**SMALL, **size}, **VARIANTS[variant], heads=RECIPE.heads, frames=RECIPE.frames, dropout=0.1)


def classifier_of(variant, folder, fused=True, **size):
    """The variant with fresh weights, through minirep's own converter."""
    path = folder / "variant.pyth"
    save_checkpoint(path, twin_of(variant, **size), "digits")
    return minirep.load(path, fused=fused, backend="numpy")


# --- accuracy ------------------------------------------------------------------------------------------------------


def training_clips(sounds, out):
    """The clips that every network sees, digits and a little silence, made once.

    (log-mels (CLIPS, 1, 128, 128) in half precision, labels). Other words would need a longer training.
    """
    path = out / "clips.npz"
    if not path.exists():
        _, speaker = origins(sounds)
        clips = Clips(sounds, ~sounds["held"] & (speaker != LEFT_OUT) & (sounds["label"] < UNKNOWN))
        rng = np.random.default_rng(0)
        parts = [clips.batch(rng, BATCH, STRENGTH) for _ in range(CLIPS // BATCH)]
        x, labels = (torch.cat(column) for column in zip(*parts, strict=True))
        np.savez(path, x=x.half().numpy(), labels=labels.numpy())
    with np.load(path) as archive:
        return torch.from_numpy(archive["x"]), torch.from_numpy(archive["labels"])


def test_clips(sounds):
    """{what: (log-mels, labels)}, nothing added: none of it is heard in training."""
    (source, speaker), label, held = origins(sounds), sounds["label"], sounds["held"]
    masks = {
        "known": held & (source == "fsdd") & (speaker != LEFT_OUT),
        "new": (source == "fsdd") & (speaker == LEFT_OUT),
        "synthetic": held & np.isin(source, SYNTHESISERS) & (label < UNKNOWN),
    }
    return {what: as_recorded(sounds, np.flatnonzero(mask)) for what, mask in masks.items()}


def trained(variant, seed, x, labels):
    """A network after STEPS batches, drawn and masked anew from the same clips."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    twin = twin_of(variant)
    optimizer = adamw(twin.parameters(), PEAK)
    order = np.concatenate([rng.permutation(CLIPS) for _ in range(-(-STEPS * BATCH // CLIPS))])
    for step in range(STEPS):
        rows = order[step * BATCH : (step + 1) * BATCH]
        clips = masked(rng, x[rows].float())
        learn(twin, optimizer, rate_at(step, STEPS, PEAK), clips, labels[rows], smoothing=0.05)
    return twin


def train(args):
    with np.load(args.sounds) as archive:
        sounds = dict(archive)
    x, labels = training_clips(sounds, args.out)
    tests, results = test_clips(sounds), args.out / "accuracy.jsonl"
    for seed in range(args.seeds):
        for variant in VARIANTS:
            claim = args.out / f"{variant}-{seed}.claimed"
            if any((row["variant"], row["seed"]) == (variant, seed) for row in lines(results)) or claim.exists():
                continue
            claim.touch()
            started = time.process_time()
            twin = trained(variant, seed, x, labels)
            found = {w: (predictions(twin, x).argmax(1) == y).float().mean().item() for w, (x, y) in tests.items()}
            add(results, variant=variant, seed=seed, **{w: round(v, 4) for w, v in found.items()},
                seconds=round(time.process_time() - started, 1))  # fmt: skip


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


# --- what came out -------------------------------------------------------------------------------------------------


def table(head, rows):
    """Print it as Markdown."""
    print("\n" + "\n".join(" | ".join(map(str, row)).join(("| ", " |")) for row in (head, ["---"] * len(head), *rows)))


def report(args):
    """Every result as a table: means over the seeds, and from the worst to the best of them."""
    times = {(r["variant"], r["fused"], r["backend"]): r for r in lines(args.out / "time.jsonl")}
    accuracy = lines(args.out / "accuracy.jsonl")
    rows = []
    for variant in VARIANTS:
        runs = [r for r in accuracy if r["variant"] == variant]
        row = [variant]
        for what in ("known", "new", "synthetic") if runs else ():
            found = [100 * r[what] for r in runs]
            row.append(f"{statistics.mean(found):.1f} ({min(found):.1f} to {max(found):.1f})")
        rows.append(row)
    table(("network", "known speakers, %", "a new speaker, %", "synthetic voices, %"), rows)
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
    parts = {"train": train, "measure": measure, "lengths": lengths, "report": report}
    parser.add_argument("part", choices=parts)
    parser.add_argument("--sounds", type=pathlib.Path, default=pathlib.Path("work/sounds.npz"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("work/questions"))
    parser.add_argument("--model", help="for `lengths`; default: the shipped one")
    parser.add_argument("--seeds", type=int, default=3)
    args = parser.parse_args()
    args.out.mkdir(parents=True, exist_ok=True)
    torch.set_num_threads(1)
    parts[args.part](args)


if __name__ == "__main__":
    main()
