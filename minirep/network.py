"""The network as a tree of small frozen dataclasses, and the forward pass as one walk over it.

    Network
      stem                  Conv 5 x 7, then pooling
      stages
        Block               ReLU(shortcut(x) + mix(sum of path(reduce(x)) over the paths))
          reduce            1 x 1 Conv
          paths             each a cascade of Depthwise layers: branches along one axis, summed
          mix               1 x 1 Convs: expand, project
          shortcut          1 x 1 Conv, or nothing: the identity
      heads                 Linear per head, behind average pooling

AudioRepInceptionNeXt's block has one path of two layers (time, frequency) with several branches and the identity in
each; AudioInceptionNeXt's has several paths of two layers with one branch each and no identity, and no ReLU after
``reduce`` and ``expand``. That is all that tells the two apart. Which axis comes first is just as visible: each layer
names its own.
There is no flag for "merged" either: `minirep.fuse` maps a tree to a tree, and both go through this one forward pass.

Stages have three numberings: people say stage 1 to 4 (`stages` yields "stage1" ...), the tree holds ``stages[0]`` to
``stages[3]``, and checkpoints call them s2 to s5, for their s1 is the stem.

Source: Lau, Rehman, Po, "AudioRepInceptionNeXt", 2024, section 3; the elder: Lau, Rehman, Xie, Ma, 2023, section 2.
"""

import dataclasses
import math
import numbers
from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from . import ops as numpy_ops
from .config import REP, Architecture
from .errors import MinirepError

Array = np.ndarray


@dataclass(frozen=True)
class BatchNorm:
    """Batch norm as evaluated: fixed statistics per channel."""

    scale: Array  # (C,)
    shift: Array  # (C,)
    mean: Array  # (C,)
    variance: Array  # (C,)
    eps: float = 1e-5


@dataclass(frozen=True)
class Conv:
    """A convolution and what follows it.

    weight: (Cin, Cout) for a 1 x 1 convolution; (k, C) for a depthwise one; (kt, kf, Cin, Cout) for the stem.
    """

    weight: Array
    bias: Array | None = None  # (Cout,)
    bn: BatchNorm | None = None
    relu: bool = False


@dataclass(frozen=True)
class Depthwise:
    """ReLU of the sum of depthwise branches that read the same input, and of that input itself where ``identity``."""

    axis: str  # "time" or "frequency"
    branches: tuple[Conv, ...]
    identity: bool


@dataclass(frozen=True)
class Block:
    """One residual block; ``stride`` (time, frequency) acts in ``reduce`` and in the shortcut."""

    reduce: Conv
    paths: tuple[tuple[Depthwise, ...], ...]
    mix: tuple[Conv, ...]
    shortcut: Conv | None
    stride: tuple[int, int]


@dataclass(frozen=True)
class Linear:
    """weight (C, classes), bias (classes,)."""

    weight: Array
    bias: Array


@dataclass(frozen=True)
class Network:
    """The whole tree. ``pool``: the head's pooling window over (T, F)."""

    stem: Conv
    stages: tuple[tuple[Block, ...], ...]
    pool: tuple[int, int]
    heads: dict[str, Linear]

    @property
    def dtype(self) -> np.dtype:
        return self.stem.weight.dtype


# --- the forward pass ---------------------------------------------------------------------------------------------


def block_forward(block: Block, x: Array, ops=numpy_ops) -> Array:
    """(N, T, F, Cin) -> (N, T / stride, F / stride, C)."""
    reduced = ops.pointwise(x, block.reduce, block.stride)
    total = None
    for path in block.paths:
        y = reduced
        for layer in path:
            y = ops.depthwise(y, layer)
        total = y if total is None else total + y
    residual = x if block.shortcut is None else ops.pointwise(x, block.shortcut, block.stride)
    return ops.mix(total, block.mix, residual)


def stages(network: Network, log_mels: Array, ops=numpy_ops) -> Iterator[tuple[str, Array]]:
    """Walk through the network, yielding ("stem", y), ("stage1", y) ... with y in (N, T, F, C).

    log_mels: (N, frames, 128), or one example (frames, 128). Stage i is at 1 / 2^(i + 1) of the input's resolution.
    """
    return walk(as_network(network), as_input(network, log_mels), ops)


