"""The recording channel of real clips (room, microphone, noise, level), to give it to words that have none of it.

Six of the ten digits come from few speakers and from synthesisers. If only four digits had the sound of a stranger's
microphone, the network would learn that a stranger's microphone means these four, or `unknown`. So what is common to a
recording is measured, and other sounds are filtered and made noisy by it:

- **noise**: the average power spectrum of a recording's quiet frames, and how far below its loud frames it is;
- **response**: how the spectrum of a recorded digit's loud frames differs from that of the same digit by synthetic
  voices. The speech sounds are the same, so what is left is microphone, room and voice.
"""

import numpy as np

FRAME = 512  # samples, 32 ms at 16 kHz
BANDS = 24


def power_spectra(x):
    """Power (frames, 257) of Hann-windowed frames that overlap by half."""
    frames = np.lib.stride_tricks.sliding_window_view(x, FRAME)[:: FRAME // 2]
    return np.abs(np.fft.rfft(frames * np.hanning(FRAME).astype(np.float32))) ** 2


def band_edges(bins=FRAME // 2 + 1):
    """BANDS + 1 edges in bins: narrow below, wide above, as hearing is."""
    return np.unique(np.round(np.geomspace(2, bins - 1, BANDS + 1)).astype(int))


def log_bands(power):
    """The mean log power (bands,) of a spectrum (257,)."""
    edges = band_edges()
    return np.log(np.add.reduceat(power, edges[:-1]) / np.diff(edges) + 1e-12)


class Channels:
    """What `Clips` borrows from the recordings; empty, and false, where there are none."""

    def __init__(self, recorded, synthetic, label, numbers, hz):
        """recorded: {number of a sound: samples}; synthetic: samples of the sounds `numbers`; label: of every sound."""
        self.hz, self.numbers, self.spectrum, self.level, self.below, self.curves = hz, [], {}, {}, {}, []
        means = {}
        for x, i in zip(synthetic, numbers, strict=True):
            means.setdefault(int(label[i]), []).append(self.loud(x)[0])
        means = {digit: np.mean(rows, 0) for digit, rows in means.items()}
        for i, x in recorded.items():
            bands, quiet, loud = self.loud(x)
            self.numbers.append(i)
            self.spectrum[i] = np.sqrt(quiet).astype(np.float32)
            self.level[i] = np.sqrt(quiet.sum() * 2 / FRAME / (FRAME * 0.375))
            self.below[i] = np.sqrt(quiet.sum() / loud.sum())
            if int(label[i]) in means:
                curve = (bands - means[int(label[i])]) / 2  # of amplitude, not of power
                self.curves.append(np.clip(curve - np.median(curve), -1.6, 1.6))
        self.middles = np.sqrt(band_edges()[:-1] * band_edges()[1:]) * 16000 / FRAME

    @staticmethod
    def loud(x):
        """(log bands of the loud frames, mean power of the quiet frames, mean power of the loud ones)."""
        if len(x) < 4 * FRAME:
            x = np.pad(x, (0, 4 * FRAME - len(x)))
        power = power_spectra(x)
        order = np.argsort(power.sum(1))
        few = max(2, len(order) // 6)
        quiet, loud = power[order[:few]].mean(0), power[order[-few:]].mean(0)
        return log_bands(loud), quiet + 1e-9, loud + 1e-9

    def __bool__(self):
        return bool(self.curves)

    def __contains__(self, number):
        return number in self.spectrum

    def any(self, rng):
        """The number of a recording."""
        return self.numbers[rng.integers(len(self.numbers))]

    def noise(self, rng, number, n):
        """n samples of noise with the spectrum of a recording's noise, rms 1."""
        size = 1 << (int(n) - 1).bit_length()
        spectrum = np.fft.rfft(rng.standard_normal(size).astype(np.float32))
        share = np.linspace(0, FRAME // 2, len(spectrum))  # each frequency as a bin of `spectrum`
        spectrum *= np.interp(share, np.arange(FRAME // 2 + 1), self.spectrum[number])
        x = np.fft.irfft(spectrum)[:n].astype(np.float32)
        return x / (x.std() + 1e-12)

    def ratio(self, rng, number):
        """The noise's rms as a share of the loud frames', as in that recording, give or take 6 dB."""
        return min(0.5, self.below[number]) * 10 ** (rng.uniform(-6, 6) / 20)

    def response(self, rng):
        """More or less of a recording's spectrum over that of synthetic voices: a factor for each frequency of `hz`."""
        curve = self.curves[rng.integers(len(self.curves))] * rng.uniform(0.3, 1.1)
        return np.exp(np.interp(self.hz, self.middles, curve)).astype(np.float32)
