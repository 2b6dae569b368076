"""Reading takes 2 seconds and 64 MiB or 64 times the file's size of memory at most, whatever the file holds.

Each nasty file is built here and read in a process of its own, which measures itself: processor time first, then the
peak of what Python and NumPy allocate. In all of these files a few bytes stand for much: something that is stored once
and used often, a number that says how much of something there is, or text that a pattern tries in too many ways.
"""

import functools
import io
import json
import os
import struct
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import pyth
from pyth import Raw

from minirep import RECIPES, Architecture, MinirepError, Recipe, log_mel_views, random_network
from minirep.files.archive import MAX_DIRECTORY
from minirep.files.modelfile import MAX_VALUES, Model, write_model

SECONDS = float(os.environ.get("FUZZ_SECONDS", 2))  # an emulated processor needs more
MEMORY, TIMES = 64 << 20, 64  # bytes, and times the size of the file
READ = """
import json, sys, time, tracemalloc
try:
    import resource
    resource.setrlimit(resource.RLIMIT_AS, (8 << 30, 8 << 30))
    resource.setrlimit(resource.RLIMIT_CPU, (100, 100))
except (ImportError, ValueError):  # Windows, or a stricter limit already
    pass
import minirep
from minirep.files import checkpoint, modelfile, models
seed, path = sys.argv[1:]


def call(path):
    try:
        modelfile.is_model(path)
        model = models.read(path)
        minirep.Classifier(model.network, model.recipe, model.labels, model.provenance, "numpy")
        if path.endswith(".pyth"):
            checkpoint.stored_merged(path)
    except minirep.MinirepError as error:
        return str(error)
    return ""


assert call(seed) == ""  # now all is imported that has to be
start = time.process_time()
message = call(path)
seconds = time.process_time() - start
tracemalloc.start()
call(path)
print(json.dumps({"message": message, "seconds": seconds, "peak": tracemalloc.get_traced_memory()[1]}))
"""


# --- checkpoints --------------------------------------------------------------------------------------------------

WIDTH = {"width": 1, "depths": (1, 1, 1, 1)}
STATE, CONFIG = pyth.published_state(**WIDTH), pyth.config(**WIDTH)
text = pyth.Writer().value
REMEMBER, RECALL = b"r\x01\0\0\0", b"j\x01\0\0\0"  # what is on top of the stack, as number 1
TENSOR = (b"ctorch._utils\n_rebuild_tensor_v2\n((" + text("storage") + b"ctorch\nFloatStorage\n" + text("0")
          + text("cpu") + b"K\x01tQK\x00))tR")  # fmt: skip


def saved(state=None, cfg=CONFIG, **more) -> bytes:
    entries = pyth.entries(pyth.checkpoint(STATE if state is None else state, cfg, **more))
    return pyth.archive({"archive/data/0": bytes(4)} | entries)


def often(keys, value: bytes) -> Raw:
    """A dictionary with the same value under all keys, of which only the first has it written out."""
    first, *others = keys
    return Raw(b"}(" + text(first) + value + REMEMBER + b"".join(text(key) + RECALL for key in others) + b"u")


def weights(keys, cfg=CONFIG) -> bytes:
    """A model_state in which all weights are one and the same tensor."""
    return pyth.archive(pyth.entries({"model_state": often(keys, TENSOR), "cfg": cfg}) | {"archive/data/0": bytes(4)})


def one_list_under_many_heads() -> bytes:
    names = b"](" + text("x") + b"r\x02\0\0\0" + b"j\x02\0\0\0" * 30_000 + b"e"
    return saved(minirep={"labels": often([f"h{i}" for i in range(30_000)], names)})


def one_label_for_many_classes(length=1_000_000) -> bytes:
    names = b"](" + text("x" * length) + REMEMBER + RECALL * 4999 + b"e"
    state, cfg = pyth.published_state(**WIDTH, heads={"class": 5000}), pyth.config(**WIDTH, classes=(5000,))
    return saved(state, cfg, minirep={"labels": {"class": Raw(names)}})


def strides_without_end(keys: int) -> bytes:
    cfg = CONFIG.replace("[[1], [2], [2], [2]]", f"[{'1, ' * 15_000}1]")
    return weights([f"s2.pathway0_res{i}.branch2.a" for i in range(keys)], cfg)


