"""How a recording becomes the input of a network: the six published recipes, and the names of their classes.

Sources: Lau, Rehman, Po, "AudioRepInceptionNeXt", Neurocomputing 578, 2024 (arXiv 2404.13551), section 4; Lau, Rehman,
Xie, Ma, "AudioInceptionNeXt", 2023 (arXiv 2307.07265).
"""

import json
from dataclasses import dataclass
from importlib import resources
from numbers import Integral, Real

from .errors import expect

# Bounds, so that a small file cannot request too much memory; the published recipes have at most 512 frames, 10 views.
MAX_FRAMES = 1 << 15  # of a view
MAX_ALL_FRAMES = 1 << 17  # of all views together: 64 MiB
MAX_CLIP = 1 << 22  # samples: 4 minutes at 16 kHz
MELS = 128  # mel bands of every recipe: the frequency axis of every network


@dataclass(frozen=True)
class Recipe:
    """The settings that turn a recording into log-mel views.

    Parameters
    ----------
    name : str
    rate : int
        Sample rate in Hz.
    clip_seconds, window_ms, hop_ms : float
        Length of a view in seconds; window and hop of the short-time Fourier transform in milliseconds.
    frames, views : int
        Number of frames in a log-mel, and of views of a recording at test time.
    heads : dict of str to int
        Number of classes of each head.
    repeat : str
        What a recording shorter than a clip is padded with: its last log-mel "frame", or its last "sample".

    Raises
    ------
    MinirepError
        For a setting of the wrong type or out of range.

    Examples
    --------
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

    def __post_init__(self) -> None:
        where = f"recipe {self.name!r}"
        whole, real = (self.rate, self.frames, self.views), (self.clip_seconds, self.window_ms, self.hop_ms)
        numbers = all(isinstance(n, Integral) for n in whole) and all(isinstance(n, Real) for n in real)
        positive = numbers and all(0 < n < 1e6 for n in whole + real)
        expect(positive and self.repeat in ("frame", "sample"), f"{where}: expected positive numbers, rate, frames and "
               f"views whole, and repeat 'frame' or 'sample': {self}")  # fmt: skip
        heads = self.heads.items() if isinstance(self.heads, dict) else ()
        named = heads and all(isinstance(k, str) and isinstance(n, Integral) and n > 0 for k, n in heads)
        expect(isinstance(self.name, str) and named,
               f"{where}: found heads {self.heads!r}, expected a name, and heads with numbers of classes")  # fmt: skip
        expect(self.frames <= MAX_FRAMES, f"{where}: found {self.frames} frames, expected at most {MAX_FRAMES}")
        expect(self.hop >= 1 and 2 <= self.window <= 2048, f"{where}: a window of {self.window} samples every "
               f"{self.hop}; expected a window of 2 to 2048 samples and a hop of at least 1")  # fmt: skip
        expect(self.clip <= min(MAX_CLIP, self.hop * MAX_FRAMES), f"{where}: found clips of {self.clip} samples with a "
               f"hop of {self.hop}, expected at most {MAX_CLIP} samples and {MAX_FRAMES} hops")  # fmt: skip
        self.count_views(None)

    @property
    def window(self) -> int:
        """Samples in one analysis window."""
        return round(self.window_ms * self.rate / 1000)

    @property
    def hop(self) -> int:
        """Samples from one frame to the next."""
        return round(self.hop_ms * self.rate / 1000)

    @property
    def clip(self) -> int:
        """Samples in one clip; a view is one sample shorter, as in the authors' loaders."""
        return round(self.clip_seconds * self.rate)

    def count_views(self, wanted: int | None) -> int:
        """Return ``wanted``, or for None the recipe's number of views; raise a MinirepError if it is out of range."""
        views, most = self.views if wanted is None else wanted, MAX_ALL_FRAMES // self.frames
        fits = isinstance(views, Integral) and not isinstance(views, bool) and 1 <= views <= most
        expect(fits, f"views: found {views!r} of {self.frames} frames, expected a whole number from 1 to {most}")
        return views


_PUBLISHED = (
    Recipe("vggsound", 16000, 5.119, 20, 10, 512, 2, {"class": 309}),
    Recipe("epic-sounds", 24000, 2.08, 10, 5, 416, 5, {"class": 44}),
    Recipe("epic-kitchens-100", 24000, 2.08, 10, 5, 416, 10, {"verb": 97, "noun": 300}),
    Recipe("speech-commands-v2", 16000, 1.023, 5, 2, 512, 1, {"class": 35}),
    Recipe("urbansound8k", 16000, 4.16, 20, 10, 416, 2, {"class": 10}, repeat="sample"),
    Recipe("nsynth", 16000, 4.16, 20, 10, 416, 1, {"class": 11}),
)
RECIPES = {recipe.name: recipe for recipe in _PUBLISHED}


def get_recipe(recipe: "Recipe | str") -> Recipe:
    """Return the recipe itself, or the published one of that name; raise a MinirepError if there is none."""
    if isinstance(recipe, Recipe):
        return recipe
    expect(recipe in RECIPES, f"unknown recipe {recipe!r}; expected one of {', '.join(RECIPES)}")
    return RECIPES[recipe]


def published_labels(recipe_name: str) -> dict[str, tuple[str, ...]]:
    """Return {head: class names in index order} of a published recipe, as its public data set defines them."""
    heads = get_recipe(recipe_name).heads
    # {name of a recipe, or "recipe/head": names}
    names = json.loads(resources.files("minirep").joinpath("data/class_names.json").read_text("utf-8"))
    return {h: tuple(names[recipe_name if h == "class" else f"{recipe_name}/{h}"]) for h in heads}


def numbered_labels(heads: dict[str, int]) -> dict[str, tuple[str, ...]]:
    """Return placeholder labels "class 0", "class 1" ... for heads whose class names are unknown."""
    return {head: tuple(f"{head} {i}" for i in range(classes)) for head, classes in heads.items()}
