"""`minirep verify FILE --merged MODEL`: right files pass, and of a wrong one exactly what is wrong is named.

Every field of every node of a merged tree is changed, one at a time, and every array by a little more than rounding.
"""

import dataclasses
import re
from dataclasses import replace
from fnmatch import fnmatchcase
from fractions import Fraction
from functools import cache, reduce
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
import pyth
from strategies import log_mels

from minirep import RECIPES, random_network, reparam
from minirep.architecture import INCEPTION, REP, Architecture
from minirep.cli import main
from minirep.cli.verify import in_file_terms, published_keys
from minirep.exact import DoubleDouble
from minirep.files.modelfile import Model, write_model
from minirep.files.models import read
from minirep.network import BatchNorm, Conv, Linear
from minirep.proof import bounds, verify
from minirep.recipe import Recipe, numbered_labels
from minirep.tree import as_type, map_arrays, map_tree, named_arrays

KINDS = (REP, INCEPTION)
X = log_mels((1, 16, 16), 0)
RECIPE = replace(RECIPES["speech-commands-v2"], frames=32, heads={"verb": 2, "noun": 3})
LABELS = {"verb": ("cut", "wash"), "noun": ("onion", "pan", "knife")}


def model(kind: str, seed: int = 0, **changes) -> Model:
    shape = {"width": 2, "depths": (1, 2), "time_kernels": ((7, 3), (3, 1)), "freq_kernels": ((5, 3), (3, 3)),
             "time_strides": (1, 2), "freq_strides": (1, 2), "frames": 32, "expansion": 2,
             "heads": {"verb": 2, "noun": 3}} | changes  # fmt: skip
    heads = shape["heads"]
    labels = LABELS if heads == RECIPE.heads else numbered_labels(heads)
    return Model(random_network(Architecture(kind, **shape), seed), replace(RECIPE, heads=heads), labels, {})


@cache
def merged(kind: str) -> Model:
    return fused(model(kind))


def fused(given: Model) -> Model:
    return given._replace(network=reparam.fuse(given.network))


def plainly(network):
    """Merged in the network's own type, rounding in every step, as earlier versions did."""
    steps = reparam.STEPS.values()
    folded = network.map_blocks(lambda block: reduce(lambda done, step: step(done), steps, block))
    return replace(folded, stem=reparam.fold(network.stem))


def check(given: Model, other: Model) -> verify.Merged:
    with np.errstate(all="ignore"):
        return verify.check_merged(given, other, X)


def changed(tree, path: str, value):
    return map_tree(tree, lambda name, node: value if name == path and node is not value else node)


@pytest.fixture
def quick(monkeypatch):
    """What a check computes of one network it computes once."""
    for module, name in ((reparam, "fuse"), (bounds, "merged_weights")):
        known, honest = {}, getattr(module, name)

        def once(network, *dtype, known=known, honest=honest):
            key = (id(network), *map(np.dtype, dtype))
            if key not in known:
                known[key] = network, honest(network, *dtype)
            return known[key][1]

        monkeypatch.setattr(module, name, once)


# --- fields -------------------------------------------------------------------------------------------------------


def others(path: str, node) -> list:
    """(the path that is named, another value) of what a node may wrongly be."""
    spare = np.ones(2, np.float32)
    if isinstance(node, bool):
        return [(path, not node)]
    if isinstance(node, int):
        return [(path, node + 1), (path, float(node))]
    if isinstance(node, str):
        return [(path, {"time": "frequency", "frequency": "time"}[node])]
    if isinstance(node, dict):
        first, *rest = node
        renamed = {"other" if key == first else key: value for key, value in node.items()}
        return [(path, {key: node[key] for key in (*rest, first)}), (path, {first: node[first]}), (path, renamed)]
    if isinstance(node, tuple):
        return [(path, (*node, node[-1])), *([(path, node[:-1])] if len(node) > 1 else [])]
    if isinstance(node, np.ndarray):
        found = [(path, node.astype(np.float64)), (path, np.concatenate([node, node[:1]])), (path, node[None])]
        return found + ([(path, None)] if path.endswith(".bias") else [])
    if isinstance(node, Conv):
        return [
            (f"{path}.bn", replace(node, bn=BatchNorm(spare, spare, spare, spare))),
            (path, Linear(node.weight, node.bias)),
        ]
    return [(path, Conv(spare, spare))] if node is None and path.endswith("shortcut") else []


