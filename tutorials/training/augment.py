"""Training clips made on the fly: a sound, its surroundings, and the log-mel that minirep's front end would give."""

import math

import numpy as np
import torch
from prepare import RATE, SILENCE, UNKNOWN

HOP, WINDOW, FFT, MELS = 32, 80, 2048, 128  # recipe speech-commands-v2: 2 ms, 5 ms
CLIP = 16368  # 1.023 s; a view is one sample shorter
ROOM = 1 << 15  # length of the transform that filters a clip: clip plus echo


class LogMel:
    """The front end for a batch in PyTorch: a discrete Fourier transform as a matrix product."""

    def __init__(self):
        n = torch.arange(WINDOW, dtype=torch.float64)
        window = 0.5 - 0.5 * torch.cos(2 * math.pi * n / WINDOW)
        angle = 2 * math.pi / FFT * n[:, None] * torch.arange(FFT // 2 + 1)
        self.dft = torch.cat([angle.cos(), angle.sin()], 1).mul(window[:, None]).float()  # (80, 2050)
        hz = torch.linspace(0, RATE / 2, FFT // 2 + 1, dtype=torch.float64)[:, None]
        mels = torch.linspace(0, 2595 * math.log10(1 + RATE / 2 / 700), MELS + 2, dtype=torch.float64)
        points = 700 * (10 ** (mels / 2595) - 1)
        low, centre, high = points[:-2], points[1:-1], points[2:]
        triangles = torch.minimum((hz - low) / (centre - low), (high - hz) / (high - centre)).clamp_min(0)
        self.triangles = triangles.float()  # (1025, 128)

    def __call__(self, samples, lengths, frames=512):
        """(N, L) zero after each length, (N,) lengths -> (N, 1, frames, 128), the last frame repeated."""
        padded = torch.nn.functional.pad(samples, (WINDOW // 2, frames * HOP))[:, : (frames - 1) * HOP + WINDOW]
        t, last = torch.arange(frames)[None], lengths[:, None] // HOP
        parts = padded.unfold(1, WINDOW, HOP)[t <= last] @ self.dft  # (frames with sound in all clips, 2050)
        half = parts.shape[1] // 2
        log = torch.log((parts[:, :half].square() + parts[:, half:].square()).sqrt() @ self.triangles + 1e-6)
        counts = last[:, 0].clamp_max(frames - 1) + 1
        first = (counts.cumsum(0) - counts)[:, None]  # where each clip's frames begin
        return log[first + torch.minimum(t, last)][:, None]


def coloured_noise(rng, n, exponent):
    """Noise whose power falls (or rises) as frequency to the exponent: -2 brown, -1 pink, 0 white, 1 blue, 2 violet."""
    spectrum = np.fft.rfft(rng.standard_normal(n))
    f = np.maximum(np.fft.rfftfreq(n), 20 / RATE)
    x = np.fft.irfft(spectrum * f ** (exponent / 2), n)
    return (x / x.std()).astype(np.float32)


def room(rng):
    """A synthetic impulse response: the direct sound, then noise that dies away."""
    n = int(RATE * rng.uniform(0.05, 0.45))
    tail = rng.standard_normal(n) * np.exp(-6.9 * np.arange(n) / n) * (rng.random(n) < 0.3)
    tail[: int(RATE * rng.uniform(0.001, 0.01))] = 0
    tail *= rng.uniform(0.1, 0.9) / (np.sqrt((tail**2).sum()) + 1e-9)
    tail[0] = 1
    return np.fft.rfft(tail, ROOM).astype(np.complex64)


class Clips:
    """Random training clips from the sounds of `prepare.py`, reproducible from a seed a batch."""

    # what a clip is made from, and how often
    MIX = (("fsdd", 0.2), ("shifted", 0.18), ("synthetic", 0.25), ("words", 0.17), ("apart", 0.07), ("sound", 0.06),
           ("silence", 0.07))  # fmt: skip

    def __init__(self, sounds, keep, seed=0):
        """sounds: the arrays of `sounds.npz`; keep: which of them may be used, a mask."""
        self.samples, self.start, self.label = sounds["samples"], sounds["start"], sounds["label"]
        source = np.array([g.split("/")[0] for g in sounds["group"]])
        speech = np.isin(source, ("espeak", "flite"))
        kinds = {k: keep & (source == k) for k in ("fsdd", "shifted", "apart", "sound")}
        kinds |= {"synthetic": keep & speech & (self.label < 10), "words": keep & speech & (self.label == UNKNOWN)}
        self.pools = {k: np.flatnonzero(m) for k, m in kinds.items()}
        rng = np.random.default_rng(seed)
        self.noises = [coloured_noise(rng, 20 * RATE, e) for e in (-2, -1.5, -1, -0.5, 0, 1, 2)]
        self.rooms = [room(rng) for _ in range(150)]
        self.hz = np.fft.rfftfreq(ROOM, 1 / RATE)

    def sound(self, i):
        return self.samples[self.start[i] : self.start[i + 1]].astype(np.float32) / 32768

    def noise(self, rng, n):
        """n samples of noise of one colour, or hum, or both; rms 1. Sometimes its level wanders."""
        source = self.noises[rng.integers(len(self.noises))]
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
            h = h / (1 + (self.hz / rng.uniform(3000, 4200)) ** rng.integers(6, 60))
        elif rng.random() < 0.2:
            h = h / (1 + (self.hz / rng.uniform(4500, 7800)) ** rng.integers(4, 40))
        return h

    def clip(self, rng, frames=512):
        """One clip: (samples (frames * 32,), length, label)."""
        most = min(CLIP - 1, frames * HOP - 1)
        kind = rng.choice([k for k, _ in self.MIX], p=[p for _, p in self.MIX])
        whole = rng.random() < 0.45  # a full-length recording with the sound somewhere in it, or a tightly cut one
        if kind == "silence":
            n = most if whole else int(rng.uniform(0.05, 1) * most)
            x, label = np.zeros(n, np.float32), SILENCE
            level = -1 if rng.random() < 0.06 else 10 ** (rng.uniform(-95, -12) / 20)
            if level > 0:
                x = self.noise(rng, n)
                x = self.filtered(x, self.response(rng, True)) if rng.random() < 0.6 else x
                x *= level / (x.std() + 1e-12)
        else:
            i = rng.choice(self.pools[kind])
            x, label = self.sound(i), int(self.label[i])
            pace = rng.uniform(0.85, 1.18) if kind != "fsdd" else rng.uniform(0.92, 1.1)
            x = np.interp(np.arange(0, len(x) - 1, pace), np.arange(len(x)), x).astype(np.float32)
            x = x[: most + 1]
            before, after = rng.exponential(0.04 * RATE, 2).astype(int) * (rng.random() < 0.7)
            n = most if whole else min(most, before + len(x) + after)
            at = rng.integers(0, max(1, n - len(x))) if whole else min(before, max(0, n - len(x)))
            canvas = np.zeros(n, np.float32)
            canvas[at : at + len(x)] = x[: n - at]
            wide = kind not in ("fsdd", "shifted")  # those come from 8 kHz: the upper half of their band is empty
            x = self.filtered(canvas, self.response(rng, wide)) if rng.random() < 0.8 else canvas
            x *= 10 ** (rng.uniform(-32, -0.5) / 20) / (np.abs(x).max() + 1e-9)
            if rng.random() < 0.75:
                ratio = 10 ** (-rng.triangular(2, 25, 60) / 20)  # how far below the sound the noise lies
                loud = np.sqrt(np.mean(np.square(x[np.abs(x) > 0.1 * np.abs(x).max()])))
                x = x + self.noise(rng, n) * loud * ratio
        x = np.clip(x, -1, 1)
        if rng.random() < 0.8:
            x = np.round(x * 32767) / 32768
        out = np.zeros(frames * HOP, np.float32)
        out[:n] = x
        return out, n, label

    def filtered(self, x, response):
        return np.fft.irfft(np.fft.rfft(x, ROOM) * response, ROOM)[: len(x)].astype(np.float32)

    def batch(self, rng, size, frames=512):
        """(samples (size, L), lengths (size,), labels (size,)) as tensors."""
        rows = [self.clip(rng, frames) for _ in range(size)]
        return (torch.from_numpy(np.stack([r[0] for r in rows])), torch.tensor([r[1] for r in rows]),
                torch.tensor([r[2] for r in rows]))  # fmt: skip


def masked(rng, x):
    """Time and frequency masking (SpecAugment): in half the clips a stripe takes the clip's mean value. In place."""
    for row in x[:, 0]:
        mean = row.mean()
        if rng.random() < 0.4:
            width = int(rng.integers(2, 18))
            at = int(rng.integers(0, MELS - width))
            row[:, at : at + width] = mean
        if rng.random() < 0.4:
            width = int(rng.integers(4, 50))
            at = int(rng.integers(0, len(row) - width))
            row[at : at + width] = mean
    return x


def as_recorded(sounds, indices):
    """Sounds as inference sees them, nothing added: (samples (N, 16384), lengths, labels)."""
    out = np.zeros((len(indices), 512 * HOP), np.float32)
    lengths = []
    for row, i in zip(out, indices, strict=True):
        x = sounds["samples"][sounds["start"][i] : sounds["start"][i + 1]][: CLIP - 1]
        row[: len(x)] = x / np.float32(32768)
        lengths.append(len(x))
    return torch.from_numpy(out), torch.tensor(lengths), torch.from_numpy(sounds["label"][indices].astype(np.int64))
