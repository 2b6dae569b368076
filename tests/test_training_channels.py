"""What the training borrows from recordings (noise, frequency response), and its split by speaker."""

import numpy as np
import pytest

pytest.importorskip("torch")
signal = pytest.importorskip("scipy.signal")
pytestmark = pytest.mark.usefixtures("training")
RATE = 16000


def recording(rng, word, at=6000, noise=None):
    """A second with the word in it, and noise."""
    x = 1e-4 * rng.standard_normal(RATE) if noise is None else noise.copy()
    x[at : at + len(word)] += word
    return x.astype(np.float32)


def buzz(rng, n=5000, pitch=120):
    """A vowel-like sound: it has power in every band."""
    t = np.arange(n) / RATE
    return signal.sawtooth(2 * np.pi * pitch * t) * np.hanning(n) + 0.05 * rng.standard_normal(n)


def test_borrowed_noise_has_the_recordings_spectrum_and_level():
    import channels

    rng = np.random.default_rng(0)
    noise = 0.02 * signal.lfilter(*signal.butter(2, 1500, fs=RATE), rng.standard_normal(RATE))
    found = channels.Channels({7: recording(rng, buzz(rng), noise=noise)}, [buzz(rng)], {7: 0, 9: 0}, [9], np.zeros(1))
    assert 7 in found and 9 not in found and found
    np.testing.assert_allclose(found.level[7], noise.std(), rtol=0.2)
    made = found.noise(rng, 7, 40_000)
    assert made.shape == (40_000,) and abs(made.std() - 1) < 1e-3
    expected = channels.log_bands(channels.power_spectra(noise / noise.std()).mean(0))
    assert np.abs(channels.log_bands(channels.power_spectra(made).mean(0)) - expected).max() < 0.7  # 3 dB


def test_a_response_is_what_the_microphone_does_to_the_same_word():
    import channels

    rng = np.random.default_rng(1)
    hz = np.fft.rfftfreq(1 << 12, 1 / RATE)
    microphone = signal.butter(1, (300, 2500), "band", fs=RATE)
    words = [recording(rng, buzz(rng, pitch=p)) for p in rng.uniform(90, 200, 30)]
    heard = {100 + i: signal.lfilter(*microphone, w).astype(np.float32) for i, w in enumerate(words)}
    label = dict.fromkeys([*range(30), *heard], 3)
    found = channels.Channels(heard, words, label, range(30), hz)
    expected = np.log(np.abs(signal.freqz(*microphone, worN=found.middles, fs=RATE)[1]))
    inner = (found.middles > 250) & (found.middles < 6500)  # outside, a curve is cut off at 14 dB
    mean, expected = np.mean(found.curves, 0)[inner], expected[inner]
    assert np.ptp(expected) > 1 and np.abs(mean - np.median(mean) - expected + np.median(expected)).max() < 0.3
    for _ in range(20):
        response = found.response(rng)
        assert response.shape == hz.shape and (response > 0).all() and np.abs(np.log(response)).max() < 1.8


def test_without_recordings_nothing_is_borrowed():
    import channels

    assert not channels.Channels({}, [], {}, [], np.zeros(1))


def test_a_speaker_is_in_one_part_only():
    import prepare

    names = [f"{i:08x}" for i in range(4000)]
    parts = [prepare.part_of(name) for name in names]
    assert parts == [prepare.part_of(name) for name in names]
    shares = {part: parts.count(part) / len(parts) for part in set(parts)}
    assert shares.keys() == {"training", "validation", "test"} and abs(shares["training"] - 0.8) < 0.03
    assert abs(shares["validation"] - 0.1) < 0.03 and abs(shares["test"] - 0.1) < 0.03


def made(groups, length=3000):
    """What `prepare.py` writes, a noise for each (group, label, held)."""
    rng = np.random.default_rng(2)
    rows = [(3000 * rng.standard_normal(length)).astype(np.int16) for _ in groups]
    names, labels, held = zip(*groups, strict=True)
    return {"samples": np.concatenate(rows), "start": np.arange(len(rows) + 1) * length,
            "label": np.array(labels, np.int8), "group": np.array(names), "held": np.array(held)}  # fmt: skip


def test_digits_that_strangers_recorded_are_no_commoner_than_the_others():
    import augment

    groups = [(f"gsc/{i:08x}/one-0", 1, False) for i in range(40)]
    groups += [(f"{kind}/theo/1", label, False) for kind in ("fsdd", "espeak", "kokoro") for label in range(10)]
    clips = augment.Clips(made(groups), np.full(len(groups), True))
    labels = clips.label[clips.pools["fsdd"]]
    assert [list(labels).count(digit) for digit in range(10)] == [2, 1, 2, 2, 2, 2, 2, 2, 2, 2]
    rng = np.random.default_rng(3)
    for _ in range(200):
        samples, label = clips.clip(rng)
        assert 0 < len(samples) <= augment.VIEW and np.isfinite(samples).all() and samples.dtype == np.float32
        assert label == (augment.SILENCE if clips.made_from is None else clips.label[clips.made_from])


def test_choices_are_made_without_the_test_speakers():
    import prepare
    import train

    names = [f"{i:08x}" for i in range(200)]
    groups = [
        (f"{source}/{name}/x", 1, prepare.part_of(name) != "training") for name in names for source in ("gsc", "apart")
    ]
    groups += [("fsdd/theo/5", 3, True), ("fsdd/theo/15", 3, False)]
    chosen = train.validation(made(groups, 4))
    assert [prepare.part_of(n) == "validation" for n in names for _ in range(2)] == list(chosen[:-2])
    assert list(chosen[-2:]) == [True, False]


def test_the_operating_curve_counts_each_digit_once(monkeypatch):
    """Digits in a row are found in their own slots; a wrong event beside a right one costs precision, not recall."""
    import operating
    from prepare import LABELS

    from minirep.stream import Event

    seconds = operating.SLOT / RATE

    def heard(clf, samples, threshold):
        events = [Event(i * seconds + 0.2, i * seconds + 0.9, LABELS[digit], 0.95) for i, digit in enumerate(clf)]
        return [*events, Event(seconds + 0.3, seconds + 0.4, "nine", 0.9)]

    monkeypatch.setattr(operating, "events", heard)
    assert operating.found([1, 2, 3, 4], None, np.array([1, 2, 3, 4]), 0.9) == (1, 4 / 5)
    assert operating.found([1, 2, 5, 4], None, np.array([1, 2, 3, 4]), 0.9) == (3 / 4, 3 / 5)
    row = operating.row_of_digits([np.ones(100, np.float32)] * 3, np.random.default_rng(0))
    assert len(row) == 3 * operating.SLOT and abs(row[operating.SLOT + 50] - 1) < 0.01
