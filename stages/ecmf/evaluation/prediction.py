"""Predict class probabilities for every clip with the trained models of all folds and seeds.

A labelled clip is predicted only by models that did not train on it. An unlabelled clip is
predicted by all models, also by those that trained on its pseudo-label (decision `added` in
`data/labels.csv`) and so repeat it; it is not scored, and nothing is fitted to it.

Ensemble weights are fitted per seed and outer fold on the validation clips of its runs, and applied
to the clips that none of its runs used.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ecmf.data.features import Source
from ecmf.data.manifest import Clip
from ecmf.data.splits import Indices
from ecmf.evaluation.ensembling import EnsembleWeights, check_validation_clips, fit_weights
from ecmf.execution import device
from ecmf.params import EvaluateFusion
from ecmf.probabilities import Probabilities
from ecmf.training.cross_validation import FoldRun, load_model, plan_runs
from ecmf.training.dataset import Dataset
from ecmf.training.model_metadata import ModelMetadata, weights_path
from ecmf.training.trainer import Prediction, predict

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SplitProbabilities:
    """Class probabilities (clips, classes) in manifest order; rows without a prediction are NaN.

    `test` has the clips that no training used: the test split, candidates, and the validation split
    if folds were cut from the training split. It also has all unlabelled clips. `validation` has
    clips of the training split, predicted by the models that used them for early stopping.
    """

    test: Probabilities
    validation: Probabilities

    @property
    def test_or_validation(self) -> Probabilities:
        """Return `test`, or `validation` where `test` is NaN."""
        return np.where(np.isnan(self.test), self.validation, self.test)


@dataclass(frozen=True)
class Predictions:
    """Predictions of all clips, averaged over folds and seeds.

    Attributes:
        ensemble: All members, combined with their `ensemble_weights`.
        test_by_seed: `ensemble.test` of each seed, averaged over its folds.
        members: Each member by name.
        ensemble_weights: By seed and outer fold.
        source_weights: Weight of each source, (clips, sources); NaN for several members, because
            their weights differ in meaning (shares, gates, attention).
        valence: (clips, 1), of models that were trained on a known valence.
        input_sources: Names of the sources that a model reads.
    """

    ensemble: SplitProbabilities
    test_by_seed: dict[int, Probabilities]
    members: dict[str, SplitProbabilities]
    ensemble_weights: dict[str, EnsembleWeights]
    source_weights: Probabilities
    valence: SplitProbabilities
    input_sources: set[str]


def predict_all(
    folder: Path,
    metadata: ModelMetadata,
    clips: Sequence[Clip],
    sources: Sequence[Source],
    params: EvaluateFusion,
) -> Predictions:
    """Predict every clip with every model of `folder` that did not train on its label.

    Raises:
        ParamsError: `params` require validation clips, but the training has none.
    """
    training, shape = metadata.training, (len(clips), len(metadata.classes))
    check_validation_clips(params, training)
    predictor = _Predictor(folder, metadata, len(clips), sources)
    ensemble = {seed: _SplitMeans(*shape) for seed in training.seeds}
    members = {
        name: {seed: _SplitMeans(*shape) for seed in training.seeds} for name in training.members
    }
    ensemble_weights = {}
    runs = groupby(plan_runs(clips, training), lambda run: (run.seed, run.fold.outer_fold))
    for (seed, outer_fold), group in runs:
        own, validation = predictor.predict_outer_fold(group)
        truth = np.array([metadata.classes.index(clips[i].label) for i in validation], "int64")
        weights = fit_weights([part.validation[validation] for part in own.values()], truth, params)
        ensemble_weights[f"seed{seed}-round{outer_fold}"] = weights
        ensemble[seed].add_split(
            SplitProbabilities(
                weights([part.test for part in own.values()]),
                weights([part.validation for part in own.values()]),
            )
        )
        for name, part in own.items():
            members[name][seed].add_split(part)
    return Predictions(
        ensemble=_over_seeds(ensemble),
        test_by_seed={seed: means.values().test for seed, means in ensemble.items()},
        members={name: _over_seeds(by_seed) for name, by_seed in members.items()},
        ensemble_weights=ensemble_weights,
        source_weights=predictor.source_weights.values(),
        valence=predictor.valence.values(),
        input_sources=predictor.input_sources,
    )


class _Predictor:
    """Predict with the models of one outer fold at a time, and average their predictions."""

    def __init__(
        self, folder: Path, metadata: ModelMetadata, clips: int, sources: Sequence[Source]
    ) -> None:
        self._folder, self._metadata = folder, metadata
        self._clips, self._sources = clips, sources
        self._device = torch.device(device.requested())
        log.info("predicting on %s", self._device)
        self._dataset = Dataset(sources, self._device)
        self._valence_clips = {
            (member.name, run.name): run.valence_clips
            for member in metadata.members
            for run in member.runs
        }
        self.source_weights = _RunningMean(clips, len(sources))
        self.valence = _SplitMeans(clips, 1)
        self.input_sources: set[str] = set()

    def predict_outer_fold(
        self, runs: Iterable[FoldRun]
    ) -> tuple[dict[str, SplitProbabilities], Indices]:
        """Return the mean prediction of each member over `runs`, and their validation clips."""
        names = self._metadata.training.members
        own = {name: _SplitMeans(self._clips, len(self._metadata.classes)) for name in names}
        validation = np.array([], "int64")
        for run in runs:
            used = np.union1d(run.fold.train, run.fold.validation)
            unseen = np.setdiff1d(np.arange(self._clips), used)
            validation = np.union1d(validation, run.fold.validation)
            clips = np.concatenate([unseen, run.fold.validation])
            for name, means in own.items():
                prediction = self._predict(name, run, clips)
                means.add(clips, prediction.probabilities, len(unseen))
                if prediction.weights is not None and len(names) == 1:
                    self.source_weights.add(clips, prediction.weights)
                if prediction.valence is not None and self._valence_clips[name, run.name]:
                    self.valence.add(clips, prediction.valence[:, None], len(unseen))
        return {name: means.values() for name, means in own.items()}, validation

    def _predict(self, member: str, run: FoldRun, clips: Indices) -> Prediction:
        weights = weights_path(self._folder, member, run.name)
        training = self._metadata.training.of_member(member)
        classes = len(self._metadata.classes)
        model = load_model(weights, training, self._sources, classes, self._device)
        self.input_sources.update(source.name for source in model.fusion.input_sources)
        return predict(model, self._dataset, clips)


class _RunningMean:
    """A running mean per row that ignores NaN."""

    def __init__(self, rows: int, columns: int) -> None:
        self._sum = np.zeros((rows, columns))
        self._count = np.zeros((rows, 1))

    def add(self, rows: Indices, values: NDArray[np.floating]) -> None:
        known = ~np.isnan(values).any(axis=1)
        self._sum[rows[known]] += values[known]
        self._count[rows[known]] += 1

    def values(self) -> Probabilities:
        known = self._count > 0
        return np.where(known, self._sum / np.maximum(self._count, 1), np.nan)


class _SplitMeans:
    """Running means of the two parts of `SplitProbabilities`."""

    def __init__(self, rows: int, columns: int) -> None:
        self._all = np.arange(rows)
        self._test, self._validation = _RunningMean(rows, columns), _RunningMean(rows, columns)

    def add(self, clips: Indices, values: NDArray[np.floating], unseen: int) -> None:
        """Add a model's predictions; its training did not use the first `unseen` clips."""
        self._test.add(clips[:unseen], values[:unseen])
        self._validation.add(clips[unseen:], values[unseen:])

    def add_split(self, split: SplitProbabilities) -> None:
        self._test.add(self._all, split.test)
        self._validation.add(self._all, split.validation)

    def values(self) -> SplitProbabilities:
        return SplitProbabilities(self._test.values(), self._validation.values())


def _over_seeds(by_seed: Mapping[int, _SplitMeans]) -> SplitProbabilities:
    splits = [means.values() for means in by_seed.values()]
    mean = _SplitMeans(*splits[0].test.shape)
    for split in splits:
        mean.add_split(split)
    return mean.values()
