"""`.onnx`: a network as a graph of standard operators, for ONNX Runtime, OpenVINO and other programs.

The forward pass (`minirep.network.walk`) builds the graph: `Graph` is a backend whose operations add nodes.
The outputs of the stem and of the blocks have the names that `walk` yields, the name of a weight is its path in the
tree, and the metadata contain the header of a model file. So `read_onnx` can restore the model.

Operators are those of ONNX's operator set 17, https://onnx.ai/onnx/operators. Their tensors are (N, C, T, F).
"""

import dataclasses
import math
from typing import Any

import numpy as np

from .. import __version__
from ..errors import MinirepError, MissingExtra, expect
from ..frontend import FFT_SIZE, FLOOR, hann, mel_bands
from ..network import Array, Conv, Depthwise, Linear, Network, features, walk
from ..recipe import MELS, Recipe
from ..reparam import fuse
from ..text import one_line, printable, quoted
from ..tree import as_type, named_arrays
from .modelfile import Model, as_text, contents, header_of, model_errors, model_of
from .write import irregular, replacing

OPERATORS, FORMAT_VERSION = 17, 8  # of ONNX: runtimes since 2022 read them
LOG_MELS, SAMPLES = "log_mels", "samples"  # inputs


def onnx_package(purpose: str) -> Any:
    """Import the package onnx; raise MissingExtra if it is not installed."""
    try:
        import onnx
    except ImportError as error:
        raise MissingExtra("onnx", "onnx", purpose) from error
    return onnx


@dataclasses.dataclass
class Tensor:
    """The output of a node; two of them can be added."""

    graph: "Graph"
    name: str

    def __add__(self, other: "Tensor") -> "Tensor":
        return self.graph.node("Add", self, other)


