"""PyTorch's files: what is read, and that nothing in a file is ever run, unpacked or believed. With NumPy alone."""

import pickle
import struct
import sys
import time
import zipfile

import numpy as np
import pytest
import pyth
from hypothesis import given
from hypothesis import strategies as st
from malice import MALICE, TRIPWIRE, malicious, sprung_program, tripwire  # noqa: F401  # a fixture
from pyth import Raw, Stored

from minirep import Classifier, MinirepError, read_checkpoint
from minirep.files.torchfile import MAX_INSTRUCTIONS, MAX_PICKLE, StoredTensor, TorchFile


@pytest.fixture
def path(tmp_path):
    return tmp_path / "file.pyth"


def content(path, value):
    with TorchFile(pyth.write(path, value)) as file:
        return file.content


def array(path, stored):
    with TorchFile(pyth.write(path, [stored])) as file:
        return file.read(file.content[0])


def refused(path, data=None) -> str:
    """The one line that a file of these bytes gets."""
    if data is not None:
        path.write_bytes(data)
    with pytest.raises(MinirepError) as caught, TorchFile(path) as file:
        for tensor in file.content if isinstance(file.content, list) else ():
            file.read(tensor)
    message = str(caught.value)
    assert message.startswith(f"{path}: ") and len(message.splitlines()) == 1 and len(message) < 500
    return message


# --- what is read ----------------------------------------------------------------------------------------------------


def test_plain_values(path):
    value = {"a": [1, -5, 1 << 40, 2.5, None, True, False], "b": ((), (1,), (1, 2, 3, 4)), 3: {"é": ""}}
    assert content(path, value) == value


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_what_pickle_itself_writes(path, protocol):
    shared = ["x"]
    value = {"a": (shared, shared), "n": [0, 255, 256, 65535, 65536, -1, 1 << 31, -(1 << 31), 1 << 60, 1e300],
             "t": [(1,), (1, 2), (1, 2, 3)], "long": "x" * 300, "many": list(range(3000))}  # fmt: skip
    read = content(path, Raw(pickle.dumps(value, protocol)))
    assert read == value and read["a"][0] is read["a"][1]


def test_names_of_newer_protocols(path):
    program = b"\x80\x04\x8c\x0bcollections\x94\x8c\x0bOrderedDict\x94\x93)R."
    assert content(path, Raw(program)) == {}


@pytest.mark.parametrize("stored, expected", [
    (Stored(np.arange(6.0).reshape(2, 3)), np.arange(6, dtype="f4").reshape(2, 3)),
    (Stored(np.arange(6.0), "Double", shape=(2, 3)), np.arange(6.0).reshape(2, 3)),
    (Stored(np.arange(6.0), "Half", shape=(3, 2)), np.arange(6, dtype="f2").reshape(3, 2)),
    (Stored(np.arange(6.0), "BFloat16", shape=(3, 2)), np.arange(6, dtype="f4").reshape(3, 2)),
    (Stored(np.arange(6), "Long"), np.arange(6, dtype="i8")),
    (Stored(np.arange(6), "Int", shape=(2, 2), strides=(2, 1), offset=2), np.array([[2, 3], [4, 5]], "i4")),
    (Stored(np.arange(6.0), shape=(3, 2), strides=(1, 3)), np.arange(6, dtype="f4").reshape(2, 3).T),
    (Stored(np.arange(6.0), shape=(2,), strides=(3,), offset=1), np.array([1, 4], "f4")),
    (Stored(np.arange(6.0), shape=(), offset=4), np.array(4, "f4")),
    (Stored(np.arange(6.0), shape=(1, 3), strides=(1 << 61, 1)), np.arange(3, dtype="f4").reshape(1, 3)),
    (Stored(np.arange(6.0), shape=(2,), call="ctorch._utils\n_rebuild_tensor_v2\n"), np.arange(2, dtype="f4")),
    (Stored(np.arange(6.0), "BFloat16", (3, 2), (1, 3)), np.arange(6, dtype="f4").reshape(2, 3).T),
])  # fmt: skip
def test_tensors(path, stored, expected):
    read = array(path, stored)
    np.testing.assert_array_equal(read, expected, strict=True)
    assert read.flags.c_contiguous and read.flags.writeable


