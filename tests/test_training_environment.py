"""The training of the model of environmental sounds, on made-up ones: crops, targets, folds, the packed model."""

import json
import sys

import esc10
import numpy as np
import pytest

import minirep

torch = pytest.importorskip("torch")
pytest.importorskip("soundfile")
pytest.importorskip("scipy")
pytestmark = pytest.mark.usefixtures("training")


def test_a_crop_of_nothing_has_no_class():
    """ESC-10 fills short sounds up with zeros: a crop that holds only zeros must not teach the sound's class."""
    import environment

    rng, n = np.random.default_rng(0), 5 * environment.RATE
    short = np.concatenate([0.3 * rng.standard_normal(2000), np.zeros(n - 2000)]).astype(np.float32)
    crops, seen = environment.Crops([short], [4], []), {"class": 0, "none": 0}
    for _ in range(200):
        x, target = crops.example(rng, 0.0)
        assert x.ndim == 1 and 0 < len(x) <= environment.VIEW and abs(target.sum() - 1) < 1e-6
        if target.max() > 0.5:
            assert target.argmax() == 4 and np.abs(x).max() > 0.01
            seen["class"] += 1
        else:
            assert np.allclose(target, 0.1)
            seen["none"] += 1
    assert min(seen.values()) > 20


def test_two_sounds_at_once_are_both_in_the_target():
    import environment

    rng, n = np.random.default_rng(1), 5 * environment.RATE
    crops = environment.Crops([0.1 * rng.standard_normal(n).astype(np.float32) for _ in range(2)], [0, 9], [])
    targets = np.array([crops.example(rng, 1.0)[1] for _ in range(300)])
    np.testing.assert_allclose(targets.sum(1), 1, atol=1e-6)
    mixed = (targets[:, 0] > 0.11) & (targets[:, 9] > 0.11)
    assert 40 < mixed.sum() < 120 and not targets[mixed][:, 1:9].any()


def test_the_temperature_is_that_of_overconfident_logits():
    import environment

    rng = np.random.default_rng(2)
    calm = rng.standard_normal((4000, 10))
    labels = np.array([rng.choice(10, p=np.exp(row) / np.exp(row).sum()) for row in calm])
    assert abs(environment.temperature(3 * calm, labels) - 3) < 0.3


def test_from_a_tar_to_five_folds_and_a_model(tmp_path, monkeypatch, capsys):
    import environment

    rng = np.random.default_rng(4)
    esc10.write(tmp_path / "esc10.tar", environment.NAMES)
    for name, value in {"WIDTH": 2, "DEPTHS": (1, 1, 1, 1), "BATCH": 4}.items():
        monkeypatch.setattr(environment, name, value)
    arguments = ["environment.py", "--esc10", str(tmp_path / "esc10.tar"), "--out", str(tmp_path), "--steps", "2"]
    monkeypatch.setattr(sys, "argv", [*arguments, "--folds", "1", "2"])
    environment.main()
    assert not (tmp_path / "model.npz").exists()
    monkeypatch.setattr(sys, "argv", arguments)
    environment.main()
    lines = [json.loads(line) for line in (tmp_path / "folds.jsonl").read_text().splitlines()]
    assert [line["fold"] for line in lines] == [1, 2, 3, 4, 5]  # what was done was not done again
    assert all(name.startswith(f"{line['fold']}-") for line in lines for name in line["names"])
    assert "5 folds: mean" in capsys.readouterr().out
    clf = minirep.load(tmp_path / "model.npz")
    assert clf.labels["class"] == environment.NAMES and clf.recipe == environment.RECIPE
    # the packed network is that of all folds with its logits divided by the temperature
    plain = minirep.load(tmp_path / "fold-0.pyth")
    x = rng.standard_normal((3, 128, 128)).astype(np.float32)
    expected = plain.probabilities(x)["class"] ** (1 / float(clf.provenance["temperature"]))
    np.testing.assert_allclose(clf.probabilities(x)["class"], expected / expected.sum(1, keepdims=True), atol=2e-3)


def test_a_shortened_recording_is_the_sound_and_little_else():
    import environment

    rng = np.random.default_rng(4)
    x = np.zeros(environment.VIEW, np.float32)
    x[10_000:18_000] = np.sin(np.arange(8000) * 0.3)
    for _ in range(20):
        y = environment.shortened(rng, x)
        loud = np.flatnonzero(np.abs(y) > 0.5)
        assert loud[0] <= 0.2 * environment.RATE + 80 and 0.5 * 8000 <= len(loud) * 3 / 2 <= 8010
        assert 0.6 * 8000 <= len(y) <= 8000 + 0.41 * environment.RATE
    assert len(environment.shortened(rng, np.zeros(environment.VIEW, np.float32))) >= environment.RATE // 10
