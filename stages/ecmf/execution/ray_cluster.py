"""Fill the result cache with the nodes of a Ray cluster.

`RAY_ADDRESS` names a running cluster; without it a local one is started. The driver reads the clips
and sends them, so a node needs no store. All nodes share the checkout and `ECMF_CACHE` (a network
file system): a node writes its results there and returns only failures. Writing a result twice is
harmless, so the tasks of a lost node are repeated on another.
"""

import logging
import os
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ecmf.errors import UserError
from ecmf.execution import device, local, result_cache
from ecmf.execution.code_fingerprint import STAGES
from ecmf.execution.local import CLIPS_PER_PACK
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import ClipInput, Recipe
from ecmf.storage.store import Result

TASKS_PER_PROCESSOR = 2
"""Maximum tasks queued per processor; their clips are in memory."""

RETRIES = 10
"""Lost nodes after which a task is still repeated."""

PASSED_ON = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT")
"""Not HF_TOKEN: Ray writes the environment of its processes into its logs."""

log = logging.getLogger(__name__)


def fill_cache(
    recipe: Recipe, missing: Sequence[ClipInput]
) -> Generator[tuple[str, Result | Failure | None]]:
    """Yield the key of each clip once it is cached, with its result if that cannot be cached.

    Raises:
        UserError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "ECMF_ENGINE is 'ray', but Ray is not installed: "
            "run pip install 'ray>=2.60,<3' on every node"
        ) from error
    started = not ray.is_initialized()
    if started:
        ray.init(
            log_to_driver=False, include_dashboard=False, runtime_env={"env_vars": _environment()}
        )
    try:
        task = ray.remote(_work).options(
            num_cpus=1, num_gpus=int(recipe.on_device), max_retries=RETRIES
        )
        max_tasks = TASKS_PER_PROCESSOR * max(1, int(ray.cluster_resources().get("CPU", 1)))
        recipe_reference = ray.put(recipe)
        running: dict[Any, list[str]] = {}
        for first in range(0, len(missing), CLIPS_PER_PACK):
            if len(running) >= max_tasks:
                yield from _finished(running)
            clips = {clip.key: clip.load() for clip in missing[first : first + CLIPS_PER_PACK]}
            running[task.remote(recipe_reference, clips, str(Path.cwd()))] = list(clips)
        while running:
            yield from _finished(running)
    finally:
        if started:
            ray.shutdown()


def _finished(running: dict[Any, list[str]]) -> Iterator[tuple[str, Result | Failure | None]]:
    import ray
    from ray.exceptions import NodeDiedError, OutOfMemoryError, WorkerCrashedError

    done, _ = ray.wait(list(running))
    for reference in done:
        try:
            failed = ray.get(reference)
        except (NodeDiedError, OutOfMemoryError, WorkerCrashedError) as error:
            # The engine recomputes the missing results one by one, and so finds the clip.
            log.warning("one of %d clips kills its process: %s", len(running[reference]), error)
            failed = {}
        for key in running.pop(reference):
            yield key, failed.get(key)


def _work(recipe: Recipe, clips: Mapping[str, Any], root: str) -> dict[str, Result | Failure]:
    """Cache the results of some clips on a node, and return those that failed.

    Paths in the manifest and the parameters are relative to `root`.
    """
    os.chdir(root)
    items = ((key, lambda content=content: content) for key, content in clips.items())
    done = local.fill_cache(recipe, recipe.open_cache(), items, processes=1)
    return {key: result for key, result in done if result is not None}


def _environment() -> dict[str, str]:
    """Return the environment of every process on a node."""
    return {
        "PYTHONPATH": str(STAGES),
        "ECMF_CACHE": str(result_cache.root_folder()),
        "ECMF_DEVICE": device.requested().partition(":")[0],  # a task sees only its GPU, as cuda:0
        **{name: os.environ[name] for name in PASSED_ON if name in os.environ},
    }
