"""Does an exported network still compute the same function, in the programs that run it (``verify --exported``)?

The file's weights, labels and recipe are compared with the model's; then ONNX Runtime, and OpenVINO where it is
installed, run the file's own graph, and every block has to stay within the bound of `minirep.proof.bounds`, which holds
for any order of summation.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from ..errors import MinirepError, MissingExtra
from ..files.modelfile import Model
from ..files.onnxfile import LOG_MELS, SAMPLES, onnx_package, read_onnx
from ..frontend import log_mel_views
from ..network import Array, Network, forward
from ..recipe import Recipe
from ..reparam import is_fused
from ..text import one_line, printable
from ..tree import as_type
from .verify import VIEWS, Outcome, Report, Row, check_backend, check_merged, difference

FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}  # of OpenVINO


@dataclass(frozen=True)
class Runtime:
    """An exported network in another program, as `check_backend` runs it: log-mels in, every block and head out."""

    network: Network
    run: Callable[[Array], list[Array]]

    def walk(self, log_mels: Array) -> Iterator[tuple[str, Array]]:
        for name, y in zip(["stem", *self.network.blocks], self.run(log_mels)):
            yield name, np.moveaxis(y, 1, -1)  # (N, C, T, F) -> (N, T, F, C)

    def __call__(self, log_mels: Array) -> dict[str, Array]:
        return dict(zip(self.network.heads, self.run(log_mels)[-len(self.network.heads) :]))


def in_onnx_runtime(graph: bytes) -> tuple[str, Callable[[Array], list[Array]]]:
    """The name and version of ONNX Runtime, and the graph as a function."""
    try:
        import onnxruntime
    except ImportError as error:
        raise MissingExtra("onnxruntime", "onnx", "verify --exported") from error
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3  # errors; they are raised, too
    session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    name = session.get_inputs()[0].name
    return f"ONNX Runtime {onnxruntime.__version__}", lambda x: session.run(None, {name: x})


def in_openvino(graph: bytes) -> tuple[str, Callable[[Array], list[Array]]] | None:
    """The same of OpenVINO; None where it is not installed."""
    try:
        import openvino
    except ImportError:
        return None
    core = openvino.Core()
    model = core.compile_model(core.read_model(graph, b""), "CPU", FLOAT32)
    return f"OpenVINO {openvino.__version__.partition('-')[0]}", lambda x: list(model([x]).values())


def with_exported(report: Report, model: Model, path: Any, log_mels: Array) -> Report:
    """The report with what is found of the exported file at ``path``; MinirepError where a program cannot run it."""
    exported, proto = read_onnx(path)
    onnx = onnx_package("verify --exported")
    network = as_type(model.network, np.float32)
    log_mels, whole = log_mels[:VIEWS], proto.graph.input[0].name == SAMPLES
    given = check_merged(model._replace(network=network), exported, log_mels, exported=True)
    given = replace(given, called="the exported model")
    if given.fields:  # another network, or another head: nothing to compare block by block
        return replace(report, given=given)
    backends, outcome = dict(report.backends), list(report.outcome)
    try:
        extract = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(proto)).extract_model
        blocks = ["stem", *exported.network.blocks, *exported.network.heads]
        graph = extract([LOG_MELS], blocks).SerializeToString()
        for found in (in_onnx_runtime(graph), in_openvino(graph)):
            if found is not None:
                name, runtime = found[0], Runtime(exported.network, found[1])
                for kind, x in inputs(log_mels, whole).items():
                    backends[f"{name}, {kind}"] = check_backend(network, x, runtime)
                outcome.append(compare(name, network, log_mels, runtime))
        if whole and model.recipe:
            name, run = in_onnx_runtime(extract([SAMPLES], [LOG_MELS]).SerializeToString())
            backends[f"{name}, samples"] = [check_front_end(model.recipe, run)]
    except MinirepError:
        raise
    except Exception as error:  # each program has exceptions of its own
        raise MinirepError(one_line(f"{printable(path)}: cannot be run: {str(error).strip()}", 400)) from None
    return replace(report, backends=backends, outcome=outcome, given=given)


def inputs(log_mels: Array, whole: bool) -> dict[str, Array]:
    """On what an exported network runs: sounds, and numbers that reach every channel, another batch of another length.

    A single frame is less than the head's pooling window. ``whole``: behind a front end, which gives whole clips, the
    length stays.
    """
    rng, frames = np.random.default_rng(0), log_mels.shape[1] if whole else log_mels.shape[1] // 3 + 1
    sizes = np.array([1, 10, 100], np.float32)[:, None, None]
    random = sizes * rng.normal(size=(3, frames, log_mels.shape[2])).astype(np.float32)
    return {"sounds": log_mels, "random": random} | ({} if whole else {"one frame": random[:, :1]})


def compare(name: str, network: Network, log_mels: Array, runtime: Runtime) -> Outcome:
    """The probabilities of the exported network beside those of the model as stored, in plain NumPy."""
    reference = as_type(network, np.float64) if is_fused(network) else network
    before, after = forward(reference, log_mels), runtime(log_mels)
    absolute = max(float(np.abs(before[head] - after[head]).max()) for head in before)
    same = np.all([before[head].argmax(axis=1) == after[head].argmax(axis=1) for head in before], axis=0)
    return Outcome("float32", name, absolute, len(same), int(same.sum()))


def check_front_end(recipe: Recipe, run: Callable[[Array], list[Array]]) -> Row:
    """The log-mels of an exported front end, loud and quiet, against minirep's.

    Both are computed in float64, far more exactly than float32 can hold, and rounded once: they may fall on two sides
    of a boundary, and be one unit in the last place apart.
    """
    sizes = np.array([0.3, 1e-2, 1e-4], np.float32)[:, None]
    samples = sizes * np.random.default_rng(0).normal(size=(3, recipe.clip - 1)).astype(np.float32)
    expected = np.concatenate([log_mel_views(clip, recipe.rate, recipe, views=1) for clip in samples])
    return Row(LOG_MELS, None, difference(expected, run(samples)[0], np.spacing(np.abs(expected)).astype(np.float64)))
