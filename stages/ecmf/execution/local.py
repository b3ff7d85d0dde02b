"""Fill the result cache with processes of this machine."""

import time
from collections.abc import Generator, Iterable
from typing import Self

from ecmf.execution import result_cache
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import Load, Recipe, has_failed
from ecmf.storage.store import Result

CLIPS_PER_PACK = 32
BYTES_PER_PACK = 1 << 25
SECONDS_PER_PACK = 10
"""A pack is written as soon as it reaches one of these limits: a kill loses at most one pack."""


def fill_cache(
    recipe: Recipe,
    cache: result_cache.ResultCache,
    items: Iterable[tuple[str, Load]],
    processes: int,
) -> Generator[tuple[str, Result | Failure | None]]:
    """Yield the key of each clip once it is cached, with its result if that cannot be cached."""
    with PackWriter(cache) as writer:
        for key, result in recipe(items, processes):
            if isinstance(result, Failure) or has_failed(result):
                yield key, result
            else:
                writer.add(key, result)
                yield key, None


class PackWriter:
    """Collect results into packs: many small packs would be slow to read."""

    def __init__(self, cache: result_cache.ResultCache) -> None:
        self._cache = cache
        self._pending: dict[str, Result] = {}
        self._bytes = 0
        self._since = time.monotonic()

    def add(self, key: str, result: Result) -> None:
        """Add a result; write the pending ones if they reach a limit of size or age."""
        self._pending[key] = result
        self._bytes += sum(rows.nbytes for rows in result)
        if (
            len(self._pending) == CLIPS_PER_PACK
            or self._bytes > BYTES_PER_PACK
            or time.monotonic() - self._since > SECONDS_PER_PACK
        ):
            self.flush()

    def flush(self) -> None:
        """Write the pending results as a pack."""
        self._cache.put(self._pending)
        self._pending, self._bytes, self._since = {}, 0, time.monotonic()

    def __enter__(self) -> Self:
        """Use as `with PackWriter(cache) as writer:`."""
        return self

    def __exit__(self, *_: object) -> None:
        """Write the pending results, also after an error or Ctrl-C."""
        self.flush()
