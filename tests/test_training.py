"""The digits training of the tutorials, on made-up sounds: it runs, goes on where it stopped, calibrates."""

import argparse

import numpy as np
import pytest

import minirep

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")


@pytest.fixture
def sounds():
    """What `prepare.py` writes: two tones a class and kind, one of them held back."""
    rows, rng = [], np.random.default_rng(0)
    kinds = [(kind, label) for kind in ("fsdd/theo/1", "shifted/theo/1", "espeak/a", "pico/b") for label in range(10)]
    kinds += [(kind, 10) for kind in ("espeak/a", "talk/a", "apart/theo/1", "sound/synthetic")]
    for group, label in kinds:
        for held in (False, True):
            wave = np.sin(np.arange(4000) * (label + 1) * 0.05) + 0.1 * rng.standard_normal(4000)
            rows.append(((9000 * wave).astype(np.int16), label, group, held))
    waves, labels, groups, held = zip(*rows)
    return {"samples": np.concatenate(waves), "start": np.cumsum([0] + [len(w) for w in waves]),
            "label": np.array(labels, np.int8), "group": np.array(groups), "held": np.array(held)}  # fmt: skip


def settings(folder, **changes):
    values = {
        "out": folder,
        "leave_out": None,
        "width": 2,
        "depths": (1, 1, 1, 1),
        "steps": 4,
        "batch": 4,
        "rate": 1e-3,
    }
    return argparse.Namespace(
        **values | {"rate": 1e-3, "seed": 0, "threads": 1, "check_every": 2, "bfloat16": False} | changes
    )


def test_an_interrupted_training_goes_on(training, sounds, tmp_path, monkeypatch, capsys):
    import train

    whole = train.batches

    def until_stopped(*arguments):
        for step, batch in enumerate(whole(*arguments)):
            if step == 3:
                raise KeyboardInterrupt
            yield batch

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(train, "batches", until_stopped)
        train.train(settings(tmp_path), sounds)
    train.train(settings(tmp_path), sounds)
    assert "going on from step 2" in capsys.readouterr().out
    rows = (tmp_path / "log.csv").read_text().splitlines()
    assert [row.split(",")[0] for row in rows] == ["step", "2", "4"]


def test_what_it_writes_is_a_model_of_minirep(training, sounds, tmp_path):
    """The fast path, the twin, and minirep by way of a checkpoint give the same probabilities for held-back sounds."""
    import augment
    import train
    import twin

    net = twin.Twin(width=2, depths=(1, 1, 1, 1), heads=augment.RECIPE.heads, frames=augment.RECIPE.frames)
    twin.randomise(net)
    twin.save_checkpoint(tmp_path / "final.pyth", net, "digits", extras=train.EXTRAS)
    clf = minirep.load(tmp_path / "final.pyth")
    assert clf.recipe == augment.RECIPE and clf.labels["class"][10] == "unknown"
    x, _ = augment.as_recorded(sounds, np.flatnonzero(sounds["held"])[:5])
    np.testing.assert_allclose(train.predictions(net, x), clf.probabilities(x[:, 0].numpy())["class"], atol=1e-6)


def test_the_temperature_makes_held_back_sounds_least_surprising(training, sounds):
    import augment
    import train
    import twin

    net = twin.randomise(twin.Twin(width=2, depths=(1, 1, 1, 1), heads=augment.RECIPE.heads, frames=128))
    x, labels = augment.Clips(sounds, sounds["held"], 3).batch(np.random.default_rng((3, 40)), 40)  # as calibrate's own
    before = train.predictions(net, x)
    temperature = train.calibrate(net, sounds, seed=3, count=40)
    after = train.predictions(net, x)

    def surprise(p):
        return -p[range(40), labels].clamp_min(1e-30).log().mean()

    assert temperature != 1 and surprise(after) < surprise(before)
    assert torch.equal(after.argmax(1), before.argmax(1)), "it only changes how sure the answers are"
    powers = before.double() ** (1 / temperature)
    np.testing.assert_allclose(after, powers / powers.sum(1, keepdim=True), rtol=1e-4, atol=1e-6)