def fields() -> list:
    found = []
    for kind in KINDS:

        def visit(path, node, kind=kind):
            found.extend((kind, path, where, value) for where, value in others(path, node) if path)
            return node

        map_tree(merged(kind).network, visit)
    return found


FIELDS = fields()


@pytest.mark.parametrize("kind", KINDS)
def test_every_field_of_a_merged_tree_is_compared(kind, quick):
    given, right = model(kind), merged(kind)
    mine = [field for field in FIELDS if field[0] == kind]
    assert len(mine) > 250
    for _, path, where, value in mine:
        wrong = right._replace(network=changed(right.network, path, value))
        found = check(given, wrong)
        assert found.outside == found.fields, (path, value)
        assert [line.split(":")[0] for line in found.fields] == [where], (path, value)
        assert " found " in found.fields[0] and ", expected " in found.fields[0]
        assert found.rows == []


@pytest.mark.parametrize("kind", KINDS)
def test_labels_and_recipe_are_compared(kind):
    right = merged(kind)
    twisted = {"verb": ("wash", "cut"), "noun": LABELS["noun"]}
    longer = {**LABELS, "verb": ("cut", "wash", "dry")}
    for labels, where in ((twisted, ["labels.verb.0", "labels.verb.1"]), (longer, ["labels.verb"]), ({}, ["labels"]),
                          (dict(reversed(LABELS.items())), ["labels"])):  # fmt: skip
        found = check(model(kind), right._replace(labels=labels)).outside
        assert [line.split(":")[0] for line in found] == where
    values = {"name": "other", "repeat": "sample", "heads": {"verb": 2}}
    for field in dataclasses.fields(Recipe):
        value = values.get(field.name, 2 * getattr(RECIPE, field.name) if field.name not in values else None)
        (line,) = check(model(kind), right._replace(recipe=replace(RECIPE, **{field.name: value}))).outside
        assert line.startswith(f"recipe.{field.name}: found ") or field.name == "heads", line
    (line,) = check(model(kind), right._replace(recipe=None)).outside
    assert line == "recipe: found None, expected Recipe (the merged model)" or line.startswith("recipe: found None")
    (line,) = check(model(kind), right._replace(recipe=replace(RECIPE, heads={"verb": 2, "noun": 4}))).outside
    assert line == "recipe.heads.noun: found 4, expected 3"


def test_heads_whose_names_are_paths_hide_nothing():
    """A head "a.0" has the path of the first label of the head "a"."""
    heads = {"a": 2, "a.0": 3}
    given = model(REP, heads=heads)
    wrong = fused(given)._replace(labels={**given.labels, "a": ("another", given.labels["a"][1])})
    (line,) = check(given, wrong).outside
    assert line.startswith("labels.a.0: found 'another'")


def other_networks() -> list:
    shapes = [{"width": 3}, {"depths": (2, 1)}, {"depths": (1, 1)}, {"heads": {"class": 3}}, {"expansion": 3},
              {"heads": {"verb": 3, "noun": 2}}, {"time_kernels": ((9, 3), (3, 1))}, {"frames": 96},
              {"freq_kernels": ((5, 3), (5, 1))}, {"time_strides": (2, 1)}, {"order": "frequency-time"}]  # fmt: skip
    stages = {key: ((3,),) for key in ("time_kernels", "freq_kernels")} | {"time_strides": (1,), "freq_strides": (1,)}
    return [*shapes, {"depths": (1,), **stages}]


@pytest.mark.parametrize("kind", KINDS)
def test_the_file_of_another_network(kind):
    for changes in other_networks():
        other = fused(model(kind, **changes))
        if changes != {"expansion": 3} or kind == REP:  # what is collapsed has no width between
            assert check(model(kind), other).fields, changes
    (another,) = (k for k in KINDS if k != kind)
    assert check(model(kind), merged(another)).fields
    assert check(model(kind), model(kind)).fields  # not merged at all
    found = check(model(kind), fused(model(kind, seed=1)))  # other weights
    assert found.fields == [] and found.exact == 0
    assert all(not d.within for name, d in found.weights.items())


