"""Laws of streams, events and the ranking of classes, on any probabilities: against an account told the slow way."""

from dataclasses import replace
from itertools import pairwise

import numpy as np
import pytest
from audio_files import hiss
from hypothesis import given, settings
from hypothesis import strategies as st
from stand_ins import SMALL, Loudness, tiny_classifier

from minirep import Prediction, Stream, log_mel_views
from minirep.audio import from_array
from minirep.stream import EventTracker, events_of

LABELS = ("a", "b", "silence")
EIGHTHS = st.integers(0, 8).map(lambda n: n / 8)  # so that ties and thresholds are met exactly
ROWS = st.lists(st.tuples(EIGHTHS, EIGHTHS, EIGHTHS), min_size=1, max_size=12)
THRESHOLDS = st.sampled_from([0.25, 0.5, 0.75, 1.0])
HOP = 0.5


class Told:
    """A stand-in for a classifier: the probabilities of one window after the other are given."""

    def __init__(self, rows, recipe=SMALL):
        self.rows, self.recipe, self.labels, self.provenance = iter(rows), recipe, {"class": LABELS}, {}
        self.seen = []

    def probabilities(self, log_mels):
        self.seen.append(log_mels[0])
        return {"class": np.array([next(self.rows, (0.0, 0.0, 1.0))], np.float32)}


def tracked(rows, threshold, smooth, first_moment=1.0, ignore=("silence",)):
    """([(label, start, end, peak)], after which window each was given)"""
    tracker = EventTracker("class", LABELS, HOP, threshold, smooth, set(ignore))
    found, given_at = [], []
    for i, row in enumerate(rows):
        ended = [event for event in tracker.add(first_moment + i * HOP, np.float32(row)) if event.end is not None]
        found += ended
        given_at += [i] * len(ended)
    ended = tracker.finish()
    return [(e.label, e.start, e.end, e.confidence) for e in found + ended], given_at + [len(rows)] * len(ended)


def slow_account(rows, threshold, smooth, first_moment=1.0, ignore=("silence",)):
    """The same from the whole history: means, then leaders, then stretches."""
    means, moments = [], []
    for i in range(len(rows)):
        window = range(max(0, i - smooth + 1), i + 1)
        means.append([sum(rows[j][c] for j in window) / len(window) for c in range(3)])
        moments.append(sum(first_moment + j * HOP for j in window) / len(window))
    found, given_at, going = [], [], None  # (class, start, last moment, peak)
    for i, (p, moment) in enumerate(zip(means, moments)):
        leader = p.index(max(p))
        reached = p[leader] >= threshold
        if going and (p[going[0]] < threshold / 2 or (reached and leader != going[0])):
            found.append((LABELS[going[0]], going[1], going[2] + HOP / 2, going[3]))
            given_at.append(i)
            going = None
        if going is None and reached and LABELS[leader] not in ignore:
            going = (leader, 0.0 if i == 0 else max(0.0, moment - HOP / 2), moment, 0.0)
        if going:
            going = (going[0], going[1], moment, max(going[3], p[going[0]]))
    if going:
        found.append((LABELS[going[0]], going[1], going[2] + HOP / 2, going[3]))
        given_at.append(len(rows))
    return found, given_at


@given(
    ROWS,
    THRESHOLDS,
    st.integers(1, 4),
    st.sampled_from([0.1, 1.0, 30.0]),
    st.sampled_from([(), ("silence",), ("a", "b")]),
)
def test_events_are_those_of_the_slow_account(rows, threshold, smooth, first, ignore):
    (found, given_at), (want, want_at) = (f(rows, threshold, smooth, first, ignore) for f in (tracked, slow_account))
    assert given_at == want_at
    assert [e[0] for e in found] == [e[0] for e in want]
    np.testing.assert_allclose([e[1:] for e in found], [e[1:] for e in want], rtol=1e-6)


@given(ROWS, THRESHOLDS, st.integers(1, 4))
def test_laws_of_events(rows, threshold, smooth):
    events, _ = tracked(rows, threshold, smooth)
    for label, start, end, peak in events:
        assert label != "silence" and 0 <= start < end and peak >= threshold - 1e-6
    for (_, _, end, _), (_, start, _, _) in pairwise(events):
        assert end <= start + HOP  # one after the other; smoothing moves the first moments closer together
    if smooth == 1:
        assert all(end <= start for (_, _, end, _), (_, start, _, _) in pairwise(events))