def test_parameters(path):
    tensor = pyth.Writer()
    program = b"\x80\x02ctorch._utils\n_rebuild_parameter\n(" + tensor.value(Stored(np.arange(3.0))) + b"\x88)tR."
    path.write_bytes(pyth.archive(pyth.entries(Raw(program)) | {"archive/data/0": tensor.storages["0"]}))
    with TorchFile(path) as file:
        np.testing.assert_array_equal(file.read(file.content), [0, 1, 2])


def test_a_shared_storage_is_read_once(path, monkeypatch):
    reads, read = [], zipfile.ZipFile.read
    monkeypatch.setattr(zipfile.ZipFile, "read", lambda z, info: reads.append(info.filename) or read(z, info))
    one = np.arange(6.0)
    with TorchFile(pyth.write(path, [Stored(one, shape=(2,), offset=i, key="0") for i in range(5)])) as file:
        assert [list(file.read(t)) for t in file.content] == [[i, i + 1] for i in range(5)]
    assert reads.count("archive/data/0") == 1


def test_tensors_are_read_only_when_asked_for(path):
    values = np.full(4, 12345.0, "f4")
    whole = pyth.archive(pyth.entries([Stored(values), Stored(np.ones(2))]))
    path.write_bytes(whole.replace(values.tobytes(), bytes(16)))
    with TorchFile(path) as file:
        np.testing.assert_array_equal(file.read(file.content[1]), [1, 1])
        with pytest.raises(MinirepError, match="damaged"):
            file.read(file.content[0])


def test_any_name_of_the_archive(path):
    with TorchFile(pyth.write(path, [1], name="some name")) as file:
        assert file.content == [1]


# --- files that are none, or are damaged -----------------------------------------------------------------------------


def test_no_such_file(path, tmp_path):
    assert "no such file" in refused(path)
    with pytest.raises(MinirepError, match="cannot be read"):
        TorchFile(tmp_path)


@pytest.mark.parametrize("data, words", [
    (b"", "not a checkpoint"),
    (b"hello", "not a checkpoint"),
    (b"PK\x03\x04", "damaged or cut short"),
    (b"RIFF" + bytes(1000), "not a checkpoint"),
    (bytes.fromhex("80028a0a6cfc9c46f9206aa850192e80024d"), "torch.save before 1.6"),
    (b"storages" + bytes(249) + b"ustar" + bytes(1000), "torch.save before 1.6"),
    (pickle.dumps({"model_state": {}}, 2), "not a checkpoint"),
    (pyth.archive({"a": b"b"}), "found 0 entries <name>/data.pkl"),
    (pyth.archive({"a/data.pkl": b"N.", "b/data.pkl": b"N."}), "found 2 entries"),
    (pyth.archive({"data.pkl": b"N."}), "found 0 entries"),
    (pyth.archive({"a/b/data.pkl": b"N."}), "found 0 entries"),
    (pyth.archive({"a/data.pkl": b"\x80\x02N.", "../../evil": b""}), "found the entry '../../evil'"),
    (pyth.archive({"a/data.pkl": b"\x80\x02N.", "/etc/passwd": b""}), "found the entry '/etc/passwd'"),
    (pyth.archive({"a/data.pkl": b"\x80\x02N.", "a/byteorder": b"big"}), "big-endian"),
    (pyth.archive({"a/data.pkl": b"\x80\x02N.", "a/byteorder": b"l" * 99}), "expected at most 16"),
    (pyth.archive({"a/data.pkl": b"\x80\x02N."}, zipfile.ZIP_DEFLATED), "compressed"),
    (pyth.archive({"a/data.pkl": b"\x80\x02N." + bytes(MAX_PICKLE)}), "expected at most"),
    (pyth.archive({"a/data.pkl": b"N.", **{f"a/{i}": b"" for i in range(50_000)}}), "a directory of"),
])  # fmt: skip
def test_other_files(path, data, words):
    assert words in refused(path, data)


