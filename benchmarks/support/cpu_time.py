"""Measure the processor time of several functions side by side."""

import time
from collections.abc import Callable, Mapping


def best_cpu_seconds(
    functions: Mapping[str, Callable[[], object]], rounds: int
) -> dict[str, float]:
    """Return the CPU seconds of all threads in the best round of each function, by its name.

    The functions alternate, so that a load on the machine meets all of them.
    """
    fastest = dict.fromkeys(functions, float("inf"))
    for name, run in [*functions.items()] * rounds:
        begin = time.process_time()
        run()
        fastest[name] = min(fastest[name], time.process_time() - begin)
    return fastest
