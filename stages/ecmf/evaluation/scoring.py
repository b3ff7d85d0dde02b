"""Score held-out predictions: the headline scores to compare, and all details."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ecmf.data.manifest import Clip
from ecmf.data.splits import Indices, positions_tested
from ecmf.evaluation.held_out import TEST, VALIDATION, HeldOutPredictions, tested_or_validated
from ecmf.params import EvaluateFusion, TrainFusion
from ecmf.training.task import Prediction, Scores, Task


@dataclass(frozen=True)
class Scorer:
    """Score the predictions of a corpus against the labels of its manifest.

    The test clips are those of the test split, or all test folds of a corpus without one.
    """

    clips: Sequence[Clip]
    task: Task
    training: TrainFusion
    params: EvaluateFusion

    @property
    def test(self) -> Indices:
        """Positions of the test clips."""
        return positions_tested(self.clips, self.task.true_decisions(self.clips))

    def scores(self, predicted: HeldOutPredictions) -> Scores:
        """Compute all scores of `test` and the monitored score of `val` as headline, and the rest.

        `val` is the validation split. Without one, it is the training clips, predicted by the
        models that used them for early stopping. This is optimistic, more so if ensemble weights or
        a class prior were fitted on them. Without validation clips it is left out.
        """
        monitor = self.task.monitor
        test = self._scores(predicted.ensemble.map(lambda values: values[TEST]), self.test)
        by_seed = {str(seed): self._score(each) for seed, each in predicted.by_seed.items()}
        headline: dict[str, Any] = {"test": test.headline}
        outer_folds = f"{self.training.outer_folds} test folds by group"
        details: dict[str, Any] = {
            "protocol": "test split" if self._has_test else outer_folds,
            "test": {**test.details, f"{monitor}_by_seed": by_seed},
        }
        predicted_validation, validation = self._validation(predicted.ensemble)
        if len(validation):
            val = self._scores(predicted_validation, validation)
            details["val"] = val.headline | val.details
            headline["val"] = {monitor: details["val"].pop(monitor)}
        return Scores(headline, details | self._ensemble(predicted))

    def validation(self, predicted: HeldOutPredictions) -> Indices:
        """Return the positions of the clips that `val` scores, maybe none."""
        return self._validation(predicted.ensemble)[1]

    def decisions_on_test(
        self, predicted: HeldOutPredictions
    ) -> tuple[Sequence[str], Sequence[str], Sequence[str]]:
        """Return the true and the predicted decision on each test clip, and all possible ones."""
        truth = self.task.true_decisions([self.clips[i] for i in self.test])
        decided = self.task.decide(predicted.ensemble.outputs[TEST, self.test])
        return truth, decided, self.task.decisions

    @property
    def _has_test(self) -> bool:
        return any(clip.split == "test" for clip in self.clips)

    def _labelled(self, splits: set[str]) -> Indices:
        decisions = self.task.true_decisions(self.clips)
        positions = [
            i for i, clip in enumerate(self.clips) if decisions[i] and clip.split in splits
        ]
        return np.array(positions, "int64")

    def _scores(self, predicted: Prediction, clips: Indices) -> Scores:
        chosen = predicted.map(lambda values: values[clips])
        return self.task.scores([self.clips[i] for i in clips], chosen, self.params)

    def _score(self, predicted: Prediction) -> float:
        """Compute the monitored score of the test clips."""
        truth = self.task.truth([self.clips[i] for i in self.test])
        return self.task.score(truth, predicted.outputs[TEST, self.test])

    def _validation(self, predicted: Prediction) -> tuple[Prediction, Indices]:
        """Return the predictions of all clips to score `val` by, and the clips (maybe none)."""
        split = self._labelled({"val"})
        if self._has_test and len(split):
            return tested_or_validated(predicted), split
        known = ~np.isnan(predicted.outputs[VALIDATION]).any(axis=1)
        clips = np.intersect1d(self._labelled({"train", "val", "test"}), np.flatnonzero(known))
        return predicted.map(lambda values: values[VALIDATION]), clips

    def _ensemble(self, predicted: HeldOutPredictions) -> dict[str, Any]:
        """Report the test score of each member, and weights and factors by seed and outer fold."""
        report: dict[str, Any] = {}
        if len(predicted.members) > 1:
            report["members"] = {
                name: {self.task.monitor: self._score(member)}
                for name, member in predicted.members.items()
            }
            report["votes"] = {
                name: dict(zip(predicted.members, fitted.weights.tolist(), strict=True))
                for name, fitted in predicted.ensemble_weights.items()
            }
        if self.params.class_prior == "validation":
            report["class_factors"] = {
                name: dict(zip(self.task.outputs, fitted.factors.tolist(), strict=True))
                for name, fitted in predicted.ensemble_weights.items()
                if fitted.factors is not None
            }
        return report
