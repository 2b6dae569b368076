"""The fuzzers' targets (tests/fuzz/fuzz.py) for a few seconds, and every fault that the fuzzers have found."""

import io
import json
import struct
import subprocess
import sys
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

import minirep
from minirep import RECIPES, Architecture, Classifier, MinirepError, Recipe, random_network
from minirep.audio.resample import _pulses

SCRIPT = Path(__file__).parent / "fuzz/fuzz.py"
RUNS = {"wav": 1000, "checkpoint": 400, "model": 400, "yaml": 2000, "manifest": 1000}


@pytest.mark.skipif(sys.platform == "win32", reason="its processes are watched in another way")
@pytest.mark.parametrize("target", RUNS)
def test_bent_inputs(target):
    """In a process of its own: what watches over it cannot be taken off again."""
    command = [sys.executable, str(SCRIPT), target, "--runs", str(RUNS[target])]
    done = subprocess.run(command, capture_output=True, text=True, timeout=1200)
    assert done.returncode == 0 and f"{RUNS[target]} inputs, 0 findings" in done.stdout, done.stdout + done.stderr


# --- what they found --------------------------------------------------------------------------------------------------


@pytest.fixture
def model(tmp_path):
    """A small model's file."""
    arch = Architecture(width=1, depths=(1,), time_kernels=((3,),), freq_kernels=((3,),), time_strides=(1,),
                        freq_strides=(1,), heads={"class": 2})  # fmt: skip
    path = tmp_path / "model.npz"
    minirep.save(Classifier(random_network(arch), RECIPES["vggsound"], backend="numpy"), path)
    return path


def refused(path) -> str:
    """The one line that a model's reader says."""
    with pytest.raises(MinirepError) as caught:
        minirep.load(path, "numpy")
    assert str(caught.value).isprintable()
    return str(caught.value)


def with_entry(path, name: str, content: bytes):
    """The same zip with one entry more, or another one in its place."""
    with zipfile.ZipFile(path) as archive:
        entries = {entry: archive.read(entry) for entry in archive.namelist()} | {name: content}
    with zipfile.ZipFile(path, "w") as archive:
        for entry, content in entries.items():
            archive.writestr(entry, content)


def header_of(path) -> bytes:
    """What a model says of itself, in JSON."""
    with zipfile.ZipFile(path) as archive:
        return bytes(np.lib.format.read_array(io.BytesIO(archive.read("header.npy"))))


def with_header(path, content: bytes):
    """The same model with other words about itself."""
    array = io.BytesIO()
    np.save(array, np.frombuffer(content, np.uint8))
    with_entry(path, "header.npy", array.getvalue())


@pytest.mark.parametrize(
    "text", ["{'descr': '|u1', 'shape': (((", "{'descr':\n '", "\t0\n  1\n 2", "(" * 3000, "'\\N{DASH}'"]
)
def test_an_array_header_that_python_cannot_tokenize(model, text):
    """NumPy tries such a header once more as Python 2 wrote it, and let the tokenizer's own exception through."""
    header = text.encode() + b"\n"
    with_entry(model, "header.npy", b"\x93NUMPY\x01\x00" + struct.pack("<H", len(header)) + header)
    assert "array header: its header is not understood" in refused(model)


@pytest.mark.parametrize("coding", ["utf-16", "utf-32-be"])
def test_a_model_says_what_it_is_in_utf_8(model, coding):
    """json.loads takes the others as well, and looks for a module that decodes them."""
    with_header(model, header_of(model).decode().encode(coding))
    assert "not a minirep model" in refused(model)


@pytest.mark.parametrize("name", ["two\nlines", "\x1b[2J", "x" * 5000])
def test_names_in_a_model_make_one_line(model, name):
    with_entry(model, f"{name}.npy", b"")
    assert len(refused(model)) < 1200


def test_the_largest_filter_takes_little_memory():
    """A WAV of 108 bytes with a rate of 759,600 Hz took 65 MiB, most of them to make the resampler's matrix of 5."""
    tracemalloc.start()
    try:
        matrix = _pulses.__wrapped__(40, 1899, 2)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert matrix.nbytes > 4 << 20 and peak < 4 * matrix.nbytes


def test_a_models_numbers_are_numbers(model):
    """A text in place of a batch norm's epsilon ended in NumPy's own exception."""
    header = json.loads(header_of(model))
    stem = header["network"]["Network"]["stem"]["Conv"]
    bn = stem["bn"]["BatchNorm"]
    for node, key, value in ((bn, "eps", "x\ny"), (bn, "eps", None), (bn, "eps", -1), (stem, "relu", "yes"),
                             (header["recipe"], "heads", 1), (header["recipe"], "frames", 1.5)):  # fmt: skip
        kept, node[key] = node[key], value
        with_header(model, json.dumps(header).encode())
        assert key in refused(model) and "expected" in refused(model)
        node[key] = kept


def test_a_recipe_of_a_million_frames_is_refused():
    """A model of 6 kB asked for 4 GiB."""
    with pytest.raises(MinirepError, match="found 999999 frames, expected at most 32768"):
        Recipe("tiny", 16000, 0.1, 20, 10, 999_999, 2, {"class": 2})
