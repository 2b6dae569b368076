"""What a network is made of (`Architecture`) and how sound becomes its input (`Recipe`).

Sources: Lau, Rehman, Po, "AudioRepInceptionNeXt", Neurocomputing 578, 2024 (arXiv 2404.13551), sections 3 and 4;
Lau, Rehman, Xie, Ma, "AudioInceptionNeXt", 2023 (arXiv 2307.07265).
"""

import json
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import resources
from numbers import Integral, Real

from .errors import MinirepError

MOST_FRAMES = 1 << 15  # of a view, lest a small file ask for memory without end; the published recipes have 512 at most
MELS = 128  # mel bands of every recipe: the frequency axis of every network

REP = "AudioRepInceptionNeXt"
INCEPTION = "AudioInceptionNeXt"
ORDERS = ("time-frequency", "frequency-time")  # of the axes inside a block; the first as published


@dataclass(frozen=True)
class Recipe:
    """One published way from a recording to log-mel views.

    ``clip_seconds`` is the stretch a view covers, ``frames`` the length of its log-mel, ``views`` how many views a
    recording gives in testing, ``heads`` the number of classes of each head, and ``repeat`` what fills up a recording
    shorter than one clip: its last log-mel ``"frame"`` or its last ``"sample"``.

    >>> RECIPES["speech-commands-v2"].hop
    32
    """

    name: str
    rate: int  # samples a second
    clip_seconds: float
    window_ms: float
    hop_ms: float
    frames: int
    views: int
    heads: dict[str, int]
    repeat: str = "frame"

    def __post_init__(self):
        whole, real = (self.rate, self.frames, self.views), (self.clip_seconds, self.window_ms, self.hop_ms)
        positive = all(isinstance(n, Integral) for n in whole) and all(isinstance(n, Real) for n in real)
        positive = positive and all(0 < n < 1e6 for n in whole + real)
        if not positive or self.repeat not in ("frame", "sample"):
            raise MinirepError(
                f"recipe {self.name!r}: expected positive numbers, rate, frames and views whole, and repeat 'frame' or "
                f"'sample': {self}"
            )
        heads = isinstance(self.heads, dict) and self.heads.items()
        if (
            not isinstance(self.name, str)
            or not heads
            or not all(isinstance(k, str) and isinstance(n, Integral) and n > 0 for k, n in heads)
        ):
            raise MinirepError(
                f"recipe {self.name!r}: found heads {self.heads!r}, expected a name, and heads with numbers of classes"
            )
        if self.frames > MOST_FRAMES:
            raise MinirepError(f"recipe {self.name!r}: found {self.frames} frames, expected at most {MOST_FRAMES}")
        if not self.hop >= 1 or not 2 <= self.window <= 2048:
            raise MinirepError(
                f"recipe {self.name!r}: a window of {self.window} samples every {self.hop}; "
                "expected a window of 2 to 2048 samples and a hop of at least 1"
            )

    @property
    def window(self) -> int:
        """Samples under one analysis window."""
        return round(self.window_ms * self.rate / 1000)

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return round(self.hop_ms * self.rate / 1000)

    @property
    def clip(self) -> int:
        """Samples of one clip; a view is one sample shorter, as in the authors' loaders."""
        return round(self.clip_seconds * self.rate)


RECIPES = {
    recipe.name: recipe
    for recipe in (
        Recipe("vggsound", 16000, 5.119, 20, 10, 512, 2, {"class": 309}),
        Recipe("epic-sounds", 24000, 2.08, 10, 5, 416, 5, {"class": 44}),
        Recipe("epic-kitchens-100", 24000, 2.08, 10, 5, 416, 10, {"verb": 97, "noun": 300}),
        Recipe("speech-commands-v2", 16000, 1.023, 5, 2, 512, 1, {"class": 35}),
        Recipe("urbansound8k", 16000, 4.16, 20, 10, 416, 2, {"class": 10}, repeat="sample"),
        Recipe("nsynth", 16000, 4.16, 20, 10, 416, 1, {"class": 11}),
    )
}


