"""Apply a recipe to every clip: what is in the cache is not asked again, the rest is worked out.

First the cache is filled, by this machine or by many; then the results are read from it in the
order of the manifest. A killed run, a job of an array and a node of a cluster leave their results
there, and the next run goes on from them.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from tqdm import tqdm

from ecmf.errors import UserError
from ecmf.execution import process_pool, result_cache
from ecmf.execution.local import fill
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import Given, Recipe, has_failed
from ecmf.execution.shard import Shard
from ecmf.storage.store import Result

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Results:
    """The results of all clips, in their order; each is read when its turn comes."""

    recipe: Recipe
    clips: Sequence[Given]
    shelf: result_cache.Shelf
    failed: Mapping[str, Result | Failure]
    most_bytes: int

    def __iter__(self) -> Iterator[tuple[str, Result | Failure]]:
        """Yield clip id and result; one that was damaged or pruned meanwhile is made again.

        So is one whose twin of the same content failed: the reason may be about that very file.
        """
        for clip in self.clips:
            result = clip.result or self.failed.get(clip.clip_id) or self.shelf.get(clip.key)
            yield clip.clip_id, result or self._again(clip)
        result_cache.prune(self.most_bytes)

    def _again(self, clip: Given) -> Result | Failure:
        # in a process of its own: what was lost may have been lost by a crash
        ((_, result),) = self.recipe([(clip.key, clip.read)], processes=2)
        if not isinstance(result, Failure) and not has_failed(result):
            self.shelf.put({clip.key: result})
        return result


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
    most_bytes = result_cache.most_bytes()  # a limit that is none stops the stage before its work
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
            from ecmf.execution import ray_cluster

            filled = ray_cluster.fill(recipe, list(missing.values()))
        else:
            items = ((key, clip.read) for key, clip in missing.items())
            filled = fill(recipe, shelf, items, process_pool.count())
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
