"""From a recording to named probabilities: a network, its recipe and its labels together."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .audio import Recording, open_recording
from .check import check
from .errors import MinirepError, MissingExtra, expect
from .frontend import log_mel_views
from .network import Network, forward
from .precision import precision_of
from .recipe import MELS, Recipe, numbered_labels
from .reparam import fuse
from .text import printable, quoted

BATCH = 4  # examples that go through the network together: bounds the memory of long batches
BACKENDS = ("auto", "numpy", "numba")
Forward = Callable[[np.ndarray], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Prediction:
    """The probabilities that a classifier gives for one recording.

    Attributes
    ----------
    probabilities : dict of str to array (classes,)
        Probabilities of the classes of each head. Most networks have one head, "class".
    labels : dict of str to tuple of str
        Names of the classes of each head, in the same order.
    """

    probabilities: dict[str, np.ndarray]
    labels: dict[str, tuple[str, ...]]

    def top(self, n: int = 5, head: str | None = None) -> list[tuple[str, float]]:
        """Return the ``n`` most probable (label, probability) of a head, by default the first one."""
        head = next(iter(self.probabilities)) if head is None else head
        expect(head in self.probabilities, f"head: found {head!r}, expected one of {', '.join(self.probabilities)}")
        p = self.probabilities[head]
        return [(self.labels[head][i], float(p[i])) for i in np.argsort(-p, kind="stable")[: max(0, n)]]

    def __repr__(self) -> str:
        best = {head: ", ".join(f"{label} {p:.3f}" for label, p in self.top(3, head)) for head in self.probabilities}
        return f"<Prediction {'; '.join(f'{head}: {labels}' for head, labels in best.items())}>"


class Classifier:
    """A network with the recipe of its input and the labels of its output.

    Threads can share it. Its backend is prepared (weights packed, kernels compiled) by `prepare`, or at the first use.

    Parameters
    ----------
    network : Network
    recipe : Recipe
    labels : dict of str to tuple of str, optional
        Names of the classes of each head; by default "class 0", "class 1" ...
    provenance : dict of str to str, optional
        Origin of the weights, and settings such as a ``threshold`` for streams.
    backend, threads
        As in `minirep.load`.

    Raises
    ------
    MinirepError
        For a network whose shapes do not fit together, labels that do not fit the network, or an unknown backend.
    """

    def __init__(
        self,
        network: Network,
        recipe: Recipe,
        labels: dict[str, tuple[str, ...]] | None = None,
        provenance: dict[str, str] | None = None,
        backend: str = "auto",
        threads: int | None = None,
    ):
        self.network = check(network)
        classes = network.classes
        self.recipe = replace(recipe, heads=classes)
        self.labels = numbered_labels(classes) if labels is None else {h: tuple(names) for h, names in labels.items()}
        found = {head: len(names) for head, names in self.labels.items()}
        expect(found == classes, f"labels: found {quoted(found)} names, expected {quoted(classes)}")
        expect(backend in BACKENDS, f"backend: found {backend!r}, expected auto, numpy or numba")
        self.provenance = dict(provenance or {})
        self.threads, self._wanted = threads, backend
        self._chosen: tuple[str, Forward] | None = None

    def prepare(self) -> tuple[str, Forward]:
        """Choose the backend and pack its weights, once; return its name and the network as a function.

        Raises a MinirepError if the backend is missing.
        """
        if self._chosen is None:  # no cached_property: until Python 3.12 it has a lock, which a fork would leave locked
            self._chosen = _choose_backend(self._wanted, self.network, self.threads)
        return self._chosen

    @property
    def backend(self) -> str:
        """The backend in use: "numpy" or "numba"."""
        return self.prepare()[0]

    @property
    def precision(self) -> str:
        """The precision of the network: "bfloat16" (see `minirep.precision`), or the type of its weights."""
        return precision_of(self.network)

    def classify(self, source: Any, rate: int | None = None, views: int | None = None) -> Prediction:
        """Classify a recording.

        Parameters
        ----------
        source : path, binary stream, Recording or array (n,)
            A sound file, or mono samples: floats in [-1, 1], or integers.
        rate : int, optional
            Sample rate of an array in Hz. A file has its own rate; a different one is an error.
        views : int, optional
            Number of evenly spaced views whose probabilities are averaged; by default the recipe's number.

        Returns
        -------
        Prediction

        Raises
        ------
        MinirepError
            For a recording that cannot be read, and for a rate or a number of views that does not fit.
        """
        if isinstance(source, (str, Path)) or (hasattr(source, "read") and not isinstance(source, Recording)):
            source = open_recording(source)
        if isinstance(source, Recording):
            other = f"{source.name}: its rate is {source.rate} samples a second; found rate={rate!r}"
            expect(rate in (None, source.rate), other)
        elif np.ndim(source) == 0:
            raise MinirepError(f"found {type(source).__name__}, expected a path, a binary stream or samples (n,)")
        log_mels = log_mel_views(source, rate, self.recipe, views)
        try:
            probabilities = {head: p.mean(axis=0) for head, p in self.probabilities(log_mels).items()}
        except MinirepError as error:
            raise MinirepError(f"{source.name}: {error}" if isinstance(source, Recording) else str(error)) from None
        return Prediction(probabilities, self.labels)

    def probabilities(self, log_mels: np.ndarray) -> dict[str, np.ndarray]:
        """Compute class probabilities {head: (N, classes)} of log-mels (N, frames, 128), for any number of frames.

        Raises a MinirepError for an array of another shape or with NaN, and if the network's numbers overflow.
        """
        x = np.asarray(log_mels)
        fits = x.ndim == 3 and x.shape[2] == MELS and 0 not in x.shape and x.dtype.kind in "fiu"
        found = f"an array of shape {x.shape} and type {x.dtype}"
        expect(fits, f"log-mels: found {found}, expected numbers (N, frames, {MELS})")
        expect(np.isfinite(x).all(), "log-mels: found NaN or infinite values, expected finite numbers")
        _, forward = self.prepare()
        with np.errstate(all="ignore"):  # what overflows is refused
            batches = [forward(x[i : i + BATCH]) for i in range(0, len(x), BATCH)]
        probabilities = {head: np.concatenate([batch[head] for batch in batches]) for head in batches[0]}
        for head, p in probabilities.items():
            expect(
                np.isfinite(p).all(),
                f"head {printable(head)}: found NaN among the probabilities, as the network's numbers exceed "
                f"{self.network.dtype}; expected finite ones: `minirep verify` shows where it happens",
            )
        return probabilities

    def fused(self) -> "Classifier":
        """Return the same classifier with its network merged (see `minirep.fuse`)."""
        return Classifier(fuse(self.network), self.recipe, self.labels, self.provenance, self._wanted, self.threads)

    def __repr__(self) -> str:
        heads = ", ".join(f"{head}: {classes}" for head, classes in self.recipe.heads.items())
        return f"Classifier(recipe {self.recipe.name!r}, {heads}, backend {self.backend!r})"

    def __reduce__(self) -> tuple[Any, ...]:  # the prepared network belongs to this process; another prepares its own
        return Classifier, (self.network, self.recipe, self.labels, self.provenance, self._wanted, self.threads)


def _choose_backend(name: str, network: Network, threads: int | None) -> tuple[str, Forward]:
    """Return (name of the backend, the network as a function from log-mels to {head: probabilities}).

    NumPy runs the networks that Numba does not cover, such as those in float64.
    """
    try:
        if name != "numpy":
            from . import fast

            if fast.available(network):
                return "numba", fast.CompiledNetwork(network, threads)
    except ImportError as error:
        if name == "numba" and isinstance(error, ModuleNotFoundError):
            raise MissingExtra("numba", "fast", "backend 'numba'") from error
        if name == "numba":  # it is installed, but made for another version of Python or NumPy
            why = str(error).partition("\n")[0]
            raise MinirepError(f"backend 'numba': found a Numba that cannot be imported: {why}") from error
    return "numpy", partial(forward, network)
