"""From the walk over the tree to a list of steps, recorded once for an input size and replayed for every input.

`minirep.network.walk` calls the operations of a backend with the nodes of the tree. The operations here compute
nothing: they note down which kernel is to run on which buffers. The list of steps, a table of integers, then runs in
one compiled function, `program.run`, without returning to Python in between.
"""

import math
from dataclasses import dataclass

import numpy as np

from ..network import Conv, Depthwise, Linear, Network, walk
from ..ops import pool_window
from ..reparam import fold
from .memory import BORDER, LINE, Arena, aligned, pack_kernel, pack_matrix, pack_vector, padded
from .target import LANES, ROWS

DEPTH = 512  # of K taken at a time, and hidden channels of a chunk: a panel of 512 x 64 floats is 128 KiB
TILE = 40 * ROWS  # rows of a tile at most
TILE_FLOATS = 96 * 1024  # of x, hidden and out together in a tile: 384 KiB, for a second-level cache of 512 KiB or more
FEW = 96  # rows up to which threads share columns instead: each reads only its part of the weights

STEM, POINTWISE, DEPTHWISE, MIX, POOL, SOFTMAX = range(6)  # kinds of steps
WORDS = 16  # of a step at most, its kind included
TOTAL = 9  # the word of a DEPTHWISE step that says what to add to its result


@dataclass(frozen=True)
class Buffer:
    """The number of a buffer; in the words of a step it stands for the buffer's address."""

    number: int


class Tensor:
    """An activation that will be (N, T, F, C) in a buffer, which is free again when the walk lets go of it."""

    def __init__(self, recorder: "Recorder", shape: tuple[int, ...]):
        self.recorder, self.shape = recorder, shape
        self.channels = padded(shape[3])  # as they lie in memory
        self.rows = shape[0] * shape[1] * shape[2]
        self.buffer = recorder.take_buffer(self.rows * self.channels)

    def __add__(self, other: "Tensor") -> "Tensor":
        """The sum over the paths of a block: the depthwise step that has just made ``other`` adds this one to it."""
        self.recorder.steps[-1][1 + TOTAL] = self.buffer
        return other

    def __del__(self):
        self.recorder.free.append(self.buffer)


