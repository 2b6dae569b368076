"""model.npz: what is written comes back bit for bit, and nothing else is accepted."""

import io
import json
import struct
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from trees import same

import minirep
from minirep import RECIPES, Architecture, Classifier, MinirepError, Recipe, fuse, load, random_network, save
from minirep.architecture import INCEPTION, REP
from minirep.files.modelfile import Model, read_model, write_model
from minirep.tree import map_arrays, named_arrays

NETS = {
    kind: random_network(Architecture(kind=kind, width=2, depths=(1, 1, 1, 1), heads={"verb": 3, "noun": 4}))
    for kind in (REP, INCEPTION)
}
LABELS = {"verb": ("a", "b", "c"), "noun": ("d", "e", "f", "ä ö")}


def classifier(kind=REP, fused=False):
    net = fuse(NETS[kind]) if fused else NETS[kind]
    return Classifier(net, RECIPES["epic-kitchens-100"], LABELS, {"licence": "none", "source": "x"})


@pytest.mark.parametrize("kind", NETS)
@pytest.mark.parametrize("fused", [False, True])
def test_round_trip_is_bit_for_bit(tmp_path, kind, fused):
    clf = classifier(kind, fused)
    save(clf, tmp_path / "model.npz")
    back = load(tmp_path / "model.npz", fused=False)
    assert same(back.network, clf.network)
    assert (back.recipe, back.labels, back.provenance) == (clf.recipe, clf.labels, clf.provenance)
    save(back, tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == (tmp_path / "model.npz").read_bytes()


@pytest.mark.parametrize("suffix", ["npz", "safetensors"])
@given(text=st.text(st.characters(exclude_categories=()), max_size=8))  # what is no character as well
def test_any_text_comes_back(tmp_path_factory, suffix, text):
    """The name of a file can hold bytes that are no UTF-8, and a label can be cut within a character."""
    path = tmp_path_factory.mktemp("text") / f"model.{suffix}"
    labels = {"verb": (text, "b", "c"), "noun": (*"def", f"x{text}")}
    write_model(path, Model(NETS[REP], replace(RECIPES["epic-kitchens-100"], name=f"n{text}"), labels, {text: text}))
    _, recipe, found, provenance = read_model(path)
    assert (recipe.name, found, provenance) == (f"n{text}", labels, {text: text})


@pytest.mark.parametrize("head", ["", "\x1b[31m", "two\nlines", "\ud800", "\x00"])
def test_a_head_has_a_printable_name(tmp_path, head):
    """It stands in tables, and is part of arrays' names."""
    named = replace(NETS[REP], heads={head: NETS[REP].heads["verb"]})
    with pytest.raises(MinirepError, match=r"heads: found .*, expected a printable name") as error:
        save(named, tmp_path / "net.npz")
    assert str(error.value).isprintable()
    save(NETS[REP], tmp_path / "net.npz")

    def rename(header):
        heads = header["network"]["Network"]["heads"]["dict"]
        heads[head] = heads.pop("verb")

    with np.load(tmp_path / "net.npz") as file:
        arrays = {f"heads.{head}.{part}": file[f"heads.verb.{part}"] for part in ("weight", "bias")}
    if head.isascii() and "\x00" not in head:  # the names of a zip's parts are UTF-8
        rewrite(tmp_path / "net.npz", **arrays, **dict.fromkeys(("heads.verb.weight", "heads.verb.bias")))
        edited_header(tmp_path / "net.npz", rename)
        with pytest.raises(MinirepError, match="expected a printable name"):
            read_model(tmp_path / "net.npz")


# --- files of earlier versions ------------------------------------------------------------------------------------

DATA = Path(__file__).parent / "data"
VERSION_1 = {REP: DATA / "model-version-1-rep.npz", INCEPTION: DATA / "model-version-1-inception.npz"}
OLD_NAMES = {"entry": "reduce", "expand_project": "mix"}  # of the fields of a block in version 1
each_old_file = pytest.mark.parametrize("kind", VERSION_1)


def old_architecture(kind):
    """The architecture of the stored files: minirep 0.1.0 wrote random_network(..., seed=7) in format version 1."""
    sizes = {"time_kernels": ((5, 3), (3,)), "freq_kernels": ((3, 1), (5,))}
    strides = {"time_strides": (1, 2), "freq_strides": (2, 1)}
    return Architecture(kind, 2, (1, 1), **sizes, **strides, frames=64, heads={"verb": 2, "noun": 3})


@each_old_file
def test_version_1_is_read_to_the_same_tree(kind):
    model = read_model(VERSION_1[kind])
    assert same(model.network, random_network(old_architecture(kind), seed=7))
    assert model.recipe == Recipe("tiny", 16000, 0.64, 20, 10, 64, 2, {"verb": 2, "noun": 3}, repeat="sample")
    assert model.labels == {"verb": ("cut", "öffnen"), "noun": ("三", "a b", "door")}
    assert model.provenance == {"source": "chance", "licence": "none"}


@each_old_file
def test_every_array_of_version_1_has_its_place(kind):
    with np.load(VERSION_1[kind]) as file:
        stored = {name: file[name] for name in file.files}
    header = json.loads(bytes(stored.pop("header")))
    assert header["version"] == 1 and "reduce" in header["network"]["Network"]["stages"][0][0]["Block"]
    read = named_arrays(read_model(VERSION_1[kind]).network)
    renamed = {".".join(OLD_NAMES.get(part, part) for part in name.split(".")): array for name, array in read.items()}
    assert renamed.keys() == stored.keys()
    assert all(same(array, stored[name]) for name, array in renamed.items())


@each_old_file
def test_version_1_is_written_again_as_version_2(kind, tmp_path):
    old, new = read_model(VERSION_1[kind]), tmp_path / "new.npz"
    write_model(new, old)
    again = read_model(new)
    assert same(again.network, old.network) and again[1:] == old[1:]
    with np.load(new) as file:
        assert json.loads(bytes(file["header"]))["version"] == 2
        assert not any(".reduce." in name or ".mix." in name for name in file.files)
    save(load(VERSION_1[kind], fused=False), tmp_path / "saved.npz")
    assert (tmp_path / "saved.npz").read_bytes() == new.read_bytes()


@each_old_file
def test_version_2_does_not_take_the_names_of_version_1(kind, tmp_path):
    path = tmp_path / "model.npz"
    path.write_bytes(VERSION_1[kind].read_bytes())
    edited_header(path, lambda header: header.update(version=2))
    with pytest.raises(MinirepError, match="not a minirep model"):
        load(path)


# --- merging, half precision, bare networks -----------------------------------------------------------------------


def test_a_shipped_model_has_a_name_and_a_file_of_that_name_a_path(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shipped = load("digits")
    assert shipped.labels == load().labels and shipped.provenance == load().provenance
    mine = Classifier(shipped.network, shipped.recipe, shipped.labels, {"credit": "mine"})
    save(mine, "digits", half=True)
    assert load("./digits").provenance["credit"] == "mine"
    assert load("digits").provenance == shipped.provenance
    sounds = load("sounds")
    assert sounds.recipe.name == "sounds" and len(sounds.labels["class"]) == 10
    with pytest.raises(MinirepError, match="digit5"):
        load("digit5")


def test_loading_fuses_unless_told_not_to(tmp_path):
    save(classifier(), tmp_path / "model.npz")
    fused, kept = load(tmp_path / "model.npz"), load(tmp_path / "model.npz", fused=False)
    assert fused.network.stem.bn is None and kept.network.stem.bn is not None


def test_half_precision_stores_half_and_computes_in_full(tmp_path):
    clf = classifier(fused=True)
    save(clf, tmp_path / "half.npz", half=True)
    back = load(tmp_path / "half.npz")
    assert back.network.dtype == np.float32
    for a, b in zip(named_arrays(clf.network).values(), named_arrays(back.network).values(), strict=True):
        np.testing.assert_array_equal(a.astype(np.float16), b)


def test_half_precision_refuses_what_it_cannot_hold(tmp_path):
    huge = map_arrays(NETS[REP], lambda a: a * np.float32(1e30))
    with pytest.raises(MinirepError, match="half precision"):
        save(huge, tmp_path / "half.npz", half=True)
    assert list(tmp_path.iterdir()) == []


def test_a_bare_network_is_saved_but_is_no_classifier(tmp_path):
    save(NETS[REP], tmp_path / "net.npz")
    network, recipe, labels, _ = read_model(tmp_path / "net.npz")
    assert recipe is None and labels == {} and network.pool == NETS[REP].pool
    with pytest.raises(MinirepError, match="without a recipe"):
        load(tmp_path / "net.npz")
    with pytest.raises(MinirepError, match="expected a Classifier or a Network"):
        save("net", tmp_path / "net.npz")


def test_a_failed_save_leaves_the_old_file(tmp_path):
    path = tmp_path / "model.npz"
    save(classifier(), path)
    before = path.read_bytes()
    with pytest.raises(MinirepError):
        save(map_arrays(NETS[REP], lambda a: a * np.float32(1e30)), path, half=True)
    assert path.read_bytes() == before and list(tmp_path.iterdir()) == [path]
    with pytest.raises(MinirepError, match="cannot be written"):
        save(classifier(), tmp_path / "no" / "such" / "folder.npz")


def rewrite(path, **changes):
    """The file with arrays replaced, or left out where None, without minirep's own writer."""
    with np.load(path) as file:
        content = {name: file[name] for name in file.files} | changes
    np.savez(path, **{name: value for name, value in content.items() if value is not None})


def edited_header(path, edit):
    with np.load(path) as file:
        header = json.loads(bytes(file["header"]))
    edit(header)
    rewrite(path, header=np.frombuffer(json.dumps(header).encode(), np.uint8))


DAMAGE = {
    "missing": (lambda p: rewrite(p, **{"stem.weight": None}), "array stem.weight is missing"),
    "extra": (lambda p: rewrite(p, surplus=np.zeros(3)), "header does not name: surplus"),
    "misshaped": (lambda p: rewrite(p, **{"stem.weight": np.zeros((5, 7, 1, 3), "f4")}), "array stem.weight: found"),
    "integers": (lambda p: rewrite(p, **{"stem.weight": np.zeros((5, 7, 1, 2), "i4")}), "expected floating point"),
    "objects": (lambda p: rewrite(p, **{"stem.weight": np.array([{}], object)}), "array stem.weight"),
    "no header": (lambda p: rewrite(p, header=None), "no header"),
    "not json": (lambda p: rewrite(p, header=np.frombuffer(b"{", np.uint8)), "not a minirep model"),
    "future": (lambda p: edited_header(p, lambda h: h.update(version=3)), "version 3"),
    "labels": (lambda p: edited_header(p, lambda h: h["labels"].update(verb=["a"])), "labels: found"),
    "recipe": (lambda p: edited_header(p, lambda h: h["recipe"].update(rate=-1)), "recipe"),
    "dtype": (lambda p: edited_header(p, lambda h: h.update(dtype="int8")), "not a minirep model"),
    "node": (lambda p: edited_header(p, lambda h: h.update(network={"Path": {}})), "not a minirep model"),
    "deep": (lambda p: edited_header(p, lambda h: h.update(network=eval("[" * 80 + "]" * 80))), "network"),
    "huge": (lambda p: edited_header(p, lambda h: h["network"]["Network"]["stem"]["Conv"]["weight"].update(
        shape=[10**12])), "array stem.weight"),
}  # fmt: skip


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_named(tmp_path, damage):
    path = tmp_path / "model.npz"
    save(classifier(), path)
    change, message = DAMAGE[damage]
    change(path)
    with pytest.raises(MinirepError, match=message) as error:
        load(path)
    assert "\n" not in str(error.value)


def test_other_files(tmp_path):
    for name, content in (("empty.npz", b""), ("text.npz", b"hello"), ("zip.npz", b"PK\x05\x06" + bytes(18))):
        (tmp_path / name).write_bytes(content)
        with pytest.raises(MinirepError, match=name):
            load(tmp_path / name)
    with zipfile.ZipFile(tmp_path / "half.npz", "w") as archive:
        archive.writestr("header", b"{}")
    with pytest.raises(MinirepError, match="no header found"):
        load(tmp_path / "half.npz")
    with pytest.raises(MinirepError, match=r"missing\.npz: no such file"):
        load(tmp_path / "missing.npz")
    with pytest.raises(MinirepError):
        load(tmp_path)


@pytest.mark.parametrize("path", [3, io.BytesIO(b""), b"model.npz"])
def test_what_is_no_path(path):
    with pytest.raises(MinirepError, match=r"expected the path of a model\.npz"):
        load(path)


def test_compressed_arrays_are_refused_unread(tmp_path):
    save(classifier(), tmp_path / "model.npz")
    with np.load(tmp_path / "model.npz") as file:
        np.savez_compressed(tmp_path / "bomb.npz", **dict(file))
    with pytest.raises(MinirepError, match="compressed"):
        load(tmp_path / "bomb.npz")


def test_an_array_header_cannot_promise_more_than_the_file_holds(tmp_path):
    path = tmp_path / "model.npz"
    header = b"\x93NUMPY\x01\x00" + struct.pack("<H", 118)
    header += b"{'descr': '|u1', 'fortran_order': False, 'shape': (1000000000000,), }".ljust(117) + b"\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("header.npy", header)
    with pytest.raises(MinirepError, match="does not fit"):
        load(path)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_mutated_files_give_a_model_or_one_clear_error(tmp_path_factory, data):
    path = tmp_path_factory.mktemp("mutated") / "model.npz"
    buffer = io.BytesIO()
    np.savez(buffer)  # keeps the import of zip machinery out of the timed part
    save(classifier(fused=True), path)
    content = bytearray(path.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(content[: data.draw(st.integers(0, len(content)))] if data.draw(st.booleans()) else content)
    try:
        assert isinstance(minirep.load(path), Classifier)
    except MinirepError as error:
        assert "\n" not in str(error)


def test_the_shipped_model_says_what_it_is_and_what_it_is_bad_at():
    about = load().provenance
    assert about["licence"] == "CC BY-SA 4.0" and "Free Spoken Digit Dataset" in about["credit"]
    assert "six men" in about["data"] and "other words" in about["weaknesses"]
