"""The classifier: from samples or files to named probabilities."""

import io
import pickle

import numpy as np
import pytest
from audio_files import hiss, sound

import minirep
from minirep import RECIPES, Architecture, Classifier, MinirepError, fuse, log_mel_views, random_network
from minirep.recipe import published_labels

TWO_HEADS = {"verb": 3, "noun": 4}
NET = random_network(Architecture(width=2, depths=(1, 1, 1, 1), frames=416, heads={"class": 4}))
CLF = Classifier(NET, RECIPES["epic-sounds"], {"class": ("cut", "pour", "rustle", "beep")})


def test_probabilities_are_the_mean_over_views():
    samples = hiss(120000)
    views = log_mel_views(samples, 24000, "epic-sounds", 3)
    prediction = CLF.classify(samples, rate=24000, views=3)
    np.testing.assert_allclose(prediction.probabilities["class"], CLF.probabilities(views)["class"].mean(0), rtol=1e-6)
    assert prediction.probabilities["class"].sum() == pytest.approx(1, abs=1e-5)


def test_a_file_a_path_and_a_stream_agree(tmp_path):
    content = sound(hiss(50000), 24000, "i16")
    (tmp_path / "clip.wav").write_bytes(content)
    answers = [
        CLF.classify(source) for source in (tmp_path / "clip.wav", str(tmp_path / "clip.wav"), io.BytesIO(content))
    ]
    for answer in answers[1:]:
        np.testing.assert_array_equal(answer.probabilities["class"], answers[0].probabilities["class"])


def test_a_prediction_shows_its_best_answers():
    probabilities = {"verb": np.array([0.2, 0.7, 0.1]), "noun": np.array([1.0])}
    p = minirep.classify.Prediction(probabilities, {"verb": ("a", "b", "c"), "noun": ("d",)})
    assert repr(p) == "<Prediction verb: b 0.700, a 0.200, c 0.100; noun: d 1.000>"


def test_top_is_sorted_and_named():
    top = CLF.classify(hiss(5000), rate=24000).top(3)
    assert len(top) == 3 and [p for _, p in top] == sorted((p for _, p in top), reverse=True)
    assert {label for label, _ in top} <= set(CLF.labels["class"]) and type(top[0][1]) is float
    assert len(CLF.classify(hiss(5000), rate=24000).top(99)) == 4


def test_two_heads():
    net = random_network(Architecture(width=2, depths=(1, 1, 1, 1), heads=TWO_HEADS, frames=416))
    clf = Classifier(net, RECIPES["epic-kitchens-100"])
    prediction = clf.classify(hiss(5000), rate=24000)
    assert prediction.top(1, "noun")[0][0].startswith("noun ") and prediction.top(1)[0][0].startswith("verb ")
    assert clf.recipe.heads == TWO_HEADS
    with pytest.raises(MinirepError, match="'class', expected one of verb, noun"):
        prediction.top(1, "class")


def test_fused_says_the_same():
    x = log_mel_views(hiss(90000), 24000, "epic-sounds")
    a, b = CLF.probabilities(x)["class"], CLF.fused().probabilities(x)["class"]
    np.testing.assert_allclose(a, b, atol=1e-6)
    np.testing.assert_array_equal(b, Classifier(fuse(NET), RECIPES["epic-sounds"]).probabilities(x)["class"])


def test_an_array_needs_its_rate():
    with pytest.raises(MinirepError, match="rate"):
        CLF.classify(hiss(1000))


@pytest.mark.parametrize("samples", [np.zeros(0, "f4"), np.full(99, np.nan), np.full(99, np.inf), np.zeros((9, 2))])
def test_bad_samples(samples):
    with pytest.raises(MinirepError):
        CLF.classify(samples, rate=24000)


@pytest.mark.parametrize(
    "bad", [np.zeros((2, 416)), np.zeros((1, 416, 64)), np.zeros((0, 416, 128)), np.full((1, 9, 128), np.nan)]
)
def test_bad_log_mels(bad):
    with pytest.raises(MinirepError, match="log-mels"):
        CLF.probabilities(bad)


def test_labels_must_fit():
    with pytest.raises(MinirepError, match=r"labels: found \{'class': 3\} names, expected \{'class': 4\}"):
        Classifier(NET, RECIPES["epic-sounds"], {"class": ("a", "b", "c")})


def test_a_file_says_its_own_rate():
    content = sound(hiss(5000), 24000, "i16")
    assert CLF.classify(io.BytesIO(content), rate=24000).top(1)
    with pytest.raises(MinirepError, match="its rate is 24000 samples a second; found rate=16000"):
        CLF.classify(io.BytesIO(content), rate=16000)


@pytest.mark.parametrize("source", [None, 3, b"RIFF"])
def test_what_is_no_sound_at_all(source):
    with pytest.raises(MinirepError, match="expected a path, a binary stream or samples"):
        CLF.classify(source)


def test_a_classifier_is_no_network():
    for misuse in (lambda: fuse(CLF), lambda: minirep.stages(CLF, np.zeros((1, 9, 128))), lambda: minirep.load(CLF)):
        with pytest.raises(MinirepError, match="Classifier, expected"):
            misuse()


def test_unknown_backend():
    with pytest.raises(MinirepError, match="backend: found 'cuda'"):
        Classifier(NET, RECIPES["epic-sounds"], backend="cuda")


def test_a_classifier_travels_to_other_processes():
    back = pickle.loads(pickle.dumps(CLF))
    x = log_mel_views(hiss(3000), 24000, "epic-sounds", 1)
    np.testing.assert_array_equal(back.probabilities(x)["class"], CLF.probabilities(x)["class"])
    assert repr(back) == repr(CLF) and "epic-sounds" in repr(CLF)


def test_published_labels_ship_with_the_recipes():
    for name, recipe in minirep.RECIPES.items():
        labels = published_labels(name)
        assert {head: len(names) for head, names in labels.items()} == recipe.heads