def blocks_without_end(blocks: int, keys: int) -> bytes:
    """As many blocks as the configuration may ask for, with just so many keys that they might be a network."""
    names = [f"s{s + 2}.pathway0_res{b}.branch{k}" for s in range(8) for b in range(blocks) for k in range(keys)]
    shape = pyth.config(width=1, classes=(1,), depths=(blocks,) * 8, time=(3,) * 8, freq=(3,) * 8)
    strides = "[1, 1, 1, 1, 1, 1, 1, 1]"
    cfg = shape.replace("[[1], [2], [2], [2]]", f"{strides}\n  FREQUENCY_STRIDES: {strides}")
    return weights([*names, "head.projection.bias"], cfg)


def heads_without_end(count: int) -> bytes:
    keys = [*(key for key in STATE if key.startswith("s")), *(f"head.projection_{i}.bias" for i in range(count))]
    return weights(keys, CONFIG.replace("[3]", f"[{'1,' * (count - 1)}1]"))


def names_without_end() -> bytes:
    """A module's and a function's long names, which are joined again and again."""
    return saved(extra=Raw(b"(" + text("x" * 1_000_000) + REMEMBER + (RECALL + RECALL + b"\x93") * 60_000 + b"t"))


def foreign_without_end() -> bytes:
    """Objects of unknown classes with one large thing in all of them, which nobody reads."""
    much = b"](" + b"K\x01" * 20_000 + b"e" + REMEMBER
    thing = b"cother\nThing\n(" + RECALL * 20 + b"tR(" + (b"K\x01" + RECALL) * 30 + b"u(" + RECALL * 30 + b"e" + RECALL
    return saved(extra=Raw(b"(" + much + (thing + b"b") * 1400 + b"t"))


def foreign_keys() -> bytes:
    """Keys that share one hash, if they are hashed."""
    keys = b"".join(b"\x8a\x10" + (i * (2**61 - 1)).to_bytes(16, "little") + b"N" for i in range(90_000))
    return saved(extra=Raw(b"}(" + keys + b"u"))


def settings(body: str) -> bytes:
    return saved(cfg=(CONFIG + body)[:65_000])


CHECKPOINTS = {
    "one list under many heads": one_list_under_many_heads,
    "one label for many classes": one_label_for_many_classes,
    "one short label for many classes": lambda: one_label_for_many_classes(200),
    "strides without end": lambda: strides_without_end(60_000),
    "strides without end, few keys": lambda: strides_without_end(9_990),
    "blocks without end": lambda: blocks_without_end(1000, 12),
    "blocks without end, of few keys": lambda: blocks_without_end(1000, 5),
    "blocks, as many as may be": lambda: blocks_without_end(83, 15),
    "heads without end": lambda: heads_without_end(20_000),
    "heads, as many as may be": lambda: heads_without_end(9_700),
    "prefixes without end": lambda: weights(["module." * 280_000 + key for key in "ab"]),
    "names without end": names_without_end,
    "foreign objects without end": foreign_without_end,
    "foreign keys": foreign_keys,
    "nested lists": lambda: saved(extra=Raw(b"]" * 95_000 + b"a" * 94_999)),
    "tuples": lambda: saved(extra=Raw(b"(" + b")" * 190_000 + b"t")),
    "dictionaries": lambda: saved(extra=Raw(b"(" + b"}K\x01K\x02s" * 45_000 + b"t")),
    "long texts": lambda: saved(minirep={key: "x" * 1_300_000 for key in ("recipe", "licence", "credit")}),
    "long texts, as long as may be": lambda: saved(minirep={"licence": "x" * 1_048_576}),
    "wide text": lambda: saved(minirep={"licence": "x" * 4_000_000 + "\U0001f600"}),
    "settings: comments": lambda: saved(cfg="[\n" + "#, " * 21_000 + "\n]"),
    "settings: comments and lines": lambda: saved(cfg="[\n" + ("#," * 900 + "\n") * 36 + "]"),
    "settings: short comments": lambda: saved(cfg="[\n" + "#\n" * 32_000 + "]"),
    "settings: a long value": lambda: settings("X: 1\n" + "  1\n" * 20_000),
    "settings: dashes": lambda: saved(cfg="- " * 32_000),
    "settings: quotes": lambda: settings("X: '" + "''" * 30_000 + "x"),
    "settings: quotes and spaces": lambda: settings("X: '" + "' " * 30_000 + "x"),
    "settings: backslashes": lambda: settings('X: ["' + "\\" * 60_000 + "x"),
    "settings: colons": lambda: settings("X: [" + "a:" * 30_000),
    "settings: spaces": lambda: settings("X: [" + " " * 60_000 + "}"),
    "settings: many lists": lambda: settings("X: [" + "[]," * 20_000 + "]"),
    "settings: numbers": lambda: settings("X: [" + "1e1," * 15_000 + "9" * 30 + "]"),
}


