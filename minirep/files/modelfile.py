"""`model.npz`: weights, tree, recipe, labels and provenance in one file that NumPy alone can read.

It is an ordinary uncompressed .npz. The array "header" holds UTF-8 JSON: format version, recipe, labels, provenance and
the tree of the network, in which a shape represents each array. The array itself is stored under its path in the tree,
such as "stages.0.2.entry.bias". Reading executes nothing, and allocates nothing before the sizes in the header have
been compared with the file. Each array is read once, and must hold finite numbers.

`model.safetensors` holds the same arrays under the same names, and the entries of the header in its metadata.
"""

import contextlib
import dataclasses
import json
import math
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..check import MAX_ARRAYS, check, fault
from ..errors import MinirepError, expect, naming
from ..network import BatchNorm, Block, Conv, Depthwise, Linear, Network
from ..precision import precision_of
from ..recipe import Recipe
from ..text import quoted
from ..tree import as_type, named_arrays
from .archive import ZIP_ERRORS, open_zip
from .safetensorsfile import SUFFIX, looks_like, read_arrays, write_arrays
from .write import replacing

FORMAT, VERSION = "minirep model", 2
HEADER = ("format", "version", "dtype", "recipe", "labels", "provenance", "network")
PLAIN = ("format", "dtype")  # entries of the header that are text already
# Names of fields of a `Block` in the trees and array names of older versions.
RENAMED = {1: {"entry": "reduce", "expand_project": "mix"}, 2: {}}
IN_MEMORY = {"bfloat16"}  # fields of nodes that no file has: networks are stored before they are rounded
NODES = {node.__name__: node for node in (Network, Block, Depthwise, Conv, BatchNorm, Linear)}
MAX_HEADER = 1 << 22  # bytes of JSON; the full-size unfused network needs 0.1 MB,
MAX_VALUES = 1 << 18  # and some 10,000 values
# The start of a .npy array, as NumPy writes it: version 1.0, two bytes of length, type and shape.
NPY = re.compile(
    rb"\x93NUMPY\x01\x00..\{'descr': '([<>|][a-z]\d{1,2})', 'fortran_order': False, 'shape': \(([\d, ]*)\), \} *\n",
    re.DOTALL,
)


class Model(NamedTuple):
    """The contents of a model file; a network that was saved alone has no recipe."""

    network: Network
    recipe: Recipe | None
    labels: dict[str, tuple[str, ...]]
    provenance: dict[str, str]


def write_model(path, model: Model, half: bool = False) -> None:
    """Write ``model.npz``, or ``model.safetensors`` if that is the suffix, to a path or into a binary file.

    ``half`` stores the weights as float16, which halves the file; reading converts them to the network's type again.
    """
    opened = hasattr(path, "write")
    header, arrays = contents(model, path, half)
    with contextlib.nullcontext(path) if opened else replacing(path) as file:
        if not opened and is_safetensors(path):
            write_arrays(file, arrays, as_text(header))
        else:
            text = _to_json(header).encode()
            np.savez(file, header=np.frombuffer(text, np.uint8), **arrays)


def contents(model: Model, path, half: bool = False) -> tuple[dict[str, Any], dict[str, Any]]:
    """Return the header of a model file and its arrays by name; raise a MinirepError if they cannot be stored."""
    network = check(model.network)
    dtype = network.dtype
    expect(dtype.kind == "f", f"{path}: a network of type {dtype} cannot be stored; expected floating point")
    rounded = precision_of(network) == "bfloat16"
    expect(not rounded, f"{path}: found weights rounded to bfloat16, expected float32: save the model, then round")
    if half:
        with np.errstate(over="ignore"):
            network = as_type(network, np.float16)
    arrays: dict[str, Any] = named_arrays(network)
    for name, array in arrays.items():
        found, hint = fault(array, name), "; store it without half precision" if half else ""
        expect(not found, f"{path}: {name} {found}; not written{hint}")
    return {
        "format": FORMAT,
        "version": VERSION,
        "dtype": dtype.name,
        "recipe": None if model.recipe is None else dataclasses.asdict(model.recipe),
        "labels": model.labels,
        "provenance": model.provenance,
        "network": network,
    }, arrays