def test_two_entries_of_one_name(path):
    data = pyth.archive({"a/data.pkl": b"\x80\x02N.", "a/data/0": b"x", "a/data/1": b"y"})
    assert "several entries of one name" in refused(path, data.replace(b"a/data/1", b"a/data/0"))


def test_zip_bomb(path):
    data = pyth.archive({"a/data.pkl": b"\x80\x02N.", "a/data/0": bytes(50_000_000)}, zipfile.ZIP_DEFLATED)
    assert len(data) < 100_000 and "compressed" in refused(path, data)


def test_overlapping_entries(path):
    """Many entries of the directory that name one place in the file: a bomb without compression."""
    data = pyth.archive(
        {"a/data.pkl": b"\x80\x02N.", **{f"a/data/{i}": b"" for i in range(3)}, "a/data/3": bytes(9999)}
    )
    start = data.index(b"PK\x01\x02")
    end = data.index(b"PK\x05\x06")
    last = data.rindex(b"PK\x01\x02")
    entry = data[last:end]
    copies = b"".join(entry.replace(b"data/3", b"data/%d" % i) for i in range(4, 10))
    size = end - start + len(copies)
    tail = struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, 11, 11, size, start, 0)
    assert "larger than the file" in refused(path, data[:end] + copies + tail)


def test_encrypted(path):
    data = bytearray(pyth.archive({"a/data.pkl": b"\x80\x02N."}))
    data[6] |= 1  # the flag in the entry's own header
    data[data.index(b"PK\x01\x02") + 8] |= 1  # and in the directory
    assert "encrypted" in refused(path, bytes(data))


def test_long_names_stay_out_of_messages(path):
    """zipfile quotes the whole name of an entry whose two headers differ."""
    data = pyth.archive({"a/data.pkl": b"\x80\x02N.", "a/1": bytes(9999)})
    assert "damaged" in refused(path, data[:26] + struct.pack("<H", 9999) + data[28:])


def test_flipped_bits_are_noticed(path):
    data = pyth.archive(pyth.entries([Stored(np.full(8, 3.25))]))
    at = data.index(np.full(8, 3.25, "f4").tobytes())
    assert "damaged" in refused(path, data[:at] + b"\xff" + data[at + 1 :])


@pytest.mark.parametrize("stored, words", [
    (Stored(np.arange(6.0), shape=(7,)), "goes beyond its storage of 6 numbers"),
    (Stored(np.arange(6.0), shape=(2, 3), strides=(3, 2)), "goes beyond"),
    (Stored(np.arange(6.0), shape=(6,), offset=1), "goes beyond"),
    (Stored(np.arange(6.0), shape=(1,), offset=6), "goes beyond"),
    (Stored(np.arange(6.0), shape=(1 << 40,), strides=(0,)), "goes beyond"),
    (Stored(np.arange(6.0), shape=(1 << 61, 1 << 61), strides=(1 << 61, 1)), "goes beyond"),
    (Stored(np.arange(6.0), shape=(0, 1 << 61)), "is empty"),
    (Stored(np.zeros(0)), "is empty"),
    (Stored(np.arange(6.0), shape=(2,), strides=(-1,), offset=3), "not whole numbers from 0"),
    (Stored(np.arange(6.0), shape=(-2,), strides=(1,)), "not whole numbers from 0"),
    (Stored(np.arange(6.0), offset=-1), "not whole numbers from 0"),
    (Stored(np.arange(6.0), shape=(1 << 62,), strides=(1,)), "not whole numbers from 0"),
    (Stored(np.arange(6.0), shape=(True,), strides=(1,)), "not whole numbers from 0"),
    (Stored(np.arange(6.0), shape=(2.0,), strides=(1,)), "not whole numbers from 0"),
    (Stored(np.arange(6.0), shape=(2, 3), strides=(3,)), "with a stride each"),
    (Stored(np.arange(6.0), shape=(1,) * 9), "0 to 8 dimensions"),
    (Stored(np.arange(6.0), shape=[6], strides=(1,)), "with a stride each"),
    (Stored(np.arange(6.0), count=7), "has 24 bytes, expected 7 x 4"),
    (Stored(np.arange(6.0), count=5, shape=(5,)), "has 24 bytes, expected 5 x 4"),
    (Stored(np.arange(6.0), count=1 << 60, shape=(5,)), "has 24 bytes"),
    (Stored(np.arange(6.0), count=-6), "not a storage"),
    (Stored(np.arange(6.0), key="../../data/0", count=6), ""),
    (Stored(np.arange(6.0), "Quantised"), "disallowed global 'torch.QuantisedStorage'"),
    (Stored(np.arange(6.0), call="ctorch._utils\n_rebuild_parameter\n"), "damaged"),
])  # fmt: skip
def test_tensors_that_lie(path, stored, words):
    if words:
        assert words in refused(path, pyth.archive(pyth.entries([stored])))
    else:  # a name that would lead out of a folder leads nowhere else: nothing is unpacked
        np.testing.assert_array_equal(array(path, stored), np.arange(6))