# --- weights ------------------------------------------------------------------------------------------------------


def allowances(given: Model) -> dict[str, np.ndarray]:
    """How far from the true values the weights of a right file may lie, and the correctly rounded ones."""
    kinds = (named_arrays(bounds.merged_weights(given.network, dtype)) for dtype in (given.network.dtype, np.float64))
    rounded, own = kinds
    return {name: rounded[name] + own[name] for name in rounded}


def moved(array, at, by):
    """The array with one number moved by a little more than so much: to the next number beyond."""
    array = array.copy()
    target = np.float64(array[at]) + by
    found = array.dtype.type(target)
    if abs(np.float64(found) - np.float64(array[at])) <= abs(by):
        found = np.nextafter(found, array.dtype.type(np.copysign(np.inf, by)))
    array[at] = found
    return array


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("kind", KINDS)
def test_one_number_of_any_array_that_is_off(kind, dtype, quick, monkeypatch):
    """By an ulp more than rounding explains, and by more; an ulp off passes, but is not the correctly rounded one."""
    monkeypatch.setattr(verify, "check_forms", lambda *_: [])
    given = model(kind)._replace(network=as_type(model(kind).network, dtype))
    right, allowed = fused(given), allowances(given)
    rng = np.random.default_rng(0)
    total = sum(array.size for array in named_arrays(right.network).values())
    assert total == check(given, right).exact == check(given, right).total
    for name, array in named_arrays(right.network).items():
        at = tuple(int(rng.integers(n)) for n in array.shape)
        beyond = float(allowed[name][at])
        for by in (beyond, -beyond, beyond + 1e-3 * abs(array[at]), 0.1 * abs(array[at])):
            wrong = right._replace(network=changed(right.network, name, moved(array, at, by)))
            found = check(given, wrong)
            assert found.outside == [f"{name}, {place_in_words(name, at)}"], (name, by)
            assert (found.exact, found.total) == (total - 1, total) and found.weights[name].place == at
        if not name.startswith("heads."):  # those are the same to the bit
            nearer = moved(array, at, 0.0)
            found = check(given, right._replace(network=changed(right.network, name, nearer)))
            assert found.outside == [] and (found.exact, found.total) == (total - 1, total), name


def place_in_words(name: str, at: tuple) -> str:
    if len(at) == 1:
        return f"channel {at[0]}"
    if name == "stem.weight":
        return f"time tap {at[0]}, frequency tap {at[1]}, input {at[2]}, output {at[3]}"
    if ".branches." in name:
        return f"tap {at[0]}, channel {at[1]}"
    return f"input {at[0]}, output {at[1]}"


def test_the_place_that_is_named_is_where_most_of_a_bound_is_used():
    found = verify.difference(np.zeros((2, 2)), np.array([[5.0, 0.0], [1.0, 0.0]]), np.array([[50.0, 1.0], [2.0, 1.0]]))
    assert (found.place, found.used, found.absolute, found.bound) == ((1, 0), 0.5, 5.0, 50.0)


@pytest.mark.parametrize("kind", KINDS)
def test_wrong_everywhere_by_little(kind):
    """Weights a hundred-thousandth too large, or merged with another eps."""
    given, right = model(kind), merged(kind)
    larger = map_arrays(right.network, lambda a: a * np.float32(1 + 1e-5))
    eps = map_tree(given.network, lambda name, node: 3e-5 if name.endswith(".eps") else node)
    for network in (larger, reparam.fuse(eps)):
        found = check(given, right._replace(network=network))
        wrong = {name for name, d in found.weights.items() if not d.within}
        assert found.fields == [] and found.exact < found.total / 10
        assert {name for name in found.weights if not name.startswith("heads.") and name.endswith("weight")} <= wrong
        assert len(found.outside) == len(wrong)


