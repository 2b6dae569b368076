"""Small classifiers in place of trained ones, and sounds whose events are known."""

import time

import numpy as np
from audio_files import hiss

from minirep import RECIPES, Architecture, Classifier, Recipe, random_network
from minirep.architecture import REP

SPEECH = RECIPES["speech-commands-v2"]
SMALL = Recipe("small", 8000, 0.3, 20, 10, 30, 1, {"class": 3})


def tiny_classifier(heads: dict, labels=None, recipe=SPEECH, kind=REP, provenance=None, backend="auto") -> Classifier:
    """An untrained classifier of width 2, one block in each stage."""
    arch = Architecture(kind, 2, (1, 1, 1, 1), heads=heads, frames=recipe.frames)
    return Classifier(random_network(arch), recipe, labels, provenance, backend)


class Loudness:
    """A stand-in for a classifier: "silence", "a" or "b" by the loudness of the log-mel.

    It keeps every log-mel in ``seen`` and takes ``seconds`` for each.
    """

    def __init__(self, recipe=SMALL, labels=("silence", "a", "b"), seconds=0.0):
        self.recipe, self.labels, self.seconds, self.seen = recipe, {"class": labels}, seconds, []
        self.provenance = {}

    def probabilities(self, log_mels):
        time.sleep(self.seconds)
        self.seen.append(log_mels[0])
        level = log_mels[0, :, 20:].mean()
        loud = 0 if level < -7 else 1 if level < 3 else 2
        return {"class": np.eye(3, dtype=np.float32)[[loud]]}


def bursts(seconds, every=3.0, length=0.5, rate=8000):
    """Yield silence with a burst of noise at 1, 4, 7 ... s, in blocks of a tenth of a second."""
    burst = hiss(int(length * rate))
    for start in range(0, int(seconds * rate), rate // 10):
        t = (start / rate - 1.0) % every
        at = int(t * rate)
        yield burst[at : at + rate // 10] if at < len(burst) and start >= rate else np.zeros(rate // 10, np.float32)