def test_a_missing_storage(path):
    entries = pyth.entries([Stored(np.arange(6.0))])
    del entries["archive/data/0"]
    assert "the entry 'data/0' is missing" in refused(path, pyth.archive(entries))


# --- programs that try to run something ------------------------------------------------------------------------------


@pytest.mark.parametrize("place", ["all", "model_state", "weight", "cfg"])
@pytest.mark.parametrize("program", MALICE.values(), ids=MALICE)
def test_nothing_is_run(path, tripwire, program, place):  # noqa: F811
    """Where it is read, it is refused; `test_foreign_entries` tries it where nobody reads."""
    evil = malicious(program, tripwire)
    value = {"cfg": pyth.config()} | ({"model_state": {"x": evil}} if place == "weight" else {place: [evil]})
    pyth.write(path, Raw(b"\x80\x02" + evil + b".") if place == "all" else value)
    with pytest.raises(MinirepError) as caught:
        read_checkpoint(path)
    assert len(str(caught.value).splitlines()) == 1


SMALL_STATE = pyth.published_state(width=1, depths=(1, 1, 1, 1))


def test_the_tripwire_works(tripwire):  # noqa: F811
    """Python's own unpickler springs it."""
    for name in ("os.system", "dotted name", "builtins.exec", "nested getattr", "INST", "OBJ", "NEWOBJ"):
        pickle.loads(sprung_program(MALICE[name], tripwire))
        assert tripwire.exists(), name
        tripwire.unlink()
    del sys.modules[TRIPWIRE]


@pytest.mark.parametrize("name", ["os.system", "builtins.exec", "nested getattr", "torch.load in a pickle", "NEWOBJ"])
def test_the_foreign_name_and_the_file_are_named(path, tripwire, name):  # noqa: F811
    message = refused(path, pyth.archive({"a/data.pkl": sprung_program(MALICE[name], tripwire)}))
    foreign = {"nested getattr": "builtins.getattr", "NEWOBJ": f"{TRIPWIRE}.C",
               "torch.load in a pickle": "torch.storage._load_from_bytes"}.get(name, name)  # fmt: skip
    assert f"its pickle holds the disallowed global '{foreign}'" in message


# --- programs that make no sense, or too much of it ------------------------------------------------------------------


