"""Files classified in order: by this process, by several with one thread each, or by a cluster."""

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
# What sets how many threads the libraries behind NumPy's matrix products use, before NumPy is imported.
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
    """For each file, in order: {head: probabilities}, or why there are none."""
    if scheduler is not None:
        return answers_of_cluster(work, files, scheduler)
    if jobs == 1 or len(files) < 2:
        return (work.answer(file) for file in files)
    return _answers_of_processes(work, files, min(jobs, len(files), MAX_JOBS))


def _answers_of_processes(work: Work, files: Sequence[str], jobs: int) -> Generator[Answer, None, None]:
    """The same, from several processes. Only a few files are submitted ahead.

    When a process is ended, all of its pool are. The files they had are tried again, in a pool of one and one at a
    time: the one that is to blame, if it is a file, is lost alone.
    """
    rest, ours = iter(files), deque[str]()  # files that are handed out
    suspects = 0  # how many of these are tried one at a time
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
                        if not suspects:  # on with all processes
                            break
            except BrokenProcessPool:
                if suspects:
                    suspects -= 1
                    ours.popleft()
                    yield "the process that read it was killed, perhaps because memory ran out"
                else:
                    suspects = len(ours)


def _ended(ready: Future) -> bool:
    """Whether a process cannot even begin."""
    return isinstance(ready.exception(), BrokenProcessPool)


@contextlib.contextmanager
def _pool(work: Work, jobs: int):
    """So many processes, which are ended with what they are at."""
    with ProcessPoolExecutor(jobs, multiprocessing.get_context("spawn"), _begin, (work,)) as pool:
        try:
            yield pool
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _one_thread_each():
    """Processes that are started meanwhile multiply matrices on one thread each."""
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
    """Ctrl-C waits a moment; processes started meanwhile do not receive it, because this process ends them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(work: Work) -> None:
    """In a new process: keep what all its files need."""
    global _here
    _here = work
    report_warnings()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=[multiprocessing.parent_process()], daemon=True).start()


def _end_with_parent(parent) -> None:
    parent.join()
    os._exit(1)  # it was killed: nobody waits for an answer


def _answer_here(file: str) -> Answer:
    return _here.answer(file)
