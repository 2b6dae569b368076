"""The data on the page: a stream's windows, the probabilities of two forms of one network, activations of a stage."""

import math
import threading
import time
from base64 import b64encode
from itertools import islice
from typing import Any

import numpy as np

from ..classify import Classifier
from ..errors import MinirepError, expect
from ..files.models import load
from ..frontend import FLOOR
from ..network import Network, stages
from ..recipe import MELS
from ..reparam import is_fused
from ..stream import Stream
from ..text import quoted
from ..tree import as_type

LEVELS = math.log(FLOOR), 6.0  # the log-mel values that are sent as 0 and as 255
RATES = 8_000, 192_000  # Hz, of samples from a page


class Bench:
    """One model in two forms whose outputs are compared.

    The first form is merged. The second has the branches, if the model is stored with them. A model that is stored
    merged has none: its second form has the same weights in float64, so the difference is rounding error alone.
    """

    def __init__(self, model=None, backend: str = "auto"):
        self.merged = self.other = stored = load(model, backend, fused=False)
        self.branches = not is_fused(stored.network)
        if self.branches:
            self.merged = stored.fused()
            self.merged.prepare()
        else:
            wide = as_type(stored.network, np.float64)
            self.other = Classifier(wide, stored.recipe, stored.labels, stored.provenance, "numpy")

    def facts(self) -> dict[str, Any]:
        """Return the data that a page needs before the first sample."""
        recipe, network, stream = self.merged.recipe, self.merged.network, Stream(self.merged, RATES[0])
        silence, fields = np.full((recipe.frames, MELS), LEVELS[0], np.float32), receptive_fields(network)
        shown = {name: {"shape": y.shape[1:], "field": fields[name]} for name, y in stages(network, silence)}
        return {
            "recipe": {"name": recipe.name, "rate": recipe.rate, "hop": recipe.hop, "bands": MELS},
            "window": stream.window, "hop": stream.hop, "rates": RATES, "backend": self.merged.backend,
            "labels": self.merged.labels, "branches": self.branches, "stages": shown,
            "networks": ("merged", "unmerged" if self.branches else "merged, in float64"),
        }  # fmt: skip


def receptive_fields(network: Network) -> dict[str, tuple[int, int]]:
    """Return the receptive field of each stage, {stage: (frames, bands)}, away from the edges."""
    step = np.full(2, 4)  # frames and bands from one value of the stem to the next
    field = np.array(network.stem.weight.shape[:2]) + 4  # the pooling adds 2 of the convolution's steps of 2
    found = {"stem": field}
    for i, blocks in enumerate(network.stages):
        for block in blocks:
            step, grown = step * block.stride, np.zeros((len(block.paths), 2), int)
            for path, along in zip(block.paths, grown):
                for layer in path:
                    along[int(layer.axis == "frequency")] += max(len(b.weight) for b in layer.branches) - 1
            field = field + grown.max(axis=0) * step
        found[f"stage{i + 1}"] = field
    return {name: (int(frames), int(bands)) for name, (frames, bands) in found.items()}


class Overheard(Classifier):
    """A copy of a classifier for one stream, which stores the probabilities that it computed last."""

    def __init__(self, classifier: Classifier):
        vars(self).update(vars(classifier))
        self.last: dict[str, np.ndarray] = {}

    def probabilities(self, log_mels: np.ndarray) -> dict[str, np.ndarray]:
        self.last = super().probabilities(log_mels)
        return self.last