# --- zips ---------------------------------------------------------------------------------------------------------


def directory(size: int, first: bytes) -> bytes:
    """A zip that is nearly all directory, of so many bytes: entries of nothing, and a first one."""
    start = io.BytesIO()
    with zipfile.ZipFile(start, "w") as archive:
        archive.writestr(zipfile.ZipInfo(first.decode()), b"\x80\x02}.")
    whole = start.getvalue()
    at, end = whole.index(b"PK\x01\x02"), whole.index(b"PK\x05\x06")
    entry = struct.pack("<4s6H3L5H2L", b"PK\x01\x02", 788, 20, 0, 0, 0, 33, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0)
    count = (size - end + at) // (len(entry) + 9)
    listed = whole[at:end] + b"".join(entry + b"%s%07d" % (first[:2], i) for i in range(count))
    end64 = struct.pack("<4sQ2H2L4Q", b"PK\x06\x06", 44, 45, 45, 0, 0, count + 1, count + 1, len(listed), at)
    end64 += struct.pack("<4sLQL", b"PK\x06\x07", 0, at + len(listed), 1)
    return whole[:at] + listed + end64 + struct.pack("<4s4H2LH", b"PK\x05\x06", 0, 0, *[65535] * 2, *[2**32 - 1] * 2, 0)


# --- models -------------------------------------------------------------------------------------------------------

SMALL = Architecture(width=1, depths=(1,), time_kernels=((3, 1),), freq_kernels=((3, 1),), time_strides=(1,),
                     freq_strides=(1,), heads={"class": 2}, frames=16)  # fmt: skip
TINY = Recipe("tiny", 16000, 0.1, 20, 10, 16, 2, {"class": 2})


@functools.cache
def small_model() -> bytes:
    file = io.BytesIO()
    write_model(file, Model(random_network(SMALL), TINY, {"class": ("a", "b")}, {}))
    return file.getvalue()


def model(change=lambda header, block, arrays: None, text=None) -> bytes:
    """A small model whose header or arrays have been changed, or that has another text as its header."""
    with np.load(io.BytesIO(small_model())) as file:
        arrays = dict(file)
    header = json.loads(bytes(arrays.pop("header")))
    change(header, header["network"]["Network"]["stages"][0][0]["Block"], arrays)
    content = json.dumps(header).encode() if text is None else text
    file = io.BytesIO()
    np.savez(file, header=np.frombuffer(content, np.uint8), **arrays)
    return file.getvalue()


def plain(arrays: dict, name: str, shape: tuple, bias=True) -> dict:
    """A convolution without batch norm, with other arrays in place of its own."""
    for old in [key for key in arrays if key.startswith(f"{name}.")]:
        del arrays[old]
    arrays |= {f"{name}.weight": np.full(shape, 0.5, "f4"), f"{name}.bias": np.zeros(shape[-1], "f4")}
    return {"Conv": {"weight": {"shape": shape}, "bias": {"shape": shape[-1:]}, "bn": None, "relu": False}}


def branches(sizes):
    """A layer with kernels of these sizes, each of which is padded to the largest when they are merged."""

    def change(header, block, arrays):
        layer, name = block["paths"][0][0]["Depthwise"], "stages.0.0.paths.0.0.branches"
        for old in [key for key in arrays if key.startswith(name)]:
            del arrays[old]
        layer["branches"] = [plain(arrays, f"{name}.{i}", (size, 1)) for i, size in enumerate(sizes)]

    return change


