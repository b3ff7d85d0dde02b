"""Run a recipe on every clip that is not in the result cache.

First the cache is filled, by this machine or by a cluster; then the results are read from it in the
order of the manifest. Results of killed runs, array jobs and cluster nodes stay in the cache, and
the next run continues from them.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass

from tqdm import tqdm

from ecmf.errors import UserError
from ecmf.execution import process_pool, result_cache
from ecmf.execution.clip_log import log_clip
from ecmf.execution.local import fill_cache
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import ClipInput, Recipe, has_failed
from ecmf.execution.shard import Shard
from ecmf.storage.store import Result

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Results:
    """Results of all clips, in order; each is read on iteration."""

    recipe: Recipe
    clips: Sequence[ClipInput]
    cache: result_cache.ResultCache
    failed: Mapping[str, Result | Failure]
    size_limit: int

    def __iter__(self) -> Iterator[tuple[str, Result | Failure]]:
        """Yield clip id and result; recompute a result that was damaged or pruned meanwhile.

        If a clip failed, its duplicates are computed too: the reason may name the file.
        """
        for clip in self.clips:
            result = clip.result or self.failed.get(clip.clip_id) or self.cache.get(clip.key)
            yield clip.clip_id, result or self._recompute(clip)
        result_cache.prune(self.size_limit)

    def _recompute(self, clip: ClipInput) -> Result | Failure:
        # two processes, so that a worker runs it: the result may be missing because of a crash
        ((_, result),) = self.recipe([(clip.key, clip.load)], processes=2)
        if not isinstance(result, Failure) and not has_failed(result):
            self.cache.put({clip.key: result})
        return result


def run(recipe: Recipe, clips: Sequence[ClipInput], shard: Shard | None = None) -> Results | None:
    """Compute the missing results of `clips`; return all results, or None if there is a `shard`.

    The environment variable `ECMF_ENGINE` is "local", or "ray" for the nodes of a cluster (see
    `ray_cluster.py`). A shard only fills the cache with its clips.

    Raises:
        UserError: `ECMF_ENGINE` is neither, or the cache cannot be written.
    """
    local = is_local()
    size_limit = result_cache.size_limit()  # an invalid limit stops the stage before its work
    cache = recipe.open_cache()
    cache.touch()
    selected = shard(clips) if shard else clips
    # A dict, because clips with the same content share one result.
    missing = {clip.key: clip for clip in selected if clip.result is None and clip.key not in cache}
    hits = len(selected) - len(missing)
    log.info(
        "%s%s: %d clips, %d cached, %d to compute",
        recipe.name, f" (shard {shard})" if shard else "", len(selected), hits, len(missing),
    )  # fmt: skip
    failed: dict[str, Result | Failure] = {}
    counts = {"hits": hits, "misses": len(missing)}
    with tqdm(
        total=len(selected), initial=hits, desc=recipe.name, unit="clip", disable=None,
        postfix=counts,
    ) as progress:  # fmt: skip
        if missing and not local:
            from ecmf.execution import ray_cluster

            done = ray_cluster.fill_cache(recipe, list(missing.values()))
        else:
            items = ((key, clip.load) for key, clip in missing.items())
            done = fill_cache(recipe, cache, items, process_pool.worker_count())
        with closing(done):  # writes the pending results and ends the workers, also on Ctrl-C
            for key, failure in done:
                clip_id = missing[key].clip_id
                if failure:
                    failed[clip_id] = failure
                log_clip(clip_id, "computed", _reason(failure) if failure else "")
                progress.set_postfix({**counts, **recipe.status()}, refresh=False)
                progress.update()
    if not local:  # other processes have written to the cache
        cache = recipe.open_cache()
    if shard:
        for clip_id, failure in failed.items():
            log.warning("%s: %s failed: %s", recipe.name, clip_id, _reason(failure))
        return None
    return Results(recipe, clips, cache, failed, size_limit)


def is_local() -> bool:
    """Return whether recipes run on this machine; raises UserError for an unknown ECMF_ENGINE."""
    engine = os.environ.get("ECMF_ENGINE") or "local"
    if engine not in ("local", "ray"):
        raise UserError(f"ECMF_ENGINE is {engine!r}: set it to local or ray")
    return engine == "local"


def _reason(failure: Result | Failure) -> str:
    if isinstance(failure, Failure):
        return failure.reason
    return "; ".join(rows.reason for rows in failure if rows.state == "failed")
