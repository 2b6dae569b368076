"""The log-mel front end against definitions worked out by hand, NumPy's and SciPy's transforms, and its own laws."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from minirep import RECIPES, MinirepError, Recipe, log_mel_views
from minirep.frontend import FFT_SIZE, hann, hertz_to_mel, log_mel, mel_bands, mel_to_hertz, view_starts

RATES = sorted({recipe.rate for recipe in RECIPES.values()})


def noise(n, seed=0):
    return np.random.default_rng(seed).normal(0, 0.1, n).astype(np.float32)


def log_mel_by_definition(samples, recipe):
    """SPEC's words one by one: pad 1024 zeros, window centred in 2048, full transform, bands, logarithm."""
    padded = np.pad(samples.astype(np.float64), FFT_SIZE // 2)
    left = (FFT_SIZE - recipe.window) // 2
    window = np.zeros(FFT_SIZE)
    window[left : left + recipe.window] = hann(recipe.window)
    frames = [padded[t * recipe.hop :][:FFT_SIZE] for t in range(1 + len(samples) // recipe.hop)]
    spectrum = np.abs([np.fft.rfft(frame * window) for frame in frames])
    return np.log(spectrum @ mel_bands(recipe.rate) + 1e-6)


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.parametrize("length", [1, 2, 159, 1023, 5000, 20480])
def test_log_mel_is_its_definition(name, length):
    samples = noise(length)
    got = log_mel(samples, name)
    assert got.dtype == np.float32 and got.shape == (1 + length // RECIPES[name].hop, 128)
    np.testing.assert_allclose(got, log_mel_by_definition(samples, RECIPES[name]), rtol=0, atol=2e-6)


@pytest.mark.parametrize("name", RECIPES)
def test_scipy_agrees(name):
    signal = pytest.importorskip("scipy.signal")
    recipe, samples = RECIPES[name], noise(20000).astype(np.float64)
    left = (FFT_SIZE - recipe.window) // 2
    window = np.pad(signal.get_window("hann", recipe.window, fftbins=True), (left, FFT_SIZE - recipe.window - left))
    stft = signal.ShortTimeFFT(window, recipe.hop, recipe.rate, scale_to=None)
    count = 1 + len(samples) // recipe.hop
    spectrum = np.abs(stft.stft(samples, p0=0, p1=count)).T
    np.testing.assert_allclose(log_mel(samples, name), np.log(spectrum @ mel_bands(recipe.rate) + 1e-6), atol=2e-6)


def test_the_mel_scale():
    assert hertz_to_mel(0.0) == 0 and hertz_to_mel(700.0) == pytest.approx(2595 * np.log10(2))
    f = np.linspace(0, 12000, 50)
    np.testing.assert_allclose(mel_to_hertz(hertz_to_mel(f)), f, atol=1e-8)


@pytest.mark.parametrize("rate", RATES)
def test_bands_are_triangles_of_height_one(rate):
    bands = mel_bands(rate)
    assert bands.shape == (1025, 128) and bands.min() == 0 and bands.max() <= 1
    centres = mel_to_hertz(np.linspace(0, hertz_to_mel(rate / 2), 130))[1:-1]
    wide = bands[:, 100]  # a band wide enough to look at: it peaks at the bin next to its centre
    assert abs(np.argmax(wide) - centres[100] / (rate / 2) * 1024) <= 1
    assert (np.diff(np.sign(np.diff(wide[wide > 0]))) <= 0).all()  # up, then down
    inside = (np.linspace(0, rate / 2, 1025) > centres[0]) & (np.linspace(0, rate / 2, 1025) < centres[-1])
    np.testing.assert_allclose(bands[inside].sum(1), 1, atol=1e-9)  # neighbours add up to one


def test_a_tone_lights_its_band_and_silence_is_the_floor():
    t = np.arange(16000) / 16000
    picture = log_mel(np.sin(2 * np.pi * 1000 * t).astype(np.float32), "nsynth")
    centres = mel_to_hertz(np.linspace(0, hertz_to_mel(8000), 130))[1:-1]
    assert abs(centres[picture[50].argmax()] - 1000) < 30
    np.testing.assert_allclose(log_mel(np.zeros(500, np.float32), "nsynth"), np.log(1e-6), rtol=1e-6)


@pytest.mark.parametrize("name", RECIPES)
def test_published_clips_fill_their_frames(name):
    recipe = RECIPES[name]
    assert 1 + (recipe.clip - 1) // recipe.hop == recipe.frames
    assert log_mel_views(noise(recipe.clip), recipe.rate, recipe).shape == (recipe.views, recipe.frames, 128)


@settings(max_examples=40, deadline=None)
@given(st.sampled_from(sorted(RECIPES)), st.integers(1, 300000), st.integers(1, 12))
def test_views_are_stretches_or_repeats(name, length, views):
    recipe = RECIPES[name]
    samples = noise(length)
    got = log_mel_views(samples, recipe.rate, name, views)
    assert got.shape == (views, recipe.frames, 128) and np.isfinite(got).all()
    if length >= recipe.clip:
        starts = np.linspace(0, length - recipe.clip, views).astype(int)
        i = length % views
        np.testing.assert_array_equal(got[i], log_mel(samples[starts[i] :][: recipe.clip - 1], recipe))
        assert view_starts(length, recipe, views) == list(starts)
        return
    assert (got == got[:1]).all()
    if recipe.repeat == "sample":
        np.testing.assert_array_equal(got[0], log_mel(np.pad(samples, (0, recipe.clip - 1 - length), "edge"), recipe))
    else:
        own = log_mel(samples, recipe)
        np.testing.assert_array_equal(got[0], own[np.minimum(np.arange(recipe.frames), len(own) - 1)])


def test_another_rate_is_resampled_never_taken_silently():
    tone = np.sin(2 * np.pi * 1000 * np.arange(48000) / 48000).astype(np.float32)
    same = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000).astype(np.float32)
    got, want = (log_mel_views(x, r, "nsynth")[0, 20:80] for x, r in ((tone, 48000), (same, 16000)))
    loud = want > 0  # the tone's own bands; far below, the filter's ripple shows
    np.testing.assert_allclose(got[loud], want[loud], atol=0.02)
    with pytest.raises(MinirepError, match="rate"):
        log_mel_views(tone, None, "nsynth")


@pytest.mark.parametrize("views", [0, -1, 1.5, "2"])
def test_bad_views(views):
    with pytest.raises(MinirepError, match="views"):
        log_mel_views(noise(100), 16000, "nsynth", views)


def test_bad_recipes():
    with pytest.raises(MinirepError, match="unknown recipe 'musdb'"):
        log_mel_views(noise(100), 16000, "musdb")
    for bad in ({"rate": 0}, {"window_ms": -1}, {"hop_ms": 0.001}, {"window_ms": 500}, {"repeat": "mirror"}):
        with pytest.raises(MinirepError):
            Recipe(**{**vars(RECIPES["nsynth"]), **bad})