class Session:
    """The sound of one page, from its first sample on."""

    def __init__(self, bench: Bench, rate: int):
        self._lock, self.used = threading.Lock(), time.monotonic()  # one block at a time; the time of the last request
        self._bench, self._classifier = bench, Overheard(bench.merged)
        self._stream = Stream(self._classifier, rate)
        self._painted = 0  # columns of the log-mel that have been sent

    def feed(self, samples: np.ndarray | None, late: bool = False, compare: bool = False) -> dict[str, Any]:
        """Take float32 samples (n,), or None at the end of the sound; return the new windows and events.

        With ``late``, only the newest window is classified. After the end, `stage` still shows the last window.
        """
        stream, blocks = self._stream, [samples]
        if samples is not None and not late:  # so that at most one window at a time becomes due
            step = max(1, int(stream.hop * stream.rate))
            blocks = [samples[start : start + step] for start in range(0, len(samples), step)]
        windows, events = [], []
        with self._lock:
            for block in blocks:
                before = self._classifier.last
                stream.close() if block is None else stream.feed(block, catch_up=late)
                events += [vars(event) for event in stream.changes]
                if self._classifier.last is not before:
                    windows.append(self._window(samples is None))
            answer: dict[str, Any] = {"windows": windows, "events": events, "heard": stream.heard}
            answer |= {"seconds": stream.seconds, "skipped": stream.skipped, "load": stream.load}
            if compare and windows:
                other = self._bench.other.probabilities(self._log_mel[None])
                difference = max(float(np.abs(p - other[head]).max()) for head, p in self._classifier.last.items())
                answer |= {"other": listed(other), "difference": difference}
        return answer

    @property
    def _log_mel(self) -> np.ndarray:
        if (log_mel := self._stream.log_mel) is None:
            raise MinirepError("found no window yet; expected sound as long as one")
        return log_mel

    def _window(self, end: bool) -> dict[str, Any]:
        """Return the last window: its start, its probabilities, and the columns of the log-mel not sent before."""
        recipe, log_mel, start = self._classifier.recipe, self._log_mel, self._stream.start
        first = round(start * recipe.rate / recipe.hop)
        cut = 0 if end else -(-recipe.window // recipe.hop)  # frames with zero-padding at the end of the window
        begin = max(first, self._painted)
        stop = min(first + len(log_mel) - cut, 1 + int(self._stream.seconds * recipe.rate / recipe.hop))
        self._painted = max(begin, stop)
        columns = quantised(log_mel[begin - first : self._painted - first], *LEVELS)
        return {"start": start, "probabilities": listed(self._classifier.last), "first": begin, "log_mel": columns}

    def stage(self, name: str, channel: int | None) -> dict[str, Any]:
        """Return a channel (by default the most active one) of a stage's output for the last window, in both forms."""
        with self._lock:
            log_mel = self._log_mel  # the rest takes long and must not block the sound
        with np.errstate(all="ignore"):  # what overflows is refused
            forms = [stages(classifier.network, log_mel) for classifier in (self._bench.merged, self._bench.other)]
            found = [y[0] for form in forms for y in islice((y for stage, y in form if stage == name), 1)]
        expect(found, f"stage: found {quoted(name)}, expected stem, stage1 or another of them")
        expect(np.isfinite(found).all(), f"{name}: found values that are not finite; expected finite ones")
        merged, other = found  # (T, F, C)
        channel = int(merged.mean(axis=(0, 1)).argmax()) if channel is None else channel
        expect(channel < merged.shape[2], f"channel: found {channel}, expected one from 0 to {merged.shape[2] - 1}")
        images = merged[:, :, channel], other[:, :, channel]  # (T, F)
        low, high = float(np.min(images)), float(np.max(images))
        return {
            "channel": channel, "shape": merged.shape, "low": low, "high": high,
            "images": [quantised(image, low, high) for image in images],
            "difference": float(np.abs(merged - other).max()), "largest": float(np.abs(merged).max()),
        }  # fmt: skip


def listed(probabilities: dict[str, np.ndarray]) -> dict[str, list[float]]:
    """Convert probabilities {head: (1, classes)} for JSON, without loss."""
    return {head: p[0].tolist() for head, p in probabilities.items()}


def quantised(values: np.ndarray, low: float, high: float) -> str:
    """Return base64 of one byte per value, row by row: 0 for ``low`` or less, 255 for ``high`` or more."""
    share = np.clip((values - low) / (high - low or 1.0), 0, 1)
    return b64encode(np.rint(255 * share).astype(np.uint8).tobytes()).decode("ascii")
