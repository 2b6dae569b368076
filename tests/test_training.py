"""The digits training of the tutorials, on made-up sounds: it runs, goes on where it stopped, calibrates."""

import argparse
import json
import string

import numpy as np
import pytest

import minirep

torch = pytest.importorskip("torch")
pytest.importorskip("scipy")


@pytest.fixture
def sounds():
    """What `prepare.py` writes: two tones a class and kind, one of them held out."""
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
        "steps": (3, 1),
        "batch": 4,
        "rate": 1e-3,
    }
    return argparse.Namespace(
        **values | {"rate": 1e-3, "seed": 0, "threads": 1, "check_every": 2, "dtype": torch.float32} | changes
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


def test_each_cycle_begins_anew(training):
    import train

    assert [train.in_cycle(step, (3, 2, 1)) for step in range(6)] == [(0, 0), (0, 1), (0, 2), (1, 0), (1, 1), (2, 0)]


def test_what_it_writes_is_a_model_of_minirep(training, sounds, tmp_path):
    """The fast path, the twin, and minirep by way of a checkpoint give the same probabilities for held-out sounds."""
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


def test_large_variances_are_brought_into_half_precision(training, sounds):
    import augment
    import torch
    import train
    import twin

    net = twin.randomise(twin.Twin(width=2, depths=(1, 1, 1, 1), heads=augment.RECIPE.heads, frames=128))
    with torch.no_grad():
        for block in (module for module in net.modules() if isinstance(module, twin.Branch)):
            block.c.weight *= 1000
            block.c_bn.running_mean *= 1000
            block.c_bn.running_var *= 1e6
    x, _ = augment.as_recorded(sounds, np.flatnonzero(sounds["held"])[:5])
    before = train.predictions(net, x)
    assert max(v.max() for k, v in net.state_dict().items() if k.endswith("running_var")) > 65504
    train.within_half(net)
    assert max(v.max() for k, v in net.state_dict().items() if k.endswith("running_var")) <= 2**15
    np.testing.assert_allclose(train.predictions(net, x), before, atol=1e-5)


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


def test_fewer_unknown_lowers_its_odds_against_every_class_alike(training, sounds):
    import augment
    import train
    import twin

    net = twin.randomise(twin.Twin(width=2, depths=(1, 1, 1, 1), heads=augment.RECIPE.heads, frames=128))
    net.head.projection.weight.data *= 0.01  # so that no probability is 0
    x, _ = augment.as_recorded(sounds, np.arange(8))
    before = train.predictions(net, x).double()
    train.fewer_unknown(net)
    after = train.predictions(net, x).double()
    assert augment.LABELS[10] == "unknown"
    odds = (after[:, 10:11] / after) / (before[:, 10:11] / before)
    np.testing.assert_allclose(np.delete(odds.numpy(), 10, 1), np.exp(-train.RARER), rtol=1e-4)


def test_a_clip_tells_what_it_was_made_from(training, sounds):
    import augment

    clips, rng = augment.Clips(sounds, ~sounds["held"]), np.random.default_rng(0)
    for _ in range(100):
        samples, label = clips.clip(rng)
        assert 0 < len(samples) <= augment.VIEW and np.isfinite(samples).all()
        assert label == (augment.SILENCE if clips.made_from is None else sounds["label"][clips.made_from])
        assert clips.made_from is None or not sounds["held"][clips.made_from]


def test_noise_that_came_the_sounds_way_ends_where_its_band_does(training):
    import augment

    hz = np.fft.rfftfreq(augment.ROOM, 1 / augment.RATE)
    for seed in range(20):
        passes = augment.low_pass(hz, np.random.default_rng(seed))
        assert np.all(np.diff(passes) <= 0) and passes[hz < 1500].min() > 0.98 and passes[hz > 7900].max() < 0.03


def test_muon_makes_all_directions_count_alike(training):
    import muon

    rng = torch.Generator().manual_seed(0)
    for shape in ((5, 5), (3, 40), (64, 16)):
        x = torch.randn(shape, generator=rng, dtype=torch.float64)
        u, _, v = torch.linalg.svd(x, full_matrices=False)
        found = u.T @ muon.orthogonal(x) @ v.T  # diagonal, if the singular vectors are still the same
        values = found.diag()
        torch.testing.assert_close(found, torch.diag(values), atol=1e-9, rtol=0)
        assert values.min() > 0.3 and values.max() < 1.3


def test_muon_finds_the_least_squares(training):
    import muon

    rng = torch.Generator().manual_seed(1)
    x, wanted = torch.randn(4, 50, generator=rng), torch.randn(3, 4, generator=rng)
    weight = torch.nn.Parameter(torch.zeros(3, 4, 1, 1))
    optimizer = muon.Muon([weight])
    for step in range(300):
        optimizer.param_groups[0]["lr"] = 0.1 * (1 - step / 300)
        loss = ((weight.flatten(1) @ x - wanted @ x) ** 2).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    torch.testing.assert_close(weight.detach().flatten(1), wanted, atol=0.02, rtol=0)


def test_every_weight_is_trained_once(training):
    import train
    import twin

    for kind in (twin.REP, twin.INCEPTION):
        net = twin.Twin(kind=kind, width=2, depths=(1, 1, 1, 1), heads={"class": 3}, frames=64)
        groups = train.optimiser(net, 0.1).param_groups
        assert sorted(id(p) for g in groups for p in g["params"]) == sorted(id(p) for p in net.parameters())


def twice(sounds):
    """The same sounds again, by another speaker."""
    start = sounds["start"]
    return {
        "samples": np.tile(sounds["samples"], 2),
        "start": np.concatenate([start, start[-1] + start[1:]]),
        "label": np.tile(sounds["label"], 2),
        "group": np.concatenate([sounds["group"], np.char.replace(sounds["group"], "theo", "lucas")]),
        "held": np.tile(sounds["held"], 2),
    }


def test_a_speaker_left_out_is_not_heard(training, sounds, tmp_path, monkeypatch):
    import folds

    np.savez(tmp_path / "sounds.npz", **twice(sounds))
    seen, trained = [], folds.trained

    def noting(x, labels, rows, *rest):
        seen.append(rows)
        return trained(x, labels, rows, *rest)

    for name, value in {"WIDTH": 2, "DEPTHS": (1, 1, 1, 1), "BATCH": 4, "trained": noting}.items():
        monkeypatch.setattr(folds, name, value)
    arguments = ["--sounds", str(tmp_path / "sounds.npz"), "--out", str(tmp_path), "--steps", "2", "--pool", "40"]
    monkeypatch.setattr("sys.argv", ["folds.py", *arguments])
    folds.main()
    folds.main()  # nothing is left to do
    rows = [json.loads(line) for line in (tmp_path / "folds.jsonl").read_text().splitlines()]
    assert [(row["seed"], row["left_out"]) for row in rows] == [(0, "lucas"), (0, "theo"), (1, "lucas"), (1, "theo")]
    speakers = np.load(tmp_path / "about.npz")["speakers"]
    for row, used in zip(rows, seen, strict=True):
        assert row["new"]["of"] == 20 and row["known"]["of"] == 10
        assert row["left_out"] in speakers and row["left_out"] not in speakers[used]


def test_voices_from_abroad_have_something_to_say(training):
    import prepare

    voices = [*prepare.FESTIVAL, *prepare.ABROAD]
    words = np.array([f"word{i}" for i in range(20)])
    plans = prepare.accents(np.random.default_rng(0), words, voices, 2)
    assert [plan[0] for plan in plans] == 2 * voices
    for voice, stretch, size, texts in plans:
        digits = [label for _, label in texts if label < prepare.UNKNOWN]
        spelling = prepare.FESTIVAL.get(voice, voice)
        missing = prepare.SPELT[spelling].split().count("-")
        assert digits == sorted(set(digits)) and len(digits) == 10 - missing >= 8
        assert 0.7 <= stretch <= 1.3 and 0.88 <= size <= 1.15
        others = [(text, label) for text, label in texts if label >= prepare.UNKNOWN]
        assert len(others) == 11 and others[-1][1] == prepare.TALK and len(others[-1][0].split()) == 8
        for text, _ in texts:
            text.encode(prepare.ENCODINGS.get(spelling, "iso-8859-1"))


def test_what_goes_wrong_while_clips_are_made_is_told(training):
    import train

    class Broken:
        def batch(self, rng, size, strength):
            raise ValueError("no such sound")

    with pytest.raises(ValueError, match="no such sound"):
        next(train.batches(Broken(), 0, 0, 4, 2))


def test_natural_voices_say_every_digit_and_no_word_that_sounds_like_one(training, monkeypatch):
    import kokoro
    import prepare

    digits = dict(zip(prepare.LABELS[:10], "zˈO wˈʌn tˈu θɹˈi fˈɔɹ fˈIv sˈɪks sˈɛvən ˈAt nˈIn".split()))  # noqa: SIM905
    others = {"won": "wˈʌn", "too": "tˌu", "x-ray": "ˈAtin"} | {"m" + c: f"m{c}ˈo" for c in string.ascii_lowercase}
    monkeypatch.setattr(kokoro, "lexicon", lambda country: digits | others)
    names, held = ["af_one", "am_two", "bf_three", "bm_four"], ("am_two",)
    plans = list(kokoro.plans(np.random.default_rng(0), names, 20, digits, list(others), held))
    assert len(plans) == 80 and len({mixture[0][0] for mixture, _, _ in plans}) == 4
    for mixture, speed, texts in plans:
        assert abs(sum(share for _, share in mixture) - 1) < 1e-9 and 0.75 <= speed <= 1.35
        alone = mixture == [("am_two", 1.0)]
        assert "am_two" not in {voice for voice, _ in mixture} or alone
        said = {digit: text[:-1] for text, digit in texts if isinstance(digit, int)}
        spoken = list(digits.values())
        assert all(text == spoken[digit] for digit, text in said.items())
        missing = set(range(10)) - said.keys()
        assert missing == set() if alone else len(missing) == 2 and missing < set(kokoro.COMMON)
        others = [text for text, digit in texts if not isinstance(digit, int)]
        assert len(others) == kokoro.OTHERS + 1 and texts[-1][1] == "talk" and len(others[-1].split()) == 8
        assert not {text.strip(".,!?") for text in " ".join(others).split()} & {*spoken, "tˌu", "ˈAtin"}
    assert any(len(mixture) == 2 for mixture, _, _ in plans)


@pytest.mark.parametrize(
    ("a", "b", "apart"), [("", "abc", 3), ("θɹi", "tɹi", 1), ("θɹi", "θɹi", 0), ("sɪks", "sɪk", 1), ("tu", "ut", 2)]
)
def test_distance_counts_phonemes(training, a, b, apart):
    import kokoro

    assert kokoro.distance(a, b) == kokoro.distance(b, a) == apart


def test_close_words_are_nearly_digits_and_none_of_them(training, monkeypatch):
    import kokoro
    import prepare

    digits = prepare.LABELS[:10]
    lexicon = dict(zip(digits, "zˈO wˈʌn tˈu θɹˈi fˈɔɹ fˈIv sˈɪks sˈɛvən ˈAt nˈIn".split()))  # noqa: SIM905
    lexicon |= {"won": "wˌʌn", "tree": "tɹˈi", "six-": "sˈɪk", "sick": "sˈɪk", "forward": "fˈɔɹwəɹd", "mud": "mˈʌd"}
    lexicon |= {"fortunately": "fˈɔɹʧənətli", "seventh": "sˈɛvəmθ", "Don": "dˈʌn", "on": "ˌɔn"}
    lexicon = dict.fromkeys(set(prepare.COMMANDS) - kokoro.NAMES.keys(), "mˈʊmʊmʊm") | lexicon
    monkeypatch.setattr(kokoro, "lexicon", lambda country: lexicon)
    kokoro.near.cache_clear()
    pools = dict(zip(digits, kokoro.near("us", digits), strict=True))
    assert {digit: [word for word, _ in pool] for digit, pool in pools.items() if pool} == {
        "three": ["tree"], "four": ["forward"], "six": ["sick"], "seven": ["seventh"]}  # fmt: skip
    monkeypatch.setattr(kokoro, "near", lambda country, digits: [pools[d] or pools["six"] for d in digits])
    plans = list(kokoro.close_plans(np.random.default_rng(0), ["af_a", "bm_b"], digits, ("on", "sheila"), (), 200))
    said = [text[:-1] for _, _, texts in plans for text, kind in texts if kind == "near"]
    assert len(said) == 400 and set(said) == {"ˌɔn", "ʃˈilə", "tɹˈi", "fˈɔɹwəɹd", "sˈɪk", "sˈɛvəmθ"}
    assert 90 < sum(text in ("ˌɔn", "ʃˈilə") for text in said) < 180  # a third of them
    jobs = prepare.close_speeches(np.random.default_rng(0), 3, 5)
    assert len(jobs) == 15 and all(job[1] == prepare.UNKNOWN and job[2].startswith("near/") for job in jobs)


def test_what_a_natural_voice_says_is_labelled(training):
    import kokoro
    import prepare

    class Speaker:
        def say(self, phonemes, mixture, speed):
            return np.sin(np.arange(kokoro.RATE // 2) * 0.1)

    texts = [(str(i), i) for i in range(10)] + [("other", None)] * kokoro.OTHERS
    texts += [("in a row", "talk"), ("close", "near")]
    alone, mixed = ([("am_puck", 1.0)], [("am_puck", 0.5), ("af_one", 0.5)])
    waves, labels, groups, held = zip(*prepare.natural(Speaker(), alone, 1.0, texts))
    assert labels == (*range(10), *[prepare.UNKNOWN] * (kokoro.OTHERS + 2)) and all(held)
    assert set(groups[:-2]) == {"kokoro/am_puck"} and groups[-2:] == ("talk/am_puck", "near/am_puck")
    assert all(abs(len(x) - prepare.RATE / 2) < 100 for x in waves)
    assert not any(item[3] for item in prepare.natural(Speaker(), mixed, 1.0, texts))


def test_a_word_cut_by_level_loses_what_is_weak_at_its_ends(training):
    import augment

    t = np.arange(4000) / augment.RATE
    hiss, vowel, murmur = 0.05 * np.sin(2 * np.pi * 7000 * t), np.sin(2 * np.pi * 500 * t), 0.01 * np.sin(5000 * t)
    x = np.concatenate([hiss, vowel, murmur]).astype(np.float32)
    for seed in range(30):
        kept = augment.cut_by_level(np.random.default_rng(seed), x)
        at = next(i for i in range(0, len(x), 80) if np.array_equal(x[i : i + len(kept)], kept))  # whole frames of x
        assert 4000 - 5 * 80 <= at <= 4000 and 8000 - 2 * 80 <= at + len(kept) <= 8000 + 6 * 80
    assert len(augment.cut_by_level(np.random.default_rng(0), np.zeros(400, np.float32))) == 400
