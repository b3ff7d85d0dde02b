"""Score trained fusion models with confidence intervals, and predict every clip.

The only stage that reads the labels of the test split.
"""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from ecmf.cli import stage
from ecmf.data.manifest import Clip, read_manifest
from ecmf.data.splits import Indices
from ecmf.data.valence import manifest_valence
from ecmf.evaluation.prediction import Predictions, SplitProbabilities, predict_all
from ecmf.evaluation.tables import (
    PredictionTable,
    draw_confusion,
    write_confusion,
    write_predictions,
)
from ecmf.evaluation.valence import valence_scores
from ecmf.metrics import Labels, compute_metrics, weighted_f1
from ecmf.params import EvaluateFusion, Sources
from ecmf.probabilities import Probabilities
from ecmf.storage.files import write_text
from ecmf.training.cross_validation import read_sources
from ecmf.training.model_metadata import read_metadata


def evaluate_fusion(
    manifest: Path,
    features: Path,
    model: Path,
    evaluation: Path,
    predictions: Path,
    confusion: Path,
    picture: Path,
    params: EvaluateFusion,
    sources: Sources,
) -> None:
    """Score the models on the test split, or on all test folds if the corpus has none.

    `test` scores the ensemble, averaged over folds and seeds; `waf_by_seed` scores each seed, and
    `members` each model of the ensemble. `val` scores the validation split. Without one, it scores
    training clips by the models that used them for early stopping. This is optimistic, more so if
    ensemble weights or a class prior were fitted on them. Without validation clips it is left out.
    """
    clips = read_manifest(manifest)
    metadata = read_metadata(model)
    classes, training = metadata.classes, metadata.training
    loaded = read_sources(sources.paths(features), clips, training)
    metadata.check_sources(loaded)
    predicted = predict_all(model, metadata, clips, loaded, params)
    scorer = _Scorer(clips, classes, params)
    has_test = any(clip.split == "test" for clip in clips)
    test = scorer.labelled("test" if has_test else None)
    validation, validation_probs = scorer.validation(has_test, predicted.ensemble)
    report: dict[str, object] = {
        "protocol": "test split" if has_test else f"{training.outer_folds} test folds by group",
        "test": scorer.test_report(test, predicted),
    }
    if len(validation):
        report["val"] = scorer.report(validation, validation_probs)
    report |= scorer.ensemble_report(test, predicted)

    write_text(evaluation, json.dumps(report, indent=2) + "\n")
    columns = [i for i, source in enumerate(loaded) if source.name in predicted.input_sources]
    table = PredictionTable(
        predicted.ensemble.test_or_validation,
        predicted.source_weights[:, columns],
        predicted.valence.test_or_validation[:, 0],
        np.stack([loaded[i].present for i in columns], axis=1),
    )
    write_predictions(clips, classes, [loaded[i].name for i in columns], table, predictions)
    truth = [clips[i].label for i in test]
    labels = [classes[i] for i in predicted.ensemble.test[test].argmax(axis=1)]
    write_confusion(truth, labels, confusion)
    draw_confusion(truth, labels, classes, picture)


@dataclass(frozen=True)
class _Scorer:
    """Score class probabilities, (clips, classes), against the labels of the clips."""

    clips: list[Clip]
    classes: list[str]
    params: EvaluateFusion

    def labelled(self, split: str | None) -> Indices:
        """Return the positions of the labelled clips of a split; of train, val, test for None."""
        splits = {"train", "val", "test"} if split is None else {split}
        positions = [i for i, c in enumerate(self.clips) if c.label and c.split in splits]
        return np.array(positions, "int64")

    def truth(self, chosen: Indices) -> Labels:
        return np.array([self.classes.index(self.clips[i].label) for i in chosen], "int64")

    def waf(self, chosen: Indices, probs: Probabilities) -> float:
        return weighted_f1(self.truth(chosen), probs[chosen].argmax(axis=1))

    def report(self, chosen: Indices, probs: Probabilities) -> dict[str, Any]:
        truth, predicted = self.truth(chosen), probs[chosen].argmax(axis=1)
        params = self.params
        return compute_metrics(truth, predicted, self.classes, params.bootstrap, params.seed)

    def validation(
        self, has_test: bool, predicted: SplitProbabilities
    ) -> tuple[Indices, Probabilities]:
        """Return the positions (maybe none) of the clips scored as `val`, and all probabilities."""
        split = self.labelled("val")
        if has_test and len(split):
            return split, predicted.test_or_validation
        known = np.flatnonzero(~np.isnan(predicted.validation).any(axis=1))
        return np.intersect1d(self.labelled(None), known), predicted.validation

    def test_report(self, test: Indices, predicted: Predictions) -> dict[str, object]:
        report = self.report(test, predicted.ensemble.test)
        by_seed = predicted.test_by_seed.items()
        report["waf_by_seed"] = {str(seed): self.waf(test, probs) for seed, probs in by_seed}
        truth, valence = manifest_valence(self.clips)[test], predicted.valence.test[test, 0]
        return report | valence_scores(truth, valence, report["waf"])

    def ensemble_report(self, test: Indices, predicted: Predictions) -> dict[str, object]:
        """Report the test WAF of each member, and weights and factors by seed and outer fold."""
        report: dict[str, object] = {}
        if len(predicted.members) > 1:
            members = predicted.members.items()
            report["members"] = {name: {"waf": self.waf(test, m.test)} for name, m in members}
            report["votes"] = {
                name: dict(zip(predicted.members, fitted.weights.tolist(), strict=True))
                for name, fitted in predicted.ensemble_weights.items()
            }
        if self.params.class_prior == "validation":
            report["class_factors"] = {
                name: dict(zip(self.classes, fitted.factors.tolist(), strict=True))
                for name, fitted in predicted.ensemble_weights.items()
                if fitted.factors is not None
            }
        return report


if __name__ == "__main__":
    stage.main(evaluate_fusion)
