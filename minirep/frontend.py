"""From samples to the log-mel spectrogram, the input of the networks.

A short-time Fourier transform (STFT) gives the magnitude of every frequency in short overlapping frames. A mel filter
bank sums them up in 128 triangular bands, narrow at low and wide at high frequencies, like those of human hearing. The
logarithm turns ratios of loudness into differences. The result has one row per frame and one column per band.

The mel scale is that of Young et al., "The HTK Book", section 5.4. Everything is computed in float64. In float32 the
logarithm is off by up to 4e-3, in float64 by less than 1e-6: a quiet band is a small difference of large numbers.
"""

from functools import lru_cache

import numpy as np

from .audio.recording import Recording, from_array
from .audio.resample import resample
from .network import Array
from .recipe import MELS, Recipe, get_recipe

FFT_SIZE = 2048  # samples in one transform: the window, then zeros (zero-padding only interpolates the spectrum)
FLOOR = 1e-6  # added before the logarithm, so that silence is finite: ln(1e-6) = -13.8
BLOCK = 64  # frames transformed at a time: a block's spectra (64 x 1025 complex) stay in the cache
GROUP = 16  # mel bands summed up together; these groups hold less than a tenth of the filter bank, the rest is zeros


def hertz_to_mel(hertz: Array | float) -> Array:
    """Convert hertz to the HTK mel scale: nearly linear below 700 Hz, logarithmic above.

    >>> round(float(hertz_to_mel(1000.0)))
    1000
    """
    return 2595.0 * np.log10(1.0 + np.asarray(hertz) / 700.0)


def mel_to_hertz(mel: Array | float) -> Array:
    """Convert mel to hertz: the inverse of `hertz_to_mel`."""
    return 700.0 * (10.0 ** (np.asarray(mel) / 2595.0) - 1.0)


@lru_cache(maxsize=8)
def mel_bands(rate: int, bands: int = MELS) -> Array:
    """Return the mel filter bank as a matrix (1025, bands): the weight of each FFT bin in each band.

    ``bands + 2`` points are evenly spaced on the mel scale from 0 Hz to ``rate / 2``. Band b rises from 0 at point b to
    1 at point b + 1, and falls to 0 at point b + 2.
    """
    bins = np.linspace(0.0, rate / 2, FFT_SIZE // 2 + 1)[:, None]  # (1025, 1) Hz
    points = mel_to_hertz(np.linspace(0.0, hertz_to_mel(rate / 2), bands + 2))
    low, centre, high = points[:-2], points[1:-1], points[2:]  # (bands,) each
    rising = (bins - low) / (centre - low)
    falling = (high - bins) / (high - centre)
    return np.maximum(0.0, np.minimum(rising, falling))


@lru_cache(maxsize=8)
def band_groups(rate: int) -> list[tuple[slice, slice, Array]]:
    """Return (bands, bins, weights) for each group of neighbouring mel bands, with only the bins that they cover."""
    groups = []
    for first in range(0, MELS, GROUP):
        weights = mel_bands(rate)[:, first : first + GROUP]
        reached = np.flatnonzero(weights.any(axis=1))
        bins = slice(reached[0], reached[-1] + 1) if len(reached) else slice(0, 0)
        groups.append((slice(first, first + GROUP), bins, np.ascontiguousarray(weights[bins])))
    return groups


def hann(length: int) -> Array:
    """Return the periodic Hann window: one whole cosine period over ``length`` samples."""
    return 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(length) / length)


def log_mel(samples: Array, recipe: Recipe | str) -> Array:
    """Compute the log-mel spectrogram of mono samples at the recipe's rate: (n,) -> (1 + n // hop, 128) float32.

    Frame t is centred on sample ``t * hop``. Zeros pad the recording at both ends.
    """
    recipe = get_recipe(recipe)
    count = 1 + len(samples) // recipe.hop
    out = np.empty((count, MELS), np.float32)
    for first in range(0, count, BLOCK):
        last = min(first + BLOCK, count)
        out[first:last] = log_mel_of_frames(cut_frames(samples, first, last, recipe), recipe)
    return out


