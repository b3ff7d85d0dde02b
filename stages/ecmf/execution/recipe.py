"""Define recipes, functions that process clips, and their inputs."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ecmf.execution import process_pool, result_cache
from ecmf.execution.clip_errors import failing_one_clip
from ecmf.execution.process_pool import Failure
from ecmf.storage.store import Layout, Result

Load = Callable[[], Any]
"""Load the input of a recipe for one clip; called only if the clip is not in the cache."""


@dataclass(frozen=True)
class Recipe(ABC):
    """A function of a clip, with everything that determines its results; it must be picklable.

    `name` is shown in logs. `layouts` are those of the stores to write. `identity` is JSON and part
    of the cache key: results of another identity are never used.
    """

    name: str
    layouts: tuple[Layout, ...]
    identity: Mapping[str, Any]

    @abstractmethod
    def __call__(
        self, items: Iterable[tuple[str, Load]], processes: int
    ) -> Iterator[tuple[str, Result | Failure]]:
        """Yield the key of every item with its result or failure, in any order."""

    @property
    @abstractmethod
    def on_device(self) -> bool:
        """Return whether the recipe uses a GPU."""

    def status(self) -> Mapping[str, str]:
        """Return counts for the progress bar, beside hits and misses."""
        return {}

    def open_cache(self) -> result_cache.ResultCache:
        """Open the cache of its results."""
        return result_cache.ResultCache(self.name, self.layouts, self.identity)


@dataclass(frozen=True)
class _OneClip:
    """A function of a clip, of which every exception is the failure of that clip."""

    function: Callable[[Any], Result]

    def __call__(self, content: Any) -> Result:
        with failing_one_clip():
            return self.function(content)


@dataclass(frozen=True)
class PoolRecipe(Recipe):
    """A recipe whose `function` runs in worker processes, one clip at a time.

    `function` computes a result from the content that `ClipInput.load` returns; all three must be
    picklable. A clip that takes longer than `seconds_per_clip`, or for which `function` raises any
    exception that is not about the parameters, fails. `exclusive` is for functions
    that use the GPU: they run in a single worker.
    """

    function: Callable[[Any], Result]
    seconds_per_clip: float | None = None
    exclusive: bool = False

    @property
    def on_device(self) -> bool:
        """Return whether the recipe uses a GPU."""
        return self.exclusive

    def __call__(
        self, items: Iterable[tuple[str, Load]], processes: int
    ) -> Iterator[tuple[str, Result | Failure]]:
        """Yield the results in the order of the items."""
        keys: deque[str] = deque()

        def inputs() -> Iterator[Any]:
            for key, load in items:
                keys.append(key)
                yield load()

        for result in process_pool.run(
            _OneClip(self.function),
            inputs(),
            workers=1 if self.exclusive else processes,
            seconds_per_item=self.seconds_per_clip,
        ):
            yield keys.popleft(), result


@dataclass(frozen=True)
class ClipInput:
    """One clip for the engine: `key` is the hash of its content, `load` reads that content.

    `result` is set if there is nothing to compute, e.g. for a clip without a face.
    """

    clip_id: str
    key: str
    load: Load
    result: Result | None = None


def has_failed(result: Result) -> bool:
    """Return whether a part of a result failed. Such a result is never cached but retried."""
    return any(rows.state == "failed" for rows in result)