def outer_product(header, block, arrays, c=40_000) -> None:
    """Two matrices whose product is far larger than both."""
    name = "stages.0.0"
    block["entry"] = plain(arrays, f"{name}.entry", (1, c))
    block["shortcut"] = plain(arrays, f"{name}.shortcut", (1, c))
    block["expand_project"] = [plain(arrays, f"{name}.expand_project.{i}", (c, 1)[:: 1 - 2 * i]) for i in (0, 1)]
    for j in (0, 1):
        for old in [key for key in arrays if key.startswith(f"{name}.paths.0.{j}.")]:
            del arrays[old]
        branch = plain(arrays, f"{name}.paths.0.{j}.branches.0", (1, c))
        block["paths"][0][j]["Depthwise"]["branches"] = [branch]
    arrays["heads.class.weight"] = np.zeros((c, 2), "f4")
    header["network"]["Network"]["heads"]["dict"]["class"]["Linear"]["weight"] = {"shape": (c, 2)}


def one_array_often(header, block, arrays) -> None:
    """One name by many paths: "a.a" in a dictionary, and "a" in the dictionary "a"."""

    def tree(parts: int) -> dict:
        if not parts:
            return {"shape": [250_000]}
        return {"dict": {".".join("a" * n): tree(parts - n) for n in range(1, parts + 1)}}

    header["network"]["Network"]["heads"] = tree(12)
    arrays["heads." + ".".join("a" * 12)] = np.zeros(250_000, "f4")


def hard_headers() -> bytes:
    """Arrays whose own headers take a parser of Python long."""
    with zipfile.ZipFile(io.BytesIO(model(branches([1] * 900)))) as archive:
        entries = {name: archive.read(name) for name in archive.namelist()}
    start = b"{" + b"'fortran_order': False, " * 400 + b"'descr': '<f4', 'shape': (1, 1), }\n"
    for name in entries:
        if name.endswith("weight.npy") and ".branches." in name:
            entries[name] = b"\x93NUMPY\x01\x00" + struct.pack("<H", len(start)) + start + bytes(4)
    return pyth.archive(entries)


def in_header(**more):
    return lambda header, block, arrays: header.update(more)


def in_recipe(**more):
    return lambda header, block, arrays: header["recipe"].update(more)


