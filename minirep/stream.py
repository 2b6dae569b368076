"""Sound without an end: windows slide over it, and the labels found in them become events with a start and an end.

    blocks of samples -> StreamResampler -> samples at the recipe's rate
                      -> SlidingLogMel   -> a log-mel for each window, a new one every hop
                      -> the network     -> probabilities
                      -> EventTracker    -> events

Memory does not grow with time: only one window, and the samples that the resampler needs, are kept.
A window gets the same log-mel, bit for bit, as in a file of its own that `minirep.Classifier.classify` classifies.
Neighbouring windows share most of their frames, and each shared frame is computed only once.
"""

import math
import time
from collections import deque
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from .audio.recording import Recording, from_array
from .audio.resample import SIZE, reach, resample
from .classify import Classifier
from .errors import MinirepError, expect
from .frontend import centre_offset, cut_frames, log_mel_of_frames, log_mel_views, pad_frames
from .recipe import MELS, Recipe

HOP = 0.25  # seconds from one window to the next
THRESHOLD = 0.5  # the probability at which an event starts, unless the model has a threshold of its own
SMOOTH = 3  # windows whose probabilities are averaged
IGNORED = ("silence", "unknown")  # labels that start no event
RELEASE = 0.5  # an event continues while its probability is at least this fraction of the threshold
ENDLESS = 1 << 62  # samples: the length of a recording whose end is not known


@dataclass(frozen=True)
class Event:
    """A sound from ``start`` to ``end`` (seconds), with its highest probability as ``confidence``.

    ``end`` is None while the event continues (see ``changes`` of `Stream`).
    """

    start: float
    end: float | None
    label: str
    confidence: float
    head: str = "class"

    @property
    def seconds(self) -> float:
        """Duration in seconds; 0 while the event continues."""
        return 0.0 if self.end is None else self.end - self.start


def usual_threshold(classifier: Classifier) -> float:
    """Return the ``threshold`` in the model's provenance, or `THRESHOLD`; raise a MinirepError if it is no number."""
    text = classifier.provenance.get("threshold", THRESHOLD)
    try:
        return float(text)
    except (TypeError, ValueError):
        raise MinirepError(f"stream: found {text!r} as the model's own threshold, expected a number") from None


