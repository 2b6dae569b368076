"""A command that `minirep listen --exec` runs for each event, with the event as JSON on its standard input."""

import contextlib
import math
import os
import queue
import shlex
import shutil
import signal
import subprocess
import threading
import time
from typing import Any

from ..errors import MinirepError
from ..text import one_line, quoted
from .terminal import complain

LIMIT = 10.0  # seconds that a command may take, and that all waiting ones together may take at the end
WAITING = 100  # events that may wait
PAUSE = 0.02  # seconds between two checks of a running command


class Hook:
    """Run a command for each event, one at a time, in a thread of its own, so that adding an event does not wait.

    The command is split into words as in a shell, but no shell runs it, and no part of an event is inserted into it. If
    it fails, its last line on stderr is reported. Processes that it leaves running in its process group are killed.
    Raises a MinirepError if the command cannot be split or does not begin with a program.
    """

    def __init__(self, command: str):
        try:
            self._words = shlex.split(command)
        except ValueError as error:
            raise MinirepError(f"--exec: found {quoted(command)}, expected a command ({error})") from None
        if not self._words or shutil.which(self._words[0]) is None:
            found = quoted(self._words[0] if self._words else command)
            raise MinirepError(f"--exec: found {found}, expected the name or path of a program, with its arguments")
        self._events: queue.Queue[str | None] = queue.Queue()
        self._end = math.inf  # when a command that still runs is killed
        self._done = threading.Event()  # a Thread whose join() was interrupted counts as ended, until Python 3.13
        threading.Thread(target=self._run_all, daemon=True).start()

    def add(self, event: str) -> None:
        """Queue an event, a line of JSON."""
        if self._events.qsize() < WAITING:
            self._events.put(event)
        else:
            complain(f"--exec: event dropped, as {WAITING} events are waiting for the command: {one_line(event)}")

    def close(self) -> None:
        """Wait until the command has run for all events, but no longer than `LIMIT`."""
        try:
            self._end = time.monotonic() + LIMIT
            self._events.put(None)
            self._done.wait()
        finally:  # a second Ctrl-C: a command that still runs is killed
            self._end = 0.0
            self._done.wait(LIMIT)

    def _run_all(self) -> None:
        left_out = 0
        try:
            while (event := self._events.get()) is not None:
                if time.monotonic() > self._end:
                    left_out += 1
                elif failure := self._run(event.encode() + b"\n"):
                    complain(f"--exec: {self._words[0]} {failure}; the event: {one_line(event)}")
            if left_out:
                complain(f"--exec: events dropped at the end, as earlier commands took too long: {left_out}")
        finally:
            self._done.set()

    def _run(self, data: bytes) -> str:
        """Run the command with this input; return what went wrong, or an empty text."""
        unix = os.name == "posix"
        try:
            process: Any = subprocess.Popen(
                self._words, bufsize=0, start_new_session=True, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                stderr=subprocess.PIPE if unix else subprocess.DEVNULL,
            )  # fmt: skip
        except OSError as error:
            return f"could not be started ({error.strerror})"
        begin, said = time.monotonic(), b""
        with contextlib.ExitStack() as pipes:
            for pipe in filter(None, (process.stdin, process.stderr)):
                pipes.enter_context(pipe)
                if unix:  # it may never read, and its children may write for ever
                    os.set_blocking(pipe.fileno(), False)
            while process.poll() is None and time.monotonic() < min(begin + LIMIT, self._end):
                try:
                    data = data[process.stdin.write(data) or 0 :] if data else data
                except OSError:  # it does not read
                    data = b""
                if not data:
                    process.stdin.close()
                said = (said + _read(process.stderr))[-1000:]
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(PAUSE)
            hung = process.poll() is None
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(process.pid, signal.SIGKILL) if unix else process.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(1.0)
            said = (said + _read(process.stderr)).strip()
        if hung:
            return f"took longer than {time.monotonic() - begin:.1f} s and was killed"
        last = one_line(said.decode(errors="replace").splitlines()[-1], 200) if said else "no message"
        return f"failed with status {process.returncode} ({last})" if process.returncode else ""


def _read(pipe) -> bytes:
    """Return the bytes that have arrived, without waiting."""
    return b"" if pipe is None else pipe.read(1 << 16) or b""
