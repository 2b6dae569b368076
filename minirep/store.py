"""`model.npz`: weights, tree, recipe, labels and provenance in one file that NumPy alone can read.

It is an ordinary uncompressed .npz. The array "header" holds UTF-8 JSON: format version, recipe, labels, provenance and
the tree of the network, in which each array stands as its shape; the array of the tree's path ("stem.weight",
"stages.0.2.reduce.bias" ...) holds its values. Reading executes nothing (``allow_pickle=False``) and allocates nothing
before the sizes that the header promises are found in the file.
"""

import contextlib
import dataclasses
import json
import os
import tempfile
import zipfile
from importlib import resources
from pathlib import Path

import numpy as np

from . import reparam
from .checkpoint import read_checkpoint
from .classify import Classifier
from .config import Recipe
from .errors import MinirepError
from .network import BatchNorm, Block, Conv, Depthwise, Linear, Network, as_type, check, map_arrays

FORMAT, VERSION = "minirep model", 1
NODES = {node.__name__: node for node in (Network, Block, Depthwise, Conv, BatchNorm, Linear)}
MAX_HEADER = 1 << 24  # bytes of JSON; the full-size unfused network needs 0.1 MB


@contextlib.contextmanager
def replacing(path):
    """A temporary file beside ``path``, moved into its place when all went well: never half a file under its name."""
    path = Path(path)
    try:
        handle, temporary = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    except OSError as error:
        raise MinirepError(f"{path}: cannot be written: {error.strerror or error}") from None
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
        os.chmod(temporary, 0o666 & ~umask())  # mkstemp's files are private; a saved model need not be
        os.replace(temporary, path)
    except OSError as error:
        raise MinirepError(f"{path}: cannot be written: {error.strerror or error}") from None
    finally:
        with contextlib.suppress(OSError):
            os.unlink(temporary)


def umask() -> int:
    """The permissions that new files do not get."""
    mask = os.umask(0)
    os.umask(mask)
    return mask


# --- writing ------------------------------------------------------------------------------------------------------


def write_model(path, network: Network, recipe: Recipe | None, labels: dict, provenance: dict, half: bool = False):
    """Write ``model.npz`` to a path or into a binary file.

    ``half`` stores float16: half the size; it computes in the network's own type when read.
    """
    check(network)
    if network.dtype.kind != "f":
        raise MinirepError(f"{path}: a network of type {network.dtype} cannot be stored; expected floating point")
    dtype = network.dtype
    if half:
        with np.errstate(over="ignore"):
            network = as_type(network, np.float16)
        map_arrays(network, lambda a: _require_finite(a, path))
    arrays = {}
    header = {
        "format": FORMAT,
        "version": VERSION,
        "dtype": dtype.name,
        "recipe": None if recipe is None else dataclasses.asdict(recipe),
        "labels": labels,
        "provenance": provenance,
        "network": _to_json(network, "", arrays),
    }
    text = json.dumps(header, ensure_ascii=False).encode()
    with contextlib.nullcontext(path) if hasattr(path, "write") else replacing(path) as file:
        np.savez(file, header=np.frombuffer(text, np.uint8), **arrays)


def _require_finite(array, path):
    if not np.isfinite(array).all():
        raise MinirepError(f"{path}: some weights are too large for half precision; store it without")
    return array


def _to_json(node, name: str, arrays: dict):
    """The tree as JSON; its arrays are collected under the names of their paths."""
    if isinstance(node, np.ndarray):
        arrays[name] = node
        return {"shape": node.shape}
    if dataclasses.is_dataclass(node):
        fields = {f.name: getattr(node, f.name) for f in dataclasses.fields(node)}
        return {type(node).__name__: {k: _to_json(v, f"{name}.{k}".lstrip("."), arrays) for k, v in fields.items()}}
    if isinstance(node, tuple):
        return [_to_json(child, f"{name}.{i}", arrays) for i, child in enumerate(node)]
    if isinstance(node, dict):
        return {"dict": {key: _to_json(child, f"{name}.{key}", arrays) for key, child in node.items()}}
    return node


# --- reading ------------------------------------------------------------------------------------------------------


def is_model(path) -> bool:
    """Whether a file looks like `write_model`'s: a zip that holds the header."""
    try:
        with zipfile.ZipFile(path) as archive:
            return "header.npy" in archive.namelist()
    except (OSError, zipfile.BadZipFile, ValueError, NotImplementedError):
        return False


def read_model(source) -> tuple[Network, Recipe | None, dict, dict]:
    """(network, recipe, labels, provenance) from `model.npz`: a path, or a binary file that can be sought in.

    MinirepError says what does not fit.
    """
    opened = hasattr(source, "read")
    path = getattr(source, "name", "model") if opened else source
    try:
        with zipfile.ZipFile(source) as archive:
            return _read(archive, path, source.seek(0, os.SEEK_END) if opened else os.path.getsize(path))
    except MinirepError as error:
        raise MinirepError(_one_line(str(error))) from None
    except FileNotFoundError:
        raise MinirepError(f"{path}: no such file") from None
    except OSError as error:
        raise MinirepError(f"{path}: cannot be read: {error.strerror or error}") from None
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError) as error:
        raise MinirepError(_one_line(f"{path}: not a whole .npz file: {error}")) from None
    except (ValueError, KeyError, TypeError, AttributeError, OverflowError) as error:
        raise MinirepError(_one_line(f"{path}: not a minirep model: {type(error).__name__}: {error}")) from None