class Stream:
    """Classify sound while it arrives, and find events in it.

    Parameters
    ----------
    classifier : Classifier
    rate : int
        Sample rate in Hz. The samples are resampled if the classifier's recipe has another rate.
    hop : float
        Seconds from one window to the next, rounded to whole frames (see ``stream.hop``). A window is one clip long.
    threshold : float, optional
        Averaged probability at which a label starts an event. The event ends when the label falls below half of it, or
        another label reaches it. By default it is the ``threshold`` in the model's provenance, else 0.5.
    smooth : int
        Number of windows whose probabilities are averaged.
    ignore : iterable of str
        Labels that start no events.
    cooldown : float
        Seconds after the end of an event during which its label starts no other.
    gate : float, optional
        Level in decibels relative to full scale (dBFS), at most 0. The network does not run on a window whose root mean
        square is lower. Such a window has probability 1 for the label "silence", and 0 for all other labels.

    Attributes
    ----------
    changes : list of Event
        The events that have started (``end`` is None) or ended at the last `feed` or `close`, in order.
    window, start : float
        The length of a window and the start of the last window, in seconds.
    skipped, gated : int
        The number of windows skipped by ``catch_up``, and of windows below the gate.
    load : float
        The real-time factor, a moving average. Above 1, the machine cannot keep up.

    Raises
    ------
    MinirepError
        For an argument out of range.

    Examples
    --------
    ::

        stream = minirep.Stream(clf, rate=16000)
        for block in microphone:                 # (n,) arrays of any length
            for event in stream.feed(block):     # the events that have ended
                print(event.label, event.start, event.end)
            for event in stream.changes:         # every start (its end is None) and every end, in order
                print(event)
        last = stream.close()
    """

    def __init__(
        self,
        classifier: Classifier,
        rate: int,
        hop: float = HOP,
        threshold: float | None = None,
        smooth: int = SMOOTH,
        ignore: Iterable[str] = IGNORED,
        cooldown: float = 0.0,
        gate: float | None = None,
    ):
        recipe = classifier.recipe
        threshold = usual_threshold(classifier) if threshold is None else threshold
        expect(
            0 < hop < math.inf and 0 < threshold <= 1 and type(smooth) is int and 1 <= smooth <= 10**6,
            f"stream: found hop {hop!r}, threshold {threshold!r}, smooth {smooth!r}; expected a hop above 0, "
            "a threshold above 0 and up to 1, and a whole number of windows from 1 to 1000000",
        )
        expect(0 <= cooldown < math.inf, f"stream: found cooldown {cooldown!r}, expected seconds, at least 0")
        expect(gate is None or gate <= 0, f"stream: found gate {gate!r}, expected decibels, at most 0")
        self.classifier = classifier
        self.rate = from_array(np.zeros(1), rate).rate  # a MinirepError if it is no rate
        self.window = (recipe.clip - 1) / recipe.rate
        self.skipped = self.gated = 0
        self.load = self.start = 0.0
        self.changes: list[Event] = []
        self._gate = 0.0 if gate is None else 10 ** (gate / 10)  # the least mean square of a window that counts
        self._short: np.ndarray | None = None  # the log-mel of a stream that is shorter than a window
        self._step = max(1, round(hop * recipe.rate / recipe.hop))  # frames from one window to the next
        self._resampler = StreamResampler(self.rate, recipe.rate)
        self._log_mels = SlidingLogMel(recipe)
        self._next = 0  # first frame of the next window
        self._closed = False
        shared = self.hop, threshold, smooth, set(ignore), cooldown
        self._trackers = [EventTracker(head, names, *shared) for head, names in classifier.labels.items()]

    @property
    def hop(self) -> float:
        """Seconds from one window to the next: the requested hop, rounded to whole frames."""
        return self._step * self.classifier.recipe.hop / self.classifier.recipe.rate

    @property
    def seconds(self) -> float:
        """Duration of the sound so far, in seconds."""
        return self._resampler.count / self.rate

    @property
    def heard(self) -> dict[str, tuple[str, float]]:
        """The most probable {head: (label, probability)} now; empty before the first window."""
        return {tracker.head: tracker.best for tracker in self._trackers if tracker.best}

    def feed(self, samples: np.ndarray, catch_up: bool = False) -> list[Event]:
        """Take the next mono samples (n,), floats in [-1, 1] or integers, and return the events that have ended.

        ``stream.changes`` lists these and the events that have started, in order. With ``catch_up``, only the newest of
        several due windows is classified; ``stream.skipped`` counts the others. Raises a MinirepError after `close`.
        """
        expect(not self._closed, "stream: found samples after its end; expected a new Stream for them")
        samples = np.asarray(samples)
        if samples.size:
            self._resampler.append(from_array(samples, self.rate).read(0, len(samples)))
        self.changes = self._classify_due(catch_up)
        return [event for event in self.changes if event.end is not None]

    def _classify_due(self, catch_up: bool = False) -> list[Event]:
        events = []
        while (due := self._due()) > 0:
            if catch_up:
                self.skipped += due - 1
                self._next += (due - 1) * self._step
            events += self._classify_window()
        return events

    def close(self) -> list[Event]:
        """End the sound, and return the remaining events, including those in its last part.

        A stream shorter than one window is treated as `minirep.Classifier.classify` treats a short recording.
        """
        self.changes = []
        if self._closed:
            return []
        self._closed = True
        self._resampler.close()
        events = self._classify_due()
        settled, recipe = self._resampler.settled, self.classifier.recipe
        last = (settled - self._log_mels.length) // recipe.hop  # the window that ends with the sound, to the frame
        if last >= 0 and self._next - self._step < last:
            self._next = last
            events += self._classify_window()
        elif last < 0 < settled:
            samples = self._resampler.take(settled)
            self._short = log_mel_views(samples, recipe.rate, recipe, 1)[0]
            events += self._track(samples, settled / recipe.rate)
        self.changes = events + [event for tracker in self._trackers for event in tracker.finish(self.seconds)]
        return [event for event in self.changes if event.end is not None]

    def _due(self) -> int:
        """Return the number of complete windows that have not been classified."""
        spare = self._resampler.settled - self._next * self.classifier.recipe.hop - self._log_mels.length
        return spare // (self._step * self.classifier.recipe.hop) + 1

    @property
    def log_mel(self) -> np.ndarray | None:
        """Log-mel (frames, 128) of the last window; None before the first."""
        return self._log_mels.current() if self._short is None else self._short

    def _classify_window(self) -> list[Event]:
        begin, recipe = time.perf_counter(), self.classifier.recipe
        start = self._next * recipe.hop
        new = self._resampler.take(start + self._log_mels.length - self._resampler.taken)
        self._log_mels.move_to(self._next, new)
        self._next, self.start = self._next + self._step, start / recipe.rate
        events = self._track(self._log_mels.samples, self.window)
        load = (time.perf_counter() - begin) / self.hop
        self.load += (load - self.load) * (0.2 if self.load else 1.0)
        return events

    def _track(self, samples: np.ndarray, length: float) -> list[Event]:
        """Classify the last window and update the trackers. The moment of a window is its middle."""
        x = samples.astype(np.float64)
        if x @ x < self._gate * len(x):  # its mean square is below the gate
            self.gated += 1
            probabilities = {t.head: t.silence[None] for t in self._trackers}
        else:
            log_mel = self.log_mel
            assert log_mel is not None
            probabilities = self.classifier.probabilities(log_mel[None])
        middle = self.start + length / 2
        return [event for t in self._trackers for event in t.add(middle, probabilities[t.head][0])]


