"""Measure a digits model on sounds it was not trained on, through minirep's own path from samples to class.

    python evaluate.py --model model.npz --sounds work/sounds.npz [--demo FOLDER] [--speaker NAME] [--json]

Sets: held-out takes of the six known speakers, clean, in noise and in a babble of voices; Speech Commands' validation
speakers and, with --test, its test speakers; held-out synthetic voices, their digits and their other words; held-out
sounds and digits taken apart; noises; and streams without a digit in them. With --demo, WAV files named by their digit
(`7.wav`); with --clips, a tar of more FLAC files `{word}/{name}.flac`; with --esc10, that data set's sounds, alone and
as a stream. --speaker measures every take of one recorded speaker instead: for a model trained with `--leave-out`.
"""

import argparse
import json
import pathlib

import numpy as np
from augment import Clips, origins
from environment import read as read_esc10
from prepare import LABELS, RATE, SILENCE, SYNTHESISERS, UNKNOWN, flac_files, resampled
from train import THRESHOLD, validation

import minirep
from minirep.evaluate.measures import calibration, confusion


def probabilities(clf, waves):
    """(N, 12) of a list of sample arrays."""
    return np.array([clf.classify(x, rate=RATE).probabilities["class"] for x in waves])


def waves(sounds, mask):
    """The samples of the sounds under a mask, and their labels."""
    chosen, start = np.flatnonzero(mask), sounds["start"]
    samples = [sounds["samples"][start[i] : start[i + 1]] for i in chosen]
    return [x.astype(np.float32) / 32768 for x in samples], sounds["label"][chosen]


def noises(sounds, count=200):
    """Made-up quiet: noises and hum of all colours and levels, and digital silence."""
    clips = Clips(sounds, ~sounds["held"], seed=12345)
    return clips.quiet(np.random.default_rng(12345), count), np.full(count, SILENCE)


def power(x):
    """Mean square of what is loud in it: speech without its pauses."""
    return np.mean(np.square(x[np.abs(x) > 0.1 * np.abs(x).max()]))


def in_noise(clips, noise, decibels, rng):
    """Each recording with a stretch of noise added, so many decibels below it."""
    for x in clips:
        at = rng.integers(len(noise) - len(x))
        part = noise[at : at + len(x)]
        yield x + part * np.sqrt(power(x) / np.mean(part**2) / 10 ** (decibels / 10))


def stream_without_digits(sounds, test):
    """{what: samples of about a quarter of an hour}: held-out sounds and noises, synthetic speech, recorded words."""
    (source, _), label, held = origins(sounds), sounds["label"], sounds["held"]
    rng = np.random.default_rng(5)
    quiet, _ = noises(sounds)
    other, _ = waves(sounds, held & (source == "sound"))
    words, _ = waves(sounds, held & np.isin(source, SYNTHESISERS) & (label == UNKNOWN))
    talk, _ = waves(sounds, held & (source == "talk"))

    def joined(parts, minutes):
        """The parts in random order, each at its own level and after its own pause, until there is enough."""
        row, have = [], 0
        while have < minutes * 60 * RATE:
            for i in rng.permutation(len(parts)):
                loud = 10 ** (rng.uniform(-25, -1) / 20) / (np.abs(parts[i]).max() + 1e-9)
                row += [np.float32(loud) * parts[i], np.zeros(int(rng.uniform(0.1, 0.8) * RATE), np.float32)]
                have += len(row[-1]) + len(row[-2])
        x = np.concatenate(row)[: int(minutes * 60 * RATE)]
        return x + 0.001 * rng.standard_normal(len(x)).astype(np.float32)

    recorded, _ = waves(sounds, commands(sounds, test) & (label == UNKNOWN))
    streams = {"other sounds": other + quiet, "synthetic speech": talk + words, "recorded words": recorded}
    return {name: joined(parts, 15) for name, parts in streams.items() if parts}


def commands(sounds, test):
    """A mask: Speech Commands by its validation speakers, or by its test speakers."""
    chosen = validation(sounds)
    return (origins(sounds)[0] == "gsc") & (sounds["held"] & ~chosen if test else chosen)