@given(ROWS, THRESHOLDS, st.integers(1, 4))
def test_the_first_event_starts_at_zero_where_its_window_is_the_first(rows, threshold, smooth):
    """The first window speaks for all that was before its middle, too; no later one does."""
    events, _ = tracked(rows, threshold, smooth, first_moment=5.0)
    at_once = max(rows[0]) >= threshold and LABELS[rows[0].index(max(rows[0]))] != "silence"
    assert (bool(events) and events[0][1] == 0.0) == at_once
    assert all(start >= 5.0 for _, start, _, _ in events[at_once:])


CLEAR = st.lists(st.sampled_from([(1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0)]), min_size=8, max_size=30)


@given(ROWS | CLEAR, THRESHOLDS, st.integers(1, 4), st.sampled_from([0.0, 0.5, 1.0, 2.5, 1e9]), st.booleans())
def test_laws_of_starts_and_ends(rows, threshold, smooth, cooldown, cut):
    """Starts and ends take turns; each start has its end, also where the sound is cut; none comes within a cooldown."""
    tracker = EventTracker("class", LABELS, HOP, threshold, smooth, {"silence"}, cooldown)
    changes = [change for i, row in enumerate(rows) for change in tracker.add(1.0 + i * HOP, np.float32(row))]
    changes += tracker.finish(1.0 + len(rows) * HOP) if cut else tracker.finish()
    assert tracker.finish() == []
    assert len(changes) % 2 == 0 and all((event.end is None) == (i % 2 == 0) for i, event in enumerate(changes))
    for start, end in zip(changes[::2], changes[1::2]):
        assert (start.start, start.label, start.head) == (end.start, end.label, end.head)
        assert threshold - 1e-6 <= start.confidence <= end.confidence and start.seconds == 0 < end.seconds
    ends = {}
    for start, end in zip(changes[::2], changes[1::2]):
        assert not cooldown or start.start >= ends.get(start.label, -np.inf) + cooldown
        ends[start.label] = end.end
    if cooldown == 0:
        assert [(e.label, e.start, e.confidence) for e in changes[1::2]] == [
            (label, start, peak) for label, start, _, peak in tracked(rows, threshold, smooth)[0]
        ]
    if cooldown == 1e9:
        assert len({event.label for event in changes}) == len(changes) / 2


def test_a_cooldown_is_a_labels_own():
    """Another label may start at once, and the same one as soon as the time is over."""
    a, b, quiet = (1, 0, 0), (0, 1, 0), (0, 0, 1)
    tracker = EventTracker("class", LABELS, HOP, 0.5, 1, {"silence"}, 1.0)
    changes = [
        e for i, row in enumerate([a, b, a, quiet, a, a, a]) for e in tracker.add(1.0 + i * HOP, np.float32(row))
    ]
    assert [(e.label, e.start, e.end) for e in changes + tracker.finish()] == [
        ("a", 0.0, None), ("a", 0.0, 1.25), ("b", 1.25, None), ("b", 1.25, 1.75), ("a", 2.75, None), ("a", 2.75, 4.25)
    ]  # fmt: skip


@settings(max_examples=25)
@given(st.data(), st.integers(1, 40), st.floats(-120, 0))
def test_laws_of_the_gate(data, step, gate):
    """Every window above the gate is classified as without it, to the bit; those below count as silence."""
    pieces = data.draw(st.lists(st.tuples(st.integers(1, WINDOW), st.floats(-140, 0)), min_size=1, max_size=5))
    samples = np.concatenate([hiss(count) * np.float32(10 ** (level / 20)) for count, level in pieces])
    hop, clf, gated = step * HOP_SAMPLES / SMALL.rate, Loudness(), Loudness()
    plain, stream = Stream(clf, SMALL.rate, hop=hop), Stream(gated, SMALL.rate, hop=hop, gate=gate)
    windows = []
    honest = stream._track
    stream._track = lambda samples, length: windows.append(samples) or honest(samples, length)
    plain.feed(samples), plain.close()
    at = 0
    for count in cuts(data.draw, len(samples)):
        stream.feed(samples[at : at + count])
        at += count
    stream.close()
    levels = [np.mean(np.float64(window) ** 2) for window in windows]
    loud = [log_mel for log_mel, level in zip(clf.seen, levels) if level >= 10 ** (gate / 10)]
    assert len(windows) == len(clf.seen) and len(loud) + stream.gated == len(windows)
    assert all(map(np.array_equal, loud, gated.seen)) and len(gated.seen) == len(loud)
    np.testing.assert_array_equal(stream.log_mel, plain.log_mel)


