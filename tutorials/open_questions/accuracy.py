"""Accuracy of variants of one small network in two domains: parts `train` and `report` of questions.py.

"digits": the sounds of prepare.py, twelve classes, split by speaker. "sounds": ESC-10, ten classes, its official folds.
In both, each network trains with a constant learning rate until the validation loss of its averaged weights stops
improving, and is tested once, with the best average. Networks of the same seed and fold see the same clips in the same
order, so each is compared with the published one pair by pair. No test set influences any choice.
"""

import contextlib
import copy
import dataclasses
import fcntl
import itertools
import json
import pathlib
import sys
import tempfile
import time
from collections.abc import Callable

import numpy as np
import torch
from scipy import stats

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[1] / "training"))
import environment
from augment import Clips, as_recorded, coloured_noise, masked, origins
from prepare import HELD_VOICES, LABELS, RATE, SYNTHESISERS, UNKNOWN, resampled
from train import learn, optimiser, predictions, validation
from twin import FREQUENCY_FIRST, INCEPTION, Twin, save_checkpoint

import minirep
from minirep.count import costs, total

SMALL = {"width": 8, "depths": (1, 1, 2, 1)}
PUBLISHED, FRAMES = "as published", 128
VARIANTS = {
    PUBLISHED: {},
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
WIDE = 12  # the width at which separate chains, merged, need about the multiply-adds of the published network, merged
TRAINED = {name: settings for name, settings in VARIANTS.items() if name != "separate chains, frequency first"}
TRAINED |= {"separate chains, wider": {"kind": INCEPTION, "width": WIDE}}
LONGER = {"longer input": {"frames": 2 * FRAMES}}  # where recordings are long enough

LEFT_OUT = "theo"  # of the six men who say all ten digits, the one for the test alone
TEST_VOICES = HELD_VOICES[::2]  # synthetic voices for the test alone; validation has the others that are held out
BATCH, PEAK, WARM_UP, DECAY, MIXUP = 32, 8e-3, 50, 0.99, 0.2
EVERY, PATIENCE, LEAST = 50, 250, 0.005  # steps; an improvement is a validation loss lower by this share
DIGIT_CLIPS, STRENGTH, VERSIONS = 24_576, 0.3, 20  # size of the pools, see `make_digits` and `make_sounds`
LONG = dataclasses.replace(environment.RECIPE, clip_seconds=5.119, frames=2 * FRAMES, views=1)


def lines(path):
    """Return the rows of a file of JSON lines, none where there is no file."""
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def add(path, **row):
    with open(path, "a") as file:
        file.write(json.dumps(row) + "\n")
    print(row, flush=True)


def table(head, rows):
    """Print a table in Markdown."""
    print("\n" + "\n".join(" | ".join(map(str, row)).join(("| ", " |")) for row in (head, ["---"] * len(head), *rows)))


@contextlib.contextmanager
def claimed(path, wait=False):
    """Whether the lock on `path` is this process's. The system releases the lock of a process that is killed."""
    with open(path, "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True


# --- data: made once, kept in files ----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Data:
    """The log-mels of a domain, in half precision: a pool to train on, and recordings to measure."""

    x: np.ndarray  # (clips, frames, 128), augmented; mapped from a file
    label: np.ndarray  # (clips,)
    fold: np.ndarray  # (clips,); 0 where there are no folds
    power: np.ndarray  # (clips, frames): the mean square of each frame's bands
    views: dict[int, np.ndarray]  # by frames: (recordings, views, frames, 128), nothing added
    truth: np.ndarray  # (recordings,): their labels
    part: np.ndarray  # (recordings,): "validation", the name of a test set, or the fold


def save(folder, label, fold, views, truth, part):
    """Write all of `Data` beside the pool's `x.npy`; this file is the last, so where it is, the rest is."""
    x = np.load(folder / "x.npy", mmap_mode="r")
    power = np.stack([np.square(np.exp(clip.astype(np.float32))).mean(1) for clip in x])
    views = {f"views {frames}": v.astype(np.float16) for frames, v in views.items()}
    written = folder / "writing.npz"
    np.savez(written, label=label, fold=fold, power=power, truth=truth, part=part, **views)
    written.replace(folder / "about.npz")


def load(folder):
    with np.load(folder / "about.npz") as file:
        about = {name: file[name] for name in file.files}
    views = {int(name.split()[1]): about.pop(name) for name in list(about) if name.startswith("views")}
    return Data(np.load(folder / "x.npy", mmap_mode="r"), views=views, **about)


def new_pool(folder, clips, frames):
    return np.lib.format.open_memmap(folder / "x.npy", "w+", np.float16, (clips, frames, 128))


def digit_parts(sounds):
    """Return the part of each sound: "training", "validation", the name of a test set, or "" where it is not used.

    Nobody is in two parts, except that validation also has held-out takes of the speakers in training. So every test
    is of speakers and voices that are new.
    """
    (source, speaker), label, held = origins(sounds), sounds["label"], sounds["held"]
    voice = np.array([name.split("+")[-1] for name in speaker])  # espeak's voices begin with a dialect
    chosen_by, synthetic = validation(sounds), np.isin(voice, TEST_VOICES)
    commands = (source == "gsc") & held & ~chosen_by
    part = np.where(held, "", "training").astype("U40")
    part[chosen_by] = "validation"
    part[synthetic | (speaker == LEFT_OUT)] = ""
    part[commands & (label < UNKNOWN)] = "Speech Commands, digits"
    part[commands & (label == UNKNOWN)] = "Speech Commands, other words"
    part[(source == "fsdd") & (speaker == LEFT_OUT)] = "a new speaker's digits"
    part[synthetic & np.isin(source, SYNTHESISERS) & (label < UNKNOWN)] = "new synthetic voices' digits"
    return part


def measured_digits(sounds, part, most=90, most_tested=400):
    """Choose which sounds validate and test: at most so many of each kind in validation, and of each test set."""
    rng, source = np.random.default_rng(7), origins(sounds)[0]
    source = np.where(np.isin(source, ("fsdd", "gsc", "feiyu")), source, "other")
    kinds = [(part == "validation") & (source == s) & ((sounds["label"] == UNKNOWN) == unknown)
             for s in np.unique(source) for unknown in (False, True)]  # fmt: skip
    tests = [part == name for name in np.unique(part) if name not in ("", "training", "validation")]
    masks = [(mask, most) for mask in kinds] + [(mask, most_tested) for mask in tests]
    found = ((np.flatnonzero(mask), count) for mask, count in masks)
    return np.concatenate([np.sort(rng.choice(rows, min(count, len(rows)), replace=False)) for rows, count in found])


def make_digits(args, folder):
    """Make the pool of digits: `DIGIT_CLIPS` clips of all training sounds in mild surroundings."""
    with np.load(args.sounds) as archive:
        sounds = dict(archive)
    part = digit_parts(sounds)
    clips, x, label = Clips(sounds, part == "training"), new_pool(folder, DIGIT_CLIPS, FRAMES), []
    for at in range(0, DIGIT_CLIPS, 64):
        some, labels = clips.batch(np.random.default_rng((1, at)), min(64, DIGIT_CLIPS - at), STRENGTH)
        x[at : at + len(labels)] = some[:, 0]
        label += labels.tolist()
    chosen = measured_digits(sounds, part)
    views, truth = as_recorded(sounds, chosen)
    save(folder, label, np.zeros(len(label), int), {FRAMES: views.numpy()}, truth.numpy(), part[chosen])


def varied(rng, x):
    """Return a clip of `LONG`'s length from a recording at 16 kHz: another pace, microphone and level, and noise."""
    n = LONG.clip - 1
    x = np.tile(x, -(-2 * n // len(x)))
    pace = 2 ** rng.uniform(-0.25, 0.25)
    at = rng.integers(0, len(x) - int(n * pace) - 1)
    x = np.interp(at + pace * np.arange(n), np.arange(len(x)), x)
    hz = np.fft.rfftfreq(n, 1 / RATE)
    x = np.fft.irfft(np.fft.rfft(x) * (np.maximum(hz, 60) / 1000) ** rng.uniform(-0.6, 0.6), n)
    x = x * 10 ** (rng.uniform(-36, -0.5) / 20) / (np.abs(x).max() + 1e-6)
    if rng.random() < 0.4:  # so weak that a crop of noise alone still counts as nothing, see `batch`
        level = (np.sqrt(np.square(x).mean()) + 1e-4) * 10 ** (-rng.uniform(25, 50) / 20)
        x = x + level * coloured_noise(rng, n, rng.uniform(-2, 0.5))
    return np.clip(x, -1, 1).astype(np.float32)


def make_sounds(args, folder):
    """Make the pool of environmental sounds: `VERSIONS` of every recording. A network trains on those of three folds.

    Clips have twice the frames of the published input; training crops them anew each time.
    """
    rows = environment.read(args.esc10)
    waves = [resampled(x, 44100) for x, *_ in rows]
    label, fold = (np.array([row[i] for row in rows]) for i in (1, 2))
    x = new_pool(folder, len(rows) * VERSIONS, LONG.frames)
    for i in range(len(x)):
        clip = varied(np.random.default_rng((2, i)), waves[i % len(rows)])
        x[i] = minirep.log_mel_views(clip, RATE, LONG)[0]
    views = {r.frames: np.stack([minirep.log_mel_views(w, RATE, r) for w in waves]) for r in (environment.RECIPE, LONG)}
    save(folder, np.tile(label, VERSIONS), np.tile(fold, VERSIONS), views, label, fold.astype(str))


@dataclasses.dataclass(frozen=True)
class Domain:
    make: Callable  # (args, folder): writes the data
    source: str  # the option that names the file it is made from
    classes: int
    networks: dict
    folds: tuple[int, ...]
    unit: str  # what the pairs are: a difference for each of these, the mean over all that it has
    seeds: int
    steps: int  # at most
    mixup: float  # both parameters of the beta distribution of a clip's share; 0: none


DOMAINS = {
    "digits": Domain(make_digits, "sounds", len(LABELS), TRAINED, (0,), "seed", 5, 1400, 0.0),
    "sounds": Domain(make_sounds, "esc10", 10, TRAINED | LONGER, (1, 2, 3, 4, 5), "fold", 1, 1150, MIXUP),
}


def split(data, fold):
    """Return which clips train (a mask), and {"validation" or name of a test set: which recordings (a mask)}.

    With folds, one is for the test, the next for validation, and three are for training.
    """
    if fold == 0:
        return data.fold == 0, {name: data.part == name for name in np.unique(data.part).tolist()}
    after = fold % 5 + 1
    parts = {"validation": data.part == str(after), "test fold": data.part == str(fold)}
    return (data.fold != fold) & (data.fold != after), parts


# --- training --------------------------------------------------------------------------------------------------------


def chosen(rng, rows):
    """Yield batches of rows for ever, each row once before any comes again."""
    while True:
        yield from rng.permutation(rows)[: len(rows) // BATCH * BATCH].reshape(-1, BATCH)


def batch(rng, data, rows, frames, domain):
    """Return log-mels (N, 1, frames, 128) of these clips, cropped, mixed and masked anew, and targets (N, classes)."""
    targets = np.eye(domain.classes, dtype=np.float32)[data.label[rows]]
    at = rng.integers(0, data.x.shape[1] - frames + 1, len(rows))
    x = np.stack([data.x[row, a : a + frames] for row, a in zip(rows, at, strict=True)]).astype(np.float32)
    if frames < data.x.shape[1]:  # ESC-10 fills short sounds up with zeros: a crop of nothing has no class
        power = np.stack([data.power[row, a : a + frames] for row, a in zip(rows, at, strict=True)])
        targets[power.mean(1) < 0.003 * data.power[rows].mean(1)] = 1 / domain.classes
    if domain.mixup:  # Zhang et al., "mixup", 2018
        share, other = rng.beta(domain.mixup, domain.mixup, len(rows)).astype(np.float32), rng.permutation(len(rows))
        x = share[:, None, None] * x + (1 - share)[:, None, None] * x[other]
        targets = share[:, None] * targets + (1 - share)[:, None] * targets[other]
    return masked(rng, torch.from_numpy(x)[:, None]), torch.from_numpy(targets)


def follow(average, twin, decay):
    """Move the exponential moving average of weights and batch-norm statistics a step towards the network."""
    for mean, now in zip(average.state_dict().values(), twin.state_dict().values(), strict=True):
        if mean.is_floating_point():
            mean.lerp_(now, 1 - decay)


def measured(twin, views, truth):
    """Return accuracy and cross-entropy over recordings; a recording's probabilities are the mean over its views."""
    p = predictions(twin, torch.from_numpy(views.reshape(-1, 1, *views.shape[2:]).astype(np.float32)))
    p = p.reshape(*views.shape[:2], -1).mean(1).numpy()
    right, loss = p.argmax(1) == truth, -np.log(np.maximum(p[np.arange(len(p)), truth], 1e-12))
    return float(right.mean()), float(loss.mean())


def trained(settings, data, domain, fold, seed, dtype=torch.float32):
    """Train one network until validation stops improving -> (the best average, what happened)."""
    settings = {**SMALL, "frames": FRAMES, **settings}
    frames, (clips, parts) = settings["frames"], split(data, fold)
    views, truth = data.views[frames][parts["validation"]], data.truth[parts["validation"]]
    torch.manual_seed(seed)
    twin = Twin(**settings, heads={"class": domain.classes}, dropout=0.1)
    optimizer, average = optimiser(twin, PEAK), copy.deepcopy(twin)
    # what the order of clips and their masks are drawn from does not depend on the network
    rows, rng = chosen(np.random.default_rng((seed, 0)), np.flatnonzero(clips)), np.random.default_rng((seed, 1))
    best, weights, step, at = np.inf, twin.state_dict(), 0, 0
    while step < domain.steps and step - at < PATIENCE:
        step += 1
        x, targets = batch(rng, data, next(rows), frames, domain)
        learn(twin, optimizer, PEAK * min(1, step / WARM_UP), x, targets, dtype, smoothing=0.05)
        follow(average, twin, min(DECAY, step / (step + 10)))  # short at first, to forget the start
        if step % EVERY == 0 or step == domain.steps:
            _, loss = measured(average, views, truth)
            if loss < best * (1 - LEAST):
                best, at, weights = loss, step, copy.deepcopy(average.state_dict())
    average.load_state_dict(weights)
    return average, {"steps": step, "best": at, "stopped": step - at >= PATIENCE, "validation_loss": round(best, 4)}


def tested(twin, data, fold, frames):
    """Return {test set: its accuracy}, "accuracy", their mean, and "loss", the mean of their cross-entropies."""
    tests = {name: mask for name, mask in split(data, fold)[1].items() if name != "validation"}
    found = {name: measured(twin, data.views[frames][mask], data.truth[mask]) for name, mask in tests.items()}
    accuracy, loss = np.mean(list(found.values()), axis=0).tolist()
    rest = {name: round(a, 4) for name, (a, _) in found.items()}
    return {"accuracy": round(accuracy, 4), "loss": round(loss, 4), **(rest if len(rest) > 1 else {})}


def train(args):
    """Train what `accuracy.jsonl` in --out lacks. Several processes share the work; each network is claimed by one."""
    results = args.out / "accuracy.jsonl"
    for name in args.domains:  # before hours of training
        path = getattr(args, DOMAINS[name].source)
        if not (args.out / name / "about.npz").exists() and not path.is_file():
            raise SystemExit(f"--{DOMAINS[name].source}: found no file {path}; {name} are made from it")
    for name in args.domains:
        domain, folder = DOMAINS[name], args.out / name
        folder.mkdir(exist_ok=True)
        with claimed(folder / "pool.lock", wait=True):
            if not (folder / "about.npz").exists():
                print(f"{name}: making the pool", flush=True)
                domain.make(args, folder)
        data, seeds = load(folder), range(args.seeds or domain.seeds)
        plan = list(itertools.product(seeds, domain.folds, domain.networks))
        for number, (seed, fold, network) in enumerate(plan, 1):
            key = {"domain": name, "network": network, "seed": seed, "fold": fold}
            with claimed(folder / f"{network}-{seed}-{fold}.lock") as mine:
                if not mine or any(key.items() <= row.items() for row in lines(results)):
                    continue
                print(f"{name}, {number} of {len(plan)}: {network}, seed {seed}, fold {fold}", flush=True)
                started, settings = time.process_time(), domain.networks[network]
                twin, how = trained(settings, data, domain, fold, seed, args.dtype)
                found = tested(twin, data, fold, settings.get("frames", FRAMES))
                add(results, **key, measures=found, **how, seconds=round(time.process_time() - started, 1))


# --- statistics ------------------------------------------------------------------------------------------------------


def paired(differences):
    """Return mean, lower and upper limit of the 95 % confidence interval (Student's t), and p of no difference."""
    d = np.asarray(differences, float)
    mean, error = d.mean(), d.std(ddof=1) / np.sqrt(len(d))
    if error == 0:  # all alike: no t
        return mean, mean, mean, float(mean == 0)
    reach = error * stats.t.ppf(0.975, len(d) - 1)
    return mean, mean - reach, mean + reach, 2 * stats.t.sf(abs(mean) / error, len(d) - 1)


def holm(p):
    """Return p values adjusted for their number (Holm, 1979): below 0.05 they remain after the correction."""
    p = np.asarray(p, float)
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    return np.minimum(steps, 1)[np.argsort(order)]


def units(rows, network, what, unit):
    """Return {seed or fold: mean of a measure over the network's rows of it}."""
    found = {}
    for row in rows:
        if row["network"] == network:
            found.setdefault(row[unit], []).append(row["measures"][what])
    return {key: np.mean(values) for key, values in found.items()}


def compared(rows, domain, what):
    """Return {network: (its mean, its pairs, `paired` with the published network or None)}, of all with any row."""
    base, found = units(rows, PUBLISHED, what, domain.unit), {}
    for network in domain.networks:
        its = units(rows, network, what, domain.unit)
        d = [its[key] - base[key] for key in its.keys() & base.keys()]
        if its:
            found[network] = np.mean(list(its.values())), len(d), None
            if network != PUBLISHED and len(d) > 1:
                found[network] = *found[network][:2], paired(d)
    return found


def counted(network, classes):
    """Return learnable parameters as trained, and multiply-adds of one input when merged."""
    settings = {**SMALL, **(TRAINED | LONGER)[network]}
    frames = settings.pop("frames", FRAMES)
    twin = Twin(**settings, heads={"class": classes}, frames=FRAMES)
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "network.pyth"
        save_checkpoint(path, twin, "digits" if classes == len(LABELS) else "sounds")
        merged = minirep.load(path, backend="numpy").network
    return sum(p.numel() for p in twin.parameters()), total(costs(merged, frames)).multiply_adds


def interval(found, scale=1):
    if found is None:
        return ""
    mean, low, high = (f"{scale * v:+.{2 if scale > 1 else 3}f}" for v in found[:3])
    return f"{mean} ({low} to {high})"


def main_table(rows, domain, found, adjusted):
    """Print what each network costs and its mean accuracy. adjusted: {network: p after Holm's correction}."""
    body = []
    for network, (mean, pairs, d) in found.items():
        parameters, adds = counted(network, domain.classes)
        steps = np.mean([row["best"] for row in rows if row["network"] == network])
        p = adjusted.get(network)
        tests = (
            ["", "", ""] if d is None else [interval(d, 100), f"{d[3]:.2g}", f"{p:.2g}" + (" *" if p < 0.05 else "")]
        )
        body.append([network, parameters, f"{adds / 1e6:.2f}", f"{steps:.0f}", f"{100 * mean:.1f}", pairs, *tests])
    head = ("network", "parameters", "M multiply-adds, merged", "best step", "accuracy, %", f"pairs ({domain.unit}s)")
    table((*head, "difference, points (95 % interval)", "p", "p, Holm"), body)


def report(args):
    """Print each network's accuracy and its paired difference to the published one, with confidence intervals.

    The comparisons of the mean accuracy, in all domains together, are one family for Holm's correction. All others
    are descriptive: no p values, intervals without a correction.
    """
    by = {name: [row for row in lines(args.out / "accuracy.jsonl") if row["domain"] == name] for name in DOMAINS}
    found = {name: compared(by[name], domain, "accuracy") for name, domain in DOMAINS.items()}
    family = [(name, network) for name in found for network, (*_, d) in found[name].items() if d is not None]
    adjusted = dict(zip(family, holm([found[name][network][2][3] for name, network in family]), strict=True))
    others = 0
    for name, rows in by.items():
        domain = DOMAINS[name]
        longest = sum(not row["stopped"] for row in rows)
        print(f"\n## {name}: {len(rows)} networks, of which {longest} trained for all of {domain.steps} steps")
        main_table(rows, domain, found[name], {network: p for (of, network), p in adjusted.items() if of == name})
        for what in list(rows[0]["measures"])[1:] if rows else ():
            scale, its = 1 if what == "loss" else 100, compared(rows, domain, what)
            others += sum(d is not None for *_, d in its.values())
            body = [
                [n, f"{scale * mean:.{1 if scale > 1 else 3}f}", interval(d, scale)] for n, (mean, _, d) in its.items()
            ]
            table(("network", what + (", %" if scale > 1 else ""), "difference (95 % interval)"), body)
    print(f"\n{len(family)} comparisons of the accuracy, of which {sum(p < 0.05 for p in adjusted.values())} remain "
          f"after Holm's correction (*). {others} more intervals are without a correction.")  # fmt: skip
