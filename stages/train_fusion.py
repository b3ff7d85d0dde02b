"""Features and labels -> trained fusion models, one per fold and seed."""

import json
import shutil
from pathlib import Path

import numpy as np
from safetensors.torch import load_file, save_file

from ecmf import stage
from ecmf.card import Card, RunCard, SourceCard, write_card
from ecmf.curves import write_curves
from ecmf.files import write_text
from ecmf.labels import read_labels
from ecmf.manifest import classes_of, read_manifest
from ecmf.params import Sources, TrainFusion
from ecmf.runs import Finished, read_sources, train_all
from ecmf.training import Targets


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
    """Train the chosen model on every fold with every seed. The test split is not looked at."""
    clips = read_manifest(manifest)
    classes = classes_of(manifest, clips)
    refined = read_labels(labels, [clip.clip_id for clip in clips], classes)
    targets = Targets(
        np.array([label.soft for label in refined], "float32"),
        np.array([label.weight for label in refined], "float32"),
    )
    paths = sources.paths(features)
    finished: list[Finished] = []
    part = model.with_name(f".{model.name}.part")
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    for training in train_all(paths, clips, targets, params):
        # Written anew: the metadata of the cached file is no part of the result.
        save_file(load_file(training.weights), part / f"{training.run.name}.safetensors")
        finished.append(training)

    card = Card(
        classes=list(classes),
        parameters=_count_parameters(part, finished[0]),
        training=params,
        sources=[
            SourceCard(name=source.name, dim=source.dim, provenance=dict(source.provenance))
            for source in read_sources(paths, clips, params)
        ],
        runs=[
            RunCard(
                name=training.run.name,
                seed=training.run.seed,
                round=training.run.fold.round,
                fold=training.run.fold.fold,
                best_epoch=training.best.epoch,
                validation_waf=training.best.validation_waf,
                validation_groups=sorted({clips[i].group for i in training.run.fold.validation}),
                test_groups=sorted({clips[i].group for i in training.run.fold.test}),
            )
            for training in finished
        ],
    )
    write_card(card, part)
    before = model.with_name(f".{model.name}.before")
    shutil.rmtree(before, ignore_errors=True)
    if model.exists():  # renamed and not removed: a kill in between must leave no half of it
        model.replace(before)
    part.replace(model)
    shutil.rmtree(before, ignore_errors=True)
    write_text(metrics, json.dumps(_summary(card), indent=2) + "\n")
    write_curves([training.history for training in finished], curves)


def _count_parameters(folder: Path, training: Finished) -> int:
    """Count the learned numbers of one model; the scale of the inputs is measured, not learned."""
    weights = load_file(folder / f"{training.run.name}.safetensors")
    return sum(tensor.numel() for name, tensor in weights.items() if name.startswith("fusion."))


def _summary(card: Card) -> dict[str, object]:
    """What `dvc metrics show` prints of a training."""
    waf = [run.validation_waf for run in card.runs if run.validation_waf is not None]
    if not waf:
        return {"runs": len(card.runs), "parameters": card.parameters}
    return {
        "validation_waf": float(np.mean(waf)),
        "validation_waf_deviation": float(np.std(waf)),
        "validation_waf_by_seed": {
            str(seed): float(
                np.mean([run.validation_waf or 0.0 for run in card.runs if run.seed == seed])
            )
            for seed in card.training.seeds
        },
        "best_epoch": float(np.mean([run.best_epoch for run in card.runs])),
        "runs": len(card.runs),
        "parameters": card.parameters,
    }


if __name__ == "__main__":
    stage.main(train_fusion)
