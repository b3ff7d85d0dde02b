import ctypes
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ecmf.errors import ClipError, UserError
from ecmf.execution import process_pool
from ecmf.execution.process_pool import Failure

PATIENT = 60.0
STAGES = Path(process_pool.__file__).parents[2]


def square(number: int) -> int:
    return number * number


def slowest_first(number: int) -> int:
    time.sleep(0.2 if number == 0 else 0)
    return number


def refuse_odd(number: int) -> int:
    if number % 2:
        raise ClipError(f"{number} is odd")
    return number


def spin_on_three(number: int) -> int:
    while number == 3:
        pass
    return number


def sleep_holding_the_gil(number: int) -> int:
    if number == 0:
        ctypes.PyDLL(None).sleep(1000)
    return number


def crash_on_one(number: int) -> int:
    if number == 1:
        ctypes.string_at(0)
    return number


def exit_on_one(number: int) -> int:
    if number == 1:
        os._exit(7)
    return number


def bug_on_two(number: int) -> int:
    if number == 2:
        raise ValueError("two is not handled")
    return number


class UnpicklableError(Exception):
    def __init__(self, one: int, two: int) -> None:
        super().__init__(f"{one} and {two}")


def raise_unpicklable(number: int) -> int:
    raise UnpicklableError(number, number)


def return_a_lambda(number: int) -> object:
    return lambda: number


def process_id(_: int) -> int:
    return os.getpid()


def mebibyte(number: int) -> bytes:
    return bytes([number]) * (1 << 20)


def threads(_: int) -> tuple[int, int, str]:
    import cv2
    import torch

    return cv2.getNumThreads(), torch.get_num_threads(), os.environ["OPENBLAS_NUM_THREADS"]


class BreaksOnArrival:
    def __reduce__(self) -> tuple[object, ...]:
        return int, ("not a number",)

    def __call__(self, number: int) -> int:
        return number


