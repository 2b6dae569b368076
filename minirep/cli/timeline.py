"""``minirep classify --timeline``: the events in long recordings, one after the other.

Each format prints timelines, (name, seconds, events): the events come one by one, and at the end, if the file failed,
the reason. A file that cannot even be opened has no seconds.
"""

import json
from collections.abc import Iterator

from ..audio import Recording, open_recording
from ..classify import Classifier
from ..errors import MinirepError, expect
from ..figures import LongLogMel, draw_timeline, picture_format
from ..stream import HOP, SMOOTH, Event, events_of
from ..text import printable
from .events import add_event_arguments, as_json, clock, event_line, make_stream
from .terminal import Progress, complain, say, say_array, say_row


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
            expect(getattr(args, name) == defaults.get(name), f"--{name} needs --timeline")
        return
    single = args.top or args.views
    expect(not single, "--timeline cannot be combined with --top or --views: it classifies every window")
    if args.plot:
        expect(len(sources) == 1, f"--plot: found {len(sources)} recordings, expected one")
        picture_format(args.plot)


def run(args, clf: Classifier, sources: list, failed: list) -> int:
    """Print the timelines of ``sources``, [(name, path or stream)]; ``failed``, [(name, why)], cannot be opened."""
    show = print_json if args.json else print_csv if args.csv else print_lines
    show(_timelines(args, clf, sources, failed))
    return 1 if failed else 0


def _timelines(args, clf: Classifier, sources: list, failed: list) -> Iterator[tuple]:
    """Yield the timelines; files that fail later are added to ``failed``."""
    for name, reason in tuple(failed):
        yield name, None, [_tell(name, reason)]
    for name, source in sources:
        try:
            recording = open_recording(source, args.partial)
            yield name, recording.length / recording.rate, _events(args, clf, name, recording, failed)
        except MinirepError as error:
            failed.append(name)
            yield name, None, [_tell(name, str(error))]


def _events(args, clf: Classifier, name: str, recording: Recording, failed: list) -> Iterator[Event | str]:
    try:
        stream = make_stream(args, clf, recording.rate)
        seconds = recording.length / recording.rate
        picture = LongLogMel(seconds, clf.recipe) if args.plot else None
        events, progress = [], Progress(int(seconds / stream.hop) + 2)
        for ended in events_of(recording, stream):
            if picture is not None and stream.log_mel is not None:
                picture.add(stream.start, stream.log_mel)
                events += ended
            yield from ended
            progress.step()
        if picture is not None and stream.log_mel is not None:
            picture.add(stream.start, stream.log_mel, last=True)
            draw_timeline(picture, events, args.plot, printable(name))
    except MinirepError as error:  # such as a damaged stretch: the events before it remain
        failed.append(name)
        yield _tell(name, str(error))


def _tell(name: str, reason: str) -> str:
    """Report an error to stderr; return its reason, without the file's name in front."""
    reason = reason.removeprefix("<stdin>: ").removeprefix(f"{printable(name)}: ")
    complain(f"{printable(name)}: {reason}")
    return reason


def print_lines(timelines) -> None:
    """Print, for people, each file's name, and its events below, one per line."""
    for name, seconds, events in timelines:
        if seconds is not None:
            say(f"{printable(name)}: {clock(seconds)}")
        quiet = True
        for event in events:
            quiet = False
            if isinstance(event, Event):
                say("  " + event_line(event))
        if quiet:
            say("  no events")


def print_json(timelines) -> None:
    """Print [{"file", "seconds", "events": [{"start", "end", "head", "label", "confidence"} ...]} ...].

    A file that failed also has an "error", after the events before the damage.
    """

    def begun() -> Iterator[str]:
        """Yield the beginning of each file's object, and print the rest of it at once."""
        for name, seconds, events in timelines:
            entry = {"file": name} | ({} if seconds is None else {"seconds": seconds})
            yield f'{json.dumps(entry, allow_nan=False)[:-1]}, "events": ['
            between, error = "", ""
            for event in events:
                if isinstance(event, Event):
                    say(f"{between}\n {json.dumps(as_json(event), allow_nan=False)}", end="")
                    between = ","
                else:
                    error = f', "error": {json.dumps(event)}'
            say(f"]{error}}}", end="")

    say_array(begun())


def print_csv(timelines) -> None:
    """Print a row for each event, for programs and spreadsheets; failures are on stderr only."""
    say_row("file", "start", "end", "head", "label", "confidence")
    for name, _, events in timelines:
        for event in events:
            if isinstance(event, Event):
                say_row(name, *as_json(event).values())
