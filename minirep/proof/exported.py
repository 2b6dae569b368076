"""Check that an exported network computes the same function in other programs (``verify --exported``).

The file's weights, labels and recipe are compared with the model's. Then ONNX Runtime, and OpenVINO if it is installed,
run the graph. Every block must stay within the bound of `minirep.proof.bounds`, which holds in any order of summation.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
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
from .verify import VIEWS, Report, Row, check_backend, check_merged, compare_outcomes, difference, inputs

FLOAT32 = {"INFERENCE_PRECISION_HINT": "f32", "EXECUTION_MODE_HINT": "ACCURACY"}  # of OpenVINO


@dataclass(frozen=True)
class Runtime:
    """An exported network in another program, for `check_backend`; ``run`` maps log-mels to every block and head."""

    network: Network
    run: Callable[[Array], list[Array]]

    def walk(self, log_mels: Array) -> Iterator[tuple[str, Array]]:
        for name, y in zip(["stem", *self.network.blocks], self.run(log_mels)):
            yield name, np.moveaxis(y, 1, -1)  # (N, C, T, F) -> (N, T, F, C)

    def __call__(self, log_mels: Array) -> dict[str, Array]:
        return dict(zip(self.network.heads, self.run(log_mels)[-len(self.network.heads) :]))


def in_onnx_runtime(graph: bytes) -> tuple[str, Callable[[Array], list[Array]]]:
    """Return the name and version of ONNX Runtime, and the graph as a function."""
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
    """Return the same for OpenVINO; None if it is not installed."""
    try:
        import openvino
    except ImportError:
        return None
    core = openvino.Core()
    model = core.compile_model(core.read_model(graph, b""), "CPU", FLOAT32)
    return f"OpenVINO {openvino.__version__.partition('-')[0]}", lambda x: list(model([x]).values())


def with_exported(report: Report, model: Model, path: Any, log_mels: Array) -> Report:
    """Add to the report the exported file at ``path``; raise a MinirepError if a program cannot run it."""
    exported, proto = read_onnx(path)
    onnx = onnx_package("verify --exported")
    network = as_type(model.network, np.float32)
    log_mels, whole = log_mels[:VIEWS], proto.graph.input[0].name == SAMPLES
    given = check_merged(model._replace(network=network), exported, log_mels, exported=True)
    given = replace(given, called="the exported model")
    if given.fields:  # another network, or another head: nothing to compare block by block
        return replace(report, given=given)
    backends, outcome = dict(report.backends), list(report.outcome)
    reference = as_type(network, np.float64) if is_fused(network) else network
    try:
        extract = onnx.utils.Extractor(onnx.shape_inference.infer_shapes(proto)).extract_model
        blocks = ["stem", *exported.network.blocks, *exported.network.heads]
        graph = extract([LOG_MELS], blocks).SerializeToString()
        for found in (in_onnx_runtime(graph), in_openvino(graph)):
            if found is not None:
                name, runtime = found[0], Runtime(exported.network, found[1])
                for kind, x in inputs(log_mels, whole).items():
                    backends[f"{name}, {kind}"] = check_backend(network, x, runtime)
                outcome += compare_outcomes("float32", partial(forward, reference), {name: runtime}, log_mels)
        if whole and model.recipe:
            name, run = in_onnx_runtime(extract([SAMPLES], [LOG_MELS]).SerializeToString())
            backends[f"{name}, samples"] = [check_front_end(model.recipe, run)]
    except MinirepError:
        raise
    except Exception as error:  # each program has exceptions of its own
        raise MinirepError(one_line(f"{printable(path)}: cannot be run: {str(error).strip()}", 400)) from None
    return replace(report, backends=backends, outcome=outcome, given=given)


def check_front_end(recipe: Recipe, run: Callable[[Array], list[Array]]) -> Row:
    """Compare the log-mels of an exported front end, for loud and quiet sound, with minirep's.

    Both are computed in float64 and rounded once to float32. On two sides of a rounding boundary, they differ by one
    unit in the last place (ulp).
    """
    sizes = np.array([0.3, 1e-2, 1e-4], np.float32)[:, None]
    samples = sizes * np.random.default_rng(0).normal(size=(3, recipe.clip - 1)).astype(np.float32)
    expected = np.concatenate([log_mel_views(clip, recipe.rate, recipe, views=1) for clip in samples])
    return Row(LOG_MELS, None, difference(expected, run(samples)[0], np.spacing(np.abs(expected)).astype(np.float64)))