def events(clf, samples, threshold=None):
    """What a stream hears in the samples, a second at a time; by default at the model's own threshold."""
    stream = minirep.Stream(clf, RATE, threshold=threshold)
    return [e for at in range(0, len(samples), RATE) for e in stream.feed(samples[at : at + RATE])] + stream.close()


def false_digits(clf, samples):
    """Digits a minute that a stream at its default threshold hears where there are none, and which."""
    heard = events(clf, samples)
    names, counts = np.unique([e.label for e in heard], return_counts=True)
    return len(heard) / (len(samples) / RATE / 60), dict(zip(names.tolist(), counts.tolist(), strict=True))


def test_sets(sounds, test):
    """{name: (waves, labels)}"""
    (source, _), label, held = origins(sounds), sounds["label"], sounds["held"]
    spoken, accent, natural = held & np.isin(source, SYNTHESISERS), source == "festival", source == "kokoro"
    plain = spoken & ~accent & ~natural
    clips, of = waves(sounds, held & (source == "fsdd"))
    talk, _ = waves(sounds, held & (source == "talk"))
    rng = np.random.default_rng(6)
    white = rng.standard_normal(60 * RATE).astype(np.float32)
    babble = sum(np.resize(np.concatenate([talk[i] for i in rng.permutation(len(talk))]), 60 * RATE) for _ in range(6))
    part, mask = "test" if test else "validation", commands(sounds, test)
    sets = {
        "recorded digits, held-out takes": (clips, of),
        f"Speech Commands, {part} speakers, digits": waves(sounds, mask & (label < UNKNOWN)),
        f"Speech Commands, {part} speakers, other words": waves(sounds, mask & (label == UNKNOWN)),
        "one more speaker, held-out digits": waves(sounds, held & (source == "feiyu")),
    }
    for name, noise in (("white noise", white), ("babble of six voices", babble)):
        for decibels in (20, 10, 5, 0):
            sets[f"the same, {name} at {decibels} dB"] = (list(in_noise(clips, noise, decibels, rng)), of)
    return sets | {
        "synthetic digits, held-out voices": waves(sounds, plain & (label < UNKNOWN)),
        "synthetic other words, held-out voices": waves(sounds, plain & (label == UNKNOWN)),
        "digits in natural synthetic voices, held out": waves(sounds, spoken & natural & (label < UNKNOWN)),
        "other words in natural synthetic voices, held out": waves(sounds, spoken & natural & (label == UNKNOWN)),
        "digits with other accents, held-out voices": waves(sounds, spoken & accent & (label < UNKNOWN)),
        "other words with other accents, held-out voices": waves(sounds, spoken & accent & (label == UNKNOWN)),
        "recorded digits taken apart, held out": waves(sounds, held & (source == "apart")),
        "other sounds, held out": waves(sounds, held & (source == "sound")),
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


def share(true, among):
    """Percent of those in a mask; None where there are none."""
    return round(100 * float(true[among].mean()), 2) if among.any() else None


def report(name, labels, p):
    """What is printed of one set: labels (N,), probabilities (N, 12)."""
    found = p.argmax(1)
    right = int((labels == found).sum())
    digit, sure = labels < UNKNOWN, p[:, :UNKNOWN].max(1) >= float(THRESHOLD)
    as_digit = found < UNKNOWN
    return {"set": name, "right": right, "of": len(labels), "percent": round(100 * right / len(labels), 2),
            "digits found at the threshold": share((labels == found) & sure, digit),
            "taken for a digit": share(as_digit, ~digit), "the same at the threshold": share(as_digit & sure, ~digit),
            "sure": round(100 * float(p.max(1).mean()), 2), "calibration_error": round(calibration(p, labels).error, 4),
            "classes": per_class(labels, found), "mistakes": mistakes(labels, found)}  # fmt: skip


def draw(answers, folder):
    """model-confusion.svg and model-reliability.svg, of all sets to which nothing was added."""
    from minirep.figures import draw_calibration, draw_confusion

    plain = [answers[name] for name in answers if " dB" not in name]
    labels, p = (np.concatenate(column) for column in zip(*plain, strict=True))
    draw_confusion(confusion(p, labels), LABELS, folder / "model-confusion.svg")
    draw_calibration(calibration(p, labels), folder / "model-reliability.svg")


def demo(clf, folder):
    """(labels, probabilities) of the WAV files 0.wav to 9.wav, or zero.wav to nine.wav."""
    rows = []
    for path in sorted(folder.glob("*.wav")):
        if path.stem in LABELS[:10] or path.stem in "0123456789":
            label = LABELS.index(path.stem) if path.stem in LABELS else int(path.stem)
            answer = clf.classify(path)
            (first, p), (second, q) = answer.top(2)
            rows.append((label, answer.probabilities["class"]))
            print(f"{path.name}: {first} {p:.3f}, then {second} {q:.3f}")
    return tuple(np.array(column) for column in zip(*rows, strict=True))


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", required=True)
    parser.add_argument("--sounds", type=pathlib.Path, default=pathlib.Path("work/sounds.npz"))
    parser.add_argument("--demo", type=pathlib.Path, help="a folder of digits as WAV files")
    parser.add_argument("--speaker", help="measure only this recorded speaker, all takes")
    parser.add_argument("--test", action="store_true", help="Speech Commands' test speakers, not the validation ones")
    parser.add_argument("--clips", type=pathlib.Path, help="a tar of FLAC files {word}/{name}.flac")
    parser.add_argument("--esc10", type=pathlib.Path, help="a tar of ESC-10")
    parser.add_argument("--figures", type=pathlib.Path, help="a folder to draw confusions and calibration into")
    parser.add_argument("--json", action="store_true")
    args = parser.parse_args()
    clf = minirep.load(args.model)
    with np.load(args.sounds) as archive:
        sounds = dict(archive)
    if args.speaker:
        mask = np.char.startswith(sounds["group"], f"fsdd/{args.speaker}/")
        sets = {f"every recording of {args.speaker}": waves(sounds, mask)}
    else:
        sets = test_sets(sounds, args.test)
    if args.clips:
        rows = [(x, LABELS.index(word) if word in LABELS else UNKNOWN) for word, _, x in flac_files(args.clips)]
        of = np.array([label for _, label in rows])
        sets["more clips, digits"] = [x for x, y in rows if y < UNKNOWN], of[of < UNKNOWN]
        sets["more clips, other words"] = [x for x, y in rows if y == UNKNOWN], of[of == UNKNOWN]
    if args.esc10:
        recordings = [resampled(x, 44100) for x, *_ in read_esc10(args.esc10)]
        sets["ESC-10"] = recordings, np.full(len(recordings), UNKNOWN)
    answers = {name: (labels, probabilities(clf, clips)) for name, (clips, labels) in sets.items()}
    reports = [report(name, labels, p) for name, (labels, p) in answers.items()]
    if args.figures:
        draw(answers, args.figures)
    if args.demo:
        reports.append(report("demo clips", *demo(clf, args.demo)))
    streams = {} if args.speaker else stream_without_digits(sounds, args.test)
    if args.esc10:
        streams["ESC-10"] = np.concatenate(recordings)
    reports += [
        {"stream": name, "false alarms a minute": round(rate, 3), "heard": heard}
        for name, (rate, heard) in ((name, false_digits(clf, x)) for name, x in streams.items())
    ]
    if args.json:
        print(json.dumps(reports, indent=1))
        return
    for r in reports:
        if "stream" in r:
            print(f"stream of {r['stream']}: {r['false alarms a minute']} false alarms a minute {r['heard']}")
            continue
        print(f"{r['set']}: {r['right']} of {r['of']}, {r['percent']} % (mean confidence {r['sure']} %)")
        print(f"   at {THRESHOLD}: {r['digits found at the threshold']} % of digits found; other sounds taken for a "
              f"digit {r['taken for a digit']} %, at {THRESHOLD} {r['the same at the threshold']} %")  # fmt: skip
        print("   " + "  ".join(f"{c} {a}/{b}" for c, (a, b) in r["classes"].items()))
        print("   " + "; ".join(r["mistakes"]))


if __name__ == "__main__":
    main()
