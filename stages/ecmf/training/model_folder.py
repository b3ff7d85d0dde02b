"""Write the folder of trained models: the weights of every run, and the metadata."""

import shutil
from collections.abc import Iterable, Mapping, Sequence
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from ecmf.data.manifest import Clip
from ecmf.data.splits import REFIT
from ecmf.params import Preparation, TrainFusion
from ecmf.storage.store import Store
from ecmf.training.early_stopping import Epoch
from ecmf.training.fold_runs import TrainedRun
from ecmf.training.model_metadata import (
    MemberMetadata,
    ModelMetadata,
    RunMetadata,
    SourceMetadata,
    weights_path,
    write_metadata,
)
from ecmf.training.task import Targets
from ecmf.training.weight_files import read_weights, write_weights


class Origin(NamedTuple):
    """Origin of the features of a model; `ModelMetadata` describes its parts."""

    corpus: str
    preparation: Preparation
    voice_thresholds: dict[str, tuple[float, float]]


def write_models(
    trained: Iterable[TrainedRun],
    clips: Sequence[Clip],
    targets: Targets,
    paths: Mapping[str, Path],
    params: TrainFusion,
    origin: Origin,
    folder: Path,
) -> tuple[ModelMetadata, list[Sequence[Epoch]]]:
    """Write the trained runs, member by member, into `folder`, which appears when it is complete.

    `paths` are the stores that the models read, by source, and `origin` is where they come from.

    Returns:
        The metadata, and the epochs of each run of the first member that has validation clips, or
        of each run if none has.
    """
    part = folder.with_name(f".{folder.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    members: list[MemberMetadata] = []
    histories: list[Sequence[Epoch]] = []
    for name, group in groupby(trained, lambda run: run.member):
        runs = _copy_weights(group, part)
        members.append(_member_metadata(name, runs, clips, targets, list(paths)))
        histories = histories or [run.history for run in runs if run.run.fold.fold != REFIT]
    metadata = ModelMetadata(
        **origin._asdict(),
        outputs=list(targets.task.outputs),
        training=params,
        sources=[_source_metadata(*source) for source in paths.items()],
        members=members,
    )
    write_metadata(metadata, part)
    _replace(folder, part)
    return metadata, histories


def _replace(folder: Path, part: Path) -> None:
    before = folder.with_name(f".{folder.name}.before")
    shutil.rmtree(before, ignore_errors=True)
    if folder.exists():  # renamed, not deleted: a kill in between must not leave half of it
        folder.replace(before)
    part.replace(folder)
    shutil.rmtree(before, ignore_errors=True)


def _copy_weights(runs: Iterable[TrainedRun], folder: Path) -> list[TrainedRun]:
    """Copy the cached weights into `folder`, and return the runs with the copies."""
    copied = []
    for trained in runs:
        path = weights_path(folder, trained.member, trained.run.name)
        # Not copied as a file: the metadata of the cached file are not part of the result.
        weights, _ = read_weights(trained.weights, trained.digest, "run again to train them again")
        copied.append(trained._replace(weights=path, digest=write_weights(path, weights)))
    return copied


def _source_metadata(name: str, path: Path) -> SourceMetadata:
    with Store(path) as store:
        (dim,) = store.layout.shape
        return SourceMetadata(name=name, dim=dim, provenance=store.provenance)


def _source_values(trained: TrainedRun, names: Sequence[str]) -> dict[str, dict[str, float]]:
    if not (values := trained.run.chosen.sources):
        return {}
    return {n: v._asdict() for n, v in zip(names, values, strict=True) if v is not None}


def _member_metadata(
    member: str,
    runs: Sequence[TrainedRun],
    clips: Sequence[Clip],
    targets: Targets,
    names: Sequence[str],
) -> MemberMetadata:
    weights, _ = read_weights(runs[0].weights, runs[0].digest, "run again")
    return MemberMetadata(
        name=member,
        # The buffers of the standardisation and of the choice of sources are not trained.
        parameters=sum(
            tensor.numel()
            for name, tensor in weights.items()
            if name.startswith("fusion.") and not name.endswith("source_weights")
        ),
        runs=[
            RunMetadata(
                name=trained.run.name,
                seed=trained.run.seed,
                round=trained.run.fold.outer_fold,
                fold=trained.run.fold.fold,
                best_epoch=trained.best.epoch,
                validation_score=trained.best.validation_score,
                sha256=trained.digest,
                targets=targets.known(trained.run.fold.train),
                validation_groups=sorted({clips[i].group for i in trained.run.fold.validation}),
                test_groups=sorted({clips[i].group for i in trained.run.fold.test}),
                sources=_source_values(trained, names),
            )
            for trained in runs
        ],
    )
