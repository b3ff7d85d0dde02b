"""Apply a recipe to every clip: what is in the cache is not asked again, the rest is worked out.

First the cache is filled, by this machine or by many; then the results are read from it in the
order of the manifest. A killed run, a job of an array and a node of a cluster leave their results
there, and the next run goes on from them.
"""

import logging
import os
import time
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tqdm import tqdm

from ecmf import cache, workers
from ecmf.errors import UserError
from ecmf.shard import Shard
from ecmf.store import Layout, Result
from ecmf.workers import Failure

CLIPS_PER_PACK = 32
BYTES_PER_PACK = 1 << 25
SECONDS_PER_PACK = 10
"""Results are kept when any of these is reached: no more than that is lost by a kill."""

log = logging.getLogger(__name__)

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

    def shelf(self) -> cache.Shelf:
        """Open what the cache holds of it."""
        return cache.Shelf(self.name, self.layouts, self.identity)


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

        for result in workers.run(
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


@dataclass(frozen=True)
class Results:
    """The results of all clips, in their order; each is read when its turn comes."""

    recipe: Recipe
    clips: Sequence[Given]
    shelf: cache.Shelf
    failed: Mapping[str, Result | Failure]
    most_bytes: int

    def __iter__(self) -> Iterator[tuple[str, Result | Failure]]:
        """Yield clip id and result; one that was damaged or pruned meanwhile is made again.

        So is one whose twin of the same content failed: the reason may be about that very file.
        """
        for clip in self.clips:
            result = clip.result or self.failed.get(clip.clip_id) or self.shelf.get(clip.key)
            yield clip.clip_id, result or self._again(clip)
        cache.prune(self.most_bytes)

    def _again(self, clip: Given) -> Result | Failure:
        # in a process of its own: what was lost may have been lost by a crash
        ((_, result),) = self.recipe([(clip.key, clip.read)], processes=2)
        if not isinstance(result, Failure) and not has_failed(result):
            self.shelf.put({clip.key: result})
        return result


def has_failed(result: Result) -> bool:
    """Tell whether a part of a result failed: such a one is not kept but tried in every run."""
    return any(rows.state == "failed" for rows in result)


def apply(recipe: Recipe, clips: Sequence[Given], shard: Shard | None = None) -> Results | None:
    """Fill the cache with the results of `clips`; return them, or None if only a share was filled.

    Where it runs is no parameter: `ECMF_ENGINE` from the environment is "local", or "ray" for the
    nodes of a cluster (see `cluster.py`).

    Raises:
        UserError: `ECMF_ENGINE` is neither, or the cache cannot be written.
    """
    engine = os.environ.get("ECMF_ENGINE") or "local"
    if engine not in ("local", "ray"):
        raise UserError(f"ECMF_ENGINE is {engine!r}: set it to local or ray")
    most_bytes = cache.most_bytes()  # a limit that is none stops the stage before its work
    shelf = recipe.shelf()
    shelf.use()
    asked = shard(clips) if shard else clips
    # Clips of the same content share a result, so a dict: it is worked out once.
    missing = {clip.key: clip for clip in asked if clip.result is None and clip.key not in shelf}
    found = len(asked) - len(missing)
    share = f" (shard {shard})" if shard else ""
    log.info(
        "%s%s: %d clips, %d known, %d to work out",
        recipe.name, share, len(asked), found, len(missing),
    )  # fmt: skip
    failed: dict[str, Result | Failure] = {}
    counted = {"hits": found, "misses": len(missing)}
    with tqdm(
        total=len(asked), initial=found, desc=recipe.name, unit="clip", disable=None,
        postfix=counted,
    ) as progress:  # fmt: skip
        if missing and engine == "ray":
            from ecmf import cluster

            filled = cluster.fill(recipe, list(missing.values()))
        else:
            items = ((key, clip.read) for key, clip in missing.items())
            filled = fill(recipe, shelf, items, workers.count())
        for key, failure in filled:
            if failure:
                failed[missing[key].clip_id] = failure
            progress.set_postfix({**counted, **recipe.shown()}, refresh=False)
            progress.update()
    if engine == "ray":  # other processes have written
        shelf = recipe.shelf()
    if shard:
        for clip_id, failure in failed.items():
            log.warning("%s: %s failed: %s", recipe.name, clip_id, _why(failure))
        return None
    return Results(recipe, clips, shelf, failed, most_bytes)


def _why(failure: Result | Failure) -> str:
    if isinstance(failure, Failure):
        return failure.reason
    return "; ".join(rows.reason for rows in failure if rows.state == "failed")


def fill(
    recipe: Recipe, shelf: cache.Shelf, items: Iterable[tuple[str, Read]], processes: int
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

    def __init__(self, shelf: cache.Shelf) -> None:
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
