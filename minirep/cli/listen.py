"""``minirep listen``: detect sounds in a live stream on standard input."""

import argparse
import contextlib
import json
import math
import os
import signal
import stat
import sys
import threading
import time
from collections import deque
from datetime import datetime

import numpy as np

from ..audio.pcm import RAW, Pcm
from ..errors import MinirepError
from ..files.models import load
from ..recipe import MELS
from ..stream import Event, Stream
from ..text import cells, pad, printable, shorten
from . import INTERRUPTED
from .arguments import at_least_one, share
from .events import add_event_arguments, as_json, clock, event_line, make_stream
from .hook import LIMIT, Hook
from .terminal import bar, columns, complain, percent, say

NO_SOUND = 3  # exit status: the input ended before its first sample
QUIET = 30.0  # seconds without an event until a likely reason is reported
PACE = 3.0, 10.0  # seconds until the rate of a live source is measured, and duration of this measurement
BACKLOG = 10.0  # seconds of sound that may wait to be classified


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.epilog = (
        "Example: arecord -q -f S16_LE -r 16000 -t raw | minirep listen --rate 16000. On a terminal, events are listed "
        "above a live status line. Otherwise each start and each end of an event is printed as a JSON object, one per "
        f"line. Ctrl-C or SIGTERM stops it. Exit status: 0 the sound ended or SIGTERM, {NO_SOUND} no sound arrived, "
        f"{INTERRUPTED} Ctrl-C."
    )
    add = parser.add_argument
    share(parser, "--model")
    add("--rate", type=at_least_one, metavar="HZ", help="sample rate of raw samples (default: the model's)")
    formats = "format of the input (default: WAV if it has a WAV header, else s16le)"
    add("--format", choices=("auto", *RAW, "wav"), default="auto", help=formats)
    channels = "channels of raw samples, averaged to mono (default: 1)"
    add("--channels", type=at_least_one, metavar="N", help=channels)
    add_event_arguments(parser)
    share(parser, "--json", help="print JSON lines on a terminal as well")
    command = (
        "run a command at each start and end of an event, with the JSON line on its standard input; without a shell, "
        f"one at a time, for at most {LIMIT:g} s"
    )
    add("--exec", metavar="COMMAND", dest="command", help=command)
    add("--no-skip", action="store_true", help="classify every window, even if that is slower than real time")
    share(parser, "--backend", "--precision")


def run(args) -> int:
    if sys.stdin is None or sys.stdin.isatty():  # closed by the parent process, or a keyboard
        raise MinirepError("found no sound on standard input; expected it from a pipe: arecord ... | minirep listen")
    backlog = Backlog()
    with contextlib.suppress(Stopped), ending_on_signals(backlog):
        listen_to(args, backlog)
    if backlog.stopped == signal.SIGINT:
        return INTERRUPTED
    if backlog.stopped or backlog.samples:  # SIGTERM is the normal end of a service
        return 0
    complain("standard input ended before its first sample; expected sound: is the microphone there?")
    return NO_SOUND


def listen_to(args, backlog: "Backlog") -> None:
    """Load the model and listen to standard input until it ends or the backlog is stopped."""
    hook = Hook(args.command) if args.command is not None else None
    clf = load(args.model, args.backend, precision=args.precision)
    source = getattr(sys.stdin.buffer, "raw", sys.stdin.buffer)  # it does not wait until a buffer is full
    pcm = Pcm(source, args.format, args.rate, args.channels, clf.recipe.rate)
    stream = make_stream(args, clf, pcm.rate)
    clf.probabilities(np.zeros((1, clf.recipe.frames, MELS), np.float32))  # so that the slow first run happens now
    kind = "a WAV" if pcm.coding == "wav" else f"raw {pcm.coding}"
    rounded = "" if math.isclose(args.hop, stream.hop) else f" ({args.hop:g} s rounded to whole frames)"
    complain(  # so that a wrong assumption about raw samples is visible
        f"listening to {kind}, {pcm.rate} Hz, {pcm.channels} channel{'s' * (pcm.channels > 1)}; "
        f"windows of {stream.window:.3g} s every {stream.hop:.6g} s{rounded}"
    )
    backlog.start(pcm)
    report = Report(live=sys.stdout.isatty() and not args.json, hook=hook)
    try:
        listen(backlog, stream, report, patient=args.no_skip or is_file(source))
    finally:
        if hook is not None:
            hook.close()


