"""Load a classifier from any kind of model file (`load`), and write one (`save`)."""

import os
from importlib import resources
from pathlib import Path

from ..classify import Classifier
from ..errors import MinirepError, expect
from ..network import Network
from ..precision import as_precision
from ..reparam import fuse
from ..text import printable
from .checkpoint import read_published
from .modelfile import Model, is_model, read_model, write_model
from .safetensorsfile import SUFFIX
from .write import irregular

SHIPPED = ("digits", "sounds")  # the models in minirep/data, by name


def model_path(model=None):
    """Return the path of a shipped model by its name, or any other path itself; by default that of the digits model.

    In a bundle (`minirep.files.bundle`), the default is the bundle's own model. Write ``./digits`` for a file that has
    the name of a shipped model.
    """
    data = resources.files("minirep").joinpath("data")
    own = data.joinpath("bundled.npz")
    if model is None:
        return own if own.is_file() else data.joinpath(f"{SHIPPED[0]}.npz")
    if not isinstance(model, str) or model not in SHIPPED:
        return model
    shipped = data.joinpath(f"{model}.npz")
    expect(shipped.is_file(), f"{model}: found no such model in this bundle; leave out the model or name a file")
    return shipped


def read(path) -> Model:
    """Read any model file as it is stored, merged or not; no backend is chosen and nothing is compiled."""
    path = model_path(path)
    if not isinstance(path, (str, os.PathLike)):
        found = type(path).__name__
        expect(hasattr(path, "open"), f"found a {found}, expected the path of a model.npz or checkpoint.pyth")
        with path.open("rb") as file:  # a part of a bundle
            return read_model(file)
    _expect_file(path)
    other = Path(path).suffix.lower() == ".onnx"
    expect(not other, f"{printable(path)}: found an .onnx, which is for other programs; expected its model.npz")
    if Path(path).suffix in (".npz", SUFFIX) or is_model(path):
        return read_model(path)
    return read_published(path)


def _expect_file(path) -> None:
    """Raise a MinirepError for a named pipe, which would block, and for anything else that is not a regular file."""
    found = irregular(path)
    expect(found is None, f"{printable(path)}: found {found}, expected a file: model.npz or checkpoint.pyth")


def load(
    path=None, backend: str = "auto", fused: bool = True, threads: int | None = None, precision: str | None = None
) -> Classifier:
    """Load a classifier.

    Parameters
    ----------
    path : path or str, optional
        A model.npz, .safetensors or checkpoint.pyth, or a shipped model: "digits" (the default) or "sounds".
    backend : str
        "numpy", "numba", or "auto": numba if it is installed and covers the network, else numpy.
    fused : bool
        Merge the network. If False, it stays as it is stored (the shipped models: merged).
    threads : int, optional
        Maximum number of threads of the compiled backend; by default the environment variable MINIREP_NUM_THREADS, else
        the number of available cores. A small network on a short clip uses one thread.
    precision : str, optional
        "float32" or "bfloat16" (`minirep.precision`); by default as stored.

    Returns
    -------
    Classifier

    Raises
    ------
    MinirepError
        For a file that is missing, damaged or not a model, and for a backend or a precision that cannot be used.
    """
    network, recipe, labels, provenance = read(path)
    if recipe is None:
        raise MinirepError(f"{path}: holds a network without a recipe; expected a saved classifier")
    network = fuse(network) if fused else network
    network = network if precision is None else as_precision(network, precision)
    classifier = Classifier(network, recipe, labels, provenance, backend, threads)
    classifier.prepare()
    return classifier


def read_checkpoint(path) -> Classifier:
    """Read a checkpoint as it is stored: with its branches, unless the file has merged kernels alone.

    Parameters
    ----------
    path : path or str
        A checkpoint.pyth of the authors, or one with the same structure.

    Returns
    -------
    Classifier
        Its weights are float32. Its labels are those in the file, else those published for the data set, else numbers.
        Its ``provenance`` has at least "source", the file's name, and "sha256". Its backend is not prepared yet.

    Raises
    ------
    MinirepError
        For a file that is damaged or not a checkpoint, for anything in it that is not plain data, and for weights that
        do not fit the configuration or are not finite.
    """
    _expect_file(path)
    model = read_published(path)
    assert model.recipe is not None  # a checkpoint's configuration always gives one
    return Classifier(model.network, model.recipe, model.labels, model.provenance)


def save(model: Classifier | Network, path, half: bool = False) -> None:
    """Write a model file.

    Parameters
    ----------
    model : Classifier or Network
    path : path or str
        The file becomes a .safetensors if that is its suffix, else a model.npz.
    half : bool
        Store the weights as float16.

    Raises
    ------
    MinirepError
        For a path that cannot be written; for weights that are not finite, are bfloat16, or are too large for ``half``.
    """
    if isinstance(model, Network):
        content = Model(model, None, {}, {})
    else:
        found = type(model).__name__
        expect(isinstance(model, Classifier), f"save: found a {found}, expected a Classifier or a Network")
        content = Model(model.network, model.recipe, model.labels, model.provenance)
    write_model(path, content, half)
