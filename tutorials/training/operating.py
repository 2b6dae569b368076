"""The operating curve of a digits model on streams: digits found against false alarms, over the threshold.

    python operating.py --model model.npz --sounds work/sounds.npz [--test] [--esc10 esc10.tar] --figure curve.svg

The digits are those of Speech Commands' validation speakers (`--test`: of its test speakers), each in a second of its
recording, one after the other. What makes false alarms are other words of the same speakers, held-out synthetic speech
and other sounds, a quarter of an hour each, and with `--esc10` that data set's recordings, 33 minutes. Choose the
threshold on the validation speakers; report the test speakers.
"""

import argparse
import json
import pathlib

import numpy as np
from environment import read as read_esc10
from evaluate import commands, events, stream_without_digits, waves
from prepare import LABELS, RATE, UNKNOWN, resampled

import minirep

THRESHOLDS = (0.5, 0.7, 0.8, 0.9, 0.95, 0.98)
SLOT = 3 * RATE  # samples from one digit to the next: windows of 1.28 s do not reach over two


def row_of_digits(clips, rng):
    """The clips, one every SLOT samples, in faint noise."""
    x = 1e-4 * rng.standard_normal(SLOT * len(clips)).astype(np.float32)
    for i, clip in enumerate(clips):
        x[i * SLOT : i * SLOT + len(clip)] += clip[:SLOT]
    return x


def found(clf, row, labels, threshold):
    """(share of the digits that are heard, share of what is heard that is right)."""
    heard = [{LABELS.index(e.label) for e in group} for group in slots(events(clf, row, threshold), len(labels))]
    hits = sum(label in names for label, names in zip(labels, heard, strict=True))
    return hits / len(labels), hits / max(1, sum(len(names) for names in heard))


def slots(heard, count):
    """Events by the slot that their middle is in."""
    groups = [[] for _ in range(count)]
    for event in heard:
        groups[min(count - 1, int((event.start + event.end) / 2 * RATE / SLOT))].append(event)
    return groups


def draw(rows, path):
    """The curve as a picture: one line per stream, one point per threshold."""
    from minirep.figures import figure_type

    figure = figure_type()(figsize=(6, 4.6), layout="constrained")
    axes = figure.subplots()
    shares = [100 * row["found"] for row in rows]
    for name in rows[0]:
        if name not in ("threshold", "found", "right"):
            axes.plot([row[name] for row in rows], shares, "o-", label=name, clip_on=False)
    for row, share in zip(rows, shares, strict=True):
        axes.annotate(f"{row['threshold']}", (0, share), (-4, 0), textcoords="offset points", ha="right", va="center")
    axes.set_xscale("symlog", linthresh=0.1, linscale=0.5)
    axes.set_xlim(left=0)
    axes.set(xlabel="false alarms per minute", ylabel="digits found, %")
    axes.yaxis.set_tick_params(pad=32)  # room for the thresholds
    axes.grid(alpha=0.3)
    title = "streams without digits (numbers: threshold)"
    figure.legend(title=title, loc="outside lower center", ncols=2)
    figure.savefig(path)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--sounds", type=pathlib.Path, default=pathlib.Path("work/sounds.npz"))
    parser.add_argument("--test", action="store_true", help="Speech Commands' test speakers, not the validation ones")
    parser.add_argument("--esc10", type=pathlib.Path, help="a tar of ESC-10")
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("curve.jsonl"))
    parser.add_argument("--figure", type=pathlib.Path, help="a picture of the curve, .svg or .png")
    args = parser.parse_args()
    clf = minirep.load(args.model)
    with np.load(args.sounds) as archive:
        sounds = dict(archive)
    clips, labels = waves(sounds, commands(sounds, args.test) & (sounds["label"] < UNKNOWN))
    order = np.random.default_rng(0).permutation(len(clips))
    digits, labels = row_of_digits([clips[i] for i in order], np.random.default_rng(1)), labels[order]
    streams = stream_without_digits(sounds, args.test)
    if args.esc10:
        streams["ESC-10"] = np.concatenate([resampled(x, 44100) for x, *_ in read_esc10(args.esc10)])
    rows = []
    with open(args.out, "w") as file:
        for threshold in THRESHOLDS:
            share, right = found(clf, digits, labels, threshold)
            row = {"threshold": threshold, "found": round(share, 4), "right": round(right, 4)}
            for name, x in streams.items():
                row[name] = round(len(events(clf, x, threshold)) / (len(x) / RATE / 60), 3)
            file.write(json.dumps(row) + "\n")
            rows.append(row)
            print(row, flush=True)
    if args.figure:
        draw(rows, args.figure)


if __name__ == "__main__":
    main()
