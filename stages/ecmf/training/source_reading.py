"""Read the features that a training uses."""

import logging
from collections.abc import Mapping, Sequence
from pathlib import Path

from ecmf.data.features import (
    Source,
    in_this_process,
    load_sources,
    standardise_per_speaker,
)
from ecmf.data.manifest import Clip
from ecmf.errors import CorpusError, ParamsError
from ecmf.params import TrainFusion
from ecmf.storage.store import Store
from ecmf.training.model import target_sources
from ecmf.training.shared_memory import SharedMemory

log = logging.getLogger(__name__)


def paths_of_branches(paths: dict[str, Path], params: TrainFusion) -> dict[str, Path]:
    """Return the stores of `params.branches`, by source; raises ParamsError if there is none."""
    chosen = {
        name: path for name, path in paths.items() if name.partition("/")[0] in params.branches
    }
    if not chosen:
        raise ParamsError(f"no table has an encoder of train_fusion.branches {params.branches}")
    return chosen


def paths_with_rows(paths: Mapping[str, Path]) -> dict[str, Path]:
    """Return the stores, by source, in which a clip has a row; log the names of the others.

    A corpus of text or of sound alone has no row of a frame or of a face.

    Raises:
        CorpusError: no clip has a row in any store.
    """
    found = {}
    for name, path in paths.items():
        with Store(path) as store:
            if store.starts[-1]:
                found[name] = path
    if not found:
        raise CorpusError(
            f"no clip has a row in any of {', '.join(paths)}: metrics/coverage.csv says why, after "
            "`dvc repro report_coverage`"
        )
    if skipped := [name for name in paths if name not in found]:
        log.info("no clip has a row of %s: not read", ", ".join(skipped))
    return found


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
