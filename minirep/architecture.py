"""The shape of a network before merging, and trees made from it: `build` and `random_network`.

Sources: Lau, Rehman, Po, "AudioRepInceptionNeXt", 2024, section 3; Lau, Rehman, Xie, Ma, "AudioInceptionNeXt", 2023,
section 2.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import numpy as np

from .errors import expect
from .network import Array, BatchNorm, Block, Conv, Depthwise, Linear, Network
from .recipe import MELS

REP = "AudioRepInceptionNeXt"
INCEPTION = "AudioInceptionNeXt"
MAX_BRANCHES, MAX_TAPS = 16, 1023  # of a depthwise layer and of a branch
ORDERS = ("time-frequency", "frequency-time")  # of the axes inside a block; the first as published
Supply = Callable[[str, tuple[int, ...]], Array]  # from the name and the shape of a tensor


def _counts(values: Iterable[object], most: int) -> bool:
    return all(type(v) is int and 1 <= v <= most for v in values)


@dataclass(frozen=True)
class Architecture:
    """The shape of a network before merging.

    Parameters
    ----------
    kind : str
        "AudioRepInceptionNeXt" sums the depthwise branches of one axis; "AudioInceptionNeXt" pairs the j-th along time
        with the j-th along frequency.
    width : int
        Channels of the stem and of stage 1; every later stage doubles them.
    depths : tuple of int
        Blocks of each stage.
    time_kernels, freq_kernels : tuple of tuples of int
        Taps of the branches of each stage along each axis: odd, and largest first as published.
    time_strides, freq_strides : tuple of int
        Strides of the first block of each stage.
    expansion : int
        The expanding convolution of a block multiplies its channels by this factor.
    heads : dict of str to int
        Number of classes of each head.
    frames : int
        Number of frames of the log-mels in training; it sets the head's pooling window.
    order : str
        Order of the axes in a block, "time-frequency" or "frequency-time".

    Raises
    ------
    MinirepError
        For a value out of range, or tuples of different lengths.

    Examples
    --------
    >>> Architecture(width=8).widths
    (8, 16, 32, 64)
    """

    kind: str = REP
    width: int = 64
    depths: tuple[int, ...] = (3, 4, 6, 3)
    time_kernels: tuple[tuple[int, ...], ...] = ((21, 11, 3),) * 4
    freq_kernels: tuple[tuple[int, ...], ...] = ((21, 11, 3),) * 4
    time_strides: tuple[int, ...] = (1, 2, 2, 2)
    freq_strides: tuple[int, ...] = (1, 2, 2, 2)
    expansion: int = 4
    heads: dict[str, int] = field(default_factory=lambda: {"class": 309})
    frames: int = 512  # of the recipe it was trained on: sets the head's pooling window
    order: str = ORDERS[0]

    def __post_init__(self) -> None:
        def check(holds: object, what: str) -> None:
            expect(holds, f"architecture: {what}")

        check(self.kind in (REP, INCEPTION), f"unknown kind {self.kind!r}; expected {REP} or {INCEPTION}")
        check(self.order in ORDERS, f"unknown order {self.order!r}; expected {' or '.join(ORDERS)}")
        check(_counts((self.width, self.expansion, self.frames), 1 << 16), f"width {self.width!r}, expansion "
              f"{self.expansion!r}, frames {self.frames!r}; expected whole numbers from 1 to 65536")  # fmt: skip
        per_stage = (self.depths, self.time_kernels, self.freq_kernels, self.time_strides, self.freq_strides)
        check(1 <= len(self.depths) <= 8 and len({len(p) for p in per_stage}) == 1,
              f"{'/'.join(str(len(p)) for p in per_stage)} entries for depths/time kernels/frequency kernels/time "
              "strides/frequency strides; expected one a stage in each, 1 to 8 stages")  # fmt: skip
        check(_counts(self.depths, 1000), f"depths {self.depths}; expected whole numbers from 1 to 1000")
        check(_counts(self.time_strides + self.freq_strides, 16), "expected strides from 1 to 16")
        for kernels in self.time_kernels + self.freq_kernels:
            check(1 <= len(kernels) <= MAX_BRANCHES and _counts(kernels, MAX_TAPS) and all(k % 2 for k in kernels),
                  f"branch kernel sizes {kernels}; expected odd whole numbers from 1 to {MAX_TAPS}")  # fmt: skip
        if self.kind == INCEPTION:
            check(all(len(t) == len(f) for t, f in zip(self.time_kernels, self.freq_kernels)),
                  "AudioInceptionNeXt needs as many branches along time as along frequency")  # fmt: skip
        check(self.heads and _counts(self.heads.values(), 1 << 20), f"heads {self.heads}; expected classes in each")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage."""
        return tuple(self.width * 2**i for i in range(len(self.depths)))

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes in the order of the forward pass: ("time", "frequency") as published."""
        return tuple(self.order.split("-"))

    @property
    def pool(self) -> tuple[int, int]:
        """The head's average-pooling window: (frames // 32, mels // 32)."""
        return max(1, self.frames // 32), max(1, MELS // 32)


def build(arch: Architecture, array: Supply, merged: bool = False) -> Network:
    """Build the tree of an architecture; ``array(name, shape)`` supplies each tensor.

    Names are the paths of the tree: "stem.weight", "stages.0.2.paths.0.1.branches.0.bn.mean", "heads.class.bias".
    With ``merged``, each depthwise layer has one kernel of its largest size with a bias, and no batch norms.
    """
    return Network(
        stem=_conv(array, "stem", (5, 7, 1, arch.width), relu=True),
        stages=tuple(
            tuple(_block(arch, array, merged, i, j) for j in range(depth)) for i, depth in enumerate(arch.depths)
        ),
        pool=arch.pool,
        heads={
            head: Linear(array(f"heads.{head}.weight", (arch.widths[-1], n)), array(f"heads.{head}.bias", (n,)))
            for head, n in arch.heads.items()
        },
    )


def _conv(array: Supply, name: str, shape: tuple[int, ...], relu: bool = False) -> Conv:
    channels, weight = shape[-1:], array(f"{name}.weight", shape)
    scale, shift, mean, variance = (array(f"{name}.bn.{n}", channels) for n in ("scale", "shift", "mean", "variance"))
    return Conv(weight, bn=BatchNorm(scale, shift, mean, variance), relu=relu)


def _block(arch: Architecture, array: Supply, merged: bool, stage: int, number: int) -> Block:
    """Build one block. The first of a stage takes the channels of the stage before, and has the stage's stride."""
    name, first, rep = f"stages.{stage}.{number}", number == 0, arch.kind == REP
    c = arch.widths[stage]
    c_in = (arch.width, *arch.widths)[stage] if first else c
    sizes = {"time": arch.time_kernels[stage], "frequency": arch.freq_kernels[stage]}
    layers = [(axis, sizes[axis]) for axis in arch.axes]
    # One path with every branch in each layer, or a path per branch with one in each layer.
    paths = [layers] if rep else [[(axis, ks[i : i + 1]) for axis, ks in layers] for i in range(len(sizes["time"]))]
    stride = (arch.time_strides[stage], arch.freq_strides[stage]) if first else (1, 1)
    changes = c_in != c or stride != (1, 1)  # then, and only then, the shortcut needs a convolution

    def depthwise(name: str, axis: str, kernels: tuple[int, ...]) -> Depthwise:
        if merged:
            name, shape = f"{name}.branches.0", (max(kernels), c)
            return Depthwise(axis, (Conv(array(f"{name}.weight", shape), array(f"{name}.bias", (c,))),), identity=rep)
        branches = tuple(_conv(array, f"{name}.branches.{i}", (k, c)) for i, k in enumerate(kernels))
        return Depthwise(axis, branches, identity=rep)

    return Block(
        entry=_conv(array, f"{name}.entry", (c_in, c), relu=rep),
        paths=tuple(
            tuple(depthwise(f"{name}.paths.{i}.{j}", axis, kernels) for j, (axis, kernels) in enumerate(path))
            for i, path in enumerate(paths)
        ),
        expand_project=(
            _conv(array, f"{name}.expand_project.0", (c, arch.expansion * c), relu=rep),
            _conv(array, f"{name}.expand_project.1", (arch.expansion * c, c)),
        ),
        shortcut=_conv(array, f"{name}.shortcut", (c_in, c)) if changes else None,
        stride=stride,
    )


def random_network(architecture: Architecture, seed: int = 0, dtype: type | str = np.float32) -> Network:
    """Make an untrained network with random weights and batch-norm statistics, for tests, benchmarks and tutorials.

    Weights are scaled by their fan-in (He et al., 2015, section 2.2), so that activations neither vanish nor explode.

    Parameters
    ----------
    architecture : Architecture
    seed : int
        The same seed gives the same weights.
    dtype : type or str
        A floating-point type of NumPy.

    Returns
    -------
    Network
    """
    rng = np.random.default_rng(seed)

    def array(name: str, shape: tuple[int, ...]) -> Array:
        part = name.rsplit(".", 1)[-1]
        if part in ("scale", "variance"):
            values = rng.uniform(0.5, 1.5, shape)
            # What a block adds to its shortcut stays small, so that sixteen blocks do not pile up.
            values = values * 0.2 if name.endswith("expand_project.1.bn.scale") else values
        elif part == "weight":
            values = rng.normal(0.0, np.sqrt(0.3 / np.prod(shape[:-1])), shape)
        else:
            values = rng.normal(0.0, 0.1, shape)
        return values.astype(dtype)

    return build(architecture, array)
