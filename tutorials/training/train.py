"""Train the digits model: one command from raw recordings to `model.npz`.

    python train.py --fsdd fsdd.tar --commands gsc.tar --one-speaker digits.tar --kokoro kokoro-js-1.2.1.tgz

prepares the sounds (once), trains, writes checkpoints on the way (start it again and it goes on from the last), and
packs the result with minirep's own converter. `work/log.csv` holds the curves.
"""

import argparse
import collections
import concurrent.futures
import csv
import math
import os
import pathlib
import subprocess
import sys
import time

import fast
import numpy as np
import torch
from augment import RECIPE, Clips, as_recorded, log_mels, masked, origins
from muon import Muon, Together
from prepare import LABELS, SILENCE, SOURCES, SYNTHESISERS, UNKNOWN, part_of
from torch.nn import functional
from twin import Branch, Twin, save_checkpoint

import minirep

# what goes into the checkpoint, and from there into model.npz, besides the weights
EXTRAS = {
    "recipe": "digits",
    "labels": {"class": list(LABELS)},
    "licence": "CC BY-SA 4.0",
    "credit": "Free Spoken Digit Dataset, Zohar Jackson and contributors (CC BY-SA 4.0); Speech Commands, Pete Warden, "
    "Google (CC BY 4.0); felixchenfy/ros_speech_commands_classification (MIT); "
    "synthetic voices: espeak-ng, flite, pico, Festival, Kokoro",
}
ABOUT = {  # what model.npz says of itself besides; the model card has the figures
    "data": "ten digits recorded from six men and in shifted voices; zero, one, five, eight and eight other words from "
    "about 960 speakers of Speech Commands; one to five by one more man; digits and other words by synthetic voices; "
    "digits taken apart; synthetic sounds and noises",
    "weaknesses": "takes some other words for a digit, above all those that resemble one, such as tree; knows two, "
    "three, four, six, seven and nine from seven recorded men and from synthesisers only; misses digits among other "
    "voices; hears one digit a clip; was not tested with far microphones, music, or other languages",
}
THRESHOLD = "0.9"  # of a stream: what keeps false digits in other people's talk below one a minute (evaluate.py)
RARER = 1.0  # how much less likely `unknown` is made after training, as a natural logarithm
CHECKS = ("recorded", "commands", "words", "synthetic", "unknown", "silence", "out")
WIDTH, DEPTHS = 16, (2, 2, 4, 2)
BATCH, PEAK = 64, 12e-3  # clips a step; the highest learning rate, of later cycles half of it
CYCLES = (6400, 5600)  # steps
MUON = 12.5  # times that, for the matrices
AHEAD = 3  # batches that are made before they are wanted
BFLOAT16 = {  # the option --bfloat16
    "dest": "dtype",
    "action": "store_const",
    "const": torch.bfloat16,
    "default": torch.float32,
    "help": "faster where the processor multiplies bfloat16 (AVX512-BF16, AMX), ten times slower elsewhere",
}
COLUMNS = ("step", "seconds", "rate", "loss", "accuracy", *CHECKS)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for option in SOURCES:
        parser.add_argument("--" + option.replace("_", "-"), type=pathlib.Path, help="for prepare.py, the first time")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("work"))
    parser.add_argument("--sounds", type=pathlib.Path, help="default: sounds.npz in --out")
    parser.add_argument("--leave-out", help="a speaker to keep out of training altogether, for an honest test")
    parser.add_argument("--width", type=int, default=WIDTH)
    parser.add_argument("--depths", type=int, nargs=4, default=DEPTHS, metavar="N", help="blocks a stage")
    parser.add_argument("--steps", type=int, nargs="+", default=CYCLES, help="of each cycle of the learning rate")
    parser.add_argument("--batch", type=int, default=BATCH)
    parser.add_argument("--rate", type=float, default=PEAK, help="peak learning rate")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--check-every", type=int, default=250)
    parser.add_argument("--bfloat16", **BFLOAT16)
    return parser.parse_args()


def rate_at(step, steps, peak):
    """Warm up over the first 4 %, then down along a cosine."""
    warm = 0.04 * steps
    if step < warm:
        return peak * (step + 1) / warm
    return peak * (0.5 + 0.5 * math.cos(math.pi * (step - warm) / (steps - warm)))


def in_cycle(step, cycles):
    """(number of the cycle, step in it): the learning rate goes down once in each (warm restarts, Loshchilov, 2017)."""
    ends = np.cumsum(cycles)
    number = int(np.searchsorted(ends, step, side="right"))
    return number, step - int(ends[number] - cycles[number])


def strength_at(step, steps):
    """Easy clips first: echo, filters and noise grow from a tenth to all of it over the first half of the steps.

    README.md tells how much that is worth.
    """
    return min(1.0, 0.1 + 0.9 * step / (0.5 * steps))


