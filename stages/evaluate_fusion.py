"""Score trained fusion models with confidence intervals, and predict every clip.

The only stage that reads the labels of the test split.
"""

from pathlib import Path

from ecmf.cli import stage
from ecmf.data.corpus_warnings import describe_corpus
from ecmf.data.manifest import read_manifest
from ecmf.evaluation.baselines import score_baselines
from ecmf.evaluation.held_out import TEST, predict_held_out, tested_or_validated
from ecmf.evaluation.prediction import Predictor
from ecmf.evaluation.scoring import Scorer
from ecmf.evaluation.source_value import source_values
from ecmf.evaluation.tables import write_decisions, write_predictions
from ecmf.params import EvaluateFusion, Sources
from ecmf.storage.files import write_json
from ecmf.training.model_metadata import metadata_digest, read_metadata
from ecmf.training.source_reading import paths_of_branches, paths_with_rows, read_sources


def evaluate_fusion(
    manifest: Path,
    labels: Path,
    features: Path,
    model: Path,
    evaluation: Path,
    details: Path,
    predictions: Path,
    confusion: Path,
    picture: Path,
    params: EvaluateFusion,
    sources: Sources,
) -> None:
    """Score the models on the test split, or on all test folds if the corpus has none."""
    clips = read_manifest(manifest)
    training = read_metadata(model).training
    paths = paths_with_rows(paths_of_branches(sources.paths(features), training))
    predictor = Predictor(model, read_sources(paths, clips, training))
    predicted = predict_held_out(predictor, clips, params)
    scorer = Scorer(clips, predictor.task, training, params)
    headline, more = scorer.scores(predicted)
    more = {"corpus": describe_corpus(manifest, clips), **more}
    more["sources"] = source_values(predictor, clips, scorer.validation(predicted), params)
    more["baselines"] = score_baselines(
        predictor,
        clips,
        predictor.task.read_targets(labels, clips),
        scorer.test,
        predicted.ensemble.outputs[TEST, scorer.test].argmax(axis=1),
        params,
    )
    more["left_out"] = predictor.metadata.left_out()
    more["model_sha256"] = metadata_digest(model)
    write_json(evaluation, headline)
    write_json(details, more)
    write_predictions(clips, predictor, tested_or_validated(predicted.ensemble), predictions)
    write_decisions(*scorer.decisions_on_test(predicted), confusion, picture)


if __name__ == "__main__":
    stage.main(evaluate_fusion)
