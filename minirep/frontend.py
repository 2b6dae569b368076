"""From samples to the log-mel spectrogram, the input of the networks.

A short-time Fourier transform (STFT) gives the strength of every frequency in short overlapping frames. A mel filter
bank sums them up in 128 triangular bands, fine at low and coarse at high frequencies, as hearing does. The logarithm
turns ratios of loudness into differences. The result has one row a frame and one column a band.

The mel scale is that of Young et al., "The HTK Book", section 5.4. Everything is computed in float64: a quiet band is
a small difference of large numbers, so that float32 is off by up to 4e-3 in the logarithm, float64 by less than 1e-6.
"""

from functools import lru_cache

import numpy as np

from .audio.recording import Recording, from_array
from .audio.resample import resample
from .network import Array
from .recipe import MELS, Recipe, get_recipe

FFT_SIZE = 2048  # samples under one transform: the window, then zeros, which only interpolates the spectrum
FLOOR = 1e-6  # added before the logarithm, so that silence is finite: ln(1e-6) = -13.8
BLOCK = 64  # frames transformed at a time: a block's spectra (64 x 1025 complex) stay in the cache
GROUP = 16  # mel bands that are summed up together


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

    ``bands + 2`` points lie evenly on the mel scale from 0 Hz to ``rate / 2``; band b rises from point b to 1 at point
    b + 1 and falls to 0 at point b + 2.
    """
    bins = np.linspace(0.0, rate / 2, FFT_SIZE // 2 + 1)[:, None]  # (1025, 1) Hz
    points = mel_to_hertz(np.linspace(0.0, hertz_to_mel(rate / 2), bands + 2))
    low, centre, high = points[:-2], points[1:-1], points[2:]  # (bands,) each
    rising = (bins - low) / (centre - low)
    falling = (high - bins) / (high - centre)
    return np.maximum(0.0, np.minimum(rising, falling))


@lru_cache(maxsize=8)
def band_groups(rate: int) -> list[tuple[slice, slice, Array]]:
    """Return (bands, bins, weights) of a few neighbouring bands at a time, with only the bins that they reach.

    Nearly all of the matrix of `mel_bands` is zeros; these groups hold less than a tenth of it.
    """
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
    """Cut the samples under the windows of the frames [first, last): (last - first, window) float64.

    A transform of 2048 samples has the window in its middle. Where the window lies changes phases, not magnitudes.
    """
    start = first * recipe.hop - centre_offset(recipe)
    stop = (last - 1) * recipe.hop - centre_offset(recipe) + recipe.window
    stretch = np.zeros(max(0, stop - start))  # silence beyond both ends
    inside = np.asarray(samples[max(start, 0) : max(stop, 0)], np.float64)
    stretch[max(-start, 0) : max(-start, 0) + len(inside)] = inside
    return np.lib.stride_tricks.sliding_window_view(stretch, recipe.window)[:: recipe.hop]


def centre_offset(recipe: Recipe) -> int:
    """Return the samples from the start of a frame's window to the sample that the frame is centred on."""
    return FFT_SIZE // 2 - (FFT_SIZE - recipe.window) // 2


def log_mel_of_frames(frames: Array, recipe: Recipe) -> Array:
    """Compute rows of the log-mel spectrogram from the samples under their windows: (n, window) -> (n, 128) float32.

    A row is the same, bit for bit, whichever frames come with it (`minirep.stream` computes each only once). How a
    matrix product rounds depends on the sizes of its matrices, which are always ``BLOCK`` rows here.
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
    """Return where views of a recording of ``length`` samples (at least one clip) start: evenly spaced, ends included.

    >>> from minirep.recipe import RECIPES
    >>> view_starts(200000, RECIPES["vggsound"], 2)
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
        Mono. They are resampled if the recipe has another rate. Only the samples of the views are read.
    rate : int or None
        Samples a second; None for a `minirep.audio.Recording`, which has its own.
    recipe : Recipe or str
    views : int, optional
        Evenly spaced stretches of one clip; by default the recipe's number.

    Returns
    -------
    (V, frames, 128) float32
        A recording shorter than a clip gives V equal views, filled up with its last frame (or sample: see `Recipe`).
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
    """Repeat the last frame up to the recipe's number of frames: (t, 128) -> (frames, 128)."""
    return np.pad(frames[: recipe.frames], ((0, max(0, recipe.frames - len(frames))), (0, 0)), mode="edge")
