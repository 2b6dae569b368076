"""Events in `minirep listen` and `minirep classify --timeline`: their options and their format."""

from ..classify import Classifier
from ..stream import HOP, IGNORED, SMOOTH, THRESHOLD, Event, Stream
from ..text import pad, printable, shorten
from .arguments import at_least_one, decibels, not_negative, positive, probability
from .terminal import bar, percent


def add_event_arguments(parser) -> None:
    parser.add_argument(
        "--hop", type=positive, default=HOP, metavar="S", help=f"seconds between windows (default: {HOP})"
    )
    parser.add_argument(
        "--threshold", type=probability, metavar="P",
        help=f"probability that starts an event (default: the model's own, else {THRESHOLD})",
    )  # fmt: skip
    parser.add_argument(
        "--smooth", type=at_least_one, default=SMOOTH, metavar="N", help=f"average over N windows (default: {SMOOTH})"
    )
    parser.add_argument(
        "--cooldown", type=not_negative, default=0.0, metavar="S",
        help="seconds after an event during which its label starts no new one (default: 0)",
    )  # fmt: skip
    parser.add_argument(
        "--gate", type=decibels, metavar="DB",
        help="skip the network for windows below this level and count them as silence (RMS in dBFS, such as -60)",
    )  # fmt: skip
    parser.add_argument("--all", action="store_true", help=f"also report {' and '.join(IGNORED)} as events")


def make_stream(args, clf: Classifier, rate: int) -> Stream:
    ignored = () if args.all else IGNORED
    return Stream(clf, rate, args.hop, args.threshold, args.smooth, ignored, args.cooldown, args.gate)


def as_json(event: Event) -> dict:
    """Return an event with times in seconds, rounded to milliseconds, and the seven digits of a float32."""
    times = {"start": round(event.start, 3), "end": None if event.end is None else round(event.end, 3)}
    return times | {"head": event.head, "label": event.label, "confidence": float(f"{event.confidence:.7g}")}


def event_line(event: Event, blocks: bool = True, width: int = 20) -> str:
    """Format an event for people, with a bar of ``width`` columns; "..." is the end of an event that continues."""
    label = pad(shorten(printable(event.label), 30), 20)
    filled, end = bar(event.confidence, width, blocks), "..." if event.end is None else clock(event.end)
    return f"{clock(event.start)} - {pad(end, 10)}  {label}  {percent(event.confidence)}  {filled}".rstrip()


def clock(seconds: float) -> str:
    """Format seconds as hours, minutes and seconds.

    >>> clock(3725.504)
    '1:02:05.50'
    """
    hundredths = round(seconds * 100)
    return f"{hundredths // 360000}:{hundredths // 6000 % 60:02}:{hundredths // 100 % 60:02}.{hundredths % 100:02}"
