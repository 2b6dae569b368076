"""What an event is, for `minirep listen` and `minirep classify --timeline`: its options, and how it is printed."""

from ..classify import Classifier
from ..stream import HOP, IGNORED, SMOOTH, THRESHOLD, Event, Stream
from ..text import pad, printable, shorten
from .arguments import at_least_one, positive, probability
from .terminal import bar, percent


def add_event_arguments(parser) -> None:
    """The options that say what an event is."""
    parser.add_argument(
        "--hop", type=positive, default=HOP, metavar="S", help=f"seconds from window to window (default: {HOP})"
    )
    parser.add_argument(
        "--threshold", type=probability, metavar="P",
        help=f"the probability that makes an event (default: the model's own, else {THRESHOLD})",
    )  # fmt: skip
    parser.add_argument(
        "--smooth", type=at_least_one, default=SMOOTH, metavar="N", help=f"average over N windows (default: {SMOOTH})"
    )
    parser.add_argument("--all", action="store_true", help=f"report {' and '.join(IGNORED)} as events, too")


def make_stream(args, clf: Classifier, rate: int) -> Stream:
    """A stream as the arguments want it."""
    return Stream(clf, rate, args.hop, args.threshold, args.smooth, () if args.all else IGNORED)


def as_json(event: Event) -> dict:
    """An event with milliseconds and a float32's digits."""
    times = {"start": round(event.start, 3), "end": round(event.end, 3)}
    return times | {"head": event.head, "label": event.label, "confidence": float(f"{event.confidence:.7g}")}


def event_line(event: Event, blocks: bool = True) -> str:
    """An event for people."""
    label = pad(shorten(printable(event.label), 30), 20)
    filled = bar(event.confidence, 20, blocks)
    return f"{clock(event.start)} - {clock(event.end)}  {label}  {percent(event.confidence)}  {filled}".rstrip()


def clock(seconds: float) -> str:
    """Hours, minutes and seconds.

    >>> clock(3725.504)
    '1:02:05.50'
    """
    hundredths = round(seconds * 100)
    return f"{hundredths // 360000}:{hundredths // 6000 % 60:02}:{hundredths // 100 % 60:02}.{hundredths % 100:02}"
