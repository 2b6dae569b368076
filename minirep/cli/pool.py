"""Classify files, in order: in this process, in several processes with one thread each, or on a Dask cluster."""

import contextlib
import logging
import multiprocessing
import os
import pickle
import signal
import threading
import warnings
from collections import deque
from collections.abc import Generator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from itertools import islice

import numpy as np

from ..audio import open_recording
from ..classify import Classifier
from ..errors import MinirepError, MissingExtra
from ..files.write import irregular
from ..text import one_line, printable, quoted
from .terminal import Progress, complain, report_warnings

MAX_JOBS = 61  # as many processes as Windows can wait for
# These set the number of threads of the libraries for NumPy's matrix products, before NumPy is imported.
BLAS_THREADS = ("OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "OMP_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")
AHEAD = 4  # files that are submitted ahead for each process or thread, so that none waits for its next one
BATCH = 10  # files in a task of a cluster, so that the cost of sending a task does not matter
PATIENCE = 5.0  # seconds in which the scheduler of a cluster must answer
Answer = dict[str, np.ndarray] | str  # {head: probabilities}, or the reason why there are none


@dataclass(frozen=True)
class Work:
    """The classifier and the settings with which any process classifies a file."""

    classifier: Classifier
    views: int | None
    partial: bool = False
    pipes: bool = True  # whether to read pipes and devices: on the command line yes, but not if a table names them

    def answer(self, file) -> Answer:
        """Return {head: probabilities} of a file (path or binary stream), or the reason why there are none."""
        found = None if self.pipes else irregular(file)
        if found:
            return f"found {found}, expected a sound file"
        try:
            return self.classifier.classify(open_recording(file, self.partial), views=self.views).probabilities
        except MinirepError as error:
            name = printable(file) if isinstance(file, (str, os.PathLike)) else "<stdin>"
            return str(error).removeprefix(f"{name}: ")


def answers(work: Work, files: Sequence, jobs: int, scheduler: str | None = None) -> Generator[Answer, None, None]:
    """Yield for each file, in order, {head: probabilities}, or the reason why there are none; show a progress bar."""
    progress = Progress(len(files))
    if scheduler is not None:
        found = _answers_of_cluster(work, files, scheduler)
    elif jobs == 1 or len(files) < 2:
        found = (work.answer(file) for file in files)
    else:
        found = _answers_of_processes(work, files, min(jobs, len(files), MAX_JOBS))
    with contextlib.closing(found):
        for answer in found:
            yield answer
            progress.step()


def _answers_of_processes(work: Work, files: Sequence[str], jobs: int) -> Generator[Answer, None, None]:
    """Do the same with several processes. Only a few files are submitted ahead.

    When a process is killed, all processes of its pool end. Their files are tried again one at a time, in a pool of one
    process, so that only a file that causes this fails.
    """
    rest, ours = iter(files), deque[str]()  # ours: files that have been submitted
    suspects = 0  # number of these that are tried one at a time
    start = multiprocessing.get_context("spawn"), _begin, (work,)
    while True:
        with _one_thread_each(), ProcessPoolExecutor(1 if suspects else jobs, *start) as pool:
            waiting: deque[Future] = deque()
            try:
                if suspects and isinstance(pool.submit(os.getpid).exception(), BrokenProcessPool):  # it cannot start
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
            finally:  # the running files are let finish, the others are not begun
                pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _one_thread_each():
    """Let processes that are started in this context use one thread each for matrix products."""
    before = {name: os.environ[name] for name in BLAS_THREADS if name in os.environ}
    os.environ.update(dict.fromkeys(BLAS_THREADS, "1"))
    try:
        yield
    finally:
        for name in BLAS_THREADS:
            del os.environ[name]
        os.environ.update(before)


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


_here: Work  # in a process of its own


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


def _answers_of_cluster(work: Work, files: Sequence[str], address: str) -> Generator[Answer, None, None]:
    """Do the same with the workers of a running Dask scheduler (extra ``dask``).

    The model is sent once to each worker. Dask repeats the tasks of a worker that is lost. If several workers in
    succession are killed by a batch, its files are tried one by one, so that only the file that causes this fails.
    Raises a MinirepError if no scheduler answers, or if its workers cannot run the tasks at all.
    """
    try:
        from distributed import CancelledError, KilledWorker
    except ImportError as error:
        raise MissingExtra("distributed", "dask", "--dask") from error
    rest = iter(files)
    try:
        with _connected(address) as client:
            if not client.nthreads():
                complain(f"--dask: {address} has no workers yet; waiting for them")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # that the model is large
                # A task of its own, and no data: if all workers that have it are lost, it can be repeated.
                there = client.submit(pickle.loads, pickle.dumps(work), pure=False)

            def submit(batch):
                return batch, client.submit(_answer_all, there, batch, pure=False)

            waiting: deque = deque()
            while True:
                ahead = AHEAD * max(2, sum(client.nthreads().values()))
                while len(waiting) < ahead and (batch := list(islice(rest, BATCH))):
                    waiting.append(submit(batch))
                if not waiting:
                    return
                batch, task = waiting.popleft()
                try:
                    yield from task.result()
                except KilledWorker:
                    for _, task in waiting:  # no other task must be lost with them, or taken for the cause
                        task.exception()
                    for file in batch:
                        try:
                            yield from submit([file])[1].result()
                        except KilledWorker:
                            yield "the workers that read it were killed in turn, perhaps because memory ran out"
                except (CancelledError, OSError):
                    raise
                except Exception as error:
                    why = one_line(f"{type(error).__name__}: {error}", 300)
                    raise MinirepError(f"--dask: a worker failed: {why}; is minirep installed on all?") from error
    except (CancelledError, OSError) as error:
        raise MinirepError(f"--dask: the connection to {quoted(address)} was lost ({type(error).__name__})") from None


def _connected(address: str):
    from distributed import Client

    class Connection(Client):
        def __del__(self):  # which would wait ten seconds for a connection that never existed
            pass

    logging.getLogger("distributed").setLevel(logging.CRITICAL)  # minirep reports errors itself
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that versions differ: what that breaks is reported where it happens
            return Connection(address, timeout=PATIENCE, set_as_default=False)
    except Exception as error:  # of many kinds, for each way in which an address can be wrong
        why = one_line(str(error) or type(error).__name__, 200)
        raise MinirepError(f"--dask: found no scheduler at {quoted(address)}, expected one ({why})") from None


def _answer_all(work: Work, files: list[str]) -> list[Answer]:
    """Return the answers for some files; this runs on a worker."""
    return [work.answer(file) for file in files]
