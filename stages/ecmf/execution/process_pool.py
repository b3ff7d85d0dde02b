"""Map a function over items in worker processes, with results in the order of the items.

A worker that hangs or crashes is replaced and costs one item, not the run: decoders hang and crash
on damaged files, some while holding the GIL. No item is tried twice.
"""

import os
import pickle
import signal
import threading
import traceback
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from multiprocessing import get_context, parent_process, resource_tracker
from multiprocessing.connection import Connection, wait
from multiprocessing.util import Finalize
from typing import Any, Generic, TypeVar

from ecmf.errors import ClipError, UserError

Item = TypeVar("Item")
Result = TypeVar("Result")

ITEMS_PER_WORKER = 8
"""Items in flight per worker: the limit on running ahead of a slow item."""

THREAD_LIMITS = (
    "MKL_NUM_THREADS",
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "OPENCV_FOR_THREADS_NUM",
)
"""Set to 1 in workers: one process per core with one thread per core each is slow."""

INTERRUPTIONS = (signal.SIGINT, signal.SIGTERM)
"""What Ctrl-C and a scheduler send, often to every process of a group."""

# `fork` would copy the parent's threads' locks, its open HDF5 file and its end of every pipe into
# every worker, and no worker would see the parent die. `forkserver` starts faster, but its server
# keeps the environment of its first use and cannot import the running script. A spawned worker pays
# for its imports, once per run.
SPAWN = get_context("spawn")


@dataclass(frozen=True)
class Failure:
    """Outcome of an item without a result, with the reason."""

    reason: str


def worker_count() -> int:
    """Return the number of workers: `ECMF_WORKERS` from the environment, else one per core."""
    setting = os.environ.get("ECMF_WORKERS", "")
    if not setting:
        return len(os.sched_getaffinity(0))
    if not setting.isdecimal() or int(setting) < 1:
        raise UserError(
            f"ECMF_WORKERS is {setting!r}, not a whole number above 0: "
            "unset it for one worker per core"
        )
    return int(setting)


def run(
    function: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    seconds_per_item: float | None = None,
) -> Generator[Result | Failure]:
    """Yield `function(item)`, or a Failure, for each item in order.

    Items are consumed one by one as workers become free, never all at once. `function`, items and
    results must be picklable. One worker without a time limit runs in this process. Closing the
    iterator ends all workers.

    Args:
        function: Raises ClipError for an item that cannot be used; its text becomes the reason. Any
            other exception ends the run and is raised here, with the worker's traceback as a note.
        items: Arguments of `function`.
        workers: Number of processes.
        seconds_per_item: A worker that takes longer is killed, and its item is a Failure.
    """
    if workers == 1 and seconds_per_item is None:
        for item in items:
            yield _outcome(function, item)
        return
    pending = enumerate(items)
    started = upcoming = 0
    done: dict[int, Result | Failure] = {}
    idle: list[_Worker[Item, Result]] = []
    busy: dict[Any, tuple[int, _Worker[Item, Result]]] = {}
    try:
        while True:
            while len(busy) < workers and started - upcoming < workers * ITEMS_PER_WORKER:
                if (entry := next(pending, None)) is None:
                    break
                worker = idle.pop() if idle else _Worker(function, seconds_per_item)
                busy[worker.connection] = entry[0], worker
                worker.send(entry[1])
                started += 1
            for connection in wait(busy, timeout=0 if upcoming in done or not busy else None):
                number, worker = busy[connection]
                if (reply := worker.receive()) is None:
                    continue
                done[number] = reply.value
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
class _Reply(Generic[Result]):
    value: Result | Failure


