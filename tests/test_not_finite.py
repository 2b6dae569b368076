"""Numbers that are not finite are never an answer: in weights they are refused, in probabilities they are an error.

A network of NaN once scored 100 %, because NaN's argmax is the first class. Now each reader names the array that holds
such numbers; and where finite weights overflow on the way, each command reports an error for that sound.
"""

import io
import json
import math

import numpy as np
import pytest
import pyth
from hypothesis import given
from hypothesis import strategies as st

import minirep
from minirep import RECIPES, Architecture, Classifier, MinirepError, Recipe, Stream, random_network
from minirep.architecture import build
from minirep.cli import main
from minirep.files.modelfile import Model, read_model, write_model
from minirep.tree import as_type, map_tree, named_arrays

ARCH = Architecture(width=1, depths=(1,), time_kernels=((3, 1),), freq_kernels=((3, 1),), time_strides=(1,),
                    freq_strides=(1,), heads={"class": 3}, frames=16)  # fmt: skip
RECIPE = Recipe("tiny", 16000, 0.1, 20, 10, 16, 2, {"class": 3})
NETWORK = random_network(ARCH)
NAMES = list(named_arrays(NETWORK))
LABELS = ("a", "b", "c")
BACKENDS = ["numpy", "auto"]


# --- readers ------------------------------------------------------------------------------------------------------


def model_file(changed: dict, dtype="float32", stored=None) -> io.BytesIO:
    """A model.npz as `write_model` would write it, with other arrays; ``stored``: the type of all in the file."""
    file = io.BytesIO()
    write_model(file, Model(as_type(NETWORK, dtype), RECIPE, {"class": LABELS}, {}))
    file.seek(0)
    with np.load(file) as content:
        arrays = dict(content)
    with np.errstate(over="ignore"):
        arrays = {k: a if k == "header" else a.astype(stored or dtype) for k, a in (arrays | changed).items()}
    file = io.BytesIO()
    np.savez(file, **arrays)
    file.seek(0)
    return file


def spoiled(name: str, value: float, dtype="float64"):
    array = named_arrays(NETWORK)[name].astype(dtype)
    array.flat[-1] = value
    return {name: array}


BAD = st.sampled_from((math.nan, -math.nan, math.inf, -math.inf))


@given(st.sampled_from(NAMES), BAD, st.sampled_from(("float16", "float32", "float64")))
def test_a_model_with_numbers_that_are_not_finite_is_refused(name, value, dtype):
    with pytest.raises(MinirepError) as caught:
        read_model(model_file(spoiled(name, value), dtype if dtype != "float16" else "float32", dtype))
    assert f"array {name} holds NaN, infinite or huge values, expected finite float" in str(caught.value)


@pytest.mark.parametrize("value, stored", [(1e5, "float16"), (1e39, "float64"), (-1e300, "float64")])
def test_what_does_not_fit_the_type_is_refused(value, stored):
    with pytest.raises(MinirepError, match=r"array stem.weight holds NaN, infinite or huge values"):
        read_model(model_file(spoiled("stem.weight", value), "float32", stored))


@pytest.mark.parametrize("name", [name for name in NAMES if name.endswith(".variance")])
def test_negative_variances_are_refused(name):
    with pytest.raises(MinirepError, match=f"array {name} holds negative variances"):
        read_model(model_file(spoiled(name, -1e-3)))
    read_model(model_file(spoiled(name, 0.0)))


@given(st.sampled_from(list(pyth.published_state(width=1, depths=(1,) * 4))), BAD)
def test_a_checkpoint_with_numbers_that_are_not_finite_is_refused(tmp_path_factory, key, value):
    state = pyth.published_state(width=1, depths=(1,) * 4)
    state[key] = np.asarray(state[key], "f4").copy()
    state[key].flat[-1] = value
    counter = key.endswith(".num_batches_tracked")
    path = tmp_path_factory.getbasetemp() / "bad.pyth"
    pyth.write(path, pyth.checkpoint(pyth.tensors(state), pyth.config(width=1, depths=(1,) * 4)))
    if counter:  # nothing is computed with it
        minirep.read_checkpoint(path)
        return
    with pytest.raises(MinirepError) as caught:
        minirep.read_checkpoint(path)
    assert str(caught.value).startswith(f"{path}: {key} holds NaN, infinite or huge values")


