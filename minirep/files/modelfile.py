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
import os
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from ..check import MAX_ARRAYS, check, fault
from ..errors import MinirepError, expect
from ..network import BatchNorm, Block, Conv, Depthwise, Linear, Network
from ..precision import precision_of
from ..recipe import Recipe
from ..text import one_line, quoted
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
# The start of a .npy array, after its version and length, as NumPy writes it.
NPY = re.compile(r"\{'descr': '([<>|][a-z]\d{1,2})', 'fortran_order': (True|False), 'shape': \(([\d, ]*)\), \} *\n")


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
    if dtype.kind != "f":
        raise MinirepError(f"{path}: a network of type {dtype} cannot be stored; expected floating point")
    if precision_of(network) == "bfloat16":
        raise MinirepError(f"{path}: found weights rounded to bfloat16, expected float32: save the model, then round")
    if half:
        with np.errstate(over="ignore"):
            network = as_type(network, np.float16)
    arrays: dict[str, Any] = named_arrays(network)
    if half and not all(np.isfinite(array).all() for array in arrays.values()):
        raise MinirepError(f"{path}: some weights are too large for half precision; store it without")
    for name, array in arrays.items():
        if found := fault(array, name):
            raise MinirepError(f"{path}: {name} {found}; not written")
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
    except ZIP_ERRORS:
        return False


def read_model(source) -> Model:
    """Read `model.npz` or `model.safetensors` from a path or seekable binary file; a MinirepError names any misfit."""
    opened = hasattr(source, "read")
    path = getattr(source, "name", "model") if opened else source
    with model_errors(path), contextlib.nullcontext(source) if opened else open(source, "rb") as file:
        start, size = file.read(9), file.seek(0, os.SEEK_END)
        file.seek(0)
        if is_safetensors(path) or looks_like(start, size):
            return _read_safetensors(file, size)
        with open_zip(file) as archive:
            return _read_zip(archive, path, size)


@contextlib.contextmanager
def model_errors(path) -> Iterator[None]:
    """Convert every error in reading a model file into a MinirepError of one line with the file's name."""
    try:
        yield
    except MinirepError as error:
        message = str(error)
        raise MinirepError(one_line(message if message.startswith(f"{path}: ") else f"{path}: {message}")) from None
    except FileNotFoundError:
        raise MinirepError(f"{path}: no such file") from None
    except OSError as error:
        raise MinirepError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise MinirepError(one_line(f"{path}: not a whole model file: {error}")) from None
    except (ValueError, LookupError, TypeError, AttributeError, OverflowError) as error:
        raise MinirepError(one_line(f"{path}: not a minirep model: {type(error).__name__}: {error}")) from None


def _read_zip(archive: zipfile.ZipFile, path, size: int) -> Model:
    members = {info.filename: info for info in archive.infolist()}
    if len(members) > MAX_ARRAYS:
        raise MinirepError(f"{path}: found {len(members)} arrays, expected at most {MAX_ARRAYS}")
    if any(info.compress_type != zipfile.ZIP_STORED for info in members.values()):
        raise MinirepError(f"{path}: found compressed arrays; expected them stored plainly, as minirep writes them")
    if len(members) != len(archive.infolist()) or sum(info.file_size for info in members.values()) > size:
        raise MinirepError(f"{path}: found arrays twice or larger than the file; expected each once and whole")
    if "header.npy" not in members:
        raise MinirepError(f"{path}: no header found; expected a model written by minirep")
    if members["header.npy"].file_size > MAX_HEADER:
        raise MinirepError(
            f"{path}: a header of {members['header.npy'].file_size} bytes; expected at most {MAX_HEADER}"
        )
    header = parse(bytes(_read_array(archive, members, "header", None, path)))
    names = {name.removesuffix(".npy") for name in members} - {"header"}
    return model_of(header, names, lambda name, shape: _read_array(archive, members, name, shape, path))


def _read_safetensors(file, size: int) -> Model:
    metadata, shapes, fetch = read_arrays(file, size, parse, MAX_HEADER)
    expect(len(shapes) <= MAX_ARRAYS, f"found {len(shapes)} arrays, expected at most {MAX_ARRAYS}")

    def read(name: str, shape: tuple) -> np.ndarray:
        expect(name in shapes, f"array {name} is missing")
        expect(shapes[name] == shape, f"array {name}: found {shapes[name]}, expected floating point {shape}")
        return fetch(name)

    return model_of(header_of(metadata), set(shapes), read)


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
    if header.get("format") != FORMAT or header.get("version") not in RENAMED:
        raise MinirepError(
            f"found format {quoted(header.get('format'))} version {quoted(header.get('version'))}, "
            f"expected {FORMAT!r} version 1 to {VERSION}; a newer minirep may read it"
        )
    dtype = np.dtype({"float32": "f4", "float64": "f8", "float16": "f2"}[header["dtype"]])
    expected = set()

    def leaf(name, shape):
        expect(name not in expected, f"the header names array {name} twice, expected each once")
        expected.add(name)
        with np.errstate(over="ignore"):  # what becomes infinite is refused
            array = fetch(name, tuple(shape)).astype(dtype)
        found = fault(array, name)
        expect(not found, f"array {name} {found}")
        return array

    network = check(_from_json(header["network"], "", leaf, RENAMED[header["version"]]))
    extra = sorted(names - expected)
    expect(not extra, f"found arrays that the header does not name: {', '.join(extra[:3])}")
    recipe = None if header["recipe"] is None else Recipe(**header["recipe"])
    if not all(isinstance(names, list) for names in header["labels"].values()):
        raise TypeError("labels: expected a list for each head")
    labels = {head: tuple(map(str, names)) for head, names in header["labels"].items()}
    counts = {head: len(names) for head, names in labels.items()}
    if recipe is not None and counts != network.classes:
        raise MinirepError(f"labels: found {quoted(counts)} names, expected {quoted(network.classes)}")
    return Model(network, recipe, labels, {str(k): str(v) for k, v in header["provenance"].items()})


def _read_array(archive, members, name: str, shape: tuple | None, path) -> np.ndarray:
    """Read one array, after its own header has been compared with the expected shape and the size of the entry."""
    info = members.get(f"{name}.npy")
    if info is None:
        raise MinirepError(f"{path}: array {name} is missing")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise MinirepError(f"{path}: array {name}: found .npy version {version}, expected (1, 0)")
        start = NPY.fullmatch(file.read(int.from_bytes(file.read(2), "little")).decode("latin-1"))
        if start is None:
            raise MinirepError(f"{path}: array {name}: its header is not understood")
        dtype, fortran = np.dtype(start[1]), start[2] == "True"
        found = tuple(int(n) for n in re.findall(r"\d+", start[3]))
        right_type = dtype == np.uint8 if shape is None else dtype.kind == "f" and dtype.itemsize <= 8
        if not right_type or fortran or (shape is not None and found != shape):
            raise MinirepError(f"{path}: array {name}: found {dtype} {found}, expected floating point {shape}")
        count = int(np.prod(found, dtype=object))
        if count * dtype.itemsize != info.file_size - file.tell():
            raise MinirepError(f"{path}: array {name}: {found} does not fit its {info.file_size} bytes")
        return np.frombuffer(file.read(), dtype, count).reshape(found)


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
