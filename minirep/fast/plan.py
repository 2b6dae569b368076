"""The forward pass recorded as a list of steps, once for each input shape, and replayed for every input.

`minirep.network.walk` calls the operations of a backend with the nodes of the tree. The operations here compute
nothing: each appends a step (see `steps`) that names a kernel, its weights, and the tensors it reads and writes. After
the walk, tensors that are never needed at the same time get the same memory. `program.run` then replays the steps in
one compiled function, without returning to Python in between.
"""

import math

import numpy as np

from ..network import Conv, Depthwise, Linear, Network, walk
from ..ops import pool_window
from ..reparam import fold
from . import steps
from .memory import BORDER, LINE, Arena, aligned, pack_kernel, pack_matrix, pack_vector, padded, pair_up
from .target import COLUMN_SPLIT_ROWS, K_BLOCK, LANES, PAIRS, PANEL, ROWS, TILE_FLOATS, TILE_ROWS, TILE_SIDE, TILES


class PlannedTensor:
    """An activation (N, T, F, C) before it has memory; a step holds it instead of its address."""

    def __init__(self, recorder: "Recorder", shape: tuple[int, int, int, int], channels: int | None = None):
        self.recorder, self.shape = recorder, shape
        self.channels = padded(shape[3]) if channels is None else channels  # in memory
        self.rows = math.prod(shape[:3])
        self.floats = self.rows * self.channels

    def __add__(self, other: "PlannedTensor") -> "PlannedTensor":
        # `network.block_forward` sums the paths of a block as ``total + y``, right after the last depthwise layer of a
        # path has made y. That layer's kernel adds ``total`` while its results are still in registers. An addition as a
        # step of its own would read both tensors from memory again.
        self.recorder.steps[-1] = self.recorder.steps[-1]._replace(total=self)
        return other