@given(st.sampled_from(NAMES), BAD)
def test_such_a_network_is_not_written(name, value):
    network = map_tree(NETWORK, lambda n, part: spoiled(name, value, "f4")[name] if n == name else part)
    for model in (network, Classifier(network, RECIPE)):
        file = io.BytesIO()
        with pytest.raises(MinirepError, match="holds NaN, infinite or huge values"):
            minirep.save(model, file)
        assert not file.getvalue()


# --- probabilities ------------------------------------------------------------------------------------------------


def overflowing(dtype="float32", recipe=RECIPE, **shape):
    """A network of finite weights whose batch norms multiply by 1e32: its numbers exceed the type."""
    large = {"float32": 1e30, "float64": 1e300}[dtype]
    values = {"scale": large, "variance": 1e-30, "mean": -1.0, "shift": 0.0}

    def array(name, shape):
        return np.full(shape, values.get(name.rpartition(".")[2], 0.3), dtype)

    arch = {**vars(ARCH), "heads": recipe.heads, "frames": recipe.frames, **shape}
    return build(Architecture(**arch), array)


SOUNDS = {
    "silence": np.zeros(1600),
    "short": np.zeros(10),
    "noise": np.random.default_rng(0).normal(0, 0.1, 4000),
    "tone": np.sin(np.arange(8000) / 5),
}


@pytest.mark.parametrize("sound", SOUNDS)
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_an_overflow_is_an_error(dtype, backend, sound, recwarn):
    clf = Classifier(overflowing(dtype), RECIPE, {"class": LABELS}, backend=backend)
    with pytest.raises(MinirepError) as caught:
        clf.classify(SOUNDS[sound], 16000)
    assert f"head class: found NaN among the probabilities, as the network's numbers exceed {dtype}" in str(
        caught.value
    )
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]


@given(st.sampled_from(NAMES), st.integers(-45, 38), st.booleans(), st.sampled_from(BACKENDS))
def test_probabilities_are_finite_or_an_error(name, power, merged, backend):
    with np.errstate(over="ignore", invalid="ignore"):
        scaled = (named_arrays(NETWORK)[name] * np.float32(10.0**power)).clip(-3e38, 3e38)
        network = map_tree(NETWORK, lambda n, part: scaled if n == name else part)
        network = minirep.fuse(network) if merged else network
    try:
        found = Classifier(network, RECIPE, backend=backend).classify(SOUNDS["noise"], 16000)
    except MinirepError as error:
        assert "found NaN among the probabilities" in str(error)
        return
    p = found.probabilities["class"]
    assert np.isfinite(p).all() and (p >= 0).all() and abs(p.sum() - 1) < 1e-3


def test_the_file_is_named(tmp_path, wav):
    clf = Classifier(overflowing(), RECIPE, {"class": LABELS})
    with pytest.raises(MinirepError) as caught:
        clf.classify(wav)
    assert str(caught.value).startswith(f"{wav}: head class: found NaN")
    with open(wav, "rb") as file, pytest.raises(MinirepError, match=r"one.wav: head class: found NaN"):
        clf.classify(file)


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_stream_does_not_keep_silent(backend):
    stream = Stream(Classifier(overflowing(), RECIPE, {"class": LABELS}, backend=backend), 16000)
    with pytest.raises(MinirepError, match="found NaN"):
        for _ in range(20):
            stream.feed(np.zeros(1600))


# --- commands -----------------------------------------------------------------------------------------------------


@pytest.fixture
def wav(tmp_path):
    import audio_files

    path = tmp_path / "one.wav"
    path.write_bytes(audio_files.wav())
    return path