def test_merging_twice_or_without_its_eps():
    """One block whose collapse was left out, and one eps."""
    given = model(INCEPTION)
    block = given.network.blocks["stages.1.0"]
    partly = reparam.fold_block(block)
    network = merged(INCEPTION).network
    stages = (
        network.stages[0],
        (replace(network.stages[1][0], expand_project=partly.expand_project), network.stages[1][1]),
    )
    found = check(given, merged(INCEPTION)._replace(network=replace(network, stages=stages)))
    assert found.fields == ["stages.1.0.expand_project: found 2 parts, expected 1 parts"]
    bn = replace(block.entry.bn, eps=2e-5)
    entry = reparam.fold(replace(block.entry, bn=bn))
    stages = (network.stages[0], (replace(network.stages[1][0], entry=entry), network.stages[1][1]))
    found = check(given, merged(INCEPTION)._replace(network=replace(network, stages=stages)))
    assert found.outside and all(line.startswith("stages.1.0.entry.") for line in found.outside)


@pytest.mark.parametrize("kind", KINDS)
def test_right_files(kind):
    given, right = model(kind), merged(kind)
    assert check(given, right).outside == []
    assert check(right, right).outside == []
    older = right._replace(network=plainly(given.network))
    found = check(given, older)
    assert found.outside == [] and 0 < found.exact < found.total and {row.name for row in found.rows} == {
        "stem", *given.network.blocks
    }  # fmt: skip
    wide = given._replace(network=as_type(given.network, np.float64))
    assert check(wide, fused(wide)).outside == []


@pytest.mark.parametrize("kind", KINDS)
def test_right_files_in_half_precision(kind):
    """Merged with rounding in every step, some weights come to lie on the other side of a tie."""
    given = model(kind, width=24)
    for network, exact in ((reparam.fuse(given.network), True), (plainly(given.network), False)):
        half = as_type(as_type(network, np.float16), np.float32)
        found = check(given, given._replace(network=half))
        assert found.outside == [] and (found.exact == found.total) == exact
        assert found.exact > 0.99 * found.total


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_excuses_no_more_than_half_an_ulp_of_it(kind, quick):
    """Of the two float16 numbers around a weight, the farther one and those behind it are wrong."""
    given, right = model(kind), merged(kind)
    half = as_type(as_type(right.network, np.float16), np.float32)
    for name, array in named_arrays(right.network).items():
        rounded = named_arrays(half)[name]
        at = tuple(int(i) for i in np.unravel_index(np.abs(array).argmax(), array.shape))
        wrong = rounded.copy()
        around = np.nextafter(np.float16(rounded[at]), np.float16([-9, 9]))
        wrong[at] = max(around, key=lambda number: abs(float(number) - float(array[at])))
        found = check(given, right._replace(network=changed(half, name, wrong)))
        assert found.outside == [f"{name}, {place_in_words(name, at)}"] and found.exact == found.total - 1


def test_a_function_that_differs_is_found_where_no_array_does(monkeypatch):
    """Should the weights ever be compared wrongly, the blocks still are not."""
    given, right = model(REP), merged(REP)
    name = "stages.1.0.entry.weight"
    wrong = changed(right.network, name, moved(named_arrays(right.network)[name], (0, 1), 1e-3))
    same = verify.difference(np.ones(1), np.ones(1), np.ones(1))
    honest = verify.difference
    monkeypatch.setattr(verify, "difference", lambda a, b, bound: same if a.ndim < 4 else honest(a, b, bound))
    assert check(given, right._replace(network=wrong)).outside == ["stages.1.0: as a whole"]


# --- numbers of a hundred bits, on which the correctly rounded weights rest -----------------------------------------


def exactly(x: DoubleDouble) -> np.ndarray:
    pairs = zip(x.high.ravel().tolist(), x.low.ravel().tolist())
    return np.array([Fraction(high) + Fraction(low) for high, low in pairs], object).reshape(x.shape)


def nearest(value: Fraction) -> np.float32:
    guess = np.float32(float(value))
    around = [np.nextafter(guess, np.float32(-np.inf)), guess, np.nextafter(guess, np.float32(np.inf))]
    return min(around, key=lambda x: (abs(Fraction(float(x)) - value), int(np.array(x).view(np.uint32)) & 1))


def pairs(rng, *shape) -> DoubleDouble:
    high = rng.normal(size=shape)
    return DoubleDouble(high, np.spacing(np.abs(high)) * rng.uniform(-0.49, 0.49, shape))


