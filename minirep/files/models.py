"""`load` and `save`: a classifier from either kind of model file, and back into one."""

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


def default_model():
    """Where the model that ships with minirep lies: a path, or in a bundle (`minirep.files.bundle`) a part of it."""
    data = resources.files("minirep").joinpath("data")
    own = data.joinpath("bundled.npz")
    return own if own.is_file() else data.joinpath("digits.npz")


def read(path) -> Model:
    """Read either kind of file as it is stored, merged or not; no backend is chosen and nothing is compiled."""
    if not isinstance(path, (str, os.PathLike)):
        if not hasattr(path, "open"):
            raise MinirepError(f"found a {type(path).__name__}, expected the path of a model.npz or checkpoint.pyth")
        with path.open("rb") as file:  # a part of a bundle
            return read_model(file)
    _expect_file(path)
    other = Path(path).suffix.lower() == ".onnx"
    expect(not other, f"{printable(path)}: found an .onnx, which is for other programs; expected its model.npz")
    if Path(path).suffix in (".npz", SUFFIX) or is_model(path):
        return read_model(path)
    return read_published(path)


def _expect_file(path) -> None:
    """Refuse a named pipe, which would have us wait, and whatever else is no file."""
    found = irregular(path)
    expect(found is None, f"{printable(path)}: found {found}, expected a file: model.npz or checkpoint.pyth")


def load(
    path=None, backend: str = "auto", fused: bool = True, threads: int | None = None, precision: str | None = None
) -> Classifier:
    """Load a classifier from `model.npz`, `.safetensors` or the authors' `checkpoint.pyth`; else the shipped model.

    ``fused`` merges what is not merged yet; with False the network stays as it is stored (the shipped one: merged).
    ``threads``: how many the compiled backend uses; by default MINIREP_NUM_THREADS, else all cores allowed, as far
    as there is work for them: a small network on a short clip gets one.
    ``precision``: "float32" or "bfloat16" (`minirep.precision`); by default that in which the network is stored.
    """
    path = default_model() if path is None else path
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

    All weights become float32. Labels are those that the file carries, else the published ones of its data set, else
    numbers. ``provenance`` holds at least "source", the file's name, and "sha256". The classifier prepares its backend
    when it is first used.

    Raises MinirepError, in one line with the file's name, for a file that is not a checkpoint or is damaged, for
    anything in it that is not plain data, and for weights that do not fit the configuration or are not finite.
    """
    _expect_file(path)
    model = read_published(path)
    assert model.recipe is not None  # a checkpoint's configuration always gives one
    return Classifier(model.network, model.recipe, model.labels, model.provenance)


def save(model: Classifier | Network, path, half: bool = False) -> None:
    """Write a classifier, or a bare network, to ``path``: `model.npz`, or .safetensors where that is its suffix.

    ``half`` stores its weights as float16.
    """
    if isinstance(model, Classifier):
        write_model(path, Model(model.network, model.recipe, model.labels, model.provenance), half)
    elif isinstance(model, Network):
        write_model(path, Model(model, None, {}, {}), half)
    else:
        raise MinirepError(f"save: found a {type(model).__name__}, expected a Classifier or a Network")