@pytest.mark.parametrize("above, gated", [(-0.1, False), (0.1, True)])
def test_the_gate_is_in_decibels_of_the_mean_square(above, gated):
    """An alternating 0.01 has an RMS of exactly -40 dB of full scale."""
    samples = np.float32(0.01) * np.float32((-1) ** np.arange(2 * WINDOW))
    stream = Stream(Loudness(), SMALL.rate, gate=-40 + above)
    stream.feed(samples)
    assert (stream.gated > 0, len(stream.classifier.seen) > 0) == (gated, not gated)


@pytest.mark.parametrize("gate", [None, -np.inf])
def test_without_a_gate_nothing_is_left_out(gate):
    samples = np.concatenate([np.zeros(9000, np.float32), hiss(9000), np.zeros(9000, np.float32)])
    plain, stream = (Stream(Loudness(), SMALL.rate, hop=0.1, **options) for options in ({}, {"gate": gate}))
    assert stream.feed(samples) + stream.close() == plain.feed(samples) + plain.close() and stream.gated == 0
    np.testing.assert_array_equal(stream.classifier.seen, plain.classifier.seen)


@pytest.mark.parametrize("labels", [("silence", "a", "b"), ("a", "b", "c")])
def test_what_a_gated_window_counts_as(labels):
    """As silence where the head has it, else as nothing: no leader, and the end of what went on."""
    clf = Loudness(labels=labels)
    stream = Stream(clf, SMALL.rate, hop=0.1, smooth=1, gate=-60, ignore=())
    loud = stream.feed(hiss(8000))
    assert stream.gated == 0 and stream.heard["class"] == (labels[1], 1.0)
    events = loud + stream.feed(np.zeros(8000, np.float32))
    assert stream.gated > 3 and stream.heard == ({"class": ("silence", 1.0)} if labels[0] == "silence" else {})
    assert [event.label for event in events][:1] == [labels[1]] and events[0].end < 1.2
    rest = [(event.label, event.confidence) for event in stream.close()]
    assert rest == [("silence", 1.0)] * (labels[0] == "silence")


def test_a_short_stream_has_a_gate_too():
    for level, seen in ((1e-5, 0), (1.0, 1)):
        stream = Stream(Loudness(), SMALL.rate, gate=-60)
        stream.feed(hiss(700) * np.float32(level))
        stream.close()
        assert (len(stream.classifier.seen), stream.gated) == (seen, 1 - seen) and stream.log_mel is not None


def test_an_event_whose_leader_falls_ends_there():
    """Below the threshold it goes on, below half of it no more: half a hop after the last moment it was heard."""
    quiet, loud, enough, low = (0, 0, 1), (1, 0, 0), (0.26, 0.2, 0.3), (0.24, 0.2, 0.3)
    assert tracked([quiet, loud, enough, enough, quiet], 0.5, 1) == ([("a", 1.25, 2.75, 1.0)], [4])
    assert tracked([quiet, loud, low, enough, quiet], 0.5, 1) == ([("a", 1.25, 1.75, 1.0)], [2])
    assert tracked([quiet, loud, (0.3, 0.49, 0)], 0.5, 1)[0] == [("a", 1.25, 2.25, 1.0)]  # another leads, too weak
    assert tracked([quiet, loud, (0.3, 0.5, 0)], 0.5, 1)[0] == [("a", 1.25, 1.75, 1.0), ("b", 1.75, 2.25, 0.5)]
    assert tracked([quiet, loud, (0.3, 0.0, 0.5)], 0.5, 1) == ([("a", 1.25, 1.75, 1.0)], [2])


def test_of_equals_the_first_leads():
    assert [e[0] for e in tracked([(0.5, 0.5, 0)], 0.5, 1)[0]] == ["a"]
    tracker = EventTracker("class", LABELS, HOP, 0.5, 1, set())
    tracker.add(0.0, np.float32([0.25, 0.25, 0.25]))
    assert tracker.best == ("a", 0.25)


# --- windows ------------------------------------------------------------------------------------------------------

HOP_SAMPLES, WINDOW = SMALL.hop, SMALL.clip - 1