class Graph:
    """A backend whose operations add nodes to a graph, for `minirep.network.walk`."""

    def __init__(self, onnx: Any, network: Network):
        self.onnx = onnx
        self.nodes: list[Any] = []
        self.constants: dict[str, Any] = {}
        self.names = {id(array): name for name, array in named_arrays(network).items()}

    def node(self, kind: str, *inputs: Any, **attributes: Any) -> Tensor:
        """Add a node and return its output; inputs that are not a `Tensor` become constants."""
        names = [x.name if isinstance(x, Tensor) else self.constant(np.asarray(x)) for x in inputs]
        output = f"{kind}_{len(self.nodes)}"
        self.nodes.append(self.onnx.helper.make_node(kind, names, [output], output, **attributes))
        return Tensor(self, output)

    def constant(self, array: Array, name: str = "") -> str:
        name = name or self.names.get(id(array)) or f"constant_{len(self.constants)}"
        self.constants[name] = self.onnx.numpy_helper.from_array(np.ascontiguousarray(array), name)
        return name

    def named(self, x: Tensor, name: str) -> Tensor:
        """Rename the output of the last node."""
        self.nodes[-1].output[0] = name
        x.name = name
        return x

    def conv(self, x: Tensor, conv: Conv | Linear, kernel: Array, **attributes: Any) -> Tensor:
        """Add a convolution with its bias and batch norm; ``kernel`` is its weight as (Cout, Cin, kt, kf)."""
        weight = Tensor(self, self.constant(kernel, self.names[id(conv.weight)]))
        bias = () if conv.bias is None else (conv.bias,)
        pads = [kernel.shape[2] // 2, kernel.shape[3] // 2] * 2
        y = self.node("Conv", x, weight, *bias, pads=pads, **attributes)
        bn = getattr(conv, "bn", None)
        if bn is not None:
            parts = (bn.scale, bn.shift, bn.mean, bn.variance)
            y = self.node("BatchNormalization", y, *parts, epsilon=float(bn.eps))
        return y

    def relu(self, x: Tensor, wanted: bool = True) -> Tensor:
        return self.node("Relu", x) if wanted else x

    def stem(self, x: Tensor, conv: Conv) -> Tensor:
        y = self.conv(x, conv, conv.weight.transpose(3, 2, 0, 1), strides=[2, 2])
        return self.node("MaxPool", self.relu(y, conv.relu), kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])

    def pointwise(self, x: Tensor, conv: Conv, stride: tuple[int, int] = (1, 1)) -> Tensor:
        return self.relu(self.conv(x, conv, conv.weight.T[:, :, None, None], strides=stride), conv.relu)

    def depthwise(self, x: Tensor, layer: Depthwise) -> Tensor:
        total = x if layer.identity else None
        for branch in layer.branches:
            k, c = branch.weight.shape
            kernel = branch.weight.T.reshape(c, 1, *((k, 1) if layer.axis == "time" else (1, k)))
            y = self.relu(self.conv(x, branch, kernel, group=c), branch.relu)
            total = y if total is None else total + y
        assert total is not None  # a layer has at least one branch
        return self.relu(total)

    def expand_project(self, x: Tensor, convs: tuple[Conv, ...], residual: Tensor) -> Tensor:
        for conv in convs[:-1]:
            x = self.pointwise(x, conv)
        return self.relu(self.pointwise(x, dataclasses.replace(convs[-1], relu=False)) + residual)

    def pooled(self, x: Tensor, pool: tuple[int, int], width: int) -> Tensor:
        """Add the head's average pooling; ``width`` is the fixed length of the frequency axis.

        The time axis can have any length. Below that of the window, zeros pad it, and the mean is over its own length.
        """
        length = self.node("Shape", x, start=2, end=3)
        missing = self.node("Max", self.node("Sub", np.array([pool[0]]), length), np.array([0]))
        zeros = self.node("Concat", np.zeros(6, np.int64), missing, np.array([0]), axis=0)  # at the end of time
        y = self.node("AveragePool", self.node("Pad", x, zeros), kernel_shape=[pool[0], min(pool[1], width)])
        inside = self.node("Cast", self.node("Min", length, np.array([pool[0]])), to=self.onnx.TensorProto.FLOAT)
        return self.node("Mul", y, self.node("Div", np.array([pool[0]], np.float32), inside))

    def head(self, x: Tensor, linear: Linear, name: str) -> None:
        """Add a softmax at every position of pooled features, then the mean over positions."""
        y = self.node("Softmax", self.conv(x, linear, linear.weight.T[:, :, None, None]), axis=1)
        self.named(self.node("ReduceMean", y, axes=[2, 3], keepdims=0), name)

    def log_mel(self, samples: Tensor, recipe: Recipe) -> Tensor:
        """Add `minirep.frontend.log_mel_views` of one view, also in float64: (N, clip - 1) -> (N, frames, 128)."""
        centred = np.zeros(FFT_SIZE)
        start = (FFT_SIZE - recipe.window) // 2
        centred[start : start + recipe.window] = hann(recipe.window)
        x = self.node("Cast", samples, to=self.onnx.TensorProto.DOUBLE)
        x = self.node("Pad", x, np.array([0, FFT_SIZE // 2] * 2))
        x = self.node("STFT", x, np.array(recipe.hop), centred, onesided=1)  # (N, frames, 1025, 2)
        power = self.node("ReduceSum", self.node("Mul", x, x), np.array([3]), keepdims=0)
        x = self.node("MatMul", self.node("Sqrt", power), mel_bands(recipe.rate))
        x = self.node("Cast", self.node("Log", self.node("Add", x, FLOOR)), to=self.onnx.TensorProto.FLOAT)
        last = (recipe.clip - 1) // recipe.hop
        return self.named(self.node("Gather", x, np.minimum(np.arange(recipe.frames), last), axis=1), LOG_MELS)


def draw(onnx: Any, network: Network, recipe: Recipe | None, samples: bool) -> Any:
    """Build the graph from log-mels (N, T, 128) or samples (N, clip - 1) to probabilities (N, classes) of each head."""
    graph, shape = Graph(onnx, network), ["N", "T", MELS]
    name = SAMPLES if samples else LOG_MELS
    x = Tensor(graph, name)
    if samples:
        expect(recipe is not None, "found no recipe, which the front end is made from; expected a model with one")
        assert recipe is not None
        shape, x = ["N", recipe.clip - 1], graph.log_mel(x, recipe)
    for block, x in walk(network, graph.node("Unsqueeze", x, np.array([1])), graph):  # noqa: B020 (the last one)
        graph.named(x, block)
    width = features(network, np.zeros((1, 1, MELS), np.float32)).shape[2]
    x = graph.pooled(x, network.pool, width)
    for head, linear in network.heads.items():
        graph.head(x, linear, head)
    value, number = onnx.helper.make_tensor_value_info, onnx.TensorProto.FLOAT
    outputs = [value(head, number, ["N", classes]) for head, classes in network.classes.items()]
    inputs = [value(name, number, shape)]
    return onnx.helper.make_graph(graph.nodes, "minirep", inputs, outputs, list(graph.constants.values()))


def write_onnx(path: Any, model: Model, branches: bool = False, samples: bool = False) -> None:
    """Write a network as an ONNX graph in float32, merged unless ``branches``; it needs the package onnx.

    With ``samples``, the graph includes the front end: its input is one clip of samples at the recipe's rate. Raises a
    MinirepError if the network is of another type than float32 and float16, or the file cannot be written.
    """
    onnx = onnx_package(f"{printable(path)}: writing .onnx")
    found = model.network.dtype
    expect(found in (np.float16, np.float32), f"{printable(path)}: found a network in {found}, expected float32: "
           "minirep.tree.as_type(network, 'float32') rounds it")  # fmt: skip
    network = as_type(model.network, np.float32)
    network = network if branches else fuse(network)
    header, _ = contents(model._replace(network=network), path)
    try:
        graph = draw(onnx, network, model.recipe, samples)
        proto = onnx.helper.make_model(graph, producer_name="minirep", producer_version=__version__,
                                       opset_imports=[onnx.helper.make_opsetid("", OPERATORS)])  # fmt: skip
        proto.ir_version = FORMAT_VERSION
        onnx.helper.set_model_props(proto, as_text(header) | {"minirep": __version__})
        onnx.checker.check_model(proto, full_check=True)
        content = proto.SerializeToString()
    except (ValueError, MinirepError, onnx.checker.ValidationError, onnx.shape_inference.InferenceError) as error:
        raise MinirepError(one_line(f"{printable(path)}: not written: {str(error).strip()}")) from None
    with replacing(path) as file:
        file.write(content)


def read_onnx(path: Any) -> tuple[Model, Any]:
    """Read a file of `write_onnx`; return the model from its metadata and weights, and its onnx.ModelProto."""
    onnx = onnx_package(f"{printable(path)}: reading .onnx")
    found = irregular(path)
    expect(found is None, f"{printable(path)}: found {found}, expected a file: an .onnx")
    with model_errors(path):
        with open(path, "rb") as file:
            content = file.read()
        try:
            proto = onnx.load_model_from_string(content)
        except Exception as error:  # of protobuf, whose errors cannot be named without importing it
            raise MinirepError(f"not an ONNX model: {error}") from None
        arrays = {tensor.name: tensor for tensor in proto.graph.initializer}
        elsewhere = any(tensor.data_location == onnx.TensorProto.EXTERNAL for tensor in arrays.values())
        expect(not elsewhere, "found weights in another file, expected all in this one")

        def fetch(name: str, shape: tuple[int, ...]) -> Array:
            array = onnx.numpy_helper.to_array(arrays[name])
            expect(array.dtype == np.float32 and array.size == math.prod(shape),
                   f"array {name}: found {array.dtype} {array.shape}, expected float32 for {shape}")  # fmt: skip
            if len(shape) == 4:  # the stem's
                return array.transpose(2, 3, 1, 0).reshape(shape)
            return array if len(shape) == 1 else array.reshape(len(array), -1).T.reshape(shape)

        metadata = {entry.key: entry.value for entry in proto.metadata_props}
        once = len(arrays) == len(proto.graph.initializer) and len(metadata) == len(proto.metadata_props)
        expect(once, "found arrays or metadata twice, expected each once")
        header = header_of(metadata)
        model = model_of(header, {name for name in arrays if not name.startswith("constant_")}, fetch)
        # A runtime offers the inputs and outputs that the graph declares, whatever its nodes are.
        inputs, outputs = ([value.name for value in values] for values in (proto.graph.input, proto.graph.output))
        fits = inputs in ([LOG_MELS], [SAMPLES]) and outputs == list(model.network.heads)
        expect(fits, f"found inputs {quoted(inputs)} and outputs {quoted(outputs)}, expected {LOG_MELS} or {SAMPLES}, "
               f"and {', '.join(model.network.heads)}")  # fmt: skip
        return model, proto
