"""Score parameters of `train_fusion` by the validation score of their trainings.

The labels of test clips are removed first (`hide_test_labels`); if a corpus has no test split, the
first test fold is used. The score of a training is the monitored score of its best epoch, as in
`train_fusion`. Scores are cached under the hash of all inputs of the training: a resumed search
draws the same trials again, and reads their scores.
"""

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import NamedTuple

import numpy as np
import torch
from tqdm import tqdm

from ecmf.data.manifest import Clip
from ecmf.data.splits import Fold, make_folds, with_unlabelled
from ecmf.errors import ParamsError
from ecmf.execution import device, result_cache
from ecmf.params import TrainFusion
from ecmf.storage.files import write_text
from ecmf.training.dataset import Dataset
from ecmf.training.model import build
from ecmf.training.prediction import predict
from ecmf.training.source_reading import read_sources
from ecmf.training.task import Targets
from ecmf.training.trainer import fit
from ecmf.training.training_cache import inputs_hash, training_hash
from ecmf.tuning.dotted_params import Values, with_values


class ValidationScore(NamedTuple):
    """Score of one training, or mean of several, on its validation fold and on the `val` split.

    No training of the search uses the `val` split. `val_split` is None if there is none.
    """

    validation: float
    val_split: float | None


def hide_test_labels(
    clips: Sequence[Clip], targets: Targets, params: TrainFusion, seed: int
) -> tuple[list[Clip], Targets]:
    """Remove all labels of the test split or, without one, of the first test fold of `seed`.

    That fold becomes the test split; all other labelled clips become the training split.
    """
    is_test = np.array([clip.split == "test" for clip in clips])
    if not is_test.any():
        is_test[make_folds(clips, params.folds, params.outer_folds, seed)[0].test] = True
        clips = [replace(clip, split="train") if clip.split == "val" else clip for clip in clips]
    hidden = [
        replace(clip, split="test", label="", valence="", annotators={}) if hide else clip
        for clip, hide in zip(clips, is_test, strict=True)
    ]
    return hidden, targets.hide(is_test)


class Objective:
    """Train and score parameters on the same clips, labels and features."""

    def __init__(
        self, paths: dict[str, Path], clips: Sequence[Clip], targets: Targets, params: TrainFusion
    ) -> None:
        """Read the features once; `clips` and `targets` come from `hide_test_labels`."""
        if params.folds < 1:
            raise ParamsError(
                f"train_fusion.folds is {params.folds}: a sweep needs validation folds; set 2 or "
                "more, or 1 if the corpus has a validation split"
            )
        self.clips, self.targets, self.params = clips, targets, params
        self.dataset = Dataset(read_sources(paths, clips, params), torch.device(device.requested()))
        self._inputs = inputs_hash(paths, clips, targets)
        self._cache = result_cache.root_folder() / "train_fusion" / self._inputs
        self._val_split = np.array(
            [
                i
                for i, clip in enumerate(clips)
                if clip.split == "val" and params.folds > 1 and targets.weight[i] > 0
            ],
            "int64",
        )

    def folds(self, seed: int) -> list[Fold]:
        """Return the folds of one seed."""
        params = self.params
        return make_folds(self.clips, params.folds, params.outer_folds, seed)

    def train(self, params: TrainFusion, fold: Fold, seed: int) -> ValidationScore:
        """Train on one fold and score the model of the best epoch, or read the cached scores."""
        key = result_cache.hash_json(training_hash(self._inputs, params), seed, fold.name)[:32]
        path = self._cache / f"{key}.json"
        if path.is_file():
            return ValidationScore(*json.loads(path.read_text(encoding="utf-8")))
        fold = with_unlabelled(fold, self.clips, self.targets.weight)
        fitted = fit(self.dataset, self.targets, fold, seed, params)
        val_split = None
        if len(self._val_split):
            predicted = predict(fitted.model, self.dataset, self._val_split).outputs
            task = self.targets.task
            val_split = task.score(task.target_truth(self.targets, self._val_split), predicted)
        scores = [e.validation_score for e in fitted.history if e.validation_score is not None]
        score = ValidationScore(max(scores), val_split)
        write_text(path, json.dumps(score))
        return score

    def train_all(self, params: TrainFusion, seed: int) -> ValidationScore:
        """Train on all folds of a seed, and return the mean scores."""
        scores = [self.train(params, fold, seed) for fold in self.folds(seed)]
        val_split = [score.val_split for score in scores if score.val_split is not None]
        return ValidationScore(
            fmean(score.validation for score in scores), fmean(val_split) if val_split else None
        )

    def why_invalid(self, params: TrainFusion) -> str:
        """Return why the model cannot be built with these parameters, or '' if it can."""
        try:
            build(self.targets.task, params, self.dataset.shapes, seed=0)
        except (ParamsError, ValueError) as error:
            return str(error)
        return ""


def compare_on_fresh_seeds(
    objective: Objective, values: Values, seeds: Sequence[int]
) -> tuple[list[ValidationScore], list[ValidationScore]]:
    """Train the unchanged parameters, and those with `values`, on the same fresh seeds.

    Both are trained on the same folds of each seed, so that the scores are paired.
    """
    both = (objective.params, with_values(objective.params, values))
    scores: tuple[list[ValidationScore], list[ValidationScore]] = ([], [])
    with tqdm(total=2 * len(seeds), desc="fresh seeds", unit="seed", disable=None) as progress:
        for seed in seeds:
            for params, of_params in zip(both, scores, strict=True):
                of_params.append(objective.train_all(params, seed))
                progress.update()
    return scores
