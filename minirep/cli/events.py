"""Events in `minirep listen` and `minirep classify --timeline`: their options and their format."""

from ..classify import Classifier
from ..stream import HOP, IGNORED, SMOOTH, THRESHOLD, Event, Stream
from ..text import pad, printable, shorten
from .arguments import at_least_one, decibels, not_negative, positive, probability
from .terminal import bar, percent


def add_event_arguments(parser) -> None:
    add = parser.add_argument
    add("--hop", type=positive, default=HOP, metavar="S", help=f"seconds between windows (default: {HOP})")
    starts = f"probability that starts an event (default: the model's own, else {THRESHOLD})"
    add("--threshold", type=probability, metavar="P", help=starts)
    smooth = f"average over N windows (default: {SMOOTH})"
    add("--smooth", type=at_least_one, default=SMOOTH, metavar="N", help=smooth)
    cooldown = "seconds after an event during which its label starts no new one (default: 0)"
    add("--cooldown", type=not_negative, default=0.0, metavar="S", help=cooldown)
    gate = "skip the network for windows below this level and count them as silence (RMS in dBFS, such as -60)"
    add("--gate", type=decibels, metavar="DB", help=gate)
    add("--all", action="store_true", help=f"also report {' and '.join(IGNORED)} as events")


def make_stream(args, clf: Classifier, rate: int) -> Stream:
    ignored = () if args.all else IGNORED
    return Stream(clf, rate, args.hop, args.threshold, args.smooth, ignored, args.cooldown, args.gate)


def as_json(event: Event) -> dict:
    """Return an event with times in seconds, rounded to milliseconds, and the seven digits of a float32."""
    times = {"start": round(event.start, 3), "end": None if event.end is None else round(event.end, 3)}
    return times | {"head": event.head, "label": event.label, "confidence": float(f"{event.confidence:.7g}")}


def event_line(event: Event, width: int = 20) -> str:
    """Format an event for people, with a bar of ``width`` columns; "..." is the end of an event that continues."""
    label, end = pad(shorten(printable(event.label), 30), 20), "..." if event.end is None else clock(event.end)
    shown = f"{percent(event.confidence)}  {bar(event.confidence, width)}".rstrip()
    return f"{clock(event.start)} - {pad(end, 10)}  {label}  {shown}"


def clock(seconds: float) -> str:
    """Format seconds as hours, minutes and seconds.

    >>> clock(3725.504)
    '1:02:05.50'
    """
    minutes, hundredths = divmod(round(seconds * 100), 6000)
    return f"{minutes // 60}:{minutes % 60:02}:{hundredths // 100:02}.{hundredths % 100:02}"
