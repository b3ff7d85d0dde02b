"""Fill the result cache by processes of this machine."""

import time
from collections.abc import Iterable, Iterator

from ecmf.execution import result_cache
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import Read, Recipe, has_failed
from ecmf.storage.store import Result

CLIPS_PER_PACK = 32
BYTES_PER_PACK = 1 << 25
SECONDS_PER_PACK = 10
"""Results are kept when any of these is reached: no more than that is lost by a kill."""


def fill(
    recipe: Recipe, shelf: result_cache.Shelf, items: Iterable[tuple[str, Read]], processes: int
) -> Iterator[tuple[str, Result | Failure | None]]:
    """Yield each clip that is done; a result comes along only where it must not be kept."""
    with Packing(shelf) as packing:
        for key, result in recipe(items, processes):
            if isinstance(result, Failure) or has_failed(result):
                yield key, result
            else:
                packing.add(key, result)
                yield key, None


class Packing:
    """Results on their way to the shelf: many small packs would be slow to read."""

    def __init__(self, shelf: result_cache.Shelf) -> None:
        self._shelf = shelf
        self._waiting: dict[str, Result] = {}
        self._bytes = 0
        self._since = time.monotonic()

    def add(self, key: str, result: Result) -> None:
        """Take a result; keep all that wait once they are enough, or old enough."""
        self._waiting[key] = result
        self._bytes += sum(rows.nbytes for rows in result)
        if (
            len(self._waiting) == CLIPS_PER_PACK
            or self._bytes > BYTES_PER_PACK
            or time.monotonic() - self._since > SECONDS_PER_PACK
        ):
            self.keep()

    def keep(self) -> None:
        """Write what waits."""
        self._shelf.put(self._waiting)
        self._waiting, self._bytes, self._since = {}, 0, time.monotonic()

    def __enter__(self) -> "Packing":
        """Use as `with Packing(shelf) as packing:`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Keep what waits, also where the run ends by an error or by Ctrl-C."""
        self.keep()
