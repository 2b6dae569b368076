"""Files classified by several processes, each with one thread, in order."""

import contextlib
import multiprocessing
import os
import signal
import threading
from collections import deque
from collections.abc import Generator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice

import numpy as np

from ..classify import Classifier
from ..errors import MinirepError
from ..files.write import irregular
from ..text import printable
from .terminal import report_warnings

MAX_JOBS = 61  # as many processes as Windows can wait for
AHEAD = 4  # clips that are handed out for each process, so that none waits for its next one
# What sets how many threads the libraries behind NumPy's matrix products use, before NumPy is imported.
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")

Answer = dict[str, np.ndarray] | str  # {head: probabilities}, or why there are none
_here: tuple[Classifier, int | None]  # in a process of its own: what all its clips need


def answers(clf: Classifier, files: list[str], views: int | None, jobs: int) -> Generator[Answer, None, None]:
    """For each file, in order: {head: probabilities}, or why there are none."""
    if jobs == 1 or len(files) < 2:
        return (_answer(clf, file, views) for file in files)
    return _answers_of_processes(clf, files, views, min(jobs, len(files), MAX_JOBS))


def _answer(clf: Classifier, file: str, views: int | None) -> Answer:
    found = irregular(file)  # a table may name what never ends; only who names a pipe on the command line means it
    if found:
        return f"found {found}, expected a sound file"
    try:
        return clf.classify(file, views=views).probabilities
    except MinirepError as error:
        return str(error).removeprefix(f"{printable(file)}: ")


def _answers_of_processes(clf: Classifier, files: list[str], views: int | None, jobs: int) -> Generator:
    """The same, from several processes. A few clips are handed out ahead, however many there are."""
    context, rest = multiprocessing.get_context("spawn"), iter(files)
    waiting: deque = deque()
    with _one_thread_each(), ProcessPoolExecutor(jobs, context, _begin, (clf, views)) as pool:
        try:
            while True:
                for file in islice(rest, AHEAD * jobs - len(waiting)):
                    with _interrupts_held():
                        waiting.append(pool.submit(_answer_here, file))
                if not waiting:
                    return
                yield waiting.popleft().result()
        except BrokenProcessPool:
            raise MinirepError(f"one of {jobs} processes was ended, perhaps for want of memory; try fewer") from None
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
    """Ctrl-C waits a moment; processes that are started meanwhile never hear of it, as it is for us to end them."""
    if not hasattr(signal, "pthread_sigmask"):  # Windows
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


def _begin(clf: Classifier, views: int | None) -> None:
    """In a new process: keep what all its clips need."""
    global _here
    _here = clf, views
    report_warnings()
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with_parent, args=[multiprocessing.parent_process()], daemon=True).start()


def _end_with_parent(parent) -> None:
    parent.join()
    os._exit(1)  # it was killed: nobody waits for an answer


def _answer_here(file: str) -> Answer:
    clf, views = _here
    return _answer(clf, file, views)