MODELS = {
    "empty lists": lambda: model(text=b"[" + b"[]," * 5_500_000 + b"[]]"),
    "empty lists, fewer": lambda: model(text=b"[" + b"[]," * 1_300_000 + b"[]]"),
    "empty lists, as many as may be": lambda: model(in_header(network=[[]] * (MAX_VALUES // 2 - 200))),
    "empty dictionaries": lambda: model(in_header(labels=[{}] * (MAX_VALUES // 2 - 200))),
    "numbers": lambda: model(in_header(network=[1] * 1_300_000)),
    "labels": lambda: model(in_header(labels={"class": ["ab"] * 700_000})),
    "labels, as many as may be": lambda: model(in_header(labels={"class": ["x" * 8] * (MAX_VALUES - 500)})),
    "a long name": lambda: model(in_header(labels={"\U0001f600" * 300_000: ["x"]})),
    "a long recipe": lambda: model(in_recipe(name="x" * 4_000_000)),
    "nested": lambda: model(text=b'{"a":' * 100_000 + b"1" + b"}" * 100_000),
    "a long number": lambda: model(text=b"9" * 4_000_000),
    "one array often": lambda: model(one_array_often),
    "arrays without end": lambda: model(branches([1] * 11_000)),
    "arrays, as many as may be": lambda: model(branches([1] * 4_900)),
    "hard headers": hard_headers,
    "padded kernels": lambda: model(branches([1_000_001, *[1] * 2000])),
    "padded kernels, as many as may be": lambda: model(branches([1023, *[1] * 15])),
    "outer product": lambda: model(outer_product),
    "views": lambda: model(in_recipe(views=999_999)),
    "seconds": lambda: model(in_recipe(clip_seconds=999_999)),
    "seconds and repeated samples": lambda: model(in_recipe(clip_seconds=999_999, repeat="sample", rate=999_999)),
}
NASTY = {f"{name}.pyth": build for name, build in CHECKPOINTS.items()} | {
    **{f"directory of 50 MiB{suffix}": lambda first=first: directory(50 << 20, first)
       for suffix, first in ((".pyth", b"archive/data.pkl"), (".npz", b"header.npy"), (".bin", b"header.npy"))},
    **{f"directory, as large as may be{suffix}": lambda first=first: directory(MAX_DIRECTORY, first)
       for suffix, first in ((".pyth", b"archive/data.pkl"), (".npz", b"header.npy"))},
    **{f"{name}.npz": build for name, build in MODELS.items()},
}  # fmt: skip


def measured(folder: Path, name: str) -> dict:
    """What reading the file took in a process of its own: message, seconds, peak of memory and size, both in bytes."""
    path = folder / f"nasty{Path(name).suffix}"
    path.write_bytes(NASTY[name]())
    seed = folder / f"seed{path.suffix}"
    seed.write_bytes(saved() if path.suffix == ".pyth" else small_model())
    command = [sys.executable, "-c", READ, str(seed), str(path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=600)
    assert done.returncode == 0, f"{name}: {done.returncode}, {done.stderr[-2000:]}"
    return json.loads(done.stdout) | {"size": path.stat().st_size}


@pytest.mark.parametrize("name", NASTY)
def test_reading_takes_little(tmp_path, name):
    found = measured(tmp_path, name)
    assert found["message"].isprintable() and len(found["message"]) < 1500
    assert found["seconds"] < SECONDS
    assert found["peak"] < MEMORY + TIMES * found["size"]


@pytest.mark.parametrize("name, words", [
    ("one list under many heads.pyth", "labels: found {'h0': 30001"),
    ("one label for many classes.pyth", "found 5000000000 characters in all texts, expected at most 1048576"),
    ("one short label for many classes.pyth", ""),
    ("strides without end, few keys.pyth", "holds 9990 weights in 9990 blocks: too few"),
    ("blocks, as many as may be.pyth", "the weights do not fit"),
    ("heads, as many as may be.pyth", "the weights do not fit"),
    ("blocks without end.pyth", "found 96001 weights, expected at most 10000"),
    ("foreign objects without end.pyth", ""),
    ("long texts, as long as may be.pyth", ""),
    ("directory of 50 MiB.bin", "found a directory of 52428"),
    ("empty lists, fewer.npz", f"values; expected at most {MAX_VALUES}"),
    ("one array often.npz", "names array heads.a.a.a.a.a.a.a.a.a.a.a.a twice"),
    ("arrays without end.npz", "expected at most 10000"),
    ("hard headers.npz", "its header is not understood"),
    ("padded kernels.npz", "found 2001 branches, expected 1 to 16"),
    ("padded kernels, as many as may be.npz", ""),
    ("outer product.npz", "80000 weights that merge to 40000 x 40000, expected at most 2 times as many"),
    ("views.npz", "found 999999 of 16 frames, expected a whole number from 1 to 8192"),
    ("seconds.npz", "found clips of 15999984000 samples"),
])  # fmt: skip
def test_each_limit_is_told(tmp_path, name, words):
    """The cases above reach the limit that they are made for."""
    message = measured(tmp_path, name)["message"]
    assert words in message and bool(words) == bool(message)


# --- recipes ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("change, words", [
    ({"views": 999_999}, "views: found 999999 of 512 frames, expected a whole number from 1 to 256"),
    ({"clip_seconds": 999_999}, "clips of 15999984000 samples"),
    ({"clip_seconds": 300.0}, "clips of 4800000 samples with a hop of 160, expected at most 4194304"),
    ({"clip_seconds": 5.0, "hop_ms": 1 / 16}, "80000 samples with a hop of 1, expected at most 4194304 samples"),
])  # fmt: skip
def test_a_recipe_fits_into_memory(change, words):
    with pytest.raises(MinirepError) as caught:
        replace(RECIPES["vggsound"], **change)
    assert words in str(caught.value)


@pytest.mark.parametrize("views", [0, -1, True, 1.0, 257, 10**9])
def test_the_number_of_views_fits_into_memory(views):
    with pytest.raises(MinirepError, match=r"views: found .* expected a whole number from 1 to 256"):
        log_mel_views(np.zeros(1000), 16000, "vggsound", views)


def test_as_many_views_as_may_be():
    recipe = Recipe("x", 16000, 0.1, 20, 10, 1 << 15, 4, {"class": 2})
    assert log_mel_views(np.zeros(1600), 16000, recipe).nbytes == 64 << 20