def cut_frames(samples: Array, first: int, last: int, recipe: Recipe) -> Array:
    """Return the samples in the windows of frames ``first`` to ``last - 1``: (last - first, window) float64.

    A window is placed as if it were in the middle of its transform. Its place there changes phases, not magnitudes.
    """
    start = first * recipe.hop - centre_offset(recipe)
    stop = (last - 1) * recipe.hop - centre_offset(recipe) + recipe.window
    stretch = np.zeros(max(0, stop - start))  # silence beyond both ends
    inside = np.asarray(samples[max(start, 0) : max(stop, 0)], np.float64)
    stretch[max(-start, 0) : max(-start, 0) + len(inside)] = inside
    return np.lib.stride_tricks.sliding_window_view(stretch, recipe.window)[:: recipe.hop]


def centre_offset(recipe: Recipe) -> int:
    """Return the number of samples from the start of a frame's window to the sample that the frame is centred on."""
    return FFT_SIZE // 2 - (FFT_SIZE - recipe.window) // 2


def log_mel_of_frames(frames: Array, recipe: Recipe) -> Array:
    """Compute rows of the log-mel spectrogram from the samples in their windows: (n, window) -> (n, 128) float32.

    A row is the same, bit for bit, whichever other frames are passed; `minirep.stream` relies on it. The rounding
    errors of a matrix product depend on its size, so every product here has ``BLOCK`` rows.
    """
    window = hann(recipe.window)
    out = np.empty((len(frames), MELS), np.float32)
    magnitudes, strengths = np.zeros((BLOCK, FFT_SIZE // 2 + 1)), np.empty((BLOCK, MELS))
    for first in range(0, len(frames), BLOCK):
        block = frames[first : first + BLOCK]
        np.abs(np.fft.rfft(block * window, FFT_SIZE), out=magnitudes[: len(block)])
        for bands, bins, weights in band_groups(recipe.rate):
            strengths[:, bands] = magnitudes[:, bins] @ weights
        out[first : first + BLOCK] = np.log(strengths + FLOOR)[: len(block)]
    return out


def view_starts(length: int, recipe: Recipe, views: int) -> list[int]:
    """Return the first samples of evenly spaced views of a recording of ``length`` samples (at least one clip).

    >>> view_starts(200000, get_recipe("vggsound"), 2)
    [0, 118096]
    """
    return [int(start) for start in np.linspace(0, length - recipe.clip, views)]


def log_mel_views(
    samples: Array | Recording, rate: int | None, recipe: Recipe | str, views: int | None = None
) -> Array:
    """Compute the log-mel views of a recording, which the networks classify.

    Parameters
    ----------
    samples : array (n,) or Recording
        Mono, floats in [-1, 1] or integers. They are resampled if the recipe has another rate.
    rate : int or None
        Sample rate in Hz; None for a `minirep.audio.Recording`, which has its own.
    recipe : Recipe or str
    views : int, optional
        Number of evenly spaced views, each one clip long; by default the recipe's number.

    Returns
    -------
    (V, frames, 128) float32
        The V views of a recording shorter than a clip are equal, padded with its last frame or sample (see `Recipe`).

    Raises
    ------
    MinirepError
        For samples, a rate or a number of views that cannot be used, or an unknown recipe.
    """
    recipe = get_recipe(recipe)
    views = recipe.count_views(views)
    recording = samples if isinstance(samples, Recording) else from_array(samples, rate)
    recording = resample(recording, recipe.rate)
    length = recording.length
    if length >= recipe.clip:
        starts = view_starts(length, recipe, views)
        return np.stack([pad_frames(log_mel(recording.read(s, s + recipe.clip - 1), recipe), recipe) for s in starts])
    samples = recording.read(0, length)
    if recipe.repeat == "sample":
        samples = np.pad(samples, (0, recipe.clip - 1 - length), mode="edge") if length < recipe.clip - 1 else samples
    return np.repeat(pad_frames(log_mel(samples, recipe), recipe)[None], views, axis=0)


def pad_frames(frames: Array, recipe: Recipe) -> Array:
    """Repeat the last frame, or cut off frames, to the recipe's number of frames: (t, 128) -> (frames, 128)."""
    return np.pad(frames[: recipe.frames], ((0, max(0, recipe.frames - len(frames))), (0, 0)), mode="edge")