def walk(network: Network, x, ops=numpy_ops) -> Iterator[tuple[str, Array]]:
    """The walk itself, over an input (N, T, F, 1) or whatever stands for one in ``ops``."""
    x = ops.stem(x, network.stem)
    yield "stem", x
    for i, blocks in enumerate(network.stages, 1):
        for block in blocks:
            x = block_forward(block, x, ops)
        yield f"stage{i}", x


def features(network: Network, log_mels: Array, ops=numpy_ops) -> Array:
    """The last stage's output, (N, T, F, C); no earlier one is kept."""
    ((_, x),) = deque(stages(network, log_mels, ops), maxlen=1)
    return x


def forward(network: Network, log_mels: Array, ops=numpy_ops) -> dict[str, Array]:
    """Class probabilities {head: (N, classes)} of log-mels (N, frames, 128)."""
    x = features(network, log_mels, ops)
    return {name: ops.head(x, network.pool, linear) for name, linear in network.heads.items()}


def logits(network: Network, log_mels: Array, ops=numpy_ops) -> dict[str, Array]:
    """The heads before their softmax, at every pooling position: {head: (N, T', F', classes)}."""
    x = features(network, log_mels, ops)
    return {name: numpy_ops.logits(x, network.pool, linear) for name, linear in network.heads.items()}


def as_network(network: Network) -> Network:
    """The network itself; MinirepError for anything else."""
    if not isinstance(network, Network):
        raise MinirepError(f"found a {type(network).__name__}, expected a Network (a classifier's is clf.network)")
    return network


def as_input(network: Network, log_mels: Array) -> Array:
    """(N, frames, mels) or (frames, mels) -> (N, frames, mels, 1) in the network's dtype."""
    x = np.asarray(log_mels)
    x = x[None] if x.ndim == 2 else x
    if x.ndim != 3 or 0 in x.shape or x.dtype.kind not in "fiuO":
        raise MinirepError(
            f"log-mels: found an array of shape {np.shape(log_mels)} and type {x.dtype}, "
            "expected numbers (N, frames, mels) or (frames, mels)"
        )
    return x[..., None].astype(network.dtype, copy=False)


# --- building and mapping trees -----------------------------------------------------------------------------------


def build(arch: Architecture, array: Callable[[str, tuple[int, ...]], Array], merged: bool = False) -> Network:
    """Assemble the tree of an architecture; ``array(name, shape)`` supplies each tensor.

    Names are the paths of the tree: "stem.weight", "stages.0.2.paths.0.1.branches.0.bn.mean", "heads.class.bias".
    ``merged``: each depthwise layer holds one kernel, its largest, with a bias in place of branches with batch norms.
    """

    def norm(name, channels):
        return BatchNorm(*(array(f"{name}.{part}", (channels,)) for part in ("scale", "shift", "mean", "variance")))

    def conv(name, shape, relu=False):
        return Conv(array(f"{name}.weight", shape), bn=norm(f"{name}.bn", shape[-1]), relu=relu)

    def merged_conv(name, shape):
        return Conv(array(f"{name}.weight", shape), bias=array(f"{name}.bias", shape[-1:]))

    def depthwise(name, axis, kernels, channels, identity):
        if merged:
            branches = [merged_conv(f"{name}.branches.0", (max(kernels), channels))]
        else:
            branches = [conv(f"{name}.branches.{i}", (k, channels)) for i, k in enumerate(kernels)]
        return Depthwise(axis, tuple(branches), identity)

    def block(name, c_in, c, stage, first):
        sizes = {"time": arch.time_kernels[stage], "frequency": arch.freq_kernels[stage]}
        layers = [(axis, sizes[axis]) for axis in arch.axes]
        rep = arch.kind == REP
        # One path with every branch in each layer, or a path per branch with one in each layer.
        paths = [layers] if rep else [[(axis, (ks[i],)) for axis, ks in layers] for i in range(len(sizes["time"]))]
        stride = (arch.time_strides[stage], arch.freq_strides[stage]) if first else (1, 1)
        changes = c_in != c or stride != (1, 1)  # then, and only then, the shortcut needs a convolution
        return Block(
            reduce=conv(f"{name}.reduce", (c_in, c), relu=rep),
            paths=tuple(
                tuple(
                    depthwise(f"{name}.paths.{i}.{j}", axis, kernels, c, identity=rep)
                    for j, (axis, kernels) in enumerate(path)
                )
                for i, path in enumerate(paths)
            ),
            mix=(
                conv(f"{name}.mix.0", (c, arch.expansion * c), relu=rep),
                conv(f"{name}.mix.1", (arch.expansion * c, c)),
            ),
            shortcut=conv(f"{name}.shortcut", (c_in, c)) if changes else None,
            stride=stride,
        )

    inputs = (arch.width, *arch.widths)
    return Network(
        stem=conv("stem", (5, 7, 1, arch.width), relu=True),
        stages=tuple(
            tuple(
                block(f"stages.{i}.{j}", inputs[i] if j == 0 else arch.widths[i], arch.widths[i], i, j == 0)
                for j in range(depth)
            )
            for i, depth in enumerate(arch.depths)
        ),
        pool=arch.pool,
        heads={
            head: Linear(
                array(f"heads.{head}.weight", (arch.widths[-1], classes)), array(f"heads.{head}.bias", (classes,))
            )
            for head, classes in arch.heads.items()
        },
    )


