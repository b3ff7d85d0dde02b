"""What is applied to a clip, and the clip it is applied to, as the engine sees them."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from ecmf.execution import process_pool, result_cache
from ecmf.execution.process_pool import Failure
from ecmf.storage.store import Layout, Result

Read = Callable[[], Any]
"""Reads what a recipe is to see of a clip, when it is wanted."""


@dataclass(frozen=True)
class Recipe(ABC):
    """What is done with a clip, and all that decides its outcome; it can be sent to other machines.

    `name` is shown to people. `layouts` are those of the stores a result goes to, `identity` is
    JSON: results under another identity are never mixed up with these.
    """

    name: str
    layouts: tuple[Layout, ...]
    identity: Mapping[str, Any]

    @abstractmethod
    def __call__(
        self, items: Iterable[tuple[str, Read]], processes: int
    ) -> Iterator[tuple[str, Result | Failure]]:
        """Yield the result of every item, known by its key, or why there is none, in any order."""

    @property
    @abstractmethod
    def on_device(self) -> bool:
        """Whether it owns a GPU while it works."""

    def shown(self) -> Mapping[str, str]:
        """What a bar shows beside hits and misses, as it stands now."""
        return {}

    def shelf(self) -> result_cache.Shelf:
        """Open what the cache holds of it."""
        return result_cache.Shelf(self.name, self.layouts, self.identity)


@dataclass(frozen=True)
class InProcesses(Recipe):
    """A recipe of a function that worker processes apply to one clip at a time.

    `function` makes a result of what a clip's `read` gives; both travel between processes. A clip
    that takes longer than `seconds_per_clip` fails. `alone` is for what owns the GPU.
    """

    function: Callable[[Any], Result]
    seconds_per_clip: float | None = None
    alone: bool = False

    @property
    def on_device(self) -> bool:
        """What works alone does so for the GPU."""
        return self.alone

    def __call__(
        self, items: Iterable[tuple[str, Read]], processes: int
    ) -> Iterator[tuple[str, Result | Failure]]:
        """Yield the results in the order of the items."""
        keys: deque[str] = deque()

        def contents() -> Iterator[Any]:
            for key, read in items:
                keys.append(key)
                yield read()

        for result in process_pool.run(
            self.function,
            contents(),
            workers=1 if self.alone else processes,
            seconds_per_item=self.seconds_per_clip,
        ):
            yield keys.popleft(), result


@dataclass(frozen=True)
class Given:
    """A clip as the engine sees it: the hash of its own content, and how to read that.

    `result` is there where nothing needs to be worked out, as for a clip without a face.
    """

    clip_id: str
    key: str
    read: Read
    result: Result | None = None


def has_failed(result: Result) -> bool:
    """Tell whether a part of a result failed: such a one is not kept but tried in every run."""
    return any(rows.state == "failed" for rows in result)