def is_file(file) -> bool:
    """Return whether the input is a file on disk, which waits for us, and not a pipe, which may be live."""
    try:
        return stat.S_ISREG(os.fstat(file.fileno()).st_mode)
    except (OSError, ValueError):
        return False


def listen(backlog: "Backlog", stream: Stream, report: "Report", patient: bool) -> None:
    """Classify until the sound ends or is stopped. Unless ``patient``, skip windows if it is slower than real time."""
    begin, heard = None, False
    while True:
        late = begin is not None and time.monotonic() - begin > stream.seconds + stream.hop
        behind = late and stream.load > 1 and not patient  # if the sound paused, we are late, too
        samples = backlog.take(everything=behind)
        if samples is None:
            break
        begin = time.monotonic() if begin is None else begin
        stream.feed(samples, catch_up=behind)
        report.add(stream, backlog.arrived)
        heard = heard or bool(stream.changes) or (stream.seconds > QUIET and backlog.tell_doubt())
    stream.close()
    report.add(stream, backlog.arrived, last=True)
    if not heard and not stream.changes:
        backlog.tell_doubt()
    if backlog.error is not None:
        raise backlog.error


class Stopped(BaseException):
    """A signal arrived before the sound began."""


class Backlog:
    """Read ahead in a thread of its own, so that the source does not wait while a window is classified."""

    def __init__(self) -> None:
        self.pcm: Pcm | None = None  # from `start` on
        self.samples = 0  # number that have arrived in total
        self._blocks: deque[tuple[np.ndarray, float]] = deque()  # samples that have not been taken, and their arrival
        self.arrived = 0.0  # arrival of the last samples that were taken, in seconds since 1970
        self._waiting, self._ended = 0, False  # number of samples in the blocks; whether no more will arrive
        self.error: Exception | None = None  # that ended the reading
        self.stopped: int | None = None  # the signal that stopped it, as if the sound had ended there
        self._changed = threading.Condition()

    def start(self, pcm: Pcm) -> None:
        self.pcm = pcm
        threading.Thread(target=self._fill, args=[pcm], daemon=True).start()

    def _fill(self, pcm: Pcm) -> None:
        begin, first = time.monotonic(), (0.0, 0)  # first: time and number of samples when the measurement began
        try:
            while (samples := pcm.read()) is not None:
                with self._changed:
                    self._blocks.append((samples, time.time()))
                    self._waiting += len(samples)
                    self.samples += len(samples)
                    self._changed.notify()
                    now = time.monotonic() - begin
                    if self._waiting > BACKLOG * pcm.rate:
                        first = math.inf, 0  # the source waits for us: it is not live
                    elif not first[0]:
                        first = (now, self.samples) if now > PACE[0] else first
                    elif now > first[0] + PACE[1]:
                        pcm.look_at_pace((self.samples - first[1]) / (now - first[0]))
                        first = math.inf, 0
                    self._changed.wait_for(lambda: self._waiting <= BACKLOG * pcm.rate)
        except Exception as error:  # raised later, where it can be reported
            self.error = error
        with self._changed:
            self._ended = True
            self._changed.notify()

    def take(self, everything: bool = False) -> np.ndarray | None:
        """Return the next block (n,), or all that has arrived; None when the sound has ended or is stopped."""
        with self._changed:
            while not (self._blocks or self._ended or self.stopped):
                self._changed.wait(0.1)  # and check again: a signal does not wake this thread up
            count = len(self._blocks) if everything else min(1, len(self._blocks))
            blocks = [self._blocks.popleft() for _ in range(0 if self.stopped else count)]
            self._waiting -= sum(len(samples) for samples, _ in blocks)
            self._changed.notify()
        if not blocks:
            return None
        self.arrived = blocks[-1][1]
        return np.concatenate([samples for samples, _ in blocks])

    def tell_doubt(self) -> bool:
        """Report a likely reason that no event was found, if there is one."""
        doubt = self.pcm.doubt if self.pcm else ""
        if doubt:
            complain(f"no events: {doubt}")
        return bool(doubt)


