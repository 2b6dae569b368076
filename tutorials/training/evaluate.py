"""Measure a digits model on sounds it was not trained on, through minirep's own path from samples to class.

    python evaluate.py --model model.npz --sounds work/sounds.npz [--demo FOLDER] [--speaker NAME] [--json]

Sets: held-back takes of the known speakers; voices of the synthesisers held back altogether, their digits and their
other words; held-back sounds and digits taken apart; noises; and, with --demo, WAV files named by their digit
(`7.wav`). --speaker measures one recorded speaker's every take: for a model trained with `--leave-out`.
"""

import argparse
import json
import pathlib

import numpy as np
from augment import Clips
from prepare import LABELS, RATE, SILENCE, UNKNOWN

import minirep


def predicted(clf, waves):
    """Class indices of a list of sample arrays."""
    return np.array([clf.classify(x, rate=RATE).probabilities["class"].argmax() for x in waves])


def waves(sounds, mask):
    """The samples of the sounds under a mask, and their labels."""
    chosen, start = np.flatnonzero(mask), sounds["start"]
    samples = [sounds["samples"][start[i] : start[i + 1]] for i in chosen]
    return [x.astype(np.float32) / 32768 for x in samples], sounds["label"][chosen]


def noises(sounds, count=200):
    """Made-up quiet: noises and hum of all colours and levels, and digital silence."""
    clips, rng, found = Clips(sounds, ~sounds["held"], seed=12345), np.random.default_rng(12345), []
    while len(found) < count:
        samples, n, label = clips.clip(rng)
        if label == SILENCE:
            found.append(samples[:n])
    return found, np.full(count, SILENCE)


def test_sets(sounds):
    """{name: (waves, labels)}"""
    group, label, held = sounds["group"], sounds["label"], sounds["held"]
    source = np.array([g.split("/")[0] for g in group])
    spoken = held & np.isin(source, ("espeak", "flite"))
    return {
        "recorded digits, held-back takes": waves(sounds, held & (source == "fsdd")),
        "synthetic digits, held-back voices": waves(sounds, spoken & (label < UNKNOWN)),
        "synthetic other words, held-back voices": waves(sounds, spoken & (label == UNKNOWN)),
        "recorded digits taken apart, held back": waves(sounds, held & (source == "apart")),
        "other sounds, held back": waves(sounds, held & (source == "sound")),
        "noises and digital silence": noises(sounds),
    }


def per_class(labels, found):
    """{class: [right, of]}"""
    return {LABELS[c]: [int((found[labels == c] == c).sum()), int((labels == c).sum())] for c in sorted(set(labels))}


def mistakes(labels, found):
    """The most frequent confusions: ["nine as one, 3 times" ...]"""
    pairs, counts = np.unique(np.stack([labels, found])[:, labels != found], axis=1, return_counts=True)
    order = np.argsort(-counts)[:6]
    return [f"{LABELS[pairs[0, i]]} as {LABELS[pairs[1, i]]}, {counts[i]}x" for i in order]


def report(name, labels, found):
    right = int((labels == found).sum())
    return {"set": name, "right": right, "of": len(labels), "percent": round(100 * right / len(labels), 2),
            "classes": per_class(labels, found), "mistakes": mistakes(labels, found)}  # fmt: skip


def demo(clf, folder):
    """(labels, found) of the WAV files 0.wav to 9.wav, or zero.wav to nine.wav."""
    rows = []
    for path in sorted(folder.glob("*.wav")):
        if path.stem in LABELS[:10] or path.stem in "0123456789":
            label = LABELS.index(path.stem) if path.stem in LABELS else int(path.stem)
            top = clf.classify(path).top(2)
            rows.append((label, LABELS.index(top[0][0])))
            print(f"{path.name}: {top[0][0]} {top[0][1]:.3f}, then {top[1][0]} {top[1][1]:.3f}")
    return tuple(np.array(rows).T)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--sounds", type=pathlib.Path, default=pathlib.Path("work/sounds.npz"))
    parser.add_argument("--demo", type=pathlib.Path, help="a folder of digits as WAV files")
    parser.add_argument("--speaker", help="measure only this recorded speaker, all takes")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    clf = minirep.load(args.model)
    with np.load(args.sounds) as archive:
        sounds = dict(archive)
    if args.speaker:
        mask = np.char.startswith(sounds["group"], f"fsdd/{args.speaker}/")
        sets = {f"every recording of {args.speaker}": waves(sounds, mask)}
    else:
        sets = test_sets(sounds)
    reports = [report(name, labels, predicted(clf, clips)) for name, (clips, labels) in sets.items()]
    if args.demo:
        reports.append(report("demo clips", *demo(clf, args.demo)))
    if args.json:
        print(json.dumps(reports, indent=1))
        return
    for r in reports:
        print(f"{r['set']}: {r['right']} of {r['of']}, {r['percent']} %")
        print("   " + "  ".join(f"{c} {a}/{b}" for c, (a, b) in r["classes"].items()))
        print("   " + "; ".join(r["mistakes"]))


if __name__ == "__main__":
    main()
