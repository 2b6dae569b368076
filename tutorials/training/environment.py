"""Train the model of environmental sounds: one command from a tar of ESC-10 to its five folds and `model.npz`.

    python environment.py --esc10 esc10.tar --speech work/sounds.npz --out work/environment [--bfloat16]

ESC-10 (Piczak, 2015) has ten classes and five folds; no recording has parts in two folds. For each fold a network is
trained from scratch on the other four and measured on this one, through minirep's own path from file to class
(`folds.jsonl`). The last network is trained on all five. It is the one that ships, and the five estimate its accuracy.
Nothing is chosen by a fold's own accuracy: one setting, a fixed number of steps. A fold that is done is not trained
again, so a run that was interrupted goes on with the next.

So that the network is unsure of sounds outside its classes, some clips have no class: silence, hum and recorded words
(`--speech`, the sounds of prepare.py); the target there is a tenth for every class (outlier exposure, Hendrycks et
al., 2019).
"""

import argparse
import json
import os
import pathlib
import time

import numpy as np
import torch
from augment import coloured_noise, origins
from prepare import RATE, resampled, sound_files, trimmed
from train import BFLOAT16, batches, learn, optimiser, rate_at, temperature
from twin import Twin, save_checkpoint

import minirep

RECIPE = minirep.Recipe("sounds", RATE, 2.559, 40, 20, frames=128, views=4, heads={"class": 10})
VIEW, FFT = RECIPE.clip - 1, 45_000  # samples of a view, and of the transform that filters it: a product of 2, 3 and 5
NAMES = ("dog bark", "rain", "sea waves", "baby cry", "clock tick", "person sneeze", "helicopter", "chainsaw",
         "rooster", "fire crackling")  # fmt: skip
WIDTH, DEPTHS, STEPS, BATCH, PEAK = 16, (1, 1, 2, 1), 1400, 64, 8e-3
ALL = 0  # the fold that leaves none out
EXTRAS = {
    "recipe": "sounds",
    "labels": {"class": list(NAMES)},
    "licence": "CC BY 3.0",
    "credit": "ESC-10, K. J. Piczak and the contributors of freesound.org, whom CREDITS-ESC-10.md in minirep/data "
    "names clip by clip; Speech Commands, Pete Warden / Google (CC BY 4.0)",
}


def read(path):
    """[(samples as stored at 44.1 kHz, class, fold, name)] of the tar's `{number} - {class}/{fold}-{id}-{take}.ogg`."""
    rows = []
    for folder, name, x, rate in sound_files(path, ".ogg"):
        assert rate == 44100 and x.ndim == 1, name
        rows.append((x, int(folder[:3]) - 1, int(name[0]), name))
    return rows