def get_recipe(recipe: "Recipe | str") -> Recipe:
    """The recipe itself, or the published one of that name."""
    if isinstance(recipe, Recipe):
        return recipe
    if recipe not in RECIPES:
        raise MinirepError(f"unknown recipe {recipe!r}; expected one of {', '.join(RECIPES)}")
    return RECIPES[recipe]


@lru_cache(maxsize=1)
def _class_names() -> dict[str, list[str]]:
    return json.loads(resources.files("minirep").joinpath("data/class_names.json").read_text("utf-8"))


def published_labels(recipe_name: str) -> dict[str, tuple[str, ...]]:
    """The class names of a published recipe in index order, per head; they are facts of the public data sets."""
    heads = get_recipe(recipe_name).heads
    names = _class_names()
    return {h: tuple(names[recipe_name if h == "class" else f"{recipe_name}/{h}"]) for h in heads}


def numbered_labels(heads: dict[str, int]) -> dict[str, tuple[str, ...]]:
    """Stand-in labels "class 0", "class 1" ... where no names are known."""
    return {head: tuple(f"{head} {i}" for i in range(classes)) for head, classes in heads.items()}


@dataclass(frozen=True)
class Architecture:
    """The shape of a network before anything is merged.

    ``time_kernels[i]`` and ``freq_kernels[i]`` are the sizes of the depthwise branches of stage i along each axis
    (odd, largest first as published, but any set will do). AudioRepInceptionNeXt sums the branches of one axis;
    AudioInceptionNeXt pairs the j-th along time with the j-th along frequency. ``order`` says along which axis a block
    looks first, ``expansion`` how many times as wide it is between its last two convolutions.

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

    def __post_init__(self):
        def expect(holds, what):
            if not holds:
                raise MinirepError(f"architecture: {what}")

        def counts(values, most):
            return all(type(v) is int and 1 <= v <= most for v in values)

        expect(self.kind in (REP, INCEPTION), f"unknown kind {self.kind!r}; expected {REP} or {INCEPTION}")
        expect(self.order in ORDERS, f"unknown order {self.order!r}; expected {' or '.join(ORDERS)}")
        expect(counts((self.width, self.expansion, self.frames), 1 << 16), f"width {self.width!r}, expansion "
               f"{self.expansion!r}, frames {self.frames!r}; expected whole numbers from 1 to 65536")  # fmt: skip
        per_stage = (self.depths, self.time_kernels, self.freq_kernels, self.time_strides, self.freq_strides)
        expect(1 <= len(self.depths) <= 8 and len({len(p) for p in per_stage}) == 1,
               f"{'/'.join(str(len(p)) for p in per_stage)} entries for depths/time kernels/frequency kernels/time "
               "strides/frequency strides; expected one a stage in each, 1 to 8 stages")  # fmt: skip
        expect(counts(self.depths, 1000), f"depths {self.depths}; expected whole numbers from 1 to 1000")
        expect(counts(self.time_strides + self.freq_strides, 16), "expected strides from 1 to 16")
        for kernels in self.time_kernels + self.freq_kernels:
            expect(1 <= len(kernels) <= 16 and counts(kernels, 1023) and all(k % 2 for k in kernels),
                   f"branch kernel sizes {kernels}; expected odd whole numbers from 1 to 1023")  # fmt: skip
        if self.kind == INCEPTION:
            expect(all(len(t) == len(f) for t, f in zip(self.time_kernels, self.freq_kernels)),
                   "AudioInceptionNeXt needs as many branches along time as along frequency")  # fmt: skip
        expect(self.heads and counts(self.heads.values(), 1 << 20), f"heads {self.heads}; expected classes in each")

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of each stage: doubled from one to the next."""
        return tuple(self.width * 2**i for i in range(len(self.depths)))

    @property
    def axes(self) -> tuple[str, ...]:
        """The axes in the order of the forward pass: ("time", "frequency") as published."""
        return tuple(self.order.split("-"))

    @property
    def pool(self) -> tuple[int, int]:
        """The head's average-pooling window: (frames // 32, mels // 32)."""
        return max(1, self.frames // 32), max(1, MELS // 32)
