"""Training clips made on the fly: a sound, its surroundings, and what minirep's front end makes of them."""

import itertools

import numpy as np
import torch
from channels import Channels
from prepare import ACCENTS, LABELS, RATE, SILENCE, SYNTHESISERS, UNKNOWN, loud_frames

import minirep

# the front end of the published recipe "vggsound", on a clip a quarter as long
RECIPE = minirep.Recipe("digits", RATE, 1.279, 20, 10, frames=128, views=1, heads={"class": len(LABELS)})
VIEW = RECIPE.clip - 1  # samples that are looked at
ROOM = 1 << 15  # length of the transform that filters a clip: clip plus echo


def origins(sounds):
    """Where each sound is from, its group's first two parts: sources ("fsdd", "espeak" ...), and speakers or voices."""
    return tuple(np.array([group.split("/")[i] for group in sounds["group"]]) for i in (0, 1))


def log_mels(waves):
    """Sample arrays of any lengths -> (N, 1, 128, 128) as a tensor, the last frame repeated where one is short."""
    return torch.from_numpy(np.stack([minirep.log_mel_views(x, RATE, RECIPE) for x in waves]))


def coloured_noise(rng, n, exponent):
    """Noise whose power falls (or rises) as frequency to the exponent: -2 brown, -1 pink, 0 white, 1 blue, 2 violet."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    f = np.maximum(np.fft.rfftfreq(n), 20 / RATE)
    x = np.fft.irfft(spectrum * f ** (exponent / 2), n)
    return (x / x.std()).astype(np.float32)


def low_pass(hz, rng):
    """The upper limit of a telephone or of a recording at 8 kHz, as a factor for each frequency."""
    return 1 / (1 + (hz / rng.uniform(3000, 4200)) ** rng.integers(6, 60))


def room(rng):
    """A synthetic impulse response: the direct sound, then noise that dies away."""
    n = int(RATE * rng.uniform(0.05, 0.45))
    tail = rng.standard_normal(n) * np.exp(-6.9 * np.arange(n) / n) * (rng.random(n) < 0.3)
    tail[: int(RATE * rng.uniform(0.001, 0.01))] = 0
    tail *= rng.uniform(0.1, 0.9) / (np.sqrt((tail**2).sum()) + 1e-9)
    tail[0] = 1
    return np.fft.rfft(tail, ROOM).astype(np.complex64)


def cut_by_level(rng, x):
    """A word from its first loud moment to its last, as recordings are cut by a program that goes by loudness.

    Weak sounds at the ends are lost: an *s* most of all where the band ends at 4 kHz. How loud is loud, varies.
    """
    dull = np.convolve(x, np.full(4, 0.25, np.float32), "same")  # without most of what is above 4 kHz
    loud = loud_frames(dull, 10 ** (-rng.uniform(12, 36) / 20))
    before, after = rng.integers(0, 5, 2)
    return x[max(0, loud[0] - before) * 80 : (loud[-1] + 1 + after) * 80]


class Clips:
    """Random training clips from the sounds of `prepare.py`, reproducible from a seed a batch."""

    # what a clip is made from, and how often
    MIX = (("commands", 0.11), ("fsdd", 0.09), ("feiyu", 0.03), ("shifted", 0.12), ("synthetic", 0.06),
           ("accents", 0.07), ("natural", 0.17), ("commands' words", 0.11), ("words", 0.05), ("natural words", 0.05),
           ("near", 0.1), ("talk", 0.035), ("apart", 0.03), ("sound", 0.025), ("silence", 0.04))  # fmt: skip
    WORDS = ("words", "natural words", "commands' words")  # two of these may follow each other in one clip
    NARROW = ("fsdd", "shifted")  # mostly from 8 kHz: the upper half of their band is empty
    PACE = {"fsdd": (0.92, 1.1), "commands": (0.9, 1.12), "commands' words": (0.9, 1.12), "natural": (0.82, 1.25),
            "natural words": (0.82, 1.25)}  # fmt: skip

    def __init__(self, sounds, keep, seed=0):
        """sounds: the arrays of `sounds.npz`; keep: which of them may be used, a mask."""
        self.samples, self.start, self.label = sounds["samples"], sounds["start"], sounds["label"]
        source, _ = origins(sounds)
        speech, commands = np.isin(source, SYNTHESISERS), keep & (source == "gsc")
        digits, words = keep & speech & (self.label < UNKNOWN), keep & speech & (self.label == UNKNOWN)
        accents, natural = np.isin(source, ACCENTS), source == "kokoro"
        kinds = {k: keep & (source == k) for k in ("fsdd", "feiyu", "shifted", "near", "talk", "apart", "sound")}
        kinds |= {"commands": commands & (self.label < UNKNOWN), "commands' words": commands & (self.label == UNKNOWN)}
        kinds |= {"synthetic": digits & ~accents & ~natural, "accents": digits & accents, "natural": digits & natural}
        kinds |= {"words": words & ~natural, "natural words": words & natural}
        self.pools = {k: np.flatnonzero(m) for k, m in kinds.items()}
        # digits that Speech Commands has here come half as often from everywhere else: else they would be commoner
        often = np.setdiff1d(np.arange(UNKNOWN), self.label[self.pools["commands"]])
        if len(self.pools["commands"]):
            for kind in ("fsdd", "feiyu", "shifted", "synthetic", "accents", "natural"):
                pool = self.pools[kind]
                self.pools[kind] = np.concatenate([pool, pool[np.isin(self.label[pool], often)]])
        self.mix = {k: p for k, p in self.MIX if k == "silence" or len(self.pools[k])}
        rng = np.random.default_rng(seed)
        self.noises = [coloured_noise(rng, 20 * RATE, e) for e in (-2, -1.5, -1, -0.5, 0, 1, 2)]
        self.babbles = [self.babble(rng, 20 * RATE, voices) for voices in (2, 4, 8)] if len(self.pools["talk"]) else []
        self.rooms = [room(rng) for _ in range(150)]
        self.hz = np.fft.rfftfreq(ROOM, 1 / RATE)
        recorded = {i: self.sound(i) for k in ("commands", "commands' words") for i in self.pools[k]}
        references = rng.permutation(self.pools["natural"])[:2000] if recorded else []
        self.channels = Channels(recorded, [self.sound(i) for i in references], self.label, references, self.hz)
        self.made_from = None  # the sound in the last clip, its number; None in silence

    def sound(self, i):
        return self.samples[self.start[i] : self.start[i + 1]].astype(np.float32) / 32768

    def babble(self, rng, n, voices):
        """n samples of so many voices that talk at once; rms 1."""
        talks = [[self.sound(i) for i in rng.permutation(self.pools["talk"])] for _ in range(voices)]
        x = sum(np.resize(np.concatenate(talk), n) for talk in talks)
        return x / (x.std() + 1e-9)

    def noise(self, rng, n, babble=False):
        """n samples of noise of one colour (or, if asked for, voices), or hum, or both; rms 1. Its level may wander."""
        sources = self.noises + self.babbles if babble else self.noises
        source = sources[rng.integers(len(sources))]
        at = rng.integers(len(source) - n)
        x = source[at : at + n].copy()
        if rng.random() < 0.25:
            t = np.arange(n, dtype=np.float32) / RATE
            mains = rng.choice((50, 60, rng.uniform(80, 400)))
            hum = sum(np.sin(2 * np.pi * (mains * k * t + rng.random())) * rng.random() / k for k in range(1, 9))
            x = x * rng.choice((0, 0.1, 0.5)) + hum.astype(np.float32)
        if rng.random() < 0.2:
            phase = rng.uniform(0.5, 6) * np.arange(n) / RATE + rng.random()
            x *= 1 + rng.uniform(0, 0.9) * np.sin(2 * np.pi * phase)
        return (x / (x.std() + 1e-9)).astype(np.float32)

    def response(self, rng, wide):
        """A random linear filter as a spectrum: echo, equaliser, and a telephone's or a cheap microphone's limits."""
        h = self.rooms[rng.integers(len(self.rooms))] if rng.random() < 0.4 else np.ones(len(self.hz), np.complex64)
        if rng.random() < 0.5:  # tilt of up to 6 dB an octave around 1 kHz
            h = h * (np.maximum(self.hz, 50) / 1000) ** rng.uniform(-1, 0.8)
        if rng.random() < 0.35:
            h = h / (1 + (rng.uniform(60, 400) / np.maximum(self.hz, 1)) ** 4)
        if rng.random() < (0.6 if wide else 0.3):
            h = h * low_pass(self.hz, rng)
        elif rng.random() < 0.2:
            h = h / (1 + (self.hz / rng.uniform(4500, 7800)) ** rng.integers(4, 40))
        return h

    def clip(self, rng, strength=1.0):
        """One clip: (samples, at most VIEW of them; label). strength: how much of echo, filters and noise, 0 to 1."""
        shares = np.array(list(self.mix.values()))
        kind = rng.choice(list(self.mix), p=shares / shares.sum())
        self.made_from = None if kind == "silence" else rng.choice(self.pools[kind])
        if kind == "silence":
            x, label = self.silence(rng), SILENCE
        else:
            x, label = self.placed(rng, kind, self.word(rng, kind, strength)), int(self.label[self.made_from])
            x = self.surrounded(rng, kind, x, strength)
        x = np.clip(x, -1, 1)
        if rng.random() < 0.8:
            x = np.round(x * 32767) / 32768
        return x.astype(np.float32), label

    def silence(self, rng):
        n = VIEW if rng.random() < 0.45 else int(rng.uniform(0.05, 1) * VIEW)
        if rng.random() < 0.06:
            return np.zeros(n, np.float32)
        if self.channels and rng.random() < 0.4:
            x = self.channels.noise(rng, self.channels.any(rng), n)
        else:
            x = self.noise(rng, n)
            x = self.filtered(x, self.response(rng, True)) if rng.random() < 0.6 else x
        return x * (10 ** (rng.uniform(-95, -12) / 20) / (x.std() + 1e-12))

    def word(self, rng, kind, strength):
        """The samples of the chosen sound: cut by level, faster or slower; of words, now and then two in a row."""
        x = self.sound(self.made_from)
        if kind == "talk":
            x = x[rng.integers(max(1, len(x) - VIEW)) :][: 2 * VIEW]
        elif kind != "sound" and rng.random() < 0.5 * strength:
            x = cut_by_level(rng, x)
        if kind in self.WORDS and rng.random() < 0.2:
            gap = np.zeros(int(rng.uniform(0, 0.25) * RATE), np.float32)
            x = np.concatenate([x, gap, cut_by_level(rng, self.sound(rng.choice(self.pools[kind])))])
            x = x[rng.integers(max(1, len(x) - VIEW)) :]
        pace = rng.uniform(*self.PACE.get(kind, (0.85, 1.18)))
        return np.interp(np.arange(0, len(x) - 1, pace), np.arange(len(x)), x).astype(np.float32)[:VIEW]

    def placed(self, rng, kind, x):
        """The word somewhere in a full clip, in one second, or tightly cut, with its recording's noise around it."""
        length = rng.random()
        before, after = rng.exponential(0.04 * RATE, 2).astype(int) * (rng.random() < 0.7)
        if kind == "talk" or length < 0.42:
            n = VIEW
        elif length < 0.6:
            n = max(RATE, len(x))
        else:
            n = min(VIEW, before + len(x) + after)
        at = rng.integers(0, max(1, n - len(x))) if length < 0.6 else min(before, max(0, n - len(x)))
        canvas = np.zeros(n, np.float32)
        if self.made_from in self.channels and rng.random() < 0.8:
            canvas = self.channels.noise(rng, self.made_from, n) * self.channels.level[self.made_from]
        canvas[at : at + len(x)] = x[: n - at]
        return canvas

    def surrounded(self, rng, kind, x, strength):
        """The same through a microphone in a room, with noise, at some level."""
        ratio, n = 10 ** (-rng.triangular(1, 25, 60) / 20), len(x)  # how far below the sound the noise lies
        noisy, noise = rng.random() < 0.75 * strength, None
        if self.channels and not kind.startswith("commands") and rng.random() < 0.5 * strength:
            chosen = self.channels.any(rng)
            x = self.filtered(x, self.channels.response(rng))
            noise, ratio, noisy = self.channels.noise(rng, chosen, n), self.channels.ratio(rng, chosen), True
        if rng.random() < 0.8 * strength:
            x = self.filtered(x, self.response(rng, kind not in self.NARROW))
        x = x * (10 ** (rng.uniform(-46, -0.5) / 20) / (np.abs(x).max() + 1e-9))
        if not noisy:
            return x
        loud = np.sqrt(np.mean(np.square(x[np.abs(x) > 0.1 * np.abs(x).max()])))
        if noise is None:
            noise = self.noise(rng, n, babble=True)
            if rng.random() < 0.6:  # the microphone's or the room's: it has come the sound's way
                noise = self.filtered(noise, low_pass(self.hz, rng))
                noise /= noise.std() + 1e-9
        return x + noise * loud * ratio

    def quiet(self, rng, count):
        """So many clips of silence: (samples)."""
        made = (self.clip(rng) for _ in itertools.count())
        return list(itertools.islice((x for x, label in made if label == SILENCE), count))

    def filtered(self, x, response):
        return np.fft.irfft(np.fft.rfft(x, ROOM) * response, ROOM)[: len(x)].astype(np.float32)

    def batch(self, rng, size, strength=1.0):
        """(log-mels (size, 1, 128, 128), labels (size,)) as tensors."""
        waves, labels = zip(*(self.clip(rng, strength) for _ in range(size)), strict=True)
        return log_mels(waves), torch.tensor(labels)


def masked(rng, x):
    """Time and frequency masking (SpecAugment): in half the clips a stripe takes the clip's mean value. In place."""
    for row in x[:, 0]:
        mean = row.mean()
        if rng.random() < 0.4:
            width = int(rng.integers(2, 18))
            at = int(rng.integers(0, row.shape[1] - width))
            row[:, at : at + width] = mean
        if rng.random() < 0.4:
            width = int(rng.integers(2, 14))
            at = int(rng.integers(0, len(row) - width))
            row[at : at + width] = mean
    return x


def as_recorded(sounds, indices):
    """Sounds as inference sees them, nothing added: (log-mels (N, 1, 128, 128), labels (N,))."""
    start = sounds["start"]
    waves = [sounds["samples"][start[i] : start[i + 1]] / np.float32(32768) for i in indices]
    return log_mels(waves), torch.from_numpy(sounds["label"][indices].astype(np.int64))
