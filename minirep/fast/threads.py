"""The number of threads, and a team of them that waits for work.

The team gets one job for a whole forward pass. Within it, the threads synchronise after every step in compiled code
(`emit.barrier`), which takes less than a microsecond. Waking a thread from Python takes fifty microseconds.
"""

import os
import threading
from pathlib import Path
from queue import SimpleQueue

from ..errors import expect

MAX_THREADS = 256


def allowed_threads(threads: int | None = None) -> int:
    """Return ``threads``, by default MINIREP_NUM_THREADS, else all cores; raise a MinirepError if not 1 to 256."""
    requested = requested_threads() if threads is None else threads
    if requested is None:
        return min(MAX_THREADS, allowed_cores())
    fits = str(requested).isdecimal() and 1 <= int(requested) <= MAX_THREADS
    name = "MINIREP_NUM_THREADS" if threads is None else "threads"
    expect(fits, f"{name}: found {requested!r}, expected a whole number from 1 to {MAX_THREADS}")
    return int(requested)


def requested_threads() -> str | None:
    """Return MINIREP_NUM_THREADS, or None if it is unset or empty."""
    return os.environ.get("MINIREP_NUM_THREADS") or None


def allowed_cores() -> int:
    """Return the number of cores that the affinity and the CPU quota of the control group (of a container) allow."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return max(1, min(cores, _quota("/sys/fs/cgroup") or cores))


def _quota(folder: str) -> int | None:
    """Return the number of cores that the control group allows, rounded up; None without a limit."""
    # Microseconds of CPU time and of the period: "200000 100000" or "max 100000"; in version 1, a file each, or "-1".
    for files in (["cpu.max"], ["cpu/cpu.cfs_quota_us", "cpu/cpu.cfs_period_us"]):
        try:
            quota, period = " ".join(Path(folder, file).read_text() for file in files).split()
            return None if quota in ("max", "-1") else max(1, -(-int(quota) // int(period)))
        except (OSError, ValueError):
            continue
    return None


class Team:
    """Threads that sleep until `run` gives them work. They serve one caller at a time; a second one works alone."""

    def __init__(self):
        self._free = threading.Lock()
        self._inboxes: list[SimpleQueue] = []

    def run(self, threads: int, work) -> None:
        """Call ``work(thread, threads)`` in every thread; the caller is thread 0.

        ``work`` must end with a barrier, because the caller does not wait for the other threads here.
        """
        if threads == 1 or not self._free.acquire(blocking=False):
            work(0, 1)
            return
        try:
            while len(self._inboxes) < threads - 1:
                self._inboxes.append(SimpleQueue())
                name = f"minirep-{len(self._inboxes)}"
                threading.Thread(target=_serve, args=(self._inboxes[-1],), name=name, daemon=True).start()
            for thread, inbox in enumerate(self._inboxes[: threads - 1], 1):
                inbox.put((work, thread, threads))
            work(0, threads)
        finally:
            self._free.release()


def _serve(inbox: SimpleQueue) -> None:
    while True:
        work, thread, threads = inbox.get()
        work(thread, threads)
        del work  # it refers to a workspace, which is not needed while the thread waits


team = Team()
if hasattr(os, "register_at_fork"):  # a forked child has no threads of its parent, and starts its own
    os.register_at_fork(after_in_child=team.__init__)
