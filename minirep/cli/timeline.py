"""``minirep classify --timeline``: the events in long recordings, one after the other."""

import json
import sys

from ..audio import Recording, open_recording
from ..classify import Classifier
from ..errors import MinirepError
from ..figures import LongLogMel, draw_timeline, picture_format
from ..stream import HOP, SMOOTH, Event, events_of
from ..text import printable
from .events import add_event_arguments, as_json, clock, event_line, make_stream
from .terminal import BLOCKS, JsonArray, Progress, Report, can_show, complain, say, say_row


def add_arguments(parser) -> None:
    group = parser.add_argument_group("events", "in long recordings, in constant memory")
    group.add_argument("--timeline", action="store_true", help="list events, with start and end, for each file")
    group.add_argument("--plot", metavar="PICTURE", help="draw the log-mel and the events (.png, .svg, .pdf)")
    add_event_arguments(group)


def check(args, sources: list) -> None:
    """Refuse options that cannot be combined, before any work."""
    if not args.timeline:
        defaults = {"hop": HOP, "smooth": SMOOTH, "all": False, "cooldown": 0.0}
        for name in ("plot", "hop", "threshold", "smooth", "cooldown", "gate", "all"):
            if getattr(args, name) != defaults.get(name):
                raise MinirepError(f"--{name} needs --timeline")
        return
    if args.top or args.views:
        raise MinirepError("--timeline cannot be combined with --top or --views: it classifies every window")
    if args.plot:
        if len(sources) != 1:
            raise MinirepError(f"--plot: found {len(sources)} recordings, expected one")
        picture_format(args.plot)


def run(args, clf: Classifier, sources: list, failed: list) -> int:
    """Print the timelines of ``sources``, [(name, path or stream)]; ``failed``, [(name, why)], cannot be opened."""
    report = JsonEvents() if args.json else CsvEvents() if args.csv else EventLines()
    for name, reason in failed:
        report.begin(name, None)
        report.end(_tell(name, reason))
    for name, source in sources:
        try:
            recording = open_recording(source, args.partial)
        except MinirepError as error:
            report.begin(name, None)
            report.end(_tell(name, str(error)))
            failed.append((name, str(error)))
            continue
        report.begin(name, recording)
        try:
            _run_one(args, clf, name, recording, report)
        except MinirepError as error:  # such as a damaged stretch: the events before it remain
            report.end(_tell(name, str(error)))
            failed.append((name, str(error)))
        else:
            report.end(None)
    report.close()
    return 1 if failed else 0


def _run_one(args, clf: Classifier, name: str, recording: Recording, report) -> None:
    stream = make_stream(args, clf, recording.rate)
    seconds = recording.length / recording.rate
    picture = LongLogMel(seconds, clf.recipe) if args.plot else None
    events, progress = [], Progress(int(seconds / stream.hop) + 2)
    try:
        for ended in events_of(recording, stream):
            if picture is not None and stream.log_mel is not None:
                picture.add(stream.start, stream.log_mel)
            if ended:
                progress.clear()
                report.add(ended)
                events += ended if args.plot else []
            progress.step()
    finally:
        progress.clear()
    if picture is not None and stream.log_mel is not None:
        picture.add(stream.start, stream.log_mel, last=True)
        draw_timeline(picture, events, args.plot, printable(name))


def _tell(name: str, reason: str) -> str:
    """Report an error to stderr; return its reason, without the file's name in front."""
    reason = reason.removeprefix("<stdin>: ").removeprefix(f"{printable(name)}: ")
    complain(f"{printable(name)}: {reason}")
    return reason


class EventLines(Report):
    """A report for people: each file's name, and its events below, one per line."""

    def __init__(self):
        self.blocks = can_show(BLOCKS, sys.stdout)

    def begin(self, name: str, recording) -> None:
        self.count = 0
        if recording is not None:
            say(f"{printable(name)}: {clock(recording.length / recording.rate)}")

    def add(self, events: list[Event]) -> None:
        self.count += len(events)
        for event in events:
            say("  " + event_line(event, self.blocks))

    def end(self, failure: str | None) -> None:
        if not self.count and failure is None:
            say("  no events")


class JsonEvents(JsonArray):
    """A report for programs: [{"file", "seconds", "events": [{"start", "end", "head", "label", "confidence"} ...]} ...]

    A file that failed also has an "error", after the events before the damage.
    """

    def begin(self, name: str, recording) -> None:
        entry = {"file": name} | ({} if recording is None else {"seconds": recording.length / recording.rate})
        self.put(f'{json.dumps(entry, allow_nan=False)[:-1]}, "events": [')
        self.between = ""

    def add(self, events: list[Event]) -> None:
        for event in events:
            sys.stdout.write(f"{self.between}\n {json.dumps(as_json(event), allow_nan=False)}")
            self.between = ","

    def end(self, failure: str | None) -> None:
        sys.stdout.write("]" + ("}" if failure is None else f', "error": {json.dumps(failure)}}}'))


class CsvEvents(Report):
    """A report for programs and spreadsheets: a row for each event; failures are on stderr only."""

    def __init__(self):
        say_row("file", "start", "end", "head", "label", "confidence")

    def begin(self, name: str, recording) -> None:
        self.name = name

    def add(self, events: list[Event]) -> None:
        for event in events:
            say_row(self.name, *as_json(event).values())