def batches(clips, seed, first, steps, size, growing=None):
    """Batches of `clips.batch(rng, size, strength)`, masked, made ahead by a thread.

    The strength grows in the first half of so many steps, by default all. Each batch has its own seed, so a resumed
    run sees what it would have seen.
    """

    def make(step):
        rng = np.random.default_rng((seed, step))
        x, labels = clips.batch(rng, size, strength_at(step, growing or steps))
        return masked(rng, x), labels

    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        made = collections.deque()
        for step in range(first, steps + AHEAD):
            if step < steps:
                made.append(thread.submit(make, step))
            if step >= first + AHEAD:
                yield made.popleft().result()


def predictions(twin, x):
    """Class probabilities (N, 12) of log-mels."""
    twin.eval()
    with torch.no_grad():
        return torch.cat([fast.forward(twin, part)["class"] for part in x.split(64)])


def accuracy(twin, x, labels):
    return (predictions(twin, x).argmax(1) == labels).float().mean().item()


def temperature(logits, labels):
    """The number by which to divide logits, so that held-out clips are least surprising (Guo et al., 2017, 4.2)."""
    choices, logits, labels = np.geomspace(0.25, 4, 129), torch.as_tensor(logits), torch.as_tensor(labels)
    return float(choices[np.argmin([functional.cross_entropy(logits / t, labels).item() for t in choices])])


def calibrate(twin, sounds, seed, count=2000):
    """Find the temperature, divide the head's weights by it, and return it.

    Dividing the logits by one number changes no answer, only how sure it is: the number under which held-out sounds,
    in surroundings as in training, are least surprising (Guo et al., "On Calibration of Modern Neural Networks", 2017,
    section 4.2). The head is linear, so the number goes into its weights and costs nothing when classifying.
    """
    x, labels = Clips(sounds, validation(sounds), seed).batch(np.random.default_rng((seed, count)), count)
    best = temperature(predictions(twin, x).clamp_min(1e-30).log(), labels)
    with torch.no_grad():
        for p in twin.head.parameters():
            p.div_(best)
    return best


def fewer_unknown(twin):
    """Take `RARER` from the logit of `unknown`: its odds against any other class fall to 61 %.

    Training shows `unknown` in 26 of 100 clips and a digit in 7, so the network expects it as often. What follows from
    another expectation, 18 of 100, is had by a constant on the logit (Menon et al., "Long-tail learning via logit
    adjustment", 2021, section 4.1): people who speak to a model of digits mostly say digits. The model card has what
    it brings and what it costs.
    """
    with torch.no_grad():
        twin.head.projection.bias[UNKNOWN] -= RARER


def within_half(twin):
    """Halve the weights before a batch norm until its variances fit into half precision, for `--keep-branches --half`.

    The function stays the same: batch norm divides by the standard deviation, and eps is a part of the variance.
    """
    with torch.no_grad():
        for block in (module for module in twin.modules() if isinstance(module, Branch)):
            while block.c_bn.running_var.max() > 2**15:
                block.c.weight /= 2
                block.c_bn.running_mean /= 2
                block.c_bn.running_var.add_(block.c_bn.eps).div_(4).sub_(block.c_bn.eps)


def add_row(path, row):
    with open(path, "a", newline="") as file:
        csv.writer(file).writerow(row)


def adamw(params, rate, decay=0.05):
    """AdamW; weight decay on the convolutions' and linear layers' weights only."""
    params = list(params)
    heavy = [p for p in params if p.ndim > 1]
    light = [p for p in params if p.ndim <= 1]
    groups = [{"params": heavy, "weight_decay": decay}, {"params": light, "weight_decay": 0.0}]
    return torch.optim.AdamW(groups, lr=rate, betas=(0.9, 0.99))


def optimiser(twin, rate):
    """Muon for the 1x1 convolutions, which are matrices and most of the weights; AdamW for all the rest."""
    matrices = [p for p in twin.parameters() if p.ndim == 4 and p.shape[2:] == (1, 1)]
    kept = {id(p) for p in matrices}
    muon = Muon([{"params": matrices, "faster": MUON}], rate)
    return Together(adamw((p for p in twin.parameters() if id(p) not in kept), rate), muon)


def validation(sounds):
    """What is held out to choose by: all of it but the speakers of Speech Commands that are for the test alone."""
    source, speaker = origins(sounds)
    test = [name for name in np.unique(speaker[source == "gsc"]) if part_of(name) == "test"]
    return sounds["held"] & ~np.isin(speaker, test)


