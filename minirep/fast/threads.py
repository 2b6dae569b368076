"""How many threads, and a team of them that waits for work.

A forward pass is handed to the team once; inside, the threads meet after every step in compiled code (`emit.meet`),
which costs less than a microsecond where waking a thread from Python costs fifty.
"""

import os
import threading
from pathlib import Path
from queue import SimpleQueue

from ..errors import MinirepError

MOST = 256


def allowed_threads(threads: int | None = None) -> int:
    """The number asked for; else MINIREP_NUM_THREADS; else the cores that this process may use."""
    asked = asked_for() if threads is None else threads
    if asked is None:
        return min(MOST, allowed_cores())
    if not str(asked).isdecimal() or not 1 <= int(asked) <= MOST:
        name = "MINIREP_NUM_THREADS" if threads is None else "threads"
        raise MinirepError(f"{name}: found {asked!r}, expected a whole number from 1 to {MOST}")
    return int(asked)


def asked_for() -> str | None:
    """MINIREP_NUM_THREADS, if it says anything."""
    return os.environ.get("MINIREP_NUM_THREADS") or None


def allowed_cores() -> int:
    """Cores by affinity, and by the CPU quota of the control group (as in a container)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _quota("/sys/fs/cgroup") or cores))


def _quota(folder: str) -> int | None:
    """Cores that the control group allows, rounded up; None without a limit."""
    # Microseconds of computing in a period: "200000 100000" or "max 100000"; in version 1, "-1" and a file each.
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            quota, period = " ".join(Path(folder, file).read_text() for file in files).split()
            return None if quota in ("max", "-1") else max(1, -(-int(quota) // int(period)))
        except (OSError, ValueError):
            continue
    return None


class Team:
    """Threads that sleep until `run` gives them work. One caller has them at a time; another works alone meanwhile."""

    def __init__(self):
        self._free = threading.Lock()
        self._inboxes: list[SimpleQueue] = []

    def run(self, threads: int, work) -> None:
        """``work(thread, threads)`` for every thread, thread 0 being the caller.

        The threads must meet at the end of ``work``: the caller does not wait for them here.
        """
        if threads == 1 or not self._free.acquire(blocking=False):
            work(0, 1)
            return
        try:
            while len(self._inboxes) < threads - 1:
                self._inboxes.append(SimpleQueue())
                name = f"minirep-{len(self._inboxes)}"
                threading.Thread(target=_serve, args=(self._inboxes[-1],), name=name, daemon=True).start()
            for thread in range(1, threads):
                self._inboxes[thread - 1].put((work, thread, threads))
            work(0, threads)
        finally:
            self._free.release()


def _serve(inbox: SimpleQueue) -> None:
    while True:
        work, thread, threads = inbox.get()
        work(thread, threads)
        del work  # it holds a workspace


team = Team()


def _after_fork() -> None:
    """A forked child has none of its parent's threads: it gets a team of its own."""
    global team
    team = Team()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