def _one_line(message: str, most: int = 1000) -> str:
    """A message with names out of a file in it: printable, and no longer than somebody would read."""
    short = message if len(message) <= most else message[:most] + "..."
    return "".join(c if c.isprintable() else ascii(c)[1:-1] for c in short)


def _read(archive: zipfile.ZipFile, path, size: int):
    members = {info.filename: info for info in archive.infolist()}
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
    header = json.loads(bytes(_read_array(archive, members, "header", None, path)).decode())
    if header.get("format") != FORMAT or header.get("version") != VERSION:
        raise MinirepError(
            f"{path}: found format {header.get('format')!r} version {header.get('version')!r}, "
            f"expected {FORMAT!r} version {VERSION}; a newer minirep may read it"
        )
    dtype = np.dtype({"float32": "f4", "float64": "f8", "float16": "f2"}[header["dtype"]])
    expected = set()

    def leaf(name, shape):
        expected.add(f"{name}.npy")
        return _read_array(archive, members, name, tuple(shape), path).astype(dtype)

    network = check(_from_json(header["network"], "", leaf))
    extra = sorted(set(members) - expected - {"header.npy"})
    if extra:
        raise MinirepError(f"{path}: found arrays that the header does not name: {', '.join(extra[:3])}")
    recipe = None if header["recipe"] is None else Recipe(**header["recipe"])
    labels = {head: tuple(map(str, names)) for head, names in header["labels"].items()}
    return network, recipe, labels, {str(k): str(v) for k, v in header["provenance"].items()}


def _read_array(archive, members, name: str, shape: tuple | None, path) -> np.ndarray:
    """One array, after its own header has been held against the promised shape and the bytes that are there."""
    info = members.get(f"{name}.npy")
    if info is None:
        raise MinirepError(f"{path}: array {name} is missing")
    with archive.open(info) as file:
        version = np.lib.format.read_magic(file)
        if version != (1, 0):
            raise MinirepError(f"{path}: array {name}: found .npy version {version}, expected (1, 0)")
        try:
            found, fortran, dtype = np.lib.format.read_array_header_1_0(file)
        except Exception as error:  # of many kinds: NumPy has Python's own parser and tokenizer read it
            raise MinirepError(f"{path}: array {name}: its header is not understood: {error}") from None
        right_type = dtype == np.uint8 if shape is None else dtype.kind == "f" and dtype.itemsize <= 8
        if not right_type or fortran or (shape is not None and found != shape):
            raise MinirepError(f"{path}: array {name}: found {dtype} {found}, expected floating point {shape}")
        count = int(np.prod(found, dtype=object))
        if count * dtype.itemsize != info.file_size - file.tell():
            raise MinirepError(f"{path}: array {name}: {found} does not fit its {info.file_size} bytes")
        return np.frombuffer(file.read(), dtype, count).reshape(found)


def _from_json(spec, name: str, leaf):
    """The tree from its JSON; ``leaf(name, shape)`` supplies the arrays."""
    if isinstance(spec, list):
        return tuple(_from_json(child, f"{name}.{i}", leaf) for i, child in enumerate(spec))
    if not isinstance(spec, dict):
        return spec
    ((kind, content),) = spec.items()
    if kind == "shape":
        return leaf(name, content)
    children = {key: _from_json(child, f"{name}.{key}".lstrip("."), leaf) for key, child in content.items()}
    return children if kind == "dict" else NODES[kind](**children)


# --- either kind of file ------------------------------------------------------------------------------------------


def default_model():
    """Where the model that ships with minirep lies: a path, or in a bundle (`minirep.bundle`) a part of that file."""
    data = resources.files("minirep").joinpath("data")
    own = data.joinpath("bundled.npz")
    return own if own.is_file() else data.joinpath("digits.npz")


def read(path) -> tuple[Network, Recipe | None, dict, dict]:
    """(network, recipe, labels, provenance) from either kind of file, as they are stored: merged or not."""
    if not isinstance(path, (str, os.PathLike)):
        if not hasattr(path, "open"):
            raise MinirepError(f"found a {type(path).__name__}, expected the path of a model.npz or checkpoint.pyth")
        with path.open("rb") as file:  # a part of a bundle
            return read_model(file)
    if Path(path).suffix == ".npz" or is_model(path):
        return read_model(path)
    clf = read_checkpoint(path)
    return clf.network, clf.recipe, clf.labels, clf.provenance


def load(path=None, backend: str = "auto", fused: bool = True, threads: int | None = None) -> Classifier:
    """A classifier from `model.npz` or the authors' `checkpoint.pyth`; without a path, the shipped digits model.

    ``fused`` merges what is not merged yet; with False the network stays as it is stored (the shipped one: merged).
    ``threads``: how many the compiled backend uses; by default MINIREP_NUM_THREADS, else all cores allowed, as far
    as there is work for them: a small network on a short clip gets one.
    """
    path = default_model() if path is None else path
    network, recipe, labels, provenance = read(path)
    if recipe is None:
        raise MinirepError(f"{path}: holds a network without a recipe; expected a saved classifier")
    return Classifier(reparam.fuse(network) if fused else network, recipe, labels, provenance, backend, threads)


def save(model: Classifier | Network, path, half: bool = False) -> None:
    """Write a classifier, or a bare network, to ``path``; ``half`` stores its weights as float16."""
    if isinstance(model, Classifier):
        write_model(path, model.network, model.recipe, model.labels, model.provenance, half)
    elif isinstance(model, Network):
        write_model(path, model, None, {}, {}, half)
    else:
        raise MinirepError(f"save: found a {type(model).__name__}, expected a Classifier or a Network")