def shortened(rng, x):
    """A recording that ends with its sound: there the front end repeats the last frame. ESC-10's clips all have 5 s."""
    x = trimmed(x, margin=rng.uniform(0.01, 0.2), share=0.03)
    return x[: max(RATE // 10, int(len(x) * rng.uniform(0.6, 1)))]


class Crops:
    """Random training crops, reproducible from a seed a batch: (log-mels, a probability for each class)."""

    def __init__(self, waves, labels, speech):
        """waves: at 16 kHz; speech: recorded words, which have no class here."""
        self.waves, self.labels, self.speech = waves, labels, speech
        rng = np.random.default_rng(0)
        self.noises = [coloured_noise(rng, 10 * RATE, e) for e in (-2, -1.5, -1, -0.5, 0, 0.5)]
        self.hz = np.fft.rfftfreq(FFT, 1 / RATE)

    def crop(self, rng, x):
        """VIEW samples at some pace, and their power: ESC-10 fills short sounds up with zeros, so it may be none."""
        pace = 2 ** rng.uniform(-0.3, 0.3)
        x = np.pad(x, rng.integers(0, VIEW // 2, 2))
        at = rng.integers(0, max(1, len(x) - int(VIEW * pace) - 1))
        x = np.interp(at + pace * np.arange(VIEW), np.arange(len(x)), x, right=0).astype(np.float32)
        return x, np.square(x).mean()

    def example(self, rng, strength):
        i = rng.integers(len(self.waves))
        target = np.full(len(NAMES), 1 / len(NAMES), np.float32)
        if rng.random() < 0.08:  # no class: a word in silence, hum, or silence
            x = np.zeros(VIEW, np.float32)
            if len(self.speech) and rng.random() < 0.6:
                word = self.speech[rng.integers(len(self.speech))][:VIEW]
                at = rng.integers(0, VIEW - len(word) + 1)
                x[at : at + len(word)] = word
            elif rng.random() < 0.5:
                x = np.sin(2 * np.pi * rng.uniform(45, 130) * np.arange(VIEW, dtype=np.float32) / RATE)
            return self.finished(rng, x, strength), target
        (x, power), whole = self.crop(rng, self.waves[i]), np.square(self.waves[i]).mean()
        if power < 0.003 * whole:
            return self.finished(rng, x, strength), target
        target = np.eye(len(NAMES), dtype=np.float32)[self.labels[i]]
        if rng.random() < 0.5 * strength:  # two sounds at once (between-class learning, Tokozume et al., 2018)
            j = rng.integers(len(self.waves))
            y, other = self.crop(rng, self.waves[j])
            if other > 0.003 * np.square(self.waves[j]).mean():
                share = rng.uniform(0.05, 0.95)
                gain = np.sqrt(power / other)  # as loud as each other, before they are mixed
                x = (share * x + (1 - share) * gain * y) / np.hypot(share, 1 - share)
                target = share * target + (1 - share) * np.eye(len(NAMES), dtype=np.float32)[self.labels[j]]
        return self.finished(rng, x, strength), target

    def finished(self, rng, x, strength):
        """The same through another microphone, at another level, in some noise."""
        if rng.random() < 0.6 * strength:
            response = (np.maximum(self.hz, 60) / 1000) ** rng.uniform(-0.6, 0.6)
            if rng.random() < 0.3:
                response /= 1 + (self.hz / rng.uniform(3500, 7500)) ** rng.integers(4, 20)
            x = np.fft.irfft(np.fft.rfft(x, FFT) * response, FFT)[:VIEW].astype(np.float32)
        x = x * (10 ** (rng.uniform(-36, -0.5) / 20) / (np.abs(x).max() + 1e-6))
        if rng.random() < 0.4 * strength:
            noise = self.noises[rng.integers(len(self.noises))]
            at = rng.integers(len(noise) - VIEW)
            x = x + noise[at : at + VIEW] * (np.sqrt(np.square(x).mean()) + 1e-4) * 10 ** (-rng.uniform(12, 45) / 20)
        return np.clip(shortened(rng, x) if rng.random() < 0.25 else x, -1, 1)

    def batch(self, rng, size, strength=1.0):
        clips, targets = zip(*(self.example(rng, strength) for _ in range(size)), strict=True)
        x = np.stack([minirep.log_mel_views(clip, RATE, RECIPE, views=1) for clip in clips])
        return torch.from_numpy(x), torch.from_numpy(np.stack(targets))


def trained(crops, seed, args):
    torch.manual_seed(seed)
    twin = Twin(width=WIDTH, depths=DEPTHS, heads=RECIPE.heads, frames=RECIPE.frames, dropout=0.4)
    optimizer, started, losses = optimiser(twin, PEAK), time.time(), []
    for step, (x, targets) in enumerate(batches(crops, seed, 0, args.steps, BATCH)):
        loss, _ = learn(twin, optimizer, rate_at(step, args.steps, PEAK), x, targets, args.dtype)
        losses.append(loss.item())
        if step % 100 == 99:
            left = (time.time() - started) / (step + 1) * (args.steps - step - 1)
            print(f"{step + 1}/{args.steps} loss {np.mean(losses[-100:]):.3f}, {left / 60:.1f} min left", flush=True)
    return twin


def logits(clf, rows):
    """Log probabilities (N, 10) of clips as they are stored, through minirep."""
    p = np.array([clf.classify(x, 44100).probabilities["class"] for x, *_ in rows])
    return np.log(np.maximum(p, 1e-12))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--esc10", type=pathlib.Path, required=True, help="a tar of ESC-10's ten folders")
    parser.add_argument("--speech", type=pathlib.Path, help="sounds.npz of prepare.py, for its recorded words")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("work/environment"))
    parser.add_argument("--folds", type=int, nargs="+", default=(1, 2, 3, 4, 5, ALL), help="0: train on all of them")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--threads", type=int, default=os.cpu_count())
    parser.add_argument("--figures", type=pathlib.Path, help="a folder for the pictures of confusions and calibration")
    parser.add_argument("--bfloat16", **BFLOAT16)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    rows, speech = read(args.esc10), []
    if args.speech:
        with np.load(args.speech) as sounds:
            chosen = np.flatnonzero(~sounds["held"] & (origins(sounds)[0] == "gsc"))[::5]
            samples, start = sounds["samples"], sounds["start"]
            speech = [samples[start[i] : start[i + 1]].astype(np.float32) / 32768 for i in chosen]
    waves = [resampled(x, 44100) for x, *_ in rows]
    results = args.out / "folds.jsonl"
    for fold in args.folds:
        if (args.out / f"fold-{fold}.pyth").exists():
            continue
        kept = [i for i, row in enumerate(rows) if row[2] != fold]
        crops = Crops([waves[i] for i in kept], [rows[i][1] for i in kept], speech)
        twin = trained(crops, fold, args)
        save_checkpoint(args.out / "writing.pyth", twin, "sounds", epoch=args.steps, extras=EXTRAS)
        tested = [row for row in rows if row[2] == fold]
        if tested:
            found = logits(minirep.load(args.out / "writing.pyth"), tested)
            labels = [row[1] for row in tested]
            right = int((found.argmax(1) == labels).sum())
            print(f"fold {fold}: {right} of {len(tested)} right, {100 * right / len(tested):.1f} %", flush=True)
            row = {"fold": fold, "steps": args.steps, "right": right, "of": len(tested)}
            row |= {"names": [row[3] for row in tested], "labels": labels, "logits": found.round(3).tolist()}
            with open(results, "a") as file:
                file.write(json.dumps(row) + "\n")
        os.replace(args.out / "writing.pyth", args.out / f"fold-{fold}.pyth")
    if not results.exists() or not (args.out / f"fold-{ALL}.pyth").exists():
        return
    lines = [json.loads(line) for line in results.read_text().splitlines()]
    shares = [100 * line["right"] / line["of"] for line in lines]
    found, labels = (np.concatenate([line[what] for line in lines]) for what in ("logits", "labels"))
    t = temperature(found, labels)
    print(f"{len(shares)} folds: mean {np.mean(shares):.1f} %, from {min(shares):.1f} to {max(shares):.1f}; "
          f"temperature {t:.2f}")  # fmt: skip
    if args.figures:
        draw(found / t, labels, args.figures)
    pack(args.out, t, shares)


def draw(found, labels, folder):
    """sounds-confusion.svg and sounds-reliability.svg: every clip by the network that was trained without its fold."""
    from minirep.evaluate.measures import calibration, confusion
    from minirep.figures import draw_calibration, draw_confusion

    p = np.exp(found - np.logaddexp.reduce(found, axis=1, keepdims=True))
    draw_confusion(confusion(p, labels), NAMES, folder / "sounds-confusion.svg")
    draw_calibration(calibration(p, labels), folder / "sounds-reliability.svg")


def pack(folder, t, shares):
    """`model.npz`: the network of all folds, its head's weights divided by the temperature, merged, half precision."""
    path = folder / f"fold-{ALL}.pyth"
    saved = torch.load(path, weights_only=True)
    for name in saved["model_state"]:
        if name.startswith("head.projection"):
            saved["model_state"][name] /= t
    torch.save(saved, folder / "final.pyth")
    clf = minirep.load(folder / "final.pyth")
    clf.provenance |= {
        "temperature": f"{t:.3f}",
        "accuracy": f"{np.mean(shares):.1f} %, mean of ESC-10's five folds ({min(shares):.1f} to {max(shares):.1f})",
    }
    minirep.save(clf, folder / "model.npz", half=True)
    print(f"{folder / 'model.npz'}: {(folder / 'model.npz').stat().st_size / 2**20:.2f} MiB")


if __name__ == "__main__":
    main()