def checks(sounds, leave_out, clips):
    """{column of the log: (samples, lengths, labels)}: what is measured on the way, none of it trained on."""
    (source, speaker), label, held = origins(sounds), sounds["label"], sounds["held"]
    rng = np.random.default_rng(7)
    synthetic = held & np.isin(source, SYNTHESISERS)
    commands = (source == "gsc") & validation(sounds)

    def some(mask, count):
        found = np.flatnonzero(mask)
        return as_recorded(sounds, np.sort(rng.choice(found, min(count, len(found)), replace=False)))

    masks = {
        "recorded": (held & (source == "fsdd") & (speaker != leave_out), 300),
        "commands": (commands & (label < UNKNOWN), 300),
        "words": (commands & (label == UNKNOWN), 400),
        "synthetic": (synthetic & (label < UNKNOWN), 300),
        "unknown": (held & (label == UNKNOWN) & (source != "gsc"), 200),
        "out": ((source == "fsdd") & (speaker == leave_out), 1000),
    }
    sets = {name: some(mask, count) for name, (mask, count) in masks.items() if mask.any()}
    return sets | {"silence": (log_mels(clips.quiet(np.random.default_rng(99), 100)), torch.full((100,), SILENCE))}


def learn(twin, optimizer, rate, x, labels, dtype=torch.float32, smoothing=0.0):
    """One step on a batch; gives the loss and the logits (N, classes)."""
    twin.train()
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get("faster", 1)
    logits = fast.forward(twin, x, dtype)["class"]
    loss = functional.cross_entropy(logits, labels, label_smoothing=smoothing)
    optimizer.zero_grad()
    loss.backward()
    torch.nn.utils.clip_grad_norm_(twin.parameters(), 5.0)
    optimizer.step()
    return loss, logits


def train(args, sounds):
    torch.manual_seed(args.seed)
    torch.set_num_threads(args.threads)
    _, speaker = origins(sounds)
    clips = Clips(sounds, ~sounds["held"] & (speaker != (args.leave_out or "")), args.seed)
    twin = Twin(width=args.width, depths=args.depths, heads=RECIPE.heads, frames=RECIPE.frames, dropout=0.3)
    optimizer = optimiser(twin, args.rate)
    path, first = args.out / "latest.pyth", 0
    if path.exists():
        saved = torch.load(path, weights_only=True)
        twin.load_state_dict(saved["model_state"])
        optimizer.load_state_dict(saved["optimizer_state"])
        first = saved["epoch"]
        print(f"going on from step {first}")
    measured = checks(sounds, args.leave_out, clips)
    log = args.out / "log.csv"
    if first == 0:
        add_row(log, COLUMNS)
    started, losses, right, steps = time.time(), [], [], sum(args.steps)
    for step, (x, labels) in enumerate(batches(clips, args.seed, first, steps, args.batch, args.steps[0]), first):
        cycle, at = in_cycle(step, args.steps)
        rate = rate_at(at, args.steps[cycle], args.rate / (2 if cycle else 1))
        loss, logits = learn(twin, optimizer, rate, x, labels, args.dtype)
        losses.append(loss.item())
        right.append((logits.argmax(1) == labels).float().mean().item())
        if sys.stderr.isatty() or step % 25 == 24:
            left = (time.time() - started) / (step + 1 - first) * (steps - step - 1)
            bar = "#" * (20 * (step + 1) // steps)
            print(f"[{bar:20}] {step + 1}/{steps} loss {np.mean(losses[-25:]):.3f} "
                  f"accuracy {np.mean(right[-25:]):.3f} {left / 60:.0f} min left", flush=True)  # fmt: skip
        if (step + 1) % args.check_every == 0 or step + 1 == steps:
            found = {name: accuracy(twin, *clip_set) for name, clip_set in measured.items()}
            seconds = time.time() - started
            row = [step + 1, round(seconds), rate, np.mean(losses)]
            row += [np.mean(right)] + [found.get(name, "") for name in CHECKS]
            add_row(log, [f"{v:.4g}" if isinstance(v, float) else v for v in row])
            print("  " + "  ".join(f"{n} {100 * v:.1f} %" for n, v in found.items()), flush=True)
            losses, right = [], []
            save_checkpoint(
                args.out / "writing.pyth", twin, "digits", epoch=step + 1, optimizer=optimizer, extras=EXTRAS
            )
            os.replace(args.out / "writing.pyth", path)
    return twin


def main():
    args = arguments()
    args.out.mkdir(parents=True, exist_ok=True)
    path = args.sounds or args.out / "sounds.npz"
    if not path.exists():
        command = [sys.executable, pathlib.Path(__file__).with_name("prepare.py"), "--out", args.out]
        given = {"--" + option.replace("_", "-"): getattr(args, option) for option in SOURCES}
        subprocess.run(command + [part for option in given.items() if option[1] for part in option], check=True)
    with np.load(path) as archive:
        sounds = dict(archive)
    twin = train(args, sounds)
    temperature = calibrate(twin, sounds, args.seed)
    fewer_unknown(twin)
    within_half(twin)
    save_checkpoint(args.out / "final.pyth", twin, "digits", epoch=sum(args.steps), extras=EXTRAS)
    clf = minirep.load(args.out / "final.pyth")  # merges
    clf.provenance |= ABOUT | {"temperature": f"{temperature:.3f}", "threshold": THRESHOLD}
    minirep.save(clf, args.out / "model.npz", half=True)
    print(f"{args.out / 'model.npz'}: {(args.out / 'model.npz').stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