SENSELESS = [
    # values
    b"", b".", b"\x80", b"N", b"NN.", b"0.", b"(N.", b"N(.", b"h\x00.", b"j\xff\xff\xff\xff.", b"\xff.", b"G\0.",
    b"J\0.",
    b"X\xff\xff\xff\xffabc.", b"X\x01\0\0\0\xff.", b"q\x00.", b"\x94.", b"\x8a\xff.", b"\x8b\xff\xff\xff\xff.",
    b"\x8a\x09" + b"\xff" * 8 + b"\x7f.", b"L" + b"9" * 100_000 + b"L\n.",
    # containers
    b"t.", b"a.", b"]a.", b"NNa.", b"e.", b"(e.", b"N(Ne.", b"(u.", b"N(u.", b"}(Nu.", b"}(]Nu.", b"}]Ns.", b"}}Ns.",
    b"b.", b"Nb.",
    # names and calls
    b"R.", b"NR.", b"NNR.", b"Q.", b"NQ.", b"(NNNNNtQ.", b")Q.", b"c.", b"ca\n.", b"c" + b"a" * 5000 + b"\nb\n.",
    b"\x93.", b"N\x93.", b"NN\x93.", b"ctorch._utils\n_rebuild_tensor_v2\n)R.",
    b"ctorch._utils\n_rebuild_tensor_v2\nNR.",
    b"ctorch._utils\n_rebuild_tensor_v2\n(NNNNNNtR.", b"ctorch._utils\n_rebuild_parameter\n(NtR.",
]  # fmt: skip


@pytest.mark.parametrize("program", SENSELESS)
def test_senseless_programs(path, program):
    assert "its pickle" in refused(path, pyth.archive(pyth.entries(Raw(b"\x80\x02" + program))))


BOMBS = {
    "huge memo index": b"Nr\xff\xff\xff\xff0" * 1000 + b"N.",
    "nested lists": b"]" * 100_000 + b"a" * 99_999 + b".",
    "nested tuples": b")" + b"\x85" * 150_000 + b".",
    "nested dictionaries": b"}X\x01\0\0\0aq\x00" + b"}h\x00" * 50_000 + b"}" + b"s" * 50_000 + b".",
    "open marks": b"(" * 199_000 + b".",
    "billions of references": b"]q\x00" + b"0(h\x00h\x00h\x00h\x00tq\x00" * 18_000 + b".",
    "a list in itself": b"]q\x00h\x00a.",
    "a list in itself, often": b"]q\x00(" + b"h\x00" * 190_000 + b"e.",
    "no end of numbers": b"](" + b"K\x01" * 500_000 + b"e.",
    "long text": b"X" + struct.pack("<I", 4_000_000) + b"x" * 4_000_000 + b".",
    "long frame": b"\x95" + b"\xff" * 8 + b"N.",
    "keys of one hash": b"}("
    + b"".join(b"\x8a\x10" + (i * (2**61 - 1)).to_bytes(16, "little") + b"N" for i in range(90_000))
    + b"u.",
}  # fmt: skip


@pytest.mark.parametrize("program", BOMBS.values(), ids=BOMBS)
def test_bombs(path, program):
    """Whatever comes of them, it comes soon, and a checkpoint it is not."""
    path.write_bytes(pyth.archive(pyth.entries(Raw(b"\x80\x02" + program))))
    start = time.process_time()
    with pytest.raises(MinirepError):
        read_checkpoint(path)
    assert time.process_time() - start < 5  # on a slow machine; 0.2 s on a fast one


def test_the_number_of_instructions_is_limited(path):
    assert "instructions" in refused(
        path, pyth.archive(pyth.entries(Raw(b"\x80\x02(" + b"N" * MAX_INSTRUCTIONS + b"t.")))
    )


# --- any damage ------------------------------------------------------------------------------------------------------

CONFIG = pyth.config(width=1, depths=(1, 1, 1, 1))
WHOLE = pyth.entries(pyth.checkpoint(SMALL_STATE, CONFIG, minirep={"recipe": "x"}))
FILE = pyth.archive(WHOLE)


def either(path, data: bytes):
    """A classifier or a MinirepError of one line, and nothing else."""
    path.write_bytes(data)
    try:
        return read_checkpoint(path)
    except MinirepError as error:
        assert str(error).startswith(f"{path}: ") and len(str(error).splitlines()) == 1
        return None


def test_undamaged(path):
    assert isinstance(either(path, FILE), Classifier)


