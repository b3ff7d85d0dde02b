"""Run each test of this folder on many cases: `--fuzz-cases 300`, or `make fuzz`.

A case is a seed, which its test's name shows: `-k 'stores and 17'` runs one again.
"""

import faulthandler
from collections.abc import Iterator

import pytest

SECONDS = 120
"""Longest time of a case; then the stacks of all threads are printed and the process ends."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Give a test with the argument `seed` as many seeds as the command line says."""
    if "seed" in metafunc.fixturenames:
        first = metafunc.config.getoption("fuzz_seed")
        cases = metafunc.config.getoption("fuzz_cases")
        metafunc.parametrize("seed", range(first, first + cases))


@pytest.fixture(autouse=True)
def no_hang() -> Iterator[None]:
    """End the process if a case hangs, also within a library."""
    faulthandler.dump_traceback_later(SECONDS, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()
