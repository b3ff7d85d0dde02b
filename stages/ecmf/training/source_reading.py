"""Read the features that a training uses."""

from collections.abc import Sequence
from pathlib import Path

from ecmf.data.features import (
    Source,
    in_this_process,
    load_sources,
    standardise_per_speaker,
)
from ecmf.data.manifest import Clip
from ecmf.errors import ParamsError
from ecmf.params import TrainFusion
from ecmf.training.model import target_sources
from ecmf.training.shared_memory import SharedMemory


def paths_of_branches(paths: dict[str, Path], params: TrainFusion) -> dict[str, Path]:
    """Return the stores of `params.branches`, by source; raises ParamsError if there is none."""
    chosen = {
        name: path for name, path in paths.items() if name.partition("/")[0] in params.branches
    }
    if not chosen:
        raise ParamsError(f"no table has an encoder of train_fusion.branches {params.branches}")
    return chosen


def read_sources(
    paths: dict[str, Path],
    clips: Sequence[Clip],
    params: TrainFusion,
    memory: SharedMemory | None = None,
) -> Sequence[Source]:
    """Read the features of `params.branches`, standardised per speaker if set, except targets.

    They are held in `memory` if other processes read them too.
    """
    anonymous = [clip.clip_id for clip in clips if not clip.speaker]
    if params.standardise == "speaker" and anonymous:
        raise ParamsError(
            f"train_fusion.standardise is 'speaker', but {len(anonymous)} clips have no speaker, "
            f"e.g. {anonymous[0]!r}: set it to corpus"
        )
    allocate = memory.allocate if memory else in_this_process
    clip_ids = [clip.clip_id for clip in clips]
    sources = load_sources(paths_of_branches(paths, params), clip_ids, allocate)
    if params.standardise == "speaker":
        targets = target_sources(params)
        for source in sources:
            if source.name not in targets:
                standardise_per_speaker(source, [clip.speaker for clip in clips])
    return [memory.share(source) for source in sources] if memory else sources
