"""Features and labels -> trained fusion models: one per fold and seed, of each member."""

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
from ecmf.training.cross_validation import Finished, chosen_paths, train_all
from ecmf.training.early_stopping import Epoch
from ecmf.training.learning_curves import write_curves
from ecmf.training.model_metadata import (
    Card,
    MemberCard,
    RunCard,
    SourceCard,
    weights_of,
    write_card,
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
    """Train the chosen models on every fold with every seed. The test split is not looked at.

    All members share folds, seeds and labels. The curves are those of the first.
    """
    clips = read_manifest(manifest)
    classes = classes_of(manifest, clips)
    targets = read_targets(labels, clips, classes)
    paths = sources.paths(features)
    part = model.with_name(f".{model.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    members: list[MemberCard] = []
    histories: list[Sequence[Epoch]] = []
    trained = train_all(paths, clips, targets, params)
    for name, group in groupby(trained, lambda training: training.member):
        finished = _kept(group, part)
        members.append(_card_of(name, finished, clips, targets, part))
        histories = histories or [training.history for training in finished]

    card = Card(
        classes=list(classes),
        training=params,
        sources=[_source_card(*source) for source in chosen_paths(paths, params).items()],
        members=members,
    )
    write_card(card, part)
    before = model.with_name(f".{model.name}.before")
    shutil.rmtree(before, ignore_errors=True)
    if model.exists():  # renamed and not removed: a kill in between must leave no half of it
        model.replace(before)
    part.replace(model)
    shutil.rmtree(before, ignore_errors=True)
    write_text(metrics, json.dumps(_summary(card), indent=2) + "\n")
    write_curves(histories, curves)


def _kept(trained: Iterable[Finished], folder: Path) -> list[Finished]:
    """Take trainings with their weights out of the cache into the `folder` of the models."""
    finished = []
    for training in trained:
        # Written anew: the metadata of the cached file is no part of the result.
        weights = weights_of(folder, training.member, training.run.name)
        weights.parent.mkdir(exist_ok=True)
        save_file(load_file(training.weights), weights)
        finished.append(training)
    return finished


def _source_card(name: str, path: Path) -> SourceCard:
    with Store(path) as store:
        (dim,) = store.layout.shape
        return SourceCard(name=name, dim=dim, provenance=store.provenance)


def _card_of(
    member: str, finished: Sequence[Finished], clips: Sequence[Clip], targets: Targets, folder: Path
) -> MemberCard:
    weights = load_file(weights_of(folder, member, finished[0].run.name))
    return MemberCard(
        name=member,
        # The scale of the inputs is measured, not learned.
        parameters=sum(w.numel() for name, w in weights.items() if name.startswith("fusion.")),
        runs=[
            RunCard(
                name=training.run.name,
                seed=training.run.seed,
                round=training.run.fold.round,
                fold=training.run.fold.fold,
                best_epoch=training.best.epoch,
                validation_waf=training.best.validation_waf,
                valence_clips=targets.valence_clips(training.run.fold.train),
                validation_groups=sorted({clips[i].group for i in training.run.fold.validation}),
                test_groups=sorted({clips[i].group for i in training.run.fold.test}),
            )
            for training in finished
        ],
    )


def _summary(card: Card) -> dict[str, object]:
    """What `dvc metrics show` prints of a training: of the first member, and of all by name."""
    by_name = {member.name: _of_member(member, card.training.seeds) for member in card.members}
    first = by_name[card.training.model]
    return {**first, "members": by_name} if card.training.ensemble else first


def _of_member(member: MemberCard, seeds: Sequence[int]) -> dict[str, object]:
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
