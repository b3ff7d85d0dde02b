"""A function and many items -> the results in the order of the items, worked out by processes.

A worker that takes too long or crashes is replaced and costs one item, not the run: decoders hang
and crash on damaged files, some of them holding the GIL. Nothing is tried twice.
"""

import os
import pickle
import signal
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context
from multiprocessing.connection import Connection, wait
from typing import Any, Generic, TypeVar

from ecmf.errors import ClipError, UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

ITEMS_PER_WORKER = 8
"""Items that may be taken and not yet yielded: how far others run ahead of a slow one."""

THREAD_LIMITS = (
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)
"""Set to 1 in workers: processes for all cores with threads for all cores hinder each other."""

# `fork` would copy the parent's threads' locks and its open HDF5 file into every worker, and the
# parent's end of every pipe, so that no worker saw the parent die. `forkserver` starts faster, but
# its one server keeps the environment of its first use and cannot import the script that runs. A
# spawned worker pays for its imports, once per run.
SPAWN = get_context("spawn")


@dataclass(frozen=True)
class Failure:
    """The result of an item that has none: why, in words."""

    reason: str


def count() -> int:
    """Return how many workers to use: `ECMF_WORKERS` from the environment, else one per core."""
    given = os.environ.get("ECMF_WORKERS", "")
    if not given:
        return len(os.sched_getaffinity(0))
    if not given.isdecimal() or int(given) < 1:
        raise UserError(
            f"ECMF_WORKERS is {given!r}, not a whole number from 1 on: "
            "unset it for one worker per core"
        )
    return int(given)


def run(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    seconds_per_item: float | None = None,
) -> Generator[Result | Failure]:
    """Yield `function(item)`, or why there is none, for each item in order.

    Items are taken one by one as workers become free, never all at once. `function`, items and
    results travel between processes, so they must be picklable; one worker without a time limit
    needs no process. Closing the iterator ends all workers.

    Args:
        function: Raises ClipError for an item that cannot be used; its text becomes the reason. Any
            other exception ends the run and is raised here, with the worker's traceback as a note.
        items: What to work on.
        workers: How many processes.
        seconds_per_item: A worker that takes longer is killed, and its item is a Failure.
    """
    if workers == 1 and seconds_per_item is None:
        for item in items:
            yield _outcome(function, item)
        return
    todo = enumerate(items)
    taken = upcoming = 0
    done: dict[int, Result | Failure] = {}
    idle: list[_Worker[Item, Result]] = []
    busy: dict[Any, tuple[int, _Worker[Item, Result]]] = {}
    try:
        while True:
            while len(busy) < workers and taken - upcoming < workers * ITEMS_PER_WORKER:
                if (entry := next(todo, None)) is None:
                    break
                worker = idle.pop() if idle else _Worker(function, seconds_per_item)
                busy[worker.connection] = entry[0], worker
                worker.give(entry[1])
                taken += 1
            for connection in wait(busy, timeout=0 if upcoming in done or not busy else None):
                number, worker = busy[connection]
                if (answer := worker.answer()) is None:
                    continue
                done[number] = answer.value
                del busy[connection]
                if worker.alive:
                    idle.append(worker)
            if upcoming in done:
                yield done.pop(upcoming)
                upcoming += 1
            elif not busy:
                return
    finally:
        for worker in [*idle, *(worker for _, worker in busy.values())]:
            worker.end()


@dataclass(frozen=True)
class _Answer(Generic[Result]):
    value: Result | Failure


class _Worker(Generic[Item, Result]):
    """A process that works on one item at a time, as its parent sees it."""

    def __init__(self, function: Callable[[Item], Result], seconds: float | None) -> None:
        self.connection, theirs = SPAWN.Pipe()
        self.alive = True
        self._ready = False
        self._seconds = seconds
        self._process = SPAWN.Process(target=_work, args=(theirs, function, seconds), daemon=True)
        with _one_thread():
            self._process.start()
        theirs.close()

    def give(self, item: Item) -> None:
        """Hand over the next item; should the worker be dead already, `answer` will say so."""
        pickled = pickle.dumps(item, pickle.HIGHEST_PROTOCOL)
        with suppress(OSError):
            self.connection.send_bytes(pickled)

    def answer(self) -> _Answer[Result] | None:
        """Read what the worker has sent; None for the sign that it has started."""
        try:
            answer: _Answer[Result] | Exception | None = self.connection.recv()
        except (EOFError, OSError):
            return _Answer(self._death())
        if isinstance(answer, Exception):
            raise answer
        self._ready = True
        return answer

    def _death(self) -> Failure:
        self._process.join()
        code = self._process.exitcode or 0
        self.end()
        if code == -signal.SIGALRM:
            return Failure(f"took longer than {self._seconds:g} s")
        cause = f"signal {-code}" if code < 0 else f"exit code {code}"
        if not self._ready:
            raise RuntimeError(f"a worker process died as it started ({cause}), saying why above")
        return Failure(f"the worker process died ({cause})")

    def end(self) -> None:
        """Kill the process, whatever it is doing."""
        if self.alive:
            self.alive = False
            self._process.kill()
            self._process.join()
            self._process.close()
            self.connection.close()


def _work(
    connection: Connection, function: Callable[[Item], Result], seconds: float | None
) -> None:
    """Answer items until the parent closes the pipe, or dies."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches all; the parent ends its workers
    # At the alarm the kernel ends this process, even a decoder that spins with the GIL held, and
    # even if the parent is gone.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    with suppress(EOFError, OSError):
        connection.send(None)
        while True:
            item = connection.recv_bytes()
            signal.setitimer(signal.ITIMER_REAL, seconds or 0)
            answer = _answer(function, item)
            signal.setitimer(signal.ITIMER_REAL, 0)
            connection.send_bytes(answer)


def _answer(function: Callable[[Item], Result], item: bytes) -> bytes:
    """Pickle the answer to a pickled item, or the exception that ends the run."""
    try:
        outcome = _outcome(function, pickle.loads(item))  # noqa: S301 (from the parent)
        return pickle.dumps(_Answer(outcome), pickle.HIGHEST_PROTOCOL)
    except Exception as error:  # noqa: BLE001 (raised again in the parent)
        note = "In a worker process:\n" + traceback.format_exc()
        error.add_note(note)
        try:
            pickle.loads(pickled := pickle.dumps(error))  # noqa: S301 (our own bytes)
        except Exception:  # noqa: BLE001 (not every exception survives the journey)
            substitute = RuntimeError(f"{type(error).__name__}: {error}")
            substitute.add_note(note)
            return pickle.dumps(substitute)
        return pickled


def _outcome(function: Callable[[Item], Result], item: Item) -> Result | Failure:
    try:
        return function(item)
    except ClipError as error:
        return Failure(str(error))


@contextmanager
def _one_thread() -> Iterator[None]:
    """Start processes in this block: libraries read their limits as they are imported."""
    before = {name: os.environ.get(name) for name in THREAD_LIMITS}
    os.environ.update(dict.fromkeys(THREAD_LIMITS, "1"))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value
