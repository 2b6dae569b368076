"""Leave-one-speaker-out cross-validation: how accurate is the model for a voice that it was not trained on?

    python folds.py --sounds work/sounds.npz --out work/folds [--speakers theo lucas ...]

For each recorded speaker networks are trained from scratch, one a seed, without his recordings and what was made from
them, and then asked about every recording of his. All draw from one pool of clips, made once; those from the speaker
left out are passed over. Several processes share the work; the lines of `folds.jsonl` in --out are what came out.
"""

import argparse
import itertools
import pathlib
import sys
import time

import numpy as np
import torch

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "training"))
from accuracy import add
from augment import RECIPE, Clips, as_recorded, masked, origins
from prepare import LABELS
from train import (
    BATCH,
    BFLOAT16,
    DEPTHS,
    PEAK,
    WIDTH,
    fewer_unknown,
    learn,
    optimiser,
    predictions,
    rate_at,
    strength_at,
)
from twin import Twin

POOL = 136_000  # clips
STEPS = 2000  # of 64 clips: about as many as the pool has without those of one speaker


def make_pool(sounds, folder, count):
    """Clips from easy to hard: `x.npy` (count, 128, 128), half precision, and `about.npz` with labels and speakers."""
    clips = Clips(sounds, ~sounds["held"])
    _, speakers = origins(sounds)
    x = np.lib.format.open_memmap(folder / "x.npy", "w+", np.float16, (count, RECIPE.frames, 128))
    labels, of = np.empty(count, np.int64), np.empty(count, speakers.dtype)
    for i in range(count):
        log_mel, labels[i : i + 1] = clips.batch(np.random.default_rng((1, i)), 1, strength_at(i, count))
        x[i] = log_mel[0, 0]
        of[i] = "" if clips.made_from is None else speakers[clips.made_from]
    x.flush()
    np.savez(folder / "about.npz", labels=labels, speakers=of)


def trained(x, labels, rows, steps, seed, dtype):
    """A network that has seen the clips of these rows, in their order but for a shuffle of neighbours."""
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    twin = Twin(width=WIDTH, depths=DEPTHS, heads=RECIPE.heads, frames=RECIPE.frames, dropout=0.3)
    optimizer = optimiser(twin, PEAK)
    rows = rows[np.linspace(0, len(rows) - 1, steps * BATCH).astype(int)]
    for at in range(0, len(rows), 32 * BATCH):
        rng.shuffle(rows[at : at + 32 * BATCH])
    for step in range(steps):
        chosen = rows[step * BATCH : (step + 1) * BATCH]
        clips = masked(rng, torch.from_numpy(x[chosen].astype(np.float32))[:, None])
        loss, _ = learn(twin, optimizer, rate_at(step, steps, PEAK), clips, labels[chosen], dtype)
        if step % 100 == 99:
            print(f"{step + 1}/{steps} loss {loss.item():.3f}", flush=True)
    fewer_unknown(twin)
    return twin


def measured(twin, sounds, mask):
    """Of the sounds under a mask: how many there are, how many are right, also among digits alone, and mistakes."""
    clips, labels = as_recorded(sounds, np.flatnonzero(mask))
    p = predictions(twin, clips)
    found = p.argmax(1)
    wrong = [f"{LABELS[a]} as {LABELS[b]}" for a, b in zip(labels.tolist(), found.tolist(), strict=True) if a != b]
    return {
        "of": len(labels),
        "right": int((found == labels).sum()),
        "right_among_digits": int((p[:, :10].argmax(1) == labels).sum()),
        "mistakes": {m: wrong.count(m) for m in sorted(set(wrong), key=wrong.count, reverse=True)},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sounds", type=pathlib.Path, default=pathlib.Path("work/sounds.npz"))
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("work/folds"))
    parser.add_argument("--speakers", nargs="+", help="default: all")
    parser.add_argument("--steps", type=int, default=STEPS)
    parser.add_argument("--pool", type=int, default=POOL, help="clips in the pool")
    parser.add_argument("--seeds", type=int, nargs="+", default=(0, 1), help="a training for each; default: 0 1")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--bfloat16", **BFLOAT16)
    args = parser.parse_args()
    torch.set_num_threads(args.threads)
    args.out.mkdir(parents=True, exist_ok=True)
    with np.load(args.sounds) as archive:
        sounds = dict(archive)
    source, speaker = origins(sounds)
    if not (args.out / "about.npz").exists():
        make_pool(sounds, args.out, args.pool)
    x = np.load(args.out / "x.npy", mmap_mode="r")
    with np.load(args.out / "about.npz") as about:
        labels, of = torch.from_numpy(about["labels"]), about["speakers"]
    recorded = source == "fsdd"
    for seed, name in itertools.product(args.seeds, args.speakers or np.unique(speaker[recorded])):
        claim = args.out / f"{name}-{seed}.claimed"
        if claim.exists():
            continue
        claim.touch()
        started = time.process_time()
        twin = trained(x, labels, np.flatnonzero(of != name), args.steps, seed, args.dtype)
        seconds = round(time.process_time() - started)
        row = {"left_out": str(name), "seed": seed, "steps": args.steps, "seconds": seconds}
        row |= {"new": measured(twin, sounds, recorded & (speaker == name))}
        row |= {"known": measured(twin, sounds, recorded & (speaker != name) & sounds["held"])}
        add(args.out / "folds.jsonl", **row)


if __name__ == "__main__":
    main()
