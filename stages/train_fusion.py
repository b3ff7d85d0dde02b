"""Train fusion models on features and labels: one per fold, seed and ensemble member."""

from pathlib import Path

from ecmf.cli import stage
from ecmf.data.enriched_text import read_texts
from ecmf.data.manifest import read_manifest
from ecmf.enrichment.clip_cues import training_thresholds
from ecmf.params import Preparation, Sources, TrainFusion
from ecmf.storage.files import write_json
from ecmf.training.cross_validation import train_all
from ecmf.training.learning_curves import write_curves
from ecmf.training.model_folder import Origin, write_models
from ecmf.training.source_reading import paths_of_branches, paths_with_rows
from ecmf.training.task import task_of_corpus
from ecmf.training.training_summary import summarise


def train_fusion(
    manifest: Path,
    labels: Path,
    text: Path,
    features: Path,
    model: Path,
    summary: Path,
    curves: Path,
    params: TrainFusion,
    sources: Sources,
    preparation: Preparation,
) -> None:
    """Train every ensemble member on every fold with every seed; test labels are not read.

    All members share folds, seeds and labels. The curves are those of the first member. With the
    models stands all that leads from a new clip to its prediction.
    """
    clips = read_manifest(manifest)
    task = task_of_corpus(params.task, manifest, clips)
    targets = task.read_targets(labels, clips)
    paths = paths_with_rows(paths_of_branches(sources.paths(features), params))
    trained = train_all(paths, clips, targets, params)
    voices = {record.clip_id: record.measured for record in read_texts(text)}
    origin = Origin(manifest.stem, preparation, training_thresholds(clips, voices))
    metadata, histories = write_models(trained, clips, targets, paths, params, origin, model)
    write_json(summary, summarise(metadata, task.monitor))
    write_curves(histories, curves)


if __name__ == "__main__":
    stage.main(train_fusion, stage.check_corpus)