class Recorder:
    """A backend with the operations of `minirep.ops`, each of which records a step."""

    def __init__(self, weights: "Weights", threads: int):
        self.weights, self.threads = weights, threads
        self.steps: list[tuple] = []
        self.scratch = TILE_FLOATS  # floats of scratch memory that each thread needs

    def record(self, step: tuple) -> PlannedTensor:
        """Append a step, and return its output."""
        self.steps.append(step)
        return step.out

    def stem(self, x: PlannedTensor, conv: Conv) -> PlannedTensor:
        kt, kf = conv.weight.shape[:2]
        n, t, f = x.shape[0], x.shape[1] - kt + 1, x.shape[2] - kf + 1
        out = PlannedTensor(self, (n, -(-t // 4), -(-f // 4), conv.weight.shape[-1]))
        self.scratch = max(self.scratch, 4 * -(-f // 2) * out.channels)  # see `stem.stem_kernel`
        return self.record(steps.StemStep(x=x, n=n, time=t, freq=f, patch_time=kt, patch_freq=kf,
            conv=self.weights.packed_conv(conv), relu=int(conv.relu), out=out))  # fmt: skip

    def hold_rounded(self, x: PlannedTensor, conv: Conv) -> None:
        """Reserve scratch memory for more rows of x, or of hidden channels, in bfloat16: AMX reads whole tiles."""
        if conv.bfloat16 and TILES:
            self.scratch = max(self.scratch, TILE_FLOATS + 2 * TILE_SIDE * max(x.channels, K_BLOCK))

    def pointwise(self, x: PlannedTensor, conv: Conv, stride=(1, 1), residual=0, relu=False) -> PlannedTensor:
        n, t, f, _ = x.shape
        self.hold_rounded(x, conv)
        out = PlannedTensor(self, (n, -(-t // stride[0]), -(-f // stride[1]), conv.weight.shape[-1]))
        return self.record(steps.PointwiseStep(x=x, time=t, freq=f, channels=x.channels,
            time_stride=stride[0], freq_stride=stride[1], rows=out.rows, conv=self.weights.packed_conv(conv),
            relu=int(conv.relu or relu), residual=residual, out=out))  # fmt: skip

    def depthwise(self, x: PlannedTensor, layer: Depthwise) -> PlannedTensor:
        n, t, f, _ = x.shape
        outer, length, inner = (n, t, f) if layer.axis == "time" else (n * t, f, 1)
        branches, bias = self.weights.packed_branches(layer)
        return self.record(steps.DepthwiseStep(x=x, outer=outer, length=length, inner=inner, channels=x.channels,
            branches=branches, branch_count=len(layer.branches), bias=bias, identity=int(layer.identity), total=0,
            out=PlannedTensor(self, x.shape)))  # fmt: skip

    def expand_project(self, x: PlannedTensor, convs: tuple[Conv, ...], residual: PlannedTensor) -> PlannedTensor:
        # With few rows the threads split the columns. Every thread then needs all hidden channels, so expand and
        # project are steps of their own, with a barrier between them.
        apart = len(convs) == 1 or (self.threads > 1 and x.rows <= COLUMN_SPLIT_ROWS)
        for conv in convs[: -1 if apart else -2]:
            x = self.pointwise(x, conv)
        if apart:
            return self.pointwise(x, convs[-1], residual=residual, relu=True)
        expand, project = convs[-2:]
        self.hold_rounded(x, expand)
        return self.record(steps.ExpandProjectStep(x=x, rows=x.rows, channels=x.channels,
            expand=self.weights.packed_conv(expand), project=self.weights.packed_conv(project), relu=int(expand.relu),
            residual=residual, out=PlannedTensor(self, (*x.shape[:3], project.weight.shape[-1]))))  # fmt: skip

    def average_pool(self, x: PlannedTensor, window: tuple[int, int]) -> PlannedTensor:
        n, t, f, c = x.shape
        out = PlannedTensor(self, (n, t - window[0] + 1, f - window[1] + 1, c))
        return self.record(steps.PoolStep(x=x, n=n, time=t, freq=f, vectors=x.channels // LANES,
            window_time=window[0], window_freq=window[1], out=out))  # fmt: skip

    def softmax(self, x: PlannedTensor, classes: int) -> PlannedTensor:
        n, t, f, _ = x.shape
        out = PlannedTensor(self, (n, 1, 1, classes))
        return self.record(steps.SoftmaxStep(x=x, n=n, positions=t * f, vectors=x.channels // LANES, out=out))


def assign_buffers(recorded: list[tuple], kept: list[PlannedTensor]) -> tuple[dict[PlannedTensor, int], list[int]]:
    """Assign a buffer to each tensor, the same one to tensors whose lifetimes do not overlap.

    A tensor lives from the first step that uses it to the last; those in ``kept`` live on to the end. Returns ({tensor:
    number of its buffer}, floats of each buffer).
    """
    used = [dict.fromkeys(word for word in step if isinstance(word, PlannedTensor)) for step in recorded]
    last_use = {tensor: i for i, tensors in enumerate(used) for tensor in tensors}
    last_use |= dict.fromkeys(kept, len(recorded))
    buffers, sizes, free = {}, [], []

    def take(floats):
        """Take the smallest free buffer that is large enough, else the largest, which grows, else a new one."""
        if not free:
            free.append(len(sizes))
            sizes.append(0)
        best = min(free, key=lambda buffer: (sizes[buffer] < floats, abs(sizes[buffer] - floats)))
        free.remove(best)
        sizes[best] = max(sizes[best], floats)
        return best

    for i, tensors in enumerate(used):
        buffers |= {tensor: take(tensor.floats) for tensor in tensors if tensor not in buffers}
        free += [buffers[tensor] for tensor in tensors if last_use[tensor] == i]
    return buffers, sizes


def whole_vectors(linear: Linear) -> Conv:
    """Return a head as a 1 x 1 convolution, padded to whole vectors with classes of probability zero."""
    rest = padded(len(linear.bias)) - len(linear.bias)
    return Conv(np.pad(linear.weight, ((0, 0), (0, rest))), np.pad(linear.bias, (0, rest), constant_values=-np.inf))


class Weights:
    """The packed weights of each node of a tree. Batch norms are folded first."""

    def __init__(self, network: Network):
        self._packed: dict[int, tuple] = {}  # id of the node: (what must stay alive, addresses)
        self.heads = {name: whole_vectors(linear) for name, linear in network.heads.items()}
        layers = [*network.convs, *self.heads.values()]
        shapes = [(layer.weight.size // layer.weight.shape[-1], layer.weight.shape[-1]) for layer in layers]
        # A matrix (k, n), or a kernel with its border, and a bias for each. Both are rounded up to whole cache lines.
        self._take = Arena(sum((k + 2 * BORDER + 2) * padded(n) + 2 * LINE for k, n in shapes)).take

    def packed_conv(self, conv: Conv) -> int:
        """Return the address of the `steps.PackedConv` of a convolution."""
        if id(conv) not in self._packed:
            folded = fold(conv)
            matrix = folded.weight.reshape(-1, folded.weight.shape[-1])
            if conv.bfloat16 and PAIRS:
                weight = pack_matrix(pair_up(matrix), self._take, 2 * LANES if TILES else PANEL)
            else:
                weight = pack_matrix(matrix, self._take)
            bias = pack_vector(folded.bias, self._take)
            k, addresses = weight.size // bias.size, (weight.ctypes.data, bias.ctypes.data)
            record = np.array(steps.PackedConv(k, bias.size, *addresses, conv.bfloat16), np.int64)
            self._packed[id(conv)] = (conv, weight, bias, record), record.ctypes.data
        return self._packed[id(conv)][1]

    def packed_branches(self, layer: Depthwise) -> tuple[int, int]:
        """Return the addresses of a layer's branches and of their summed bias (see `steps.DepthwiseStep`)."""
        if id(layer) not in self._packed:
            folded = [fold(branch) for branch in layer.branches]
            kernels = [pack_kernel(branch.weight, self._take) for branch in folded]
            bias = pack_vector(sum(branch.bias for branch in folded), self._take)
            branches = np.array([(k.ctypes.data, len(b.weight)) for k, b in zip(kernels, folded)], np.int64)
            self._packed[id(layer)] = (layer, kernels, bias, branches), (branches.ctypes.data, bias.ctypes.data)
        return self._packed[id(layer)][1]


class Plan:
    """The steps for one input shape (N, T, F), and the tensors that hold its input and its results."""

    def __init__(self, network: Network, weights: Weights, shape: tuple[int, int, int], threads: int):
        (n, t, f), (kt, kf) = shape, network.stem.weight.shape[:2]
        recorder = Recorder(weights, threads)
        self.input = PlannedTensor(recorder, (n, t + kt - 1, f + kf - 1, 1), channels=1)  # with a border of zeros
        self.inside = slice(None), slice(kt // 2, kt // 2 + t), slice(kf // 2, kf // 2 + f), 0
        self.ends = []  # (name of a block, or "stem"; number of steps up to its end; its result)
        for name, x in walk(network, self.input, recorder):
            self.ends.append((name, len(recorder.steps), x))
        pooled = recorder.average_pool(x, pool_window(network.pool, x))
        self.heads = {
            name: recorder.softmax(recorder.pointwise(pooled, head), network.classes[name])
            for name, head in weights.heads.items()
        }
        self.steps, self.scratch, self.threads = recorder.steps, recorder.scratch, threads
        # The input's buffer is kept, so that nothing overwrites its border.
        self.buffers, self.sizes = assign_buffers(self.steps, [self.input, *self.heads.values()])


class Workspace:
    """Memory for one forward pass at a time, and the words of a plan's steps with the addresses of this memory."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self.memory = [aligned(size) for size in plan.sizes]
        self.input = self.view(plan.input)[plan.inside]
        self.scratch = [aligned(plan.scratch) for _ in range(plan.threads)]
        self.tables = np.zeros((plan.threads, 5, TILE_ROWS + ROWS), np.int64)  # of row addresses: `matmul.Scratch`
        addresses = [buffer.ctypes.data for buffer in self.memory]
        self.steps = np.zeros((len(plan.steps), steps.WORDS), np.int64)
        for row, step in zip(self.steps, plan.steps):
            words = steps.words(step)
            row[: len(words)] = [addresses[plan.buffers[w]] if isinstance(w, PlannedTensor) else w for w in words]
        # Computing an array's address takes longer than a small step.
        self.steps_at = self.steps.ctypes.data
        self.tables_at = [tables.ctypes.data for tables in self.tables]
        self.scratch_at = [scratch.ctypes.data for scratch in self.scratch]
        self.probabilities = {name: self.view(tensor)[:, 0, 0] for name, tensor in plan.heads.items()}

    def view(self, tensor: PlannedTensor) -> np.ndarray:
        """Return the memory of a tensor as (N, T, F, C), without the padding of its channels."""
        buffer = self.memory[self.plan.buffers[tensor]]
        return buffer[: tensor.floats].reshape(*tensor.shape[:3], tensor.channels)[..., : tensor.shape[3]]
