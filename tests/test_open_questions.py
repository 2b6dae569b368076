"""The experiment of the open questions, on tiny networks and synthetic sounds: splits, training, claims, statistics."""

import dataclasses
import subprocess
import sys

import esc10
import numpy as np
import pytest

torch = pytest.importorskip("torch")
pytest.importorskip("soundfile")
stats = pytest.importorskip("scipy.stats")
pytest.importorskip("fcntl")
pytestmark = pytest.mark.usefixtures("training")


def digit_sounds():
    """What `prepare.py` writes, in little: (arrays, the person or voice of each sound)."""
    import prepare

    ids = {part: [] for part in ("training", "validation", "test")}
    for name in (f"{i:08x}" for i in range(200)):
        ids[prepare.part_of(name)].append(name)
    speakers = [(name, part != "training") for part in ids for name in ids[part][:3]]
    said = (("one", 1), ("up", 10))
    rows = [(f"gsc/{name}/{word}", label, held, name) for name, held in speakers for word, label in said]
    rows += [(f"apart/{name}/one-0", 10, held, name) for name, held in speakers]
    for name in ("theo", "lucas"):
        rows += [(f"fsdd/{name}/{take}", label, take > 4, name) for label in range(10) for take in (1, 7)]
        rows += [(f"shifted/{name}/1", 3, False, name), (f"apart/{name}/1", 10, False, name)]
    for voice in ("f1", *prepare.HELD_VOICES[:4]):
        for dialect in ("en-us", "en-gb"):
            held, name = voice in prepare.HELD_VOICES, f"{dialect}+{voice}"
            rows += [(f"espeak/{name}", label, held, voice) for label in (2, 7, 10)]
            rows += [(f"{kind}/{name}", 10, held, voice) for kind in ("talk", "near")]
    rows += [("kokoro/af_one+am_two", 4, False, "am_two"), ("sound/synthetic", 10, True, "sound")]
    groups, labels, held, people = zip(*rows)
    rng = np.random.default_rng(0)
    waves = [np.sin(np.arange(2400) * (label + 1) * 0.05) + 0.1 * rng.standard_normal(2400) for label in labels]
    sounds = {"samples": (9000 * np.concatenate(waves)).astype(np.int16), "start": 2400 * np.arange(len(rows) + 1)}
    sounds |= {"label": np.array(labels, np.int8), "group": np.array(groups), "held": np.array(held)}
    return sounds, np.array(people)