def events_of(recording: Recording, stream: Stream) -> Iterator[list[Event]]:
    """Feed a long recording to a stream in constant memory, and yield the list of ended events after each hop.

    After each step, ``stream.log_mel`` and ``stream.start`` are those of the last window.
    """
    block = max(1, int(stream.hop * recording.rate))  # so at most one window becomes due at a time
    for start in range(0, recording.length, block):
        yield stream.feed(recording.read(start, start + block))
    yield stream.close()


class StreamResampler:
    """Resample a stream: samples arrive at one rate and are taken at another, in order.

    The result equals `minirep.audio.resample` of the whole sound, bit for bit, for blocks of any length.
    """

    def __init__(self, rate: int, wanted: int):
        recording = Recording("stream", rate, ENDLESS, self._read)
        self._resampled = resample(recording, wanted)
        self._up, self._down = Fraction(wanted, recording.rate).as_integer_ratio()
        # A resampled value depends on this many samples before and after it; values are computed in blocks.
        self._reach = self._back = 0
        if self._up != self._down:
            self._reach = reach(self._up, self._down) + 2
            self._back = SIZE * self._down // self._up + self._reach
        self.count = 0  # samples that have arrived
        self.settled = 0  # samples at the wanted rate that no further arrival will change
        self.taken = 0  # of these, how many were taken
        self._pieces, self._kept_from = [np.zeros(0, np.float32)], 0  # samples still needed; the number of the first

    def append(self, samples: np.ndarray) -> None:
        """Append mono float32 samples."""
        self._pieces.append(samples)
        self.count += len(samples)
        self.settled = max(0, (self.count - self._reach) * self._up // self._down)

    def close(self) -> None:
        """End the sound; zeros follow it."""
        self.settled = -(-self.count * self._up // self._down)

    def take(self, count: int) -> np.ndarray:
        """Return the next ``count`` samples at the wanted rate; they must be settled."""
        samples = self._resampled.read(self.taken, self.taken + count)
        self.taken += count
        kept, needed_from = self._joined(), self.taken * self._down // self._up - self._back
        dropped = min(max(0, needed_from - self._kept_from), len(kept))
        self._pieces, self._kept_from = [kept[dropped:]], self._kept_from + dropped
        return samples

    def _read(self, start: int, stop: int) -> np.ndarray:
        """Return the samples [start, stop); those that have not arrived are 0, and no settled value depends on them."""
        samples = np.zeros(stop - start, np.float32)
        there = self._joined()[start - self._kept_from : stop - self._kept_from]
        samples[: len(there)] = there
        return samples

    def _joined(self) -> np.ndarray:
        if len(self._pieces) != 1:
            self._pieces = [np.concatenate(self._pieces)]
        return self._pieces[0]


class SlidingLogMel:
    """Compute the log-mel of a window that slides over samples, and each shared frame only once.

    Zeros pad a window at both ends, so the few frames that cross an end ("edges") belong to this window alone. All
    other frames ("inner") also belong to the next window, at another place.
    """

    def __init__(self, recipe: Recipe):
        self.recipe = recipe
        self.length = recipe.clip - 1  # samples of a window
        self.frames = 1 + self.length // recipe.hop
        before = centre_offset(recipe)
        inner_from = -(-before // recipe.hop)  # inner frames: those with t * hop - before >= 0
        inner_to = (self.length - recipe.window + before) // recipe.hop + 1  # and t * hop - before + window <= length
        self._from = min(inner_from, self.frames)
        self._to = max(self._from, min(inner_to, self.frames))
        self.samples = np.zeros(0, np.float32)  # the window's
        self._frame = -1  # its first frame, counted from the start of the stream
        self._inner = np.zeros((0, MELS), np.float32)  # inner frames' log-mel, of the last window that had it computed
        self._at, self._log_mel = -1, self._inner  # that window's first frame; its log-mel

    def move_to(self, frame: int, new: np.ndarray) -> None:
        """Move to the window that starts at ``frame``; ``new`` (n,) are its samples after the end of the last one."""
        self.samples = np.concatenate([self.samples, new])[-self.length :]
        self._frame = frame

    def current(self) -> np.ndarray | None:
        """Return the log-mel (recipe's frames, 128) of the window; None before the first."""
        if self._at != self._frame:
            kept = self._inner[self._frame - max(self._at, 0) :]
            self._at = self._frame
            edges = self._from + self.frames - self._to
            stretches = (0, self._from), (self._to, self.frames), (self._from + len(kept), self._to)
            cuts = [cut_frames(self.samples, first, last, self.recipe) for first, last in stretches if first < last]
            rows = log_mel_of_frames(np.concatenate(cuts), self.recipe)
            self._inner = np.concatenate([kept, rows[edges:]])
            whole = np.concatenate([rows[: self._from], self._inner, rows[self._from : edges]])
            self._log_mel = pad_frames(whole, self.recipe)
        return self._log_mel if self._at >= 0 else None


@dataclass
class EventTracker:
    """Turn the probabilities of one head, window after window, into events.

    An event starts at the threshold and continues down to half of it (hysteresis). So a sound whose probability varies
    around the threshold is one event. For ``cooldown`` seconds after its end, its label starts no other.
    """

    head: str
    labels: tuple[str, ...]
    hop: float
    threshold: float
    smooth: int
    ignore: set[str]
    cooldown: float = 0.0

    def __post_init__(self) -> None:
        silence = [label == "silence" for label in self.labels]
        self.silence = np.array(silence, np.float32)  # what a gated window counts as
        self.best: tuple[str, float] | None = None  # (label, probability) of what is most probable now
        self._recent: deque[tuple[float, np.ndarray]] = deque(maxlen=self.smooth)  # (moment, probabilities)
        self._label: int | None = None  # index of the label of the current event; None if there is none
        self._start = self._last = self._peak = 0.0  # of that event: start, last moment, highest probability
        self._ends: dict[int, float] = {}  # of each label's last event

    def add(self, moment: float, probabilities: np.ndarray) -> list[Event]:
        """Take the probabilities (classes,) of a window; return the events that it ends and starts, in this order."""
        first = not self._recent  # an event in the first window starts with the sound
        self._recent.append((moment, probabilities))
        moment = sum(m for m, _ in self._recent) / len(self._recent)  # so averaging over the past adds no delay
        p = np.mean([p for _, p in self._recent], axis=0)
        leader = int(p.argmax())
        self.best = (self.labels[leader], float(p[leader])) if p[leader] > 0 else None
        reached = p[leader] >= self.threshold
        faded = self._label is not None and p[self._label] < RELEASE * self.threshold
        changes = self.finish() if faded or (reached and leader != self._label) else []
        if self._label is None and reached and self.labels[leader] not in self.ignore:
            start = 0.0 if first else max(0.0, moment - self.hop / 2)
            if not self.cooldown or start >= self._ends.get(leader, -math.inf) + self.cooldown:
                self._label, self._start, self._peak = leader, start, float(p[leader])
                changes.append(Event(start, None, self.labels[leader], self._peak, self.head))
        if self._label is not None:
            self._last, self._peak = moment, max(self._peak, float(p[self._label]))
        return changes

    def finish(self, end: float | None = None) -> list[Event]:
        """End the current event, if there is one, at ``end`` seconds; by default half a hop after its last window."""
        if self._label is None:
            return []
        end = self._last + self.hop / 2 if end is None else end
        event = Event(self._start, end, self.labels[self._label], self._peak, self.head)
        self._ends[self._label] = end
        self._label = None
        return [event]