@pytest.mark.parametrize("k", [3, 4, 7, 8])
def test_products_of_matrices_that_cancel_round_once(k):
    """Large terms that cancel leave float64 with few digits, often too few to tell to which side to round."""
    rng = np.random.default_rng(k)
    a, b = pairs(rng, 80, k), pairs(rng, k, 3)
    a[:, :2] = a[:, :2] * DoubleDouble(2.0**27)
    b[1] = DoubleDouble(0.0) - b[0] * a[:1, 0] / a[:1, 1]
    a[:, 1] = a[:, 0] * (a[:1, 1] / a[:1, 0])
    exact = exactly(a) @ exactly(b)
    found = (a @ b).rounded(np.float32)
    assert max(float(np.abs(exactly(a)[:, 0] * exactly(b)[0, 0]).max()), 1) > 2**20
    assert [*found.ravel()] == [nearest(value) for value in exact.ravel()]


@pytest.mark.parametrize("k", [1, 2, 5, 8, 33])
def test_a_bias_times_a_matrix_keeps_its_digits(k):
    """It is a summand of the merged bias: more is added to it."""
    rng = np.random.default_rng(k)
    a, b = pairs(rng, k), pairs(rng, k, 4)
    sizes = np.abs(exactly(a)) @ np.abs(exactly(b))
    assert all(abs(found - want) <= size * Fraction(1, 2**97)
               for found, want, size in zip(exactly(a @ b), exactly(a) @ exactly(b), sizes))  # fmt: skip


def test_a_number_next_to_a_tie_stays_on_its_side():
    """The upper half lies a bit beside the tie, the lower half points to it, and the sum is still beside it."""
    for last in (0, 1):
        tie = 1 + last * 2.0**-23 + 2.0**-24
        for side in (-1, 1):
            high = np.nextafter(tie, 2.0 * side)
            number = DoubleDouble([high], [-side * np.spacing(1.0) * 0.4])
            assert number.rounded(np.float32)[0] == nearest(exactly(number)[0])


def test_putting_a_number_into_an_array_keeps_both_halves():
    x, one = DoubleDouble(np.zeros(3)).copy(), DoubleDouble(1.0, 2.0**-60)
    x[1] = one
    x[2] = x[1] + 1
    assert [*exactly(x)] == [0, 1 + Fraction(1, 2**60), 2 + Fraction(1, 2**60)]


# --- the command --------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    """A published checkpoint of AudioRepInceptionNeXt, and what `minirep convert` makes of it."""
    folder = tmp_path_factory.mktemp("published")
    shape = {"width": 1, "depths": (1, 1, 1, 1), "time": (5,) * 4, "freq": (7,) * 4}
    state = pyth.published_state(**shape, small=(11, 3))
    pyth.write(folder / "checkpoint.pyth", pyth.checkpoint(state, pyth.config(**shape, frames=32, clip=0.064)))
    assert main(["convert", str(folder / "checkpoint.pyth"), "-o", str(folder / "model.npz")]) == 0
    return folder


def outcome(capsys, file, other) -> tuple[int, list[str]]:
    capsys.readouterr()
    status = main(["verify", str(file), "--merged", str(other)])
    out, err = capsys.readouterr()
    assert err == ""
    mark = "NOT WITHIN ITS BOUND: "
    return status, [line.removeprefix(mark) for line in out.splitlines() if line.startswith(mark)]


def test_the_command_accepts_what_minirep_makes(checkpoint, tmp_path, capsys):
    file = checkpoint / "checkpoint.pyth"
    assert outcome(capsys, file, checkpoint / "model.npz") == (0, [])
    for command in (["convert", str(file), "--half"], ["convert", str(file), "--keep-branches"]):
        assert main([*command, "-o", str(tmp_path / "other.npz")]) == 0
        if "--half" in command:
            assert outcome(capsys, file, tmp_path / "other.npz") == (0, [])
    status, lines = outcome(capsys, file, tmp_path / "other.npz")
    assert status == 1 and any("branches: found 3 parts, expected 1" in line for line in lines)
    assert main(["fuse", str(tmp_path / "other.npz"), "-o", str(tmp_path / "fused.npz")]) == 0
    assert outcome(capsys, file, tmp_path / "fused.npz") == (0, [])
    assert outcome(capsys, tmp_path / "other.npz", tmp_path / "fused.npz") == (0, [])