def random_network(arch: Architecture, seed: int = 0, dtype=np.float32) -> Network:
    """An untrained network with lively weights and batch-norm statistics, for tests, benchmarks and tutorials.

    Weights are scaled by their fan-in (He et al., 2015), so activations neither vanish nor explode.
    """
    rng = np.random.default_rng(seed)

    def array(name, shape):
        part = name.rsplit(".", 1)[-1]
        if part in ("scale", "variance"):
            values = rng.uniform(0.5, 1.5, shape)
            # What a block adds to its shortcut stays small, so that sixteen blocks do not pile up.
            values = values * 0.2 if name.endswith("mix.1.bn.scale") else values
        elif part == "weight":
            fan_in = np.prod(shape[:-1])
            values = rng.normal(0.0, np.sqrt(0.3 / fan_in), shape)
        else:
            values = rng.normal(0.0, 0.1, shape)
        return values.astype(dtype)

    return build(arch, array)


def map_arrays(node, function: Callable[[Array], Array]):
    """The same tree with ``function`` applied to every array."""
    if isinstance(node, np.ndarray):
        return function(node)
    if dataclasses.is_dataclass(node):
        changed = {f.name: map_arrays(getattr(node, f.name), function) for f in dataclasses.fields(node)}
        return dataclasses.replace(node, **changed)
    if isinstance(node, tuple):
        return tuple(map_arrays(child, function) for child in node)
    if isinstance(node, dict):
        return {key: map_arrays(child, function) for key, child in node.items()}
    return node


