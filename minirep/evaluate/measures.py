"""Measures of a classifier's probabilities on clips with known classes.

In all functions, ``p`` contains the probabilities (N, C) of N clips and C classes, and ``truth`` (N,) the index of the
right class of each clip. A measure that is not defined, such as the recall of a class without clips, is NaN.

>>> p = np.array([[0.8, 0.1, 0.1], [0.3, 0.5, 0.2], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
>>> truth = np.array([0, 1, 1, 2])
>>> ranks(p, truth).tolist(), top(p, truth, 1), top(p, truth, 2)
([0, 0, 1, 0], 0.75, 1.0)
>>> confusion(p, truth).tolist()
[[1, 0, 0], [1, 1, 0], [0, 0, 1]]
>>> recalls(p, truth).tolist(), mean(recalls(p, truth))
([1.0, 0.5, 1.0], 0.8333333333333334)
>>> average_precision(p[:, 1], truth == 1), roc_auc(p[:, 1], truth == 1)
(1.0, 1.0)
"""

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

BINS = 15  # of the calibration, as in Guo et al.


def ranks(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the number of classes (N,) that rank above the right one: 0 where the network is right.

    Among equally probable classes, the one with the lower index comes first, as in `Prediction.top`.
    """
    right = p[np.arange(len(p)), truth][:, None]
    before = np.arange(p.shape[1]) < truth[:, None]
    return ((p > right) | ((p == right) & before)).sum(axis=1)


def top(p: np.ndarray, truth: np.ndarray, k: int) -> float:
    """Return the top-k accuracy: the share of clips whose right class is among the k most probable ones."""
    return mean(ranks(p, truth) < k)


def confusion(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the confusion matrix (C, C): clips of class i, the row, that were classified as class j, the column."""
    classes = p.shape[1]
    return np.bincount(truth * classes + p.argmax(axis=1), minlength=classes**2).reshape(classes, classes)


def recalls(p: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return the recall (C,) of each class. Their mean is the mean per-class accuracy."""
    of = np.bincount(truth, minlength=p.shape[1])  # not from a matrix of C x C
    right = np.bincount(truth[p.argmax(axis=1) == truth], minlength=p.shape[1])
    return np.divide(right, of, out=np.full(len(of), np.nan), where=of > 0)


def mean(values) -> float:
    """Return the mean of the values that are not NaN; for one value per class, this is the macro average."""
    values = np.asarray(values, np.float64)
    there = values[~np.isnan(values)]
    return float(there.mean()) if len(there) else math.nan


def average_precision(score: np.ndarray, positive: np.ndarray) -> float:
    """Return the area under the precision-recall curve, in steps: each gain in recall is weighted by its precision.

    ``score`` (N,) is the probability of one class, and ``positive`` (N,) is true for the clips of that class. The
    threshold is lowered from one score to the next, so clips with equal scores count together. The mean over the
    classes is the mAP of the AudioSet papers (Gemmeke et al., 2017), without interpolation.
    """
    score, positive = np.asarray(score), np.asarray(positive, bool)
    if not positive.any():
        return math.nan
    order = np.argsort(-score, kind="stable")
    # The last clip of each group of equal scores: up to it are all clips that score at least as much.
    last = np.flatnonzero(np.append(np.diff(score[order]) != 0, True))
    found = np.cumsum(positive[order])[last]
    precision = found / (last + 1)
    gained = np.diff(found, prepend=0) / found[-1]  # recall
    return float(precision @ gained)


def roc_auc(score: np.ndarray, positive: np.ndarray) -> float:
    """Return the probability that a clip of the class scores higher than one of another class; a tie counts half.

    ``score`` and ``positive`` are as for `average_precision`. This is the area under the receiver operating
    characteristic (Hanley and McNeil, 1982). It is computed by Mann and Whitney's U, from the sum of the ranks of the
    positive clips. It is NaN unless there are clips of both kinds.
    """
    positive = np.asarray(positive, bool)
    positives = int(positive.sum())
    negatives = len(positive) - positives
    if not positives or not negatives:
        return math.nan
    _, group, sizes = np.unique(score, return_inverse=True, return_counts=True)
    places = np.cumsum(sizes) - (sizes - 1) / 2  # from 1; equal scores share the mean of their places
    wins = places[group.reshape(-1)][positive].sum() - positives * (positives + 1) / 2
    return float(wins / (positives * negatives))


def d_prime(auc: float) -> float:
    """Return how many standard deviations apart two normal distributions with this AUC are (Hershey et al., 2017)."""
    if not 0 < auc < 1:
        return {0.0: -math.inf, 1.0: math.inf}.get(auc, math.nan)
    return math.sqrt(2) * NormalDist().inv_cdf(auc)


@dataclass(frozen=True)
class Calibration:
    """Clips in bins (bins,) of equal width, by the probability of their most probable class; empty bins have NaN."""

    count: np.ndarray  # number of clips
    confidence: np.ndarray  # their mean probability
    right: np.ndarray  # share of them that is classified correctly

    @property
    def error(self) -> float:
        """The expected calibration error: the mean gap of all clips between probability and share of right answers."""
        there = self.count > 0
        gaps = np.abs(self.confidence - self.right)[there]
        return float(self.count[there] @ gaps / self.count.sum()) if there.any() else math.nan


def calibration(p: np.ndarray, truth: np.ndarray, bins: int = BINS) -> Calibration:
    """Group clips by the probability of their most probable class into bins (a, b] (Guo et al., 2017, section 2)."""
    confidence = p.max(axis=1).astype(np.float64)
    right = p.argmax(axis=1) == truth
    at = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)
    count = np.bincount(at, minlength=bins)

    def means(values):
        return np.divide(np.bincount(at, values, bins), count, out=np.full(bins, np.nan), where=count > 0)

    return Calibration(count, means(confidence), means(right))


@dataclass(frozen=True)
class Measures:
    """All measures of one head. Arrays (C,) have one value per class; shares are 0 to 1, or NaN without clips."""

    clips: int
    top1: float
    top5: float
    mean_class_accuracy: float
    map: float  # means over those classes that have clips and, for the AUC, that others have, too
    mauc: float
    d_prime: float  # of the mean AUC
    calibration_error: float
    right: np.ndarray
    of: np.ndarray  # clips of the class
    recall: np.ndarray
    average_precision: np.ndarray
    auc: np.ndarray


def measure(p: np.ndarray, truth: np.ndarray) -> Measures:
    """Compute all measures of the probabilities (N, C) of clips whose right classes are ``truth`` (N,)."""
    recall, classes = recalls(p, truth), p.shape[1]
    precisions = np.array([average_precision(scores, truth == c) for c, scores in enumerate(p.T)])
    aucs = np.array([roc_auc(scores, truth == c) for c, scores in enumerate(p.T)])
    return Measures(
        clips=len(p),
        top1=top(p, truth, 1),
        top5=top(p, truth, 5),
        mean_class_accuracy=mean(recall),
        map=mean(precisions),
        mauc=mean(aucs),
        d_prime=d_prime(mean(aucs)),
        calibration_error=calibration(p, truth).error,
        right=np.bincount(truth[p.argmax(axis=1) == truth], minlength=classes),
        of=np.bincount(truth, minlength=classes),
        recall=recall,
        average_precision=precisions,
        auc=aucs,
    )