BLOCK = "stages.1.0"
WRONG = {  # path: (another value, the keys that are named, None where a checkpoint has no such key)
    "stem.relu": (False, "s1.pathway0_stem.*"),
    f"{BLOCK}.entry.relu": (False, "s3.pathway0_res0.branch2.a_head*"),
    f"{BLOCK}.expand_project.0.relu": (False, "s3.pathway0_res0.branch2.c*"),
    f"{BLOCK}.shortcut.relu": (True, "s3.pathway0_res0.branch1*"),
    f"{BLOCK}.paths.0.1.axis": ("time", "s3.pathway0_res0.branch2.b*"),
    f"{BLOCK}.paths.0.0.identity": (
        True,
        ", ".join(
            f"s3.pathway0_res0.branch2.a{rest}" for rest in (".weight", "_bn*", "_medium.weight", "_small.weight")
        ),
    ),
    f"{BLOCK}.stride.1": (1, "s3.pathway0_res0.branch*"),
    "pool.0": (2, None),
}


@pytest.mark.parametrize("path", WRONG)
def test_the_command_names_the_field_and_the_checkpoints_key(path, checkpoint, tmp_path, capsys):
    value, key = WRONG[path]
    right = read(checkpoint / "model.npz")
    found = {}
    map_tree(right.network, lambda name, node: found.setdefault(name, node))
    write_model(tmp_path / "wrong.npz", right._replace(network=changed(right.network, path, value)))
    said = f"{path}: found {value!r}, expected {found[path]!r} (the merged model)"
    expected = (1, [said + (f" ({key})" if key else "")])
    assert outcome(capsys, checkpoint / "checkpoint.pyth", tmp_path / "wrong.npz") == expected


@pytest.mark.parametrize(
    "name, at, key",
    [
        ("stem.weight", (4, 6, 0, 0), "s1.pathway0_stem.conv.weight"),
        ("stages.3.0.paths.0.1.branches.0.weight", (2, 5), "s5.pathway0_res0.branch2.b*"),
        ("stages.2.0.entry.bias", (1,), "s4.pathway0_res0.branch2.a_head*"),
        ("stages.2.0.expand_project.1.weight", (3, 1), "s4.pathway0_res0.branch2.d.weight"),
        ("heads.class.bias", (2,), "head.projection.bias"),
    ],
)
def test_the_command_names_the_array_the_place_and_the_key(name, at, key, checkpoint, tmp_path, capsys):
    right = read(checkpoint / "model.npz")
    array = named_arrays(right.network)[name]
    wrong = changed(right.network, name, moved(array, at, 1e-4 * (1 + abs(array[at]))))
    write_model(tmp_path / "wrong.npz", right._replace(network=wrong))
    status, lines = outcome(capsys, checkpoint / "checkpoint.pyth", tmp_path / "wrong.npz")
    assert (status, lines) == (1, [f"{name}, {place_in_words(name, at)} (the merged model) ({key})"])


def made_of(kind: str) -> tuple[list, dict, dict]:
    """Of a small checkpoint: keys, arrays, and {merged array: the convolutions in the file that change it}."""
    shape = {"width": 1, "depths": (1, 1, 1, 1), "time": (5,) * 4, "freq": (7,) * 4}
    state, text = pyth.published_state(**shape, small=(11, 3)), pyth.config(kind, **shape)
    arrays = {key: array for key, array in state.items() if re.match(r"(s1|s3|head)\..*(weight|bias|mean|var)$", key)}

    def merged_arrays(state):
        with TemporaryDirectory() as folder:
            network = read(pyth.write(Path(folder) / "checkpoint.pyth", pyth.checkpoint(state, text))).network
        return published_keys(network), named_arrays(reparam.fuse(network))

    forms, right = merged_arrays(state)
    found = {name: set() for name in right if name.startswith((BLOCK, "stem", "heads"))}
    for owner in {convolution(key) for key in arrays}:
        changed = {key: array * 1.5 + 0.25 if convolution(key) == owner else array for key, array in arrays.items()}
        for name, array in merged_arrays({**state, **changed})[1].items():
            if name in found and not np.array_equal(array, right[name]):
                found[name].add(owner)
    return forms, arrays, found


