"""The measures: by hand, against scikit-learn, and what must hold of them whatever the numbers."""

import math
import tracemalloc

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from minirep.evaluate import measures

# Four clips of three classes, worked out by hand below.
P = np.array([[0.8, 0.1, 0.1], [0.3, 0.5, 0.2], [0.6, 0.3, 0.1], [0.2, 0.2, 0.6]])
TRUTH = np.array([0, 1, 1, 2])


def test_by_hand():
    m = measures.measure(P, TRUTH)
    assert m.clips == 4 and m.top1 == 3 / 4 and m.top5 == 1
    assert m.right.tolist() == [1, 1, 1] and m.of.tolist() == [1, 2, 1]
    assert m.recall.tolist() == [1, 1 / 2, 1] and m.mean_class_accuracy == pytest.approx(5 / 6)
    assert m.average_precision.tolist() == [1, 1, 1] and m.auc.tolist() == [1, 1, 1]
    assert m.map == m.mauc == 1 and m.d_prime == math.inf
    # Each answer is in a bin of its own or, at 0.6 twice, in one with one right answer of two.
    assert m.calibration_error == pytest.approx((0.2 + 0.5 + 2 * abs(0.6 - 1 / 2)) / 4)


def test_many_classes_take_no_square_of_them_in_memory():
    tracemalloc.start()
    measures.measure(np.eye(2, 3000), np.arange(2))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3000**2


def test_average_precision_by_hand():
    # In order: right, wrong, right, and two alike of which one is right.
    score, positive = [0.9, 0.8, 0.7, 0.5, 0.5], [1, 0, 1, 0, 1]
    assert measures.average_precision(score, positive) == pytest.approx((1 / 1 + 2 / 3 + 3 / 5) / 3)
    # Of the six pairs of a right and a wrong one: 0.9 wins twice, 0.7 once, 0.5 half of one.
    assert measures.roc_auc(score, positive) == pytest.approx((2 + 1 + 0.5) / 6)


def test_the_most_probable_class_is_the_first_of_equals():
    p = np.array([[0.4, 0.4, 0.2], [0.4, 0.4, 0.2], [1 / 3, 1 / 3, 1 / 3]])
    assert measures.ranks(p, np.array([0, 1, 2])).tolist() == [0, 1, 2]
    assert measures.confusion(p, np.array([0, 1, 2])).tolist() == [[1, 0, 0], [1, 0, 0], [1, 0, 0]]


def test_d_prime():
    assert measures.d_prime(0.5) == 0 and measures.d_prime(0.0) == -math.inf and math.isnan(measures.d_prime(math.nan))
    # Two normal distributions that are d apart: P(x > y) is the normal distribution function at d / sqrt(2).
    assert measures.d_prime(0.5 * (1 + math.erf(1.0))) == pytest.approx(2.0)


def test_a_bin_holds_its_upper_edge():
    p = np.array([[0.2, 0.2, 0.2, 0.2, 0.2], [0.6, 0.4, 0, 0, 0], [1, 0, 0, 0, 0]])
    found = measures.calibration(p, np.array([0, 1, 0]), bins=5)
    count, confidence, right = found.count, found.confidence, found.right
    assert count.tolist() == [1, 0, 1, 0, 1]
    np.testing.assert_array_equal(confidence, [0.2, np.nan, 0.6, np.nan, 1])
    np.testing.assert_array_equal(right, [1, np.nan, 0, np.nan, 1])


def test_what_cannot_be_said_is_nan():
    m = measures.measure(np.array([[0.9, 0.1, 0.0]]), np.array([0]))
    assert m.map == m.top1 == 1 and math.isnan(m.mauc) and math.isnan(m.d_prime)
    assert np.isnan(m.recall[1:]).all() and np.isnan(m.average_precision[1:]).all() and np.isnan(m.auc).all()


@st.composite
def answers(draw):
    """(probabilities (N, C), right classes (N,)): with ties, classes without clips, or one class alone."""
    clips, classes = draw(st.integers(1, 20)), draw(st.integers(2, 5))
    steps = draw(st.sampled_from([2, 5, 1000]))  # few steps: many ties
    raw = draw(st.lists(st.integers(1, steps), min_size=clips * classes, max_size=clips * classes))
    p = np.array(raw, float).reshape(clips, classes)
    some = draw(st.lists(st.integers(0, classes - 1), min_size=1, max_size=classes))
    truth = draw(st.lists(st.sampled_from(some), min_size=clips, max_size=clips))
    return p / p.sum(axis=1, keepdims=True), np.array(truth)


@given(answers())
@pytest.mark.filterwarnings("ignore")
def test_as_scikit_learn_has_it(case):
    metrics = pytest.importorskip("sklearn.metrics")
    p, truth = case
    classes = range(p.shape[1])
    m = measures.measure(p, truth)
    assert m.top1 == pytest.approx(metrics.accuracy_score(truth, p.argmax(axis=1)))
    assert m.mean_class_accuracy == pytest.approx(metrics.balanced_accuracy_score(truth, p.argmax(axis=1)))
    expected = metrics.confusion_matrix(truth, p.argmax(axis=1), labels=classes)
    np.testing.assert_array_equal(measures.confusion(p, truth), expected)
    precisions, aucs = [], []
    for c in set(truth.tolist()):
        precisions.append(metrics.average_precision_score(truth == c, p[:, c]))
        assert m.average_precision[c] == pytest.approx(precisions[-1])
        if len(set(truth.tolist())) > 1:
            aucs.append(metrics.roc_auc_score(truth == c, p[:, c]))
            assert m.auc[c] == pytest.approx(aucs[-1])
    assert m.map == pytest.approx(np.mean(precisions))
    assert m.mauc == pytest.approx(np.mean(aucs)) if aucs else math.isnan(m.mauc)
    if p.shape[1] > 2:  # of equals it takes the last one: so all is mirrored
        mirrored = metrics.top_k_accuracy_score(p.shape[1] - 1 - truth, p[:, ::-1], k=2, labels=classes)
        assert measures.top(p, truth, 2) == pytest.approx(mirrored)


@given(answers(), st.randoms(use_true_random=False))
def test_the_order_of_the_clips_does_not_matter(case, random):
    p, truth = case
    order = list(range(len(truth)))
    random.shuffle(order)
    before, after = measures.measure(p, truth), measures.measure(p[order], truth[order])
    for name, value in vars(before).items():
        np.testing.assert_allclose(getattr(after, name), value, err_msg=name)


@given(answers())
def test_laws(case):
    p, truth = case
    m = measures.measure(p, truth)
    assert m.clips == m.of.sum() and m.top1 == pytest.approx(m.right.sum() / m.clips) and m.top1 <= m.top5
    assert 0 <= m.calibration_error <= 1
    assert [measures.top(p, truth, k) for k in (0, p.shape[1])] == [0, 1]
    matrix = measures.confusion(p, truth)
    np.testing.assert_array_equal(matrix.sum(axis=1), m.of)
    np.testing.assert_array_equal(np.diag(matrix), m.right)
    found = measures.calibration(p, truth)
    counts, confidence, right = found.count, found.confidence, found.right
    assert counts.sum() == m.clips and (counts[counts > 0] @ right[counts > 0]) == pytest.approx(m.right.sum())
    assert counts[counts > 0] @ confidence[counts > 0] == pytest.approx(p.max(axis=1).sum())
    for c in range(p.shape[1]):  # the opposite score wins where the other loses
        both = measures.roc_auc(p[:, c], truth == c) + measures.roc_auc(-p[:, c], truth == c)
        assert math.isnan(both) or both == pytest.approx(1)
