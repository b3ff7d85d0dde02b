"""Where one machine is not enough: the missing clips are worked out by the nodes of a Ray cluster.

`RAY_ADDRESS` names a cluster that is there already; without it one of this machine alone is
started. The driver reads the clips and sends them along, so a node needs no store, but all of them
share the checkout and `ECMF_CACHE` (a network file system): a node puts its results there, and only
what failed travels back. Putting twice does no harm, so what a lost node had begun is simply done
again by another.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from ecmf.errors import UserError
from ecmf.execution import device, local, result_cache
from ecmf.execution.code_fingerprint import STAGES
from ecmf.execution.local import CLIPS_PER_PACK
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import Given, Recipe
from ecmf.storage.store import Result

TASKS_PER_PROCESSOR = 2
"""How many tasks wait at each processor, their clips in memory."""

RETRIES = 10
"""How many lost nodes a task survives."""

HANDED_ON = ("HF_HOME", "HF_HUB_CACHE", "HF_HUB_OFFLINE", "HF_ENDPOINT")
"""Not HF_TOKEN: Ray writes the environment of its processes into its logs."""

log = logging.getLogger(__name__)


def fill(recipe: Recipe, missing: Sequence[Given]) -> Iterator[tuple[str, Result | Failure | None]]:
    """Yield each clip that is in the cache now, or with it the result that may not be kept.

    Raises:
        UserError: Ray is not installed.
    """
    try:
        import ray
    except ImportError as error:
        raise UserError(
            "ECMF_ENGINE is 'ray', but Ray is not installed: pip install 'ray>=2.60,<3', on every "
            "node"
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
        most = TASKS_PER_PROCESSOR * max(1, int(ray.cluster_resources().get("CPU", 1)))
        shared = ray.put(recipe)
        running: dict[Any, list[str]] = {}
        for first in range(0, len(missing), CLIPS_PER_PACK):
            if len(running) >= most:
                yield from _finished(running)
            clips = {clip.key: clip.read() for clip in missing[first : first + CLIPS_PER_PACK]}
            running[task.remote(shared, clips, str(Path.cwd()))] = list(clips)
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
            # The one that does it is found where the results are put together, clip by clip.
            log.warning("%d clips end every process: %s", len(running[reference]), error)
            failed = {}
        for key in running.pop(reference):
            yield key, failed.get(key)


def _work(recipe: Recipe, clips: Mapping[str, Any], root: str) -> dict[str, Result | Failure]:
    """Runs on a node: put the results of some clips into the cache, return those that failed.

    Paths of a manifest and of parameters are those seen from the project's `root`.
    """
    os.chdir(root)
    items = ((key, _Held(content)) for key, content in clips.items())
    done = local.fill(recipe, recipe.shelf(), items, processes=1)
    return {key: result for key, result in done if result is not None}


class _Held:
    """Content that has been read already."""

    def __init__(self, content: Any) -> None:
        self._content = content

    def __call__(self) -> Any:
        return self._content


def _environment() -> dict[str, str]:
    """What every process on a node has to know."""
    return {
        "PYTHONPATH": str(STAGES),
        "ECMF_CACHE": str(result_cache.folder()),
        "ECMF_DEVICE": device.requested().partition(":")[0],  # Ray shows a task one GPU, its first
        **{name: os.environ[name] for name in HANDED_ON if name in os.environ},
    }