def convolution(key: str) -> str:
    """The convolution to which a key of a checkpoint belongs, by itself or as its batch norm."""
    return re.sub(r"_?bn(?=_|$)", "", key.rpartition(".")[0]).replace("stem.conv", "stem.")


@pytest.mark.parametrize("kind", KINDS)
def test_a_merged_array_names_every_convolution_that_it_is_made_of(kind):
    """Those whose weights in the checkpoint change it, and no others: both that were collapsed, every branch."""
    forms, arrays, found = made_of(kind)
    for name, owners in found.items():
        said = in_file_terms(f"{name}, channel 0 (the merged model)", forms)
        patterns = said.rpartition(" (")[2].rstrip(")").split(", ")
        named = [key for key in arrays if any(fnmatchcase(key, pattern) for pattern in patterns)]
        assert {convolution(key) for key in named} == owners, said
    collapsed = in_file_terms(f"{BLOCK}.expand_project.0.weight, input 1, output 2 (the merged model)", forms)
    both = ("s3.pathway0_res0.branch2.c*, s3.pathway0_res0.branch2.d*", "s3.pathway0_res0.branch2.c.weight")
    assert collapsed.endswith(f"({both[kind == REP]})")


def test_a_checkpoint_of_merged_kernels_alone_names_them(tmp_path):
    state = pyth.published_state(merged="alone")
    keys = published_keys(read(pyth.write(tmp_path / "alone.pyth", pyth.checkpoint(state))).network)
    said = in_file_terms("stages.1.1 in float32: paths.0.1 along frequency, step identity, channel 3", keys)
    assert said.endswith(" (s3.pathway0_res1.branch2.b_reparam.*)")


def test_the_command_names_labels_and_recipe_without_a_key(checkpoint, tmp_path, capsys):
    """Also where a label reads like a path of the tree."""
    right = read(checkpoint / "model.npz")
    write_model(tmp_path / "wrong.npz", right._replace(labels={"class": ("stem", "heads", "stages.0")}))
    status, lines = outcome(capsys, checkpoint / "checkpoint.pyth", tmp_path / "wrong.npz")
    assert status == 1 and lines[0] == "labels.class.0: found 'stem', expected 'class 0' (the merged model)"
    write_model(tmp_path / "wrong.npz", right._replace(recipe=replace(right.recipe, rate=8000)))
    expected = "recipe.rate: found 8000, expected 16000 (the merged model)"
    assert outcome(capsys, checkpoint / "checkpoint.pyth", tmp_path / "wrong.npz") == (1, [expected])


def test_the_command_on_files_of_other_networks(checkpoint, tmp_path, capsys):
    """Other stages, heads, shapes: a status of 1 and what differs, never a traceback."""
    *_, heads, _, _, _, _, _, _, one_stage = other_networks()
    for kind, changes in ((REP, {}), (INCEPTION, {}), (REP, heads), (INCEPTION, one_stage)):
        write_model(tmp_path / "other.npz", fused(model(kind, **changes)))
        status, lines = outcome(capsys, checkpoint / "checkpoint.pyth", tmp_path / "other.npz")
        assert status == 1 and any(line.startswith("stages: found ") for line in lines) and len(lines) > 2


def test_the_command_counts_the_correctly_rounded_weights(checkpoint, tmp_path, capsys):
    right = read(checkpoint / "model.npz")
    array = named_arrays(right.network)["stages.0.0.entry.weight"]
    total = f"{sum(a.size for a in named_arrays(right.network).values()):,}"
    write_model(tmp_path / "ulp.npz", right._replace(
        network=changed(right.network, "stages.0.0.entry.weight", moved(array, (0, 0), 0.0))))  # fmt: skip
    for file, count in (
        (checkpoint / "model.npz", total),
        (tmp_path / "ulp.npz", f"{int(total.replace(',', '')) - 1:,}"),
    ):
        assert main(["verify", str(checkpoint / "checkpoint.pyth"), "--merged", str(file)]) == 0
        assert f"{count} of {total} weights are the correctly rounded ones" in capsys.readouterr().out
