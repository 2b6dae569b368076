"""Classify files, in order, with the workers of a running Dask scheduler (extra ``dask``)."""

import logging
import pickle
import warnings
from collections import deque
from collections.abc import Generator, Sequence
from itertools import islice

from ..errors import MinirepError, MissingExtra
from ..text import one_line, quoted
from .terminal import complain
from .work import AHEAD, Answer, Work

BATCH = 10  # files in a task, so that the cost of sending a task does not matter
PATIENCE = 5.0  # seconds in which the scheduler must answer


def answers_of_cluster(work: Work, files: Sequence[str], address: str) -> Generator[Answer, None, None]:
    """Yield for each file, in order, {head: probabilities}, or the reason why there are none.

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
