"""Classify files, in order: in this process, in several processes with one thread each, or on a cluster."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

from ..errors import MinirepError
from .arguments import at_least_one
from .cluster import answers_of_cluster
from .terminal import report_warnings
from .work import AHEAD, Answer, Work

MAX_JOBS = 61  # as many processes as Windows can wait for
# These set the number of threads of the libraries for NumPy's matrix products, before NumPy is imported.
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

_here: Work  # in a process of its own


def add_jobs(parser) -> None:
    where = parser.add_mutually_exclusive_group()
    where.add_argument(
        "--jobs",
        type=at_least_one,
        default=1,
        metavar="N",
        help="number of processes, with one thread each (default: 1)",
    )
    where.add_argument(
        "--dask", metavar="ADDRESS", help="address of a Dask scheduler (tcp://host:8786), whose workers read the files"
    )


def answers(work: Work, files: Sequence, jobs: int, scheduler: str | None = None) -> Generator[Answer, None, None]:
    """Yield for each file, in order, {head: probabilities}, or the reason why there are none."""
    if scheduler is not None:
        return answers_of_cluster(work, files, scheduler)
    if jobs == 1 or len(files) < 2:
        return (work.answer(file) for file in files)
    return _answers_of_processes(work, files, min(jobs, len(files), MAX_JOBS))


def _answers_of_processes(work: Work, files: Sequence[str], jobs: int) -> Generator[Answer, None, None]:
    """Do the same with several processes. Only a few files are submitted ahead.

    When a process is killed, all processes of its pool end. Their files are tried again one at a time, in a pool of one
    process, so that only a file that causes this fails.
    """
    rest, ours = iter(files), deque[str]()  # ours: files that have been submitted
    suspects = 0  # number of these that are tried one at a time
    while True:
        with _one_thread_each(), _pool(work, 1 if suspects else jobs) as pool:
            waiting: deque[Future] = deque()
            try:
                if suspects and _ended(pool.submit(os.getpid)):
                    raise MinirepError(f"one of {jobs} processes was killed, perhaps because memory ran out; try fewer")
                while True:
                    ahead = 1 if suspects else AHEAD * jobs
                    ours.extend(islice(rest, max(0, ahead - len(ours))))
                    for file in islice(ours, len(waiting), ahead):
                        with _interrupts_held():
                            waiting.append(pool.submit(_answer_here, file))
                    if not ours:
                        return
                    yield waiting.popleft().result()
                    ours.popleft()
                    if suspects:
                        suspects -= 1
                        if not suspects:  # continue with all processes
                            break
            except BrokenProcessPool:
                if suspects:
                    suspects -= 1
                    ours.popleft()
                    yield "the process that read it was killed, perhaps because memory ran out"
                else:
                    suspects = len(ours)


def _ended(ready: Future) -> bool:
    """Return whether a process cannot even start."""
    return isinstance(ready.exception(), BrokenProcessPool)


@contextlib.contextmanager
def _pool(work: Work, jobs: int):
    """Provide a pool of processes; at the end, cancel the files that wait and let the running ones finish."""
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin, (work,)) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _one_thread_each():
    """Let processes that are started in this context use one thread each for matrix products."""
    before = dict(os.environ)
    os.environ.update(dict.fromkeys(BLAS_THREADS, "1"))
    try:
        yield
    finally:
        for name in BLAS_THREADS:
            os.environ.pop(name)
            os.environ.update({name: before[name]} if name in before else {})


@contextlib.contextmanager
def _interrupts_held():
    """Delay Ctrl-C. Processes started in this context do not receive it, because this process ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(work: Work) -> None:
    """Prepare a new process: store what all its files need."""
    global _here
    _here = work
    report_warnings()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=[multiprocessing.parent_process()], daemon=True).start()


def _end_with_parent(parent) -> None:
    parent.join()
    os._exit(1)  # the parent was killed: no process waits for an answer


def _answer_here(file: str) -> Answer:
    return _here.answer(file)