class _Worker(Generic[Item, Result]):
    """The parent's handle of a process that works on one item at a time."""

    def __init__(self, function: Callable[[Item], Result], seconds: float | None) -> None:
        self.connection, child_end = SPAWN.Pipe()
        self.alive = True
        self._ready = False
        self._seconds = seconds
        self._process = SPAWN.Process(
            target=_work, args=(child_end, function, seconds), daemon=True
        )
        with _one_thread(), _signals_blocked():
            self._process.start()
        # At exit multiprocessing would wait for a worker, which ignores its SIGTERM.
        self._kill = Finalize(self, self._process.kill, exitpriority=0)
        child_end.close()

    def send(self, item: Item) -> None:
        """Send the next item; if the worker is dead, `receive` returns a Failure."""
        pickled = pickle.dumps(item, pickle.HIGHEST_PROTOCOL)
        with suppress(OSError):
            self.connection.send_bytes(pickled)

    def receive(self) -> _Reply[Result] | None:
        """Read the next reply of the worker; None means that it has started."""
        try:
            reply: _Reply[Result] | Exception | None = _receive(self.connection)
        except (EOFError, OSError):
            return _Reply(self._death())
        if isinstance(reply, Exception):
            raise reply
        self._ready = True
        return reply

    def _death(self) -> Failure:
        self._process.join()
        code = self._process.exitcode or 0
        self.end()
        if code == -signal.SIGALRM:
            return Failure(f"took longer than {self._seconds:g} s")
        cause = f"signal {-code}" if code < 0 else f"exit code {code}"
        if not self._ready:
            raise RuntimeError(f"a worker process died at startup ({cause}): see its output above")
        return Failure(f"the worker process died ({cause})")

    def end(self) -> None:
        """Kill the process."""
        if self.alive:
            self.alive = False
            self._kill()
            self._process.join()
            self._process.close()
            self.connection.close()


def _work(
    connection: Connection, function: Callable[[Item], Result], seconds: float | None
) -> None:
    """Process items until the parent closes the pipe, or dies."""
    for number in INTERRUPTIONS:  # they reach all processes; the parent ends its workers
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, INTERRUPTIONS)
    threading.Thread(target=_die_with_parent, daemon=True).start()
    # At the alarm the kernel ends this process, even if a decoder holds the GIL or the parent died.
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGALRM])
    with suppress(EOFError, OSError):
        _send(connection, *_pickled(None))
        while True:
            item = connection.recv_bytes()
            signal.setitimer(signal.ITIMER_REAL, seconds or 0)
            reply = _reply(function, item)
            signal.setitimer(signal.ITIMER_REAL, 0)
            _send(connection, *reply)


def _die_with_parent() -> None:
    """End this process when the parent is dead, e.g. killed, even in the middle of a training."""
    parent = parent_process()
    if parent is not None:
        parent.join()
        os.kill(os.getpid(), signal.SIGKILL)


def _send(connection: Connection, pickled: bytes, arrays: Sequence[memoryview]) -> None:
    """Send a reply, and the memory of its arrays without a copy: hours of sound take half a GB."""
    connection.send_bytes(pickled)
    connection.send([array.nbytes for array in arrays])
    for array in arrays:
        connection.send_bytes(array)


def _receive(connection: Connection) -> Any:
    pickled = connection.recv_bytes()
    arrays = [bytearray(size) for size in connection.recv()]
    for array in arrays:
        connection.recv_bytes_into(array)
    return pickle.loads(pickled, buffers=arrays)  # noqa: S301 (from our own worker)


def _pickled(reply: object) -> tuple[bytes, list[memoryview]]:
    buffers: list[pickle.PickleBuffer] = []
    pickled = pickle.dumps(reply, pickle.HIGHEST_PROTOCOL, buffer_callback=buffers.append)
    return pickled, [buffer.raw() for buffer in buffers]


def _reply(function: Callable[[Item], Result], item: bytes) -> tuple[bytes, list[memoryview]]:
    """Return the pickled reply to a pickled item, or the pickled exception that ends the run."""
    try:
        outcome = _outcome(function, pickle.loads(item))  # noqa: S301 (from the parent)
        return _pickled(_Reply(outcome))
    except Exception as error:  # noqa: BLE001 (raised again in the parent)
        note = "In a worker process:\n" + traceback.format_exc()
        error.add_note(note)
        try:
            pickle.loads(pickle.dumps(error))  # noqa: S301 (our own bytes)
        except Exception:  # noqa: BLE001 (not every exception can be pickled)
            substitute = RuntimeError(f"{type(error).__name__}: {error}")
            substitute.add_note(note)
            return _pickled(substitute)
        return _pickled(error)


def _outcome(function: Callable[[Item], Result], item: Item) -> Result | Failure:
    try:
        return function(item)
    except ClipError as error:
        return Failure(str(error))


@contextmanager
def _signals_blocked() -> Iterator[None]:
    """Hold back signals from a process started in this block, which prints a traceback else.

    Those to this process come after the block.
    """
    resource_tracker.ensure_running()  # started with the process, it would lift the block
    before = signal.pthread_sigmask(signal.SIG_BLOCK, INTERRUPTIONS)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


@contextmanager
def _one_thread() -> Iterator[None]:
    """Set the thread limits of processes started in this block: libraries read them on import."""
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