def cuts(draw, length):
    """The numbers of samples of each block."""
    at = sorted(draw(st.lists(st.integers(0, length), max_size=6)))
    return np.diff([0, *at, length])


@settings(max_examples=40)
@given(st.data(), st.integers(1, 2 * WINDOW), st.integers(1, 40), st.booleans())
def test_no_window_is_classified_twice(data, length, step, catch_up):
    """Windows start at 0, at every hop after it, and one ends with the sound; each is another stretch of it."""
    samples, clf = hiss(length), Told([])
    stream = Stream(clf, SMALL.rate, hop=step * HOP_SAMPLES / SMALL.rate)
    starts, at = [], 0
    honest = stream._track
    stream._track = lambda samples, length: starts.append(stream.start) or honest(samples, length)
    for count in cuts(data.draw, length):
        stream.feed(samples[at : at + count], catch_up)
        at += count
    stream.close()
    frames = [round(start * SMALL.rate / HOP_SAMPLES) for start in starts]
    assert frames == sorted(set(frames)) and len(clf.seen) == len(frames)
    last = max(0, (length - WINDOW) // HOP_SAMPLES)
    assert frames[-1] == last  # the end of the sound is heard
    if not catch_up:
        assert frames == [*range(0, last, step), last] and stream.skipped == 0
    else:
        due = range(0, last + 1, step)  # each of these is classified or counts as skipped
        assert sum(frame in due for frame in frames) + stream.skipped == len(due)
    assert stream.close() == [] and len(clf.seen) == len(frames)


@pytest.mark.parametrize("missing", [0, 1, 2, 3])
def test_clips_that_are_short_by_a_sample(missing):
    """A view is one sample shorter than a clip: from that length on there is a whole window, and one only."""
    samples = hiss(SMALL.clip - missing)
    clf = Loudness()
    stream = Stream(clf, SMALL.rate)
    stream.feed(samples)
    assert len(clf.seen) == (missing <= 1)  # as soon as it is whole
    events = stream.close()
    assert len(clf.seen) == 1 and [e.label for e in events] == ["a"] and events[0].start == 0.0
    assert events[0].end == len(samples) / SMALL.rate
    np.testing.assert_array_equal(clf.seen[0], log_mel_views(samples, SMALL.rate, SMALL, 1)[0])


@pytest.mark.parametrize("missing", [0, 1, 2])
@pytest.mark.parametrize("repeat", ["frame", "sample"])
def test_a_classifier_and_a_stream_agree_on_short_clips(missing, repeat):
    recipe = replace(SMALL, repeat=repeat)
    clf = tiny_classifier({"class": 3}, {"class": LABELS}, recipe, backend="numpy")
    samples = hiss(SMALL.clip - missing)
    stream = Stream(clf, SMALL.rate, smooth=1)
    stream.feed(samples)
    stream.close()
    assert stream.heard["class"] == clf.classify(samples, SMALL.rate, views=1).top(1)[0]
    views = log_mel_views(samples, SMALL.rate, recipe, 3)
    assert all(np.array_equal(view, views[0]) for view in views) or missing == 0  # one view's worth, or two starts


@settings(max_examples=15)
@given(st.integers(1, 3 * WINDOW), st.integers(1, 50))
def test_a_recording_walked_through_gives_the_events_of_a_stream(length, step):
    samples, hop = hiss(length), step * HOP_SAMPLES / SMALL.rate
    whole, walked = Stream(Loudness(), SMALL.rate, hop=hop), Stream(Loudness(), SMALL.rate, hop=hop)
    want = whole.feed(samples) + whole.close()
    found = [event for ended in events_of(from_array(samples, SMALL.rate), walked) for event in ended]
    assert found == want
    np.testing.assert_array_equal(walked.classifier.seen, whole.classifier.seen)


# --- the ranking of classes ---------------------------------------------------------------------------------------


@given(st.lists(st.integers(0, 3).map(lambda n: n / 4), min_size=1, max_size=8), st.integers(-1, 10))
def test_ties_in_top_go_to_the_first_class(values, n):
    labels = tuple(f"class {i}" for i in range(len(values)))
    top = Prediction({"class": np.float32(values)}, {"class": labels}).top(n)
    best = sorted(range(len(values)), key=lambda i: (-values[i], i))[: max(0, n)]
    assert top == [(labels[i], values[i]) for i in best]