def alive(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    stat = Path(f"/proc/{process}/stat")
    return not (stat.exists() and stat.read_text().rsplit(")", 1)[1].split()[0] == "Z")


def wait_until_dead(process: int) -> None:
    deadline = time.monotonic() + PATIENT
    while alive(process):
        assert time.monotonic() < deadline, f"process {process} lives on"
        time.sleep(0.02)


@pytest.mark.parametrize("seconds", [None, PATIENT])
@pytest.mark.parametrize("count", [1, 3])
def test_results_are_the_same_for_any_number_of_workers(count: int, seconds: float | None) -> None:
    results = process_pool.run(square, range(7), workers=count, seconds_per_item=seconds)
    assert list(results) == [0, 1, 4, 9, 16, 25, 36]


def test_results_keep_the_order_of_the_items() -> None:
    assert list(process_pool.run(slowest_first, range(12), workers=2)) == list(range(12))


def test_no_items_give_no_results_and_start_no_process() -> None:
    assert list(process_pool.run(BreaksOnArrival(), [], workers=2)) == []


def test_results_larger_than_a_pipe_arrive_whole() -> None:
    assert list(process_pool.run(mebibyte, range(4), workers=2)) == [mebibyte(i) for i in range(4)]


@pytest.mark.parametrize("seconds", [None, PATIENT])
def test_a_clip_error_is_the_reason_of_one_failure(seconds: float | None) -> None:
    results = list(process_pool.run(refuse_odd, range(4), workers=1, seconds_per_item=seconds))
    assert results == [0, Failure("1 is odd"), 2, Failure("3 is odd")]


@pytest.mark.parametrize("count", [1, 2])
def test_a_worker_that_takes_too_long_is_killed_and_costs_one_item(count: int) -> None:
    results = list(process_pool.run(spin_on_three, range(6), workers=count, seconds_per_item=0.5))
    assert results == [0, 1, 2, Failure("took longer than 0.5 s"), 4, 5]


def test_a_worker_that_holds_the_gil_for_ever_is_killed_too() -> None:
    results = list(
        process_pool.run(sleep_holding_the_gil, range(2), workers=1, seconds_per_item=0.5)
    )
    assert results == [Failure("took longer than 0.5 s"), 1]


def test_the_time_limit_is_for_each_item_and_not_for_the_run() -> None:
    results = process_pool.run(slowest_first, [0] * 5, workers=1, seconds_per_item=0.8)
    assert list(results) == [0] * 5


@pytest.mark.parametrize(
    ("function", "cause"), [(crash_on_one, "signal 11"), (exit_on_one, "exit code 7")]
)
def test_a_worker_that_dies_is_replaced_and_costs_one_item(function: object, cause: str) -> None:
    results = list(process_pool.run(function, range(4), workers=2))  # type: ignore[arg-type]
    assert results == [0, Failure(f"the worker process died ({cause})"), 2, 3]


def test_any_other_exception_stops_the_run_and_shows_where_it_happened() -> None:
    with pytest.raises(ValueError, match="two is not handled") as caught:
        list(process_pool.run(bug_on_two, range(100), workers=2))
    assert "In a worker process" in caught.value.__notes__[0]
    assert "in bug_on_two" in caught.value.__notes__[0]


def test_an_exception_that_cannot_be_pickled_is_raised_as_text() -> None:
    with pytest.raises(RuntimeError, match="UnpicklableError: 5 and 5") as caught:
        list(process_pool.run(raise_unpicklable, [5], workers=2))
    assert "in raise_unpicklable" in caught.value.__notes__[0]


def test_a_result_that_cannot_be_pickled_stops_the_run() -> None:
    with pytest.raises((AttributeError, TypeError, RuntimeError), match="pickle"):
        list(process_pool.run(return_a_lambda, [1], workers=2))


def test_a_worker_that_cannot_start_stops_the_run(capfd: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(
        RuntimeError, match=r"died at startup \(exit code 1\): see its output above"
    ):
        list(process_pool.run(BreaksOnArrival(), [1, 2], workers=1, seconds_per_item=PATIENT))
    assert "not a number" in capfd.readouterr().err


def test_items_are_consumed_only_as_workers_become_free() -> None:
    consumed = []

    def endless() -> Iterator[int]:
        number = 0
        while True:
            consumed.append(number)
            yield number
            number += 1

    results = process_pool.run(square, endless(), workers=2)
    assert [next(results) for _ in range(5)] == [0, 1, 4, 9, 16]
    results.close()  # type: ignore[attr-defined]
    assert len(consumed) <= 5 + 2 * process_pool.ITEMS_PER_WORKER


def test_an_error_of_the_items_themselves_reaches_the_caller() -> None:
    def broken() -> Iterator[int]:
        yield 1
        raise OSError("the list of clips is gone")

    with pytest.raises(OSError, match="the list of clips is gone"):
        list(process_pool.run(square, broken(), workers=2))


def test_closing_early_ends_the_workers() -> None:
    results = process_pool.run(process_id, range(100), workers=2)
    process = next(results)
    assert isinstance(process, int)
    assert alive(process)
    results.close()  # type: ignore[attr-defined]
    assert not alive(process)


def test_the_workers_live_as_long_as_the_run() -> None:
    assert len(set(process_pool.run(process_id, range(20), workers=2))) <= 2


def test_each_worker_uses_one_thread_and_the_parent_keeps_its_own() -> None:
    before = dict(os.environ)
    assert list(process_pool.run(threads, [0], workers=2)) == [(1, 1, "1")]
    assert dict(os.environ) == before


@pytest.mark.parametrize("limits", ["workers=1, seconds_per_item=600", "workers=2"])
@pytest.mark.parametrize("sign", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_no_worker_outlives_its_parent(tmp_path: Path, sign: signal.Signals, limits: str) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, signal, time
            from ecmf.execution import process_pool

            def name_then_sleep(number):
                if number == 0:
                    return os.getpid()
                time.sleep(600)

            if __name__ == "__main__":
                # A job in the background starts with Ctrl-C ignored.
                signal.signal(signal.SIGINT, signal.default_int_handler)
                results = process_pool.run(name_then_sleep, [0, 1, 2], LIMITS)
                print(next(results), flush=True)
                next(results)
            """
        ).replace("LIMITS", limits)
    )
    parent = subprocess.Popen(
        [sys.executable, script],
        env=os.environ | {"PYTHONPATH": str(STAGES)},
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    assert parent.stdout is not None
    with parent, parent.stdout:
        worker = int(parent.stdout.readline())
        parent.send_signal(sign)
        assert parent.wait(PATIENT) != 0
    wait_until_dead(worker)


def test_a_signal_to_the_whole_group_leaves_no_traceback_of_a_starting_worker(
    tmp_path: Path,
) -> None:
    script = tmp_path / "parent.py"
    script.write_text(
        textwrap.dedent(
            """
            import os, signal, sys, time
            if __name__ != "__main__":  # a worker that imports for long
                os.write(1, b"imports\\n")
                time.sleep(1)
            from ecmf.execution import process_pool

            def square(number):
                return number * number

            if __name__ == "__main__":
                for number in (signal.SIGINT, signal.SIGTERM):
                    signal.signal(number, lambda *_: sys.exit(7))
                list(process_pool.run(square, range(9), workers=2))
            """
        )
    )
    for sign in (signal.SIGINT, signal.SIGTERM):
        parent = subprocess.Popen(
            [sys.executable, script],
            env=os.environ | {"PYTHONPATH": str(STAGES)},
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        assert parent.stdout is not None
        assert parent.stdout.readline() == "imports\n"
        os.killpg(parent.pid, sign)
        _, printed = parent.communicate(timeout=PATIENT)
        assert (parent.returncode, printed) == (7, "")


def test_the_number_of_workers_is_one_per_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ECMF_WORKERS", raising=False)
    assert process_pool.worker_count() == os.cpu_count()


def test_the_number_of_workers_can_be_set(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECMF_WORKERS", "3")
    assert process_pool.worker_count() == 3


@pytest.mark.parametrize("nonsense", ["0", "-2", "many", "1.5"])
def test_a_nonsensical_number_of_workers_is_refused(
    monkeypatch: pytest.MonkeyPatch, nonsense: str
) -> None:
    monkeypatch.setenv("ECMF_WORKERS", nonsense)
    with pytest.raises(UserError, match=f"ECMF_WORKERS is '{nonsense}', not a whole number"):
        process_pool.worker_count()