@contextlib.contextmanager
def ending_on_signals(backlog: Backlog):
    """End the sound between two windows at the first Ctrl-C or SIGTERM; a second one ends the process."""

    def stop(number, _):
        backlog.stopped = number
        restore()
        if backlog.pcm is None:
            raise Stopped

    def restore():
        for number, handler in before.items():
            signal.signal(number, handler)

    if threading.current_thread() is not threading.main_thread():  # only the main thread handles signals
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    try:
        for number in before:
            signal.signal(number, stop)
        yield
    finally:
        restore()


class Report:
    """Print the starts and ends of events, and pass them to the command of ``--exec``.

    If ``live``, they are lines for people, above a status line with the most probable labels now. Otherwise they are
    JSON objects: {"event", "start", "end", "head", "label", "confidence", "started", "ended"}.
    """

    def __init__(self, live: bool, hook: Hook | None):
        self._live, self._hook = live, hook
        self._started: dict[str, float] = {}  # start of each head's last event, in seconds since 1970
        self._drawn = 0  # columns of the status line
        self._skipped, self._due = 0, 0.0  # windows whose skipping has been reported; when it may be reported again

    def add(self, stream: Stream, arrived: float, last: bool = False) -> None:
        """Report the changes of the last samples, which arrived at this time."""
        origin = arrived - stream.seconds  # when the sound began, by the clock
        if self._drawn:
            say("\r" + " " * self._drawn + "\r", end="")
            self._drawn = 0
        for event in stream.changes:
            entry = self.entry(event, origin)
            line = json.dumps(entry, allow_nan=False)
            say(f"{(entry['ended'] or entry['started'])[11:19]}  {event_line(event, 9)}" if self._live else line)
            if self._hook is not None:
                self._hook.add(line)
        if stream.skipped > self._skipped and (last or time.monotonic() >= self._due):
            complain(
                f"too slow: {stream.skipped} windows skipped so far; each takes {stream.load * stream.hop:.2f} s and "
                f"there is one every {stream.hop:.2f} s (--hop)"
            )
            self._skipped, self._due = stream.skipped, time.monotonic() + 10
        if self._live and not last:
            self._draw(stream)
        sys.stdout.flush()

    def entry(self, event: Event, origin: float) -> dict:
        """Return an event for programs, with its times both since the start of the sound and by the clock."""
        if event.end is None:
            self._started[event.head], ended = origin + event.start, None  # the same in the line of its end
        else:  # not before its sound can have ended: a file arrives faster than real time
            ended = iso_time(max(origin + event.end, self._started[event.head] + event.end - event.start))
        entry = {"event": "end" if ended else "start"} | as_json(event)
        return entry | {"started": iso_time(self._started[event.head]), "ended": ended}

    def _draw(self, stream: Stream) -> None:
        parts = [clock(stream.seconds)]
        for label, p in stream.heard.values():
            parts.append(f"{pad(shorten(printable(label), 20), 20)}  {percent(p)}  {pad(bar(p, 20), 20)}")
        line = shorten("  ".join(parts), (columns() or 80) - 1).rstrip()
        say(line, end="")
        self._drawn = cells(line)


def iso_time(seconds: float) -> str:
    """Format seconds since 1970 as local time with its offset (ISO 8601)."""
    return datetime.fromtimestamp(seconds).astimezone().isoformat(timespec="milliseconds")