def as_text(header: dict[str, Any]) -> dict[str, str]:
    """Return a header with text only: all values but the plain ones become JSON."""
    return {key: value if key in PLAIN else _to_json(value) for key, value in header.items()}


def _to_json(value: Any) -> str:
    """Return JSON that can be encoded, even if it contains a file name with bytes that are not characters."""
    text = json.dumps(value, ensure_ascii=False, default=_node_to_json)
    return text.encode(errors="backslashreplace").decode()  # as "\\udce9", which JSON reads back


def _node_to_json(node) -> dict:
    """Convert one node of the tree for json.dumps, which converts its children; an array becomes its shape."""
    if isinstance(node, np.ndarray):
        return {"shape": node.shape}
    fields = {f.name: getattr(node, f.name) for f in dataclasses.fields(node) if f.name not in IN_MEMORY}
    return {type(node).__name__: {k: {"dict": v} if isinstance(v, dict) else v for k, v in fields.items()}}


def is_safetensors(path) -> bool:
    """Return whether a path has the suffix .safetensors, in upper or lower case."""
    return str(path).lower().endswith(SUFFIX)


def is_model(path) -> bool:
    """Return whether a file looks as if `write_model` wrote it: a zip that contains a header, or a .safetensors."""
    try:
        with open(path, "rb") as file:
            if is_safetensors(path) or looks_like(file.read(9), file.seek(0, os.SEEK_END)):
                return True
            with open_zip(file) as archive:
                return "header.npy" in archive.namelist()
    except (MinirepError, *ZIP_ERRORS):
        return False


def read_model(source) -> Model:
    """Read `model.npz` or `model.safetensors` from a path or seekable binary file; a MinirepError names any misfit."""
    opened = hasattr(source, "read")
    path = getattr(source, "name", "model") if opened else source
    with model_errors(path), contextlib.nullcontext(source) if opened else open(source, "rb") as file:
        start, size = file.read(9), file.seek(0, os.SEEK_END)
        file.seek(0)
        if is_safetensors(path) or looks_like(start, size):
            metadata, names, fetch = read_arrays(file, size, parse, MAX_HEADER)
            return model_of(header_of(metadata), names, lambda name, _: fetch(name))
        with open_zip(file) as archive:
            return _read_zip(archive)


@contextlib.contextmanager
def model_errors(path) -> Iterator[None]:
    """Convert every error in reading a model file into a MinirepError of one line with the file's name."""
    with naming(path):
        try:
            yield
        except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
            raise MinirepError(f"not a whole model file: {error}") from None
        except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
            raise MinirepError(f"not a minirep model: {type(error).__name__}: {error}") from None


def _read_zip(archive: zipfile.ZipFile) -> Model:
    names = {name.removesuffix(".npy") for name in archive.namelist()}
    expect("header.npy" in archive.namelist(), "no header found; expected a model written by minirep")
    found = archive.getinfo("header.npy").file_size
    expect(found <= MAX_HEADER, f"a header of {found} bytes; expected at most {MAX_HEADER}")

    def fetch(name: str, _=None) -> np.ndarray:
        return _array(archive.read(f"{name}.npy"), name)

    return model_of(parse(fetch("header").tobytes()), names - {"header"}, fetch)


def _array(content: bytes, name: str) -> np.ndarray:
    """Return the array in the bytes of a .npy file."""
    start = NPY.match(content)
    if not start or start.end() != 10 + int.from_bytes(content[8:10], "little"):
        raise MinirepError(f"array {name}: its header is not understood; expected .npy version 1.0, not transposed")
    dtype, shape = np.dtype(start[1].decode()), tuple(map(int, re.findall(rb"\d+", start[2])))
    whole = math.prod(shape) * dtype.itemsize == len(content) - start.end()
    expect(whole, f"array {name}: {shape} does not fit its {len(content)} bytes")
    return np.frombuffer(content, dtype, math.prod(shape), start.end()).reshape(shape)