@pytest.fixture
def model(tmp_path):
    """A published checkpoint and a model.npz whose networks overflow."""
    labels = {"class": LABELS}
    path = tmp_path / "overflow.npz"
    write_model(path, Model(overflowing(), RECIPE, labels, {}))
    return path


def run(capsys, *arguments) -> tuple[int, str, str]:
    status = main([str(argument) for argument in arguments])
    return status, *capsys.readouterr()


@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("form", [(), ("--json",), ("--csv",), ("--timeline",), ("--timeline", "--json"),
                                  ("--timeline", "--csv"), ("--views", "3")])  # fmt: skip
def test_classify_reports_the_file(capsys, model, wav, form, backend):
    status, out, err = run(capsys, "classify", "--model", model, "--backend", backend, *form, wav)
    assert status == 1 and err.count("found NaN among the probabilities") == 1 and "one.wav" in err
    assert "nan" not in out.lower().replace("found nan", "") and "no events" not in out
    if "--json" in form:
        ((entry),) = json.loads(out, parse_constant=pytest.fail)
        assert "found NaN" in entry["error"] and not entry.get("events")


@pytest.mark.parametrize("form", [(), ("--json",), ("--jobs", "2")])
def test_eval_counts_the_rows_as_failed(capsys, tmp_path, model, wav, form):
    (tmp_path / "two.wav").write_bytes(wav.read_bytes())
    (tmp_path / "m.csv").write_text("path,label\none.wav,a\ntwo.wav,b\n")
    predictions = tmp_path / "p.csv"
    for _ in range(2):  # and does them again
        status, out, err = run(
            capsys, "eval", tmp_path / "m.csv", "--model", model, "--predictions", predictions, *form
        )
        assert status == 1 and "2 of 2 rows failed" in err and err.count("found NaN among") == 2
        assert "100" not in out and "nan" not in out.lower()
        if "--json" in form:
            found = json.loads(out, parse_constant=pytest.fail)
            assert found["failed"] == 2 and found["heads"] == {}
        assert len(predictions.read_text().splitlines()) == 2


@pytest.mark.parametrize("backend", BACKENDS)
def test_listen_says_so(capsys, monkeypatch, model, wav, backend):
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO(wav.read_bytes())))
    status, out, err = run(capsys, "listen", "--model", model, "--backend", backend)
    assert status == 2 and "found NaN among the probabilities" in err and not out


@pytest.mark.parametrize("command", ["info", "verify", "bench"])
def test_what_looks_at_models_does_not_break(capsys, model, command, recwarn):
    more = ("--repeat", "1", "--threads", "1") if command == "bench" else ()
    for form in ((), ("--json",)):
        status, out, _ = run(capsys, command, model, *more, *form)
        assert status == (1 if command == "verify" else 0) and out
        assert command != "verify" or form or "NOT WITHIN ITS BOUND" in out
        if form and out:
            json.loads(out, parse_constant=pytest.fail)
    assert not [warning for warning in recwarn if issubclass(warning.category, RuntimeWarning)]


def test_merging_that_overflows_is_not_written(capsys, tmp_path):
    """Finite weights over a tiny variance are infinite when they are merged."""
    network = map_tree(
        NETWORK, lambda n, part: np.full_like(part, 1e37) if n in ("stem.weight", "stem.bn.scale") else part
    )
    minirep.save(Classifier(network, RECIPE, {"class": LABELS}), tmp_path / "a.npz")
    for command in ("fuse", "convert", "bundle"):
        out = tmp_path / f"{command}.out"
        status, _, err = run(capsys, command, tmp_path / "a.npz", "-o", out)
        assert status == 2 and not out.exists()
        assert "stem.weight holds NaN, infinite or huge values" in err or command == "convert"
    with pytest.raises(MinirepError):
        minirep.load(tmp_path / "a.npz").classify(SOUNDS["noise"], 16000)


def test_recipes_are_finite():
    for value in (math.nan, math.inf):
        with pytest.raises(MinirepError):
            Recipe("x", 16000, value, 20, 10, 16, 1, {"class": 2})
    assert all(math.isfinite(recipe.clip_seconds) for recipe in RECIPES.values())