def made_up(clips=12, frames=128, recordings=4, folds=False):
    """Data of noise, of as many labels as there are recordings; all clips silent in their second half."""
    import accuracy

    rng = np.random.default_rng(5)
    x = rng.standard_normal((clips, frames, 128)).astype(np.float16)
    x[:, frames // 2 :] = -13.8
    views = {128: rng.standard_normal((recordings, 2, 128, 128)).astype(np.float16)}
    part = np.resize(["validation", "a test", "another"], recordings)
    fold = np.arange(clips) % 5 + 1 if folds else np.zeros(clips, int)
    power = np.square(np.exp(x.astype(np.float32))).mean(2)
    return accuracy.Data(x, np.arange(clips) % recordings, fold, power, views, np.arange(recordings), part)


@pytest.fixture
def tiny(monkeypatch):
    import accuracy

    networks = {"as published": {}, "kernel 3": {"scales": (3,)}}
    changes = {"BATCH": 4, "EVERY": 1, "PATIENCE": 2, "DIGIT_CLIPS": 70, "VERSIONS": 1}
    for name, value in {**changes, "SMALL": {"width": 2, "depths": (1, 1, 1, 1)}}.items():
        monkeypatch.setattr(accuracy, name, value)
    for name, few in {"digits": {"seeds": 2}, "sounds": {"folds": (1, 5)}}.items():
        its = networks | (accuracy.LONGER if name == "sounds" else {})
        domain = dataclasses.replace(accuracy.DOMAINS[name], networks=its, steps=3, **few)
        monkeypatch.setitem(accuracy.DOMAINS, name, domain)
    return accuracy


# --- splits -----------------------------------------------------------------------------------------------------------


def test_no_speaker_of_a_test_is_in_training_or_validation(training):
    import accuracy
    import prepare

    sounds, people = digit_sounds()
    part = accuracy.digit_parts(sounds)
    of = {name: set(people[part == name]) for name in np.unique(part) if name}
    tests = of.keys() - {"training", "validation"}
    assert len(tests) == 4 and all(of.values())
    for name in tests:
        assert not of[name] & (of["training"] | of["validation"]), name
    assert of["training"] & of["validation"] == {"lucas"}  # his held-out takes
    takes = {name: {g for g in sounds["group"][part == name] if g.startswith("fsdd/lucas")} for name in of}
    assert takes["training"] == {"fsdd/lucas/1"} and takes["validation"] == {"fsdd/lucas/7"}
    commands = of["Speech Commands, digits"]
    assert len(commands) == 3 and {prepare.part_of(name) for name in commands} == {"test"}
    assert commands == of["Speech Commands, other words"] and of["a new speaker's digits"] == {"theo"}
    assert of["new synthetic voices' digits"] == set(prepare.HELD_VOICES[:4:2])
    labels = {name: set(sounds["label"][part == name]) for name in tests}
    assert labels.pop("Speech Commands, other words") == {10} and max(set().union(*labels.values())) < 10
    chosen = accuracy.measured_digits(sounds, part, most=5, most_tested=8)
    assert len(set(chosen)) == len(chosen) and "training" not in part[chosen] and "" not in part[chosen]
    counts = dict(zip(*np.unique(part[chosen], return_counts=True)))
    assert counts["validation"] == 5 + 3 + 3 + 5 + 5 and counts["a new speaker's digits"] == 8  # of five kinds


def test_every_fold_is_tested_and_validated_once(training):
    import accuracy

    data = dataclasses.replace(made_up(clips=50, recordings=10, folds=True), part=np.resize(list("12345"), 10))
    seen = []
    for fold in range(1, 6):
        clips, parts = accuracy.split(data, fold)
        tested, validated = (set(data.part[parts[name]]) for name in ("test fold", "validation"))
        trained = set(data.fold[clips].astype(str))
        assert len(trained) == 3 and len(tested) == len(validated) == 1 and tested == {str(fold)}
        assert trained | tested | validated == set("12345")
        seen += validated
    assert sorted(seen) == list("12345")


# --- training ---------------------------------------------------------------------------------------------------------


def test_both_domains_from_recordings_to_the_report(tiny, tmp_path, monkeypatch, capsys):
    import questions

    np.savez(tmp_path / "sounds.npz", **digit_sounds()[0])
    esc10.write(tmp_path / "esc10.tar", "xyz")
    files = ["--sounds", str(tmp_path / "sounds.npz"), "--esc10", str(tmp_path / "esc10.tar"), "--out", str(tmp_path)]

    def run(part, *options):
        monkeypatch.setattr(sys, "argv", ["questions.py", part, *files, *options])
        questions.main()
        return capsys.readouterr().out

    with monkeypatch.context() as patch, pytest.raises(SystemExit, match=r"--esc10: found no file .*no\.tar"):
        patch.setattr(tiny, "trained", lambda *_: pytest.fail("it trained before it looked"))
        run("train", "--esc10", "no.tar")
    run("train", "--domains", "digits", "--seeds", "1")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(tiny, "tested", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        run("train")
    run("train")
    rows = tiny.lines(tmp_path / "accuracy.jsonl")
    keys = [(row["domain"], row["seed"], row["fold"], row["network"]) for row in rows]
    expected = [("digits", seed, 0, network) for seed in (0, 1) for network in ("as published", "kernel 3")]
    expected += [("sounds", 0, fold, n) for fold in (1, 5) for n in ("as published", "kernel 3", "longer input")]
    assert keys == expected
    for row in rows:
        assert 1 <= row["best"] <= row["steps"] <= 3 and row["stopped"] == (row["steps"] - row["best"] >= 2)
        tests = [value for name, value in row["measures"].items() if name not in ("accuracy", "loss")]
        assert len(tests) == (4 if row["domain"] == "digits" else 0)
        assert not tests or row["measures"]["accuracy"] == pytest.approx(np.mean(tests), abs=1e-4)
    with monkeypatch.context() as patch:
        patch.setattr(tiny, "trained", lambda *_: pytest.fail("trained again"))
        run("train")
    out = run("report")
    assert "digits: 4 networks" in out and "sounds: 6 networks" in out
    assert "3 comparisons of the accuracy" in out and "7 more intervals" in out


def test_training_stops_where_validation_does_not_improve(tiny, monkeypatch):
    data, domain = made_up(), dataclasses.replace(tiny.DOMAINS["digits"], steps=40)
    monkeypatch.setattr(tiny, "LEAST", 0.99)  # nothing is an improvement but the first
    monkeypatch.setattr(tiny, "EVERY", 3)
    monkeypatch.setattr(tiny, "PATIENCE", 6)
    average, how = tiny.trained({}, data, domain, 0, seed=0)
    assert (how["steps"], how["best"], how["stopped"]) == (9, 3, True)
    mask = data.part == "validation"
    _, loss = tiny.measured(average, data.views[128][mask], data.truth[mask])
    assert how["validation_loss"] == pytest.approx(loss, abs=1e-4), "the best average is what is tested"
    short, how = tiny.trained({}, data, dataclasses.replace(domain, steps=3), 0, seed=0)
    assert (how["steps"], how["stopped"]) == (3, False)
    torch.testing.assert_close(short.state_dict(), average.state_dict())


def test_networks_of_one_seed_see_the_same_clips(tiny, monkeypatch):
    seen, batch = [], tiny.batch
    monkeypatch.setattr(tiny, "batch", lambda *args: seen.append(batch(*args)) or seen[-1])
    data, domain = made_up(), tiny.DOMAINS["digits"]
    for settings, seed in (({}, 0), ({"expansion": 2, "width": 3}, 0), ({}, 1)):
        tiny.trained(settings, data, domain, 0, seed)
    (one, other, another) = (torch.cat([x for x, _ in seen[i : i + 3]]) for i in (0, 3, 6))
    assert torch.equal(one, other) and not torch.equal(one, another)


def test_every_clip_comes_before_any_comes_again(tiny):
    batches = tiny.chosen(np.random.default_rng(0), np.arange(100, 112))
    for _ in range(3):
        assert sorted(np.concatenate([next(batches) for _ in range(3)])) == list(range(100, 112))


def test_a_crop_of_nothing_has_no_class(tiny):
    """The second half of each clip is silent, so of crops of half a clip the last ones are."""
    data, domain = made_up(clips=300, frames=256), dataclasses.replace(tiny.DOMAINS["sounds"], mixup=0.0)
    rows = np.arange(300)
    x, targets = tiny.batch(np.random.default_rng(0), data, rows, 128, domain)
    nothing = (x[:, 0] < -10).float().flatten(1).mean(1) > 0.99
    none = torch.isclose(targets, torch.tensor(0.1)).all(1)
    assert x.shape == (300, 1, 128, 128) and none[nothing].all() and none.sum() < 30
    assert (targets.argmax(1)[~none].numpy() == data.label[rows][~none.numpy()]).all()
    _, targets = tiny.batch(np.random.default_rng(0), data, rows, 256, domain)
    assert (targets.max(1).values == 1).all()
    _, targets = tiny.batch(np.random.default_rng(0), data, rows, 256, dataclasses.replace(domain, mixup=0.2))
    torch.testing.assert_close(targets.sum(1), torch.ones(300))
    assert ((targets > 0.01).sum(1) == 2).sum() > 30


def test_the_average_follows_weights_and_statistics(tiny):
    import twin

    a, b = (twin.randomise(twin.Twin(width=2, depths=(1, 1, 1, 1), frames=64), seed) for seed in (0, 1))
    start = {name: value.clone() for name, value in a.state_dict().items()}
    for _ in range(3):
        tiny.follow(a, b, 0.9)
    for name, value in b.state_dict().items():
        if value.is_floating_point():
            expected = value + 0.9**3 * (start[name] - value)
            torch.testing.assert_close(a.state_dict()[name], expected, msg=name)
    assert any("running_var" in name for name in start)


def test_a_recording_is_the_mean_over_its_views(tiny, monkeypatch):
    p = torch.tensor([[0.9, 0.1], [0.3, 0.7], [0.2, 0.8], [0.6, 0.4]])  # two recordings of two views
    monkeypatch.setattr(tiny, "predictions", lambda twin, x: p)
    right, loss = tiny.measured(None, np.zeros((2, 2, 128, 128)), np.array([0, 0]))
    assert right == 0.5 and loss == pytest.approx(-(np.log(0.6) + np.log(0.4)) / 2, rel=1e-6)


def test_a_killed_process_leaves_no_claim(tiny, tmp_path):
    path = tmp_path / "a.lock"
    holding = f"import fcntl, time; f = open({str(path)!r}, 'w'); fcntl.flock(f, fcntl.LOCK_EX); print(1, flush=True)"
    with subprocess.Popen([sys.executable, "-c", f"{holding}; time.sleep(60)"], stdout=subprocess.PIPE) as process:
        assert process.stdout.readline()
        with tiny.claimed(path) as mine:
            assert not mine
        process.kill()
    with tiny.claimed(path) as mine, tiny.claimed(path) as again:
        assert mine and not again


def test_what_the_networks_cost(training):
    """Separate chains have as many parameters at equal width, and as many multiply-adds, nearly, when wider."""
    import accuracy

    published = accuracy.counted("as published", 12)
    assert accuracy.counted("separate chains", 12)[0] == published[0]
    assert accuracy.counted("longer input", 10)[1] == pytest.approx(2 * published[1], rel=0.01)
    apart = {}
    for width in range(accuracy.WIDE - 1, accuracy.WIDE + 2):
        with pytest.MonkeyPatch.context() as patch:
            patch.setitem(accuracy.TRAINED["separate chains, wider"], "width", width)
            apart[width] = abs(accuracy.counted("separate chains, wider", 12)[1] - published[1])
    assert min(apart, key=apart.get) == accuracy.WIDE and apart[accuracy.WIDE] < 0.05 * published[1]


# --- statistics -------------------------------------------------------------------------------------------------------


def test_paired_intervals_by_hand_and_by_scipy(training):
    import accuracy

    # the quantile 0.975 of t with 4 degrees of freedom is 2.776445, the standard error sqrt(2.5 / 5)
    mean, low, high, _ = accuracy.paired([1, 2, 3, 4, 5])
    assert (mean, low, high) == pytest.approx((3, 3 - 2.776445 * 0.5**0.5, 3 + 2.776445 * 0.5**0.5), abs=1e-5)
    rng = np.random.default_rng(0)
    for n in (2, 5, 12):
        a, b = rng.standard_normal((2, n))
        expected = stats.ttest_rel(a, b)
        interval = stats.ttest_1samp(a - b, 0).confidence_interval(0.95)
        assert accuracy.paired(a - b) == pytest.approx((np.mean(a - b), *interval, expected.pvalue))
    assert accuracy.paired([0, 0, 0]) == (0, 0, 0, 1) and accuracy.paired([2, 2]) == (2, 2, 2, 0)


def test_holm_by_hand_and_by_its_definition(training):
    import accuracy

    assert accuracy.holm([0.01, 0.04, 0.03, 0.005]) == pytest.approx([0.03, 0.06, 0.06, 0.02])
    assert list(accuracy.holm([])) == [] and list(accuracy.holm([0.9, 0.8])) == [1, 1]
    rng = np.random.default_rng(1)
    for _ in range(50):
        p = rng.random(rng.integers(1, 12)) ** 3
        rejected = set()
        for step, i in enumerate(np.argsort(p)):  # step down until one is not below its share of 5 %
            if p[i] > 0.05 / (len(p) - step):
                break
            rejected.add(i)
        assert set(np.flatnonzero(accuracy.holm(p) <= 0.05)) == rejected


def test_pairs_are_folds_and_only_where_both_are(training):
    import accuracy

    def row(network, fold, seed, value):
        return {"network": network, "fold": fold, "seed": seed, "measures": {"accuracy": value}}

    rows = [row("as published", 1, 0, 0.5), row("as published", 1, 1, 0.7), row("as published", 2, 0, 0.8)]
    rows += [
        row("kernel 3", 1, 0, 0.4),
        row("kernel 3", 2, 0, 0.9),
        row("kernel 3", 3, 0, 0.3),
        row("kernel 11", 3, 0, 1),
    ]
    found = accuracy.compared(rows, accuracy.DOMAINS["sounds"], "accuracy")
    assert list(found) == ["as published", "kernel 11", "kernel 3"]
    mean, pairs, difference = found["kernel 3"]
    assert mean == pytest.approx(1.6 / 3) and pairs == 2
    assert difference == pytest.approx(accuracy.paired([0.4 - 0.6, 0.9 - 0.8]))
    assert found["as published"] == (pytest.approx(0.7), 2, None) and found["kernel 11"] == (1, 0, None)
