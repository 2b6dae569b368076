"""The network as a tree of small frozen dataclasses, and the forward pass as one walk over it.

    Network
      stem                  Conv 5 x 7, then max pooling
      stages
        Block               ReLU(shortcut(x) + expand_project(sum of path(entry(x)) over the paths))
          entry             1 x 1 Conv
          paths             each a cascade of Depthwise layers: branches along one axis, summed
          expand_project    1 x 1 Convs: C to 4C channels and back, or the one that both collapse to
          shortcut          1 x 1 Conv, or nothing: the identity
      heads                 Linear per head, after average pooling

AudioRepInceptionNeXt's block has one path of two layers (time, frequency), each with several branches and the identity.
AudioInceptionNeXt's has several paths of two layers, each with one branch and no identity. It has no ReLU after
``entry`` or after the expanding convolution. There is no other difference.
There is no flag for "merged": `minirep.fuse` maps a tree to a tree, and both run in this one forward pass.

Sources: Lau et al., "AudioRepInceptionNeXt", 2024, section 3; Lau et al., "AudioInceptionNeXt", 2023, section 2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from . import ops as numpy_ops
from .errors import expect

Array = np.ndarray


@dataclass(frozen=True)
class BatchNorm:
    """Batch normalization at inference, with fixed statistics per channel."""

    scale: Array  # (C,)
    shift: Array  # (C,)
    mean: Array  # (C,)
    variance: Array  # (C,)
    eps: float = 1e-5


@dataclass(frozen=True)
class Conv:
    """A convolution, and the bias, batch norm and ReLU that may follow it."""

    weight: Array  # (Cin, Cout) of a 1 x 1 convolution; (k, C) of a depthwise one; (kt, kf, Cin, Cout) of the stem
    bias: Array | None = None  # (Cout,)
    bn: BatchNorm | None = None
    relu: bool = False
    bfloat16: bool = False  # its weight is rounded to bfloat16; so is its input where it runs (`minirep.precision`)


@dataclass(frozen=True)
class Depthwise:
    """ReLU of a sum of depthwise branches that read the same input; ``identity`` adds that input itself."""

    axis: str  # "time" or "frequency"
    branches: tuple[Conv, ...]
    identity: bool


@dataclass(frozen=True)
class Block:
    """One residual block; ``stride`` (time, frequency) acts in ``entry`` and in the shortcut."""

    entry: Conv
    paths: tuple[tuple[Depthwise, ...], ...]
    expand_project: tuple[Conv, ...]
    shortcut: Conv | None
    stride: tuple[int, int]

    @property
    def layers(self) -> list[Depthwise]:
        """Depthwise layers of all paths."""
        return [layer for path in self.paths for layer in path]

    @property
    def convs(self) -> list[Conv]:
        """Every convolution, in the order of the forward pass; the shortcut's last."""
        branches = [branch for layer in self.layers for branch in layer.branches]
        return [self.entry, *branches, *self.expand_project, *([self.shortcut] if self.shortcut else [])]

    def map_layers(self, change: Callable[[Depthwise], Depthwise]) -> Block:
        """Return the block with every depthwise layer changed."""
        return replace(self, paths=tuple(tuple(change(layer) for layer in path) for path in self.paths))


@dataclass(frozen=True)
class Linear:
    """A linear (fully connected) layer."""

    weight: Array  # (C, classes)
    bias: Array  # (classes,)


@dataclass(frozen=True)
class Network:
    """A whole network as a tree of weights; `minirep.stages` runs it, and `minirep.fuse` merges it.

    ``pool`` is the average-pooling window of the heads over (T, F), in positions of the last stage. ``heads`` contains
    the `Linear` layer of each head by its name, such as "class".
    """

    stem: Conv
    stages: tuple[tuple[Block, ...], ...]
    pool: tuple[int, int]
    heads: dict[str, Linear]

    @property
    def dtype(self) -> np.dtype:
        """Data type of the weights and the activations."""
        return self.stem.weight.dtype

    @property
    def classes(self) -> dict[str, int]:
        """Number of classes of each head."""
        return {head: linear.bias.size for head, linear in self.heads.items()}

    @property
    def blocks(self) -> dict[str, Block]:
        """Every block by its path in the tree, such as "stages.0.2", in the order of the forward pass."""
        return {f"stages.{i}.{j}": block for i, stage in enumerate(self.stages) for j, block in enumerate(stage)}

    @property
    def layers(self) -> list[Depthwise]:
        """Depthwise layers of all blocks."""
        return [layer for block in self.blocks.values() for layer in block.layers]

    @property
    def convs(self) -> list[Conv]:
        """Every convolution, in the order of the forward pass."""
        return [self.stem, *(conv for block in self.blocks.values() for conv in block.convs)]

    def map_blocks(self, change: Callable[[Block], Block]) -> Network:
        """Return the network with every block changed."""
        return replace(self, stages=tuple(tuple(map(change, blocks)) for blocks in self.stages))