def check(network: Network) -> Network:
    """The network itself if every shape fits its neighbours; else a MinirepError that names the first misfit."""

    def expect(holds, name, found, expected):
        if not holds:
            raise MinirepError(f"network: {name}: found {found}, expected {expected}")

    def array(value, shape, name):  # None in ``shape`` stands for any number
        found = value.shape if isinstance(value, np.ndarray) else type(value).__name__
        fits = isinstance(value, np.ndarray) and len(found) == len(shape)
        fits = fits and all(s in (None, f) and f > 0 for f, s in zip(found, shape))
        expect(fits, name, found, tuple("any" if s is None else s for s in shape))
        expect(value.dtype == network.dtype, name, value.dtype, network.dtype)

    def conv(node, shape, name):
        expect(isinstance(node, Conv), name, type(node).__name__, "Conv")
        array(node.weight, shape, f"{name}.weight")
        channels = node.weight.shape[-1:]
        if node.bias is not None:
            array(node.bias, channels, f"{name}.bias")
        if node.bn is not None:
            expect(isinstance(node.bn, BatchNorm), f"{name}.bn", type(node.bn).__name__, "BatchNorm")
            for part in ("scale", "shift", "mean", "variance"):
                array(getattr(node.bn, part), channels, f"{name}.bn.{part}")
            eps_fits = isinstance(node.bn.eps, numbers.Real) and 0 <= node.bn.eps < math.inf
            expect(eps_fits, f"{name}.bn.eps", repr(node.bn.eps), "a number of at least 0")
        expect(isinstance(node.relu, bool), f"{name}.relu", repr(node.relu), "True or False")
        return channels[0]

    def block(node, c_in, name):
        expect(isinstance(node, Block), name, type(node).__name__, "Block")
        c = conv(node.reduce, (c_in, None), f"{name}.reduce")
        expect(node.paths and node.mix, name, "no paths or no mix", "at least one of each")
        for i, path in enumerate(node.paths):
            for j, layer in enumerate(path):
                where = f"{name}.paths.{i}.{j}"
                expect(isinstance(layer, Depthwise), where, type(layer).__name__, "Depthwise")
                expect(layer.axis in ("time", "frequency"), f"{where}.axis", repr(layer.axis), "time or frequency")
                expect(layer.branches, where, "no branches", "at least one")
                expect(isinstance(layer.identity, bool), f"{where}.identity", repr(layer.identity), "True or False")
                for b, branch in enumerate(layer.branches):
                    conv(branch, (None, c), f"{where}.branches.{b}")
                    taps = len(branch.weight)
                    expect(taps % 2, f"{where}.branches.{b}.weight", f"{taps} taps", "an odd number of taps")
        for j, mix in enumerate(node.mix):
            c = conv(mix, (c, None), f"{name}.mix.{j}")
        stride_fits = isinstance(node.stride, tuple) and len(node.stride) == 2
        stride_fits = stride_fits and all(type(s) is int and s >= 1 for s in node.stride)
        expect(stride_fits, f"{name}.stride", node.stride, "two whole numbers of at least 1")
        if node.shortcut is None:
            found = f"{c_in} to {c} channels at stride {node.stride}"
            expect(c == c_in and node.stride == (1, 1), f"{name}.shortcut", found, "a convolution for it")
        else:
            conv(node.shortcut, (c_in, c), f"{name}.shortcut")
        return c

    expect(isinstance(network, Network), "tree", type(network).__name__, "Network")
    c = conv(network.stem, (None, None, 1, None), "stem")
    for i, blocks in enumerate(network.stages):
        for j, node in enumerate(blocks):
            c = block(node, c, f"stages.{i}.{j}")
    pool_fits = isinstance(network.pool, tuple) and len(network.pool) == 2
    pool_fits = pool_fits and all(type(p) is int and p >= 1 for p in network.pool)
    expect(pool_fits, "pool", network.pool, "two whole numbers of at least 1")
    expect(isinstance(network.heads, dict) and network.heads, "heads", network.heads, "at least one")
    for head, linear in network.heads.items():
        expect(isinstance(linear, Linear), f"heads.{head}", type(linear).__name__, "Linear")
        array(linear.weight, (c, None), f"heads.{head}.weight")
        array(linear.bias, linear.weight.shape[-1:], f"heads.{head}.bias")
    return network


def as_type(network: Network, dtype) -> Network:
    """The same network computing in another floating-point type; every eps keeps its value."""
    return map_arrays(network, lambda array: array.astype(dtype))


def convs(network: Network) -> Iterator[Conv]:
    """Every convolution of the tree, in the order of the forward pass."""
    yield network.stem
    for block in (block for blocks in network.stages for block in blocks):
        yield block.reduce
        for layer in (layer for path in block.paths for layer in path):
            yield from layer.branches
        yield from block.mix
        if block.shortcut is not None:
            yield block.shortcut


def is_fused(network: Network) -> bool:
    """Whether nothing is left that `minirep.fuse` would merge away: no batch norm, one kernel per depthwise layer."""
    layers = [layer for blocks in network.stages for block in blocks for path in block.paths for layer in path]
    return all(conv.bn is None for conv in convs(network)) and all(
        len(layer.branches) == 1 and not layer.identity for layer in layers
    )