def test_cut_short_anywhere(path):
    for length in [*range(0, len(FILE), 1999), *range(len(FILE) - 60, len(FILE))]:
        assert either(path, FILE[:length]) is None, length


ways = st.sampled_from(["set", "insert", "delete", "copy"])
edits = st.lists(st.tuples(st.floats(0, 1), ways, st.binary(min_size=1, max_size=9)), min_size=1, max_size=4)


def edited(data: bytes, changes) -> bytes:
    for where, how, piece in changes:
        at = int(where * len(data))
        if how == "insert":
            data = data[:at] + piece + data[at:]
        elif how == "delete":
            data = data[:at] + data[at + len(piece) :]
        elif how == "copy":
            data = data[:at] + data[at // 2 : at // 2 + len(piece)] + data[at:]
        else:
            data = data[:at] + piece + data[at + len(piece) :]
    return data


@given(edits)
def test_damaged_files(tmp_path_factory, changes):
    either(tmp_path_factory.getbasetemp() / "damaged.pyth", edited(FILE, changes))


@given(edits)
def test_damaged_directories(tmp_path_factory, changes):
    start = FILE.index(b"PK\x01\x02")
    either(tmp_path_factory.getbasetemp() / "damaged.pyth", FILE[:start] + edited(FILE[start:], changes))


@given(edits)
def test_damaged_programs(tmp_path_factory, changes):
    """Behind a checksum that is right."""
    program = edited(WHOLE["archive/data.pkl"], changes)
    either(tmp_path_factory.getbasetemp() / "damaged.pyth", pyth.archive(WHOLE | {"archive/data.pkl": program}))


@given(edits)
def test_damaged_configurations(tmp_path_factory, changes):
    value = pyth.Writer().value
    text = edited(CONFIG.encode(), changes).decode(errors="replace")
    program = WHOLE["archive/data.pkl"].replace(value(CONFIG), value(text))
    either(tmp_path_factory.getbasetemp() / "damaged.pyth", pyth.archive(WHOLE | {"archive/data.pkl": program}))


def containers(inner):
    return st.lists(inner) | st.tuples(inner, inner) | st.dictionaries(st.text() | st.integers(0, 9), inner)


scalars = st.none() | st.booleans() | st.integers(-(1 << 62), 1 << 62) | st.text() | st.floats(allow_nan=False)


@given(st.recursive(scalars, containers, max_leaves=20))
def test_any_plain_value(tmp_path_factory, value):
    path = tmp_path_factory.getbasetemp() / "plain.pyth"
    assert content(path, value) == value
    for protocol in (2, 4):
        assert content(path, Raw(pickle.dumps(value, protocol))) == value


@given(
    st.lists(st.integers(0, 5), max_size=3), st.lists(st.integers(0, 12), min_size=3, max_size=3), st.integers(0, 30)
)
def test_any_view_of_a_storage_is_numpys_view_or_refused(tmp_path_factory, shape, strides, offset):
    storage, strides = np.arange(30.0, dtype="f4"), tuple(strides[: len(shape)])
    path = tmp_path_factory.getbasetemp() / "view.pyth"
    inside = offset + sum((n - 1) * s for n, s in zip(shape, strides)) < 30 and 0 not in shape
    try:
        read = array(path, Stored(storage, shape=tuple(shape), strides=strides, offset=offset))
    except MinirepError:
        assert not inside or np.prod(shape) > 30
        return
    assert inside and isinstance(read, np.ndarray)
    indices = np.indices(shape).reshape(len(shape), -1).T @ np.array(strides, int) + offset if shape else [offset]
    np.testing.assert_array_equal(read.ravel(), storage[np.asarray(indices, int)])


def test_tensor_is_plain_data(path):
    tensor = content(path, [Stored(np.arange(6.0), "Half", shape=(2, 3))])[0]
    assert isinstance(tensor, StoredTensor) and tensor.is_float and (tensor.size, tensor.nbytes) == (6, 12)
