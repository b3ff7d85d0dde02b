"""Train fusion models on features and labels: one per fold, seed and ensemble member."""

import json
import shutil
from collections.abc import Iterable, Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file

from ecmf.cli import stage
from ecmf.data.manifest import Clip, classes_of, read_manifest
from ecmf.params import Sources, TrainFusion
from ecmf.storage.files import write_text
from ecmf.storage.store import Store
from ecmf.training.cross_validation import TrainedRun, paths_of_branches, train_all
from ecmf.training.early_stopping import Epoch
from ecmf.training.learning_curves import write_curves
from ecmf.training.model_metadata import (
    MemberMetadata,
    ModelMetadata,
    RunMetadata,
    SourceMetadata,
    weights_path,
    write_metadata,
)
from ecmf.training.targets import Targets, read_targets


def train_fusion(
    manifest: Path,
    labels: Path,
    features: Path,
    model: Path,
    metrics: Path,
    curves: Path,
    params: TrainFusion,
    sources: Sources,
) -> None:
    """Train every ensemble member on every fold with every seed; test labels are not read.

    All members share folds, seeds and labels. The curves are those of the first member.
    """
    clips = read_manifest(manifest)
    classes = classes_of(manifest, clips)
    targets = read_targets(labels, clips, classes)
    paths = sources.paths(features)
    part = model.with_name(f".{model.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    members: list[MemberMetadata] = []
    histories: list[Sequence[Epoch]] = []
    trained = train_all(paths, clips, targets, params)
    for name, group in groupby(trained, lambda run: run.member):
        runs = _copy_weights(group, part)
        members.append(_member_metadata(name, runs, clips, targets, part))
        histories = histories or [run.history for run in runs]

    metadata = ModelMetadata(
        classes=list(classes),
        training=params,
        sources=[_source_metadata(*source) for source in paths_of_branches(paths, params).items()],
        members=members,
    )
    write_metadata(metadata, part)
    before = model.with_name(f".{model.name}.before")
    shutil.rmtree(before, ignore_errors=True)
    if model.exists():  # renamed, not deleted: a kill in between must not leave half of it
        model.replace(before)
    part.replace(model)
    shutil.rmtree(before, ignore_errors=True)
    write_text(metrics, json.dumps(_summary(metadata), indent=2) + "\n")
    write_curves(histories, curves)


def _copy_weights(runs: Iterable[TrainedRun], folder: Path) -> list[TrainedRun]:
    """Copy the cached weights into `folder`, and return the runs."""
    copied = []
    for trained in runs:
        path = weights_path(folder, trained.member, trained.run.name)
        path.parent.mkdir(exist_ok=True)
        # Not copied as a file: the metadata of the cached file are not part of the result.
        save_file(load_file(trained.weights), path)
        copied.append(trained)
    return copied


def _source_metadata(name: str, path: Path) -> SourceMetadata:
    with Store(path) as store:
        (dim,) = store.layout.shape
        return SourceMetadata(name=name, dim=dim, provenance=store.provenance)


def _member_metadata(
    member: str, runs: Sequence[TrainedRun], clips: Sequence[Clip], targets: Targets, folder: Path
) -> MemberMetadata:
    weights = load_file(weights_path(folder, member, runs[0].run.name))
    return MemberMetadata(
        name=member,
        # The buffers of the standardisation are measured, not trained.
        parameters=sum(w.numel() for name, w in weights.items() if name.startswith("fusion.")),
        runs=[
            RunMetadata(
                name=trained.run.name,
                seed=trained.run.seed,
                round=trained.run.fold.outer_fold,
                fold=trained.run.fold.fold,
                best_epoch=trained.best.epoch,
                validation_waf=trained.best.validation_waf,
                valence_clips=targets.valence_clips(trained.run.fold.train),
                validation_groups=sorted({clips[i].group for i in trained.run.fold.validation}),
                test_groups=sorted({clips[i].group for i in trained.run.fold.test}),
            )
            for trained in runs
        ],
    )


def _summary(metadata: ModelMetadata) -> dict[str, object]:
    """Summarise the runs for `dvc metrics show`: the first member's, and each member's by name."""
    training = metadata.training
    by_name = {member.name: _summarise(member, training.seeds) for member in metadata.members}
    first = by_name[training.model]
    return {**first, "members": by_name} if training.ensemble else first


def _summarise(member: MemberMetadata, seeds: Sequence[int]) -> dict[str, object]:
    waf = [run.validation_waf for run in member.runs if run.validation_waf is not None]
    counts: dict[str, object] = {"runs": len(member.runs), "parameters": member.parameters}
    if not waf:
        return counts
    return {
        "validation_waf": float(np.mean(waf)),
        "validation_waf_deviation": float(np.std(waf)),
        "validation_waf_by_seed": {
            str(seed): float(
                np.mean([run.validation_waf or 0.0 for run in member.runs if run.seed == seed])
            )
            for seed in seeds
        },
        "best_epoch": float(np.mean([run.best_epoch for run in member.runs])),
        **counts,
    }


if __name__ == "__main__":
    stage.main(train_fusion)