class Recorder:
    """The operations of a backend, as in `minirep.ops`, that record steps: [kind, words ...]."""

    def __init__(self, weights: "Weights", threads: int):
        self.weights, self.threads = weights, threads
        self.steps: list[list] = []
        self.sizes: list[int] = []  # floats of each buffer
        self.free: list[Buffer] = []
        self.scratch = TILE_FLOATS  # floats that each thread needs for itself

    def take_buffer(self, floats: int) -> Buffer:
        """The smallest free buffer that is large enough, else the largest, which grows, else a new one."""
        if not self.free:
            self.free.append(Buffer(len(self.sizes)))
            self.sizes.append(0)
        self.free.sort(key=lambda b: (self.sizes[b.number] < floats, abs(self.sizes[b.number] - floats)))
        best = self.free.pop(0)
        self.sizes[best.number] = max(self.sizes[best.number], floats)
        return best

    def stem(self, x: "Input", conv: Conv) -> Tensor:
        n, t, f = x.shape
        out = Tensor(self, (n, -(-t // 4), -(-f // 4), conv.weight.shape[-1]))
        self.scratch = max(self.scratch, 4 * -(-f // 2) * out.channels)
        self.steps.append([STEM, x.buffer, n, t, f, *conv.weight.shape[:2], *self.weights.matrix(conv), out.buffer])
        return out

    def pointwise(self, x: Tensor, conv: Conv, stride=(1, 1), residual: Tensor | None = None, relu=None) -> Tensor:
        n, t, f, _ = x.shape
        out = Tensor(self, (n, -(-t // stride[0]), -(-f // stride[1]), conv.weight.shape[-1]))
        layer = self.weights.matrix(conv, relu)
        rest = 0 if residual is None else residual.buffer
        self.steps.append([POINTWISE, x.buffer, t, f, x.channels, *stride, out.rows, *layer, out.buffer, rest])
        return out

    def depthwise(self, x: Tensor, layer: Depthwise) -> Tensor:
        n, t, f, _ = x.shape
        out = Tensor(self, x.shape)
        axis = (n, t, f) if layer.axis == "time" else (n * t, f, 1)
        self.steps.append([DEPTHWISE, x.buffer, *axis, x.channels, *self.weights.kernels(layer), 0, out.buffer])
        return out

    def expand_project(self, x: Tensor, convs: tuple[Conv, ...], residual: Tensor) -> Tensor:
        few = self.threads > 1 and x.rows <= FEW  # then the threads share columns, and have to meet in between
        together = 1 if len(convs) == 1 or few else 2
        for conv in convs[:-together]:
            x = self.pointwise(x, conv)
        if together == 1:
            return self.pointwise(x, convs[-1], residual=residual, relu=1)
        expand, project = convs[-2:]
        out = Tensor(self, (*x.shape[:3], project.weight.shape[-1]))
        layers = *self.weights.matrix(expand), *self.weights.matrix(project)
        self.steps.append([MIX, x.buffer, x.rows, x.channels, *layers, out.buffer, residual.buffer])
        return out

    def average_pool(self, x: Tensor, window: tuple[int, int]) -> Tensor:
        n, t, f, c = x.shape
        out = Tensor(self, (n, t - window[0] + 1, f - window[1] + 1, c))
        self.steps.append([POOL, x.buffer, n, t, f, x.channels // LANES, *window, out.buffer])
        return out

    def softmax(self, x: Tensor) -> Tensor:
        n, t, f, c = x.shape
        out = Tensor(self, (n, 1, 1, c))
        self.steps.append([SOFTMAX, x.buffer, n, t * f, x.channels // LANES, out.buffer])
        return out


def whole_vectors(linear: Linear) -> Conv:
    """A head as a 1 x 1 convolution, with classes that are impossible in what its last vector has left."""
    rest = padded(len(linear.bias)) - len(linear.bias)
    return Conv(np.pad(linear.weight, ((0, 0), (0, rest))), np.pad(linear.bias, (0, rest), constant_values=-np.inf))


class Weights:
    """The packed weights of each node of a tree, and what the steps say of them. Batch norms are folded first."""

    def __init__(self, network: Network):
        self._packed: dict[int, tuple] = {}  # id of the node: (what must stay alive, words)
        self.heads = {name: whole_vectors(linear) for name, linear in network.heads.items()}
        layers = [*network.convs, *self.heads.values()]
        shapes = [(layer.weight.size // layer.weight.shape[-1], layer.weight.shape[-1]) for layer in layers]
        # Of a matrix (k, n), or of a kernel with its border; and a bias for each; both up to the end of a cache line.
        self._take = Arena(sum((k + 2 * BORDER + 1) * padded(n) + 2 * LINE for k, n in shapes)).take

    def matrix(self, conv: Conv, relu: int | None = None) -> tuple[int, ...]:
        """(k, n, address of the weight, address of the bias, ReLU): a `matmul.Layer`."""
        if id(conv) not in self._packed:
            folded = fold(conv)
            weight = pack_matrix(folded.weight.reshape(-1, folded.weight.shape[-1]), self._take)
            bias = pack_vector(folded.bias, self._take)
            words = weight.size // bias.size, bias.size, weight.ctypes.data, bias.ctypes.data, int(conv.relu)
            self._packed[id(conv)] = (conv, weight, bias), words
        words = self._packed[id(conv)][1]
        return words if relu is None else (*words[:4], relu)

    def kernels(self, layer: Depthwise) -> tuple[int, ...]:
        """(address of the branches, their number, address of the summed bias, identity)."""
        if id(layer) not in self._packed:
            folded = [fold(branch) for branch in layer.branches]
            kernels = [pack_kernel(branch.weight, self._take) for branch in folded]
            bias = pack_vector(sum(branch.bias for branch in folded), self._take)
            branches = np.array([(k.ctypes.data, len(b.weight)) for k, b in zip(kernels, folded)], np.int64)
            words = branches.ctypes.data, len(branches), bias.ctypes.data, int(layer.identity)
            self._packed[id(layer)] = (layer, kernels, bias, branches), words
        return self._packed[id(layer)][1]


class Input:
    """Stands for the log-mels (N, T, F) while the walk is recorded: always buffer 0."""

    def __init__(self, recorder: Recorder, shape: tuple[int, int, int], frame: tuple[int, int, int]):
        self.shape = shape
        self.buffer = recorder.take_buffer(int(np.prod(frame)))


class Plan:
    """The steps for one input shape (N, T, F), where each stage ends, and where the probabilities will be."""

    def __init__(self, network: Network, weights: Weights, shape: tuple[int, int, int], threads: int):
        recorder = Recorder(weights, threads)
        kt, kf = network.stem.weight.shape[:2]
        self.frame = shape[0], shape[1] + kt - 1, shape[2] + kf - 1  # the input in a frame of zeros
        self.inside = slice(None), slice(kt // 2, kt // 2 + shape[1]), slice(kf // 2, kf // 2 + shape[2])
        self.ends = []  # (name, number of steps, buffer of the result, its shape)
        for name, x in walk(network, Input(recorder, shape, self.frame), recorder):
            self.ends.append((name, len(recorder.steps), x.buffer, x.shape))
        pooled = recorder.average_pool(x, pool_window(network.pool, x))
        heads = {name: recorder.softmax(recorder.pointwise(pooled, head)) for name, head in weights.heads.items()}
        self.heads = {name: (p.buffer, (shape[0], 1, 1, len(network.heads[name].bias))) for name, p in heads.items()}
        self.steps, self.sizes, self.scratch, self.threads = recorder.steps, recorder.sizes, recorder.scratch, threads


class Workspace:
    """Memory for one forward pass at a time, and the steps of a plan with this memory's addresses filled in."""

    def __init__(self, plan: Plan):
        self.buffers = [aligned(size) for size in plan.sizes]
        self.input = self.buffers[0][: np.prod(plan.frame)].reshape(plan.frame)[plan.inside]
        self.scratch = [aligned(plan.scratch) for _ in range(plan.threads)]
        self.tables = np.zeros((plan.threads, 4, TILE + ROWS), np.int64)  # of row addresses, for each thread
        addresses = [buffer.ctypes.data for buffer in self.buffers]
        self.steps = np.zeros((len(plan.steps), WORDS), np.int64)
        for row, step in zip(self.steps, plan.steps):
            row[: len(step)] = [addresses[w.number] if isinstance(w, Buffer) else w for w in step]
        # Asking an array for its address takes longer than a small step.
        self.steps_at = self.steps.ctypes.data
        self.tables_at = [tables.ctypes.data for tables in self.tables]
        self.scratch_at = [scratch.ctypes.data for scratch in self.scratch]
        self.probabilities = {name: self.view(*place)[:, 0, 0] for name, place in plan.heads.items()}

    def view(self, buffer: Buffer, shape: tuple[int, ...]) -> np.ndarray:
        """A buffer as (N, T, F, C), less the channels that fill up its vectors."""
        lying = (*shape[:3], padded(shape[3]))
        return self.buffers[buffer.number][: math.prod(lying)].reshape(lying)[..., : shape[3]]