def block_forward(block: Block, x: Array, ops: Any = numpy_ops) -> Array:
    """Run one block: (N, T, F, Cin) -> (N, ceil(T / stride), ceil(F / stride), C)."""
    entered = ops.pointwise(x, block.entry, block.stride)  # (N, T', F', C)
    total = None
    for path in block.paths:
        y = entered
        for layer in path:
            y = ops.depthwise(y, layer)  # (N, T', F', C), along one axis
        total = y if total is None else total + y  # (N, T', F', C)
    residual = x if block.shortcut is None else ops.pointwise(x, block.shortcut, block.stride)  # (N, T', F', C)
    return ops.expand_project(total, block.expand_project, residual)  # (N, T', F', C)


def stages(network: Network, log_mels: Array, ops: Any = numpy_ops) -> Iterator[tuple[str, Array]]:
    """Run the network and yield ("stem", y), ("stage1", y) ... with y in (N, T, F, C).

    Parameters
    ----------
    network : Network
    log_mels : array (N, frames, 128), or one example (frames, 128)
    ops : module or object
        The backend: it has the operations of `minirep.ops`.

    Raises
    ------
    MinirepError
        For anything but a network, or an array of another shape.
    """
    return stage_ends(network, walk(as_network(network), as_input(network, log_mels), ops))


def walk(network: Network, x: Any, ops: Any = numpy_ops) -> Iterator[tuple[str, Any]]:
    """Run the network on an input (N, T, F, 1), or its counterpart in ``ops``; yield (name, y) after every block."""
    x = ops.stem(x, network.stem)  # (N, T / 4, F / 4, w)
    yield "stem", x
    for name, block in network.blocks.items():  # "stages.0.0" ... "stages.3.2"
        x = block_forward(block, x, ops)  # stage i: (N, T / 2^(i + 1), F / 2^(i + 1), w * 2^(i - 1))
        yield name, x


def stage_ends(network: Network, steps: Iterator[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    """Yield from a walk the outputs of the stem and of the last block of each stage, named "stem", "stage1" ..."""
    names = {f"stages.{i}.{len(blocks) - 1}": f"stage{i + 1}" for i, blocks in enumerate(network.stages)}
    return ((names.get(name, name), x) for name, x in steps if name == "stem" or name in names)


def features(network: Network, log_mels: Array, ops: Any = numpy_ops) -> Array:
    """Return the output of the last stage, (N, T, F, C); earlier outputs are not kept."""
    ((_, x),) = deque(stages(network, log_mels, ops), maxlen=1)
    return x


def forward(network: Network, log_mels: Array, ops: Any = numpy_ops) -> dict[str, Array]:
    """Return class probabilities {head: (N, classes)} of log-mels (N, frames, 128)."""
    x = features(network, log_mels, ops)  # (N, T / 32, F / 32, 8w)
    return {name: ops.head(x, network.pool, linear) for name, linear in network.heads.items()}


def as_network(network: Network) -> Network:
    """Return the network itself; raise a MinirepError for anything else."""
    found = type(network).__name__
    expect(isinstance(network, Network), f"found a {found}, expected a Network (a classifier's is clf.network)")
    return network


def as_input(network: Network, log_mels: Array) -> Array:
    """Convert (N, frames, mels) or (frames, mels) to (N, frames, mels, 1) in the network's dtype."""
    x = np.asarray(log_mels)
    x = x[None] if x.ndim == 2 else x
    found = f"log-mels: found an array of shape {np.shape(log_mels)} and type {x.dtype}"
    fits = x.ndim == 3 and 0 not in x.shape and x.dtype.kind in "fiuO"
    expect(fits, f"{found}, expected numbers (N, frames, mels) or (frames, mels)")
    return x[..., None].astype(network.dtype, copy=False)