def header_of(text: dict[str, str]) -> dict[str, Any]:
    """Return the header that `as_text` converted; raise a MinirepError if there is none."""
    expect(text.get("format") == FORMAT, "no header of minirep in its metadata; expected a model written by minirep")
    return {key: value if key in PLAIN else parse(value) for key, value in text.items() if key in HEADER}


def parse(text: bytes | str) -> Any:
    """Parse a JSON text; raise a MinirepError first if it has too many values."""
    text = text.decode() if isinstance(text, bytes) else text
    values = text.count(",") + text.count("[") + text.count("{")
    expect(values <= MAX_VALUES, f"a header of {values} values; expected at most {MAX_VALUES}")
    return json.loads(text)


def model_of(header: dict[str, Any], names: set[str], fetch: Callable[[str, tuple], np.ndarray]) -> Model:
    """Make a model from its header, the names of all arrays in its file, and ``fetch(name, shape)`` to read one."""
    version: Any = header.get("version")
    expect(header.get("format") == FORMAT and version in RENAMED,
           f"found format {quoted(header.get('format'))} version {quoted(version)}, expected {FORMAT!r} version 1 to "
           f"{VERSION}; a newer minirep may read it")  # fmt: skip
    expect(len(names) <= MAX_ARRAYS, f"found {len(names)} arrays, expected at most {MAX_ARRAYS}")
    dtype = np.dtype({"float32": "f4", "float64": "f8", "float16": "f2"}[header["dtype"]])
    left = set(names)

    def leaf(name, shape):
        expect(name in names, f"array {name} is missing")
        expect(name in left, f"the header names array {name} twice, expected each once")
        left.remove(name)
        array = fetch(name, tuple(shape))
        fits = array.dtype.kind == "f" and array.dtype.itemsize <= 8 and array.shape == tuple(shape)
        expect(fits, f"array {name}: found {array.dtype} {array.shape}, expected floating point {tuple(shape)}")
        with np.errstate(over="ignore"):  # what becomes infinite is refused
            array = array.astype(dtype)
        found = fault(array, name)
        expect(not found, f"array {name} {found}")
        return array

    network = check(_from_json(header["network"], "", leaf, RENAMED[version]))
    expect(not left, f"found arrays that the header does not name: {', '.join(sorted(left)[:3])}")
    recipe = None if header["recipe"] is None else Recipe(**header["recipe"])
    lists = all(isinstance(texts, list) for texts in header["labels"].values())
    expect(lists, "labels: expected a list for each head")
    labels = {head: tuple(map(str, texts)) for head, texts in header["labels"].items()}
    counts = {head: len(texts) for head, texts in labels.items()}
    fits = recipe is None or counts == network.classes
    expect(fits, f"labels: found {quoted(counts)} names, expected {quoted(network.classes)}")
    return Model(network, recipe, labels, {str(k): str(v) for k, v in header["provenance"].items()})


def _from_json(spec, name: str, leaf, renamed: dict[str, str]):
    """Build the tree from its JSON. ``leaf(name, shape)`` reads an array; ``renamed`` is {field: name in the file}."""

    def below(child, key):
        return _from_json(child, f"{name}.{key}".lstrip("."), leaf, renamed)

    if isinstance(spec, list):
        return tuple(below(child, i) for i, child in enumerate(spec))
    if not isinstance(spec, dict):
        return spec
    ((kind, content),) = spec.items()
    if kind == "shape":
        return leaf(name, content)
    children = {key: below(child, key) for key, child in content.items()}
    if kind == "Block":
        fields = {old: new for new, old in renamed.items()}
        children = {fields.get(key, key): child for key, child in children.items()}
    if kind == "dict":
        return children
    if unknown := IN_MEMORY & set(children):
        raise TypeError(f"{kind} has the field {min(unknown)}, which no model file has")
    return NODES[kind](**children)
