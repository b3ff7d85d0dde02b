"""Choose the sources of the models that are trained on all folds.

A source of noise costs a small corpus more than it gives, and no training sets its weights to zero
by itself. In each fold a classifier per source predicts the validation clips, and the weights of
these decisions in late fusion are fitted to the clips of all folds and seeds together. A source is
left out if its weight is negligible in a tenth or more of the resamples of the groups (speakers or
dialogues); weights of few clips are shrunk towards equal ones, which leave out none. One source is
always kept.

A model that itself combines decisions by weights (`late`) gets the weights that fit the decisions
of its own classifiers.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np
from numpy.typing import NDArray

from ecmf.data.features import Source
from ecmf.data.manifest import Clip
from ecmf.data.splits import Indices
from ecmf.metrics import group_numbers
from ecmf.params import TrainFusion
from ecmf.probabilities import EPS, Probabilities
from ecmf.training.dataset import Dataset
from ecmf.training.decision_weights import Decisions, FittedWeights, fit_decision_weights
from ecmf.training.fold_runs import FoldRun, SourceValue, TrainedRun
from ecmf.training.model import Model, build
from ecmf.training.prediction import predict
from ecmf.training.source_classifier import classify_by_source
from ecmf.training.task import Targets
from ecmf.training.weight_files import read_weights

MAX_NO_SAY = 0.1
"""Share of resamples with a negligible weight from which a source is left out."""

log = logging.getLogger(__name__)

SourceValues = tuple[SourceValue | None, ...]
"""Value of each source, None of one that the model does not read."""


@dataclass(frozen=True)
class SourceClassifiers:
    """Predict the validation clips of folds by each source alone; picklable.

    `means` are the mean rows of the clips by source.
    """

    sources: Sequence[Source]
    means: Sequence[Source]
    targets: Targets

    def __call__(self, run: FoldRun) -> Probabilities:
        """Return the class probabilities of the validation clips, (clips, sources, classes)."""
        train, validation = run.fold.train, run.fold.validation
        probs = [
            classify_by_source(mean.values, source.present, self.targets, train, validation)
            for source, mean in zip(self.sources, self.means, strict=True)
        ]
        return np.stack(probs, axis=1)


class SourceChooser:
    """Choose the sources of each model by outer fold, from the runs of all its folds and seeds.

    `classified` are the predictions of `SourceClassifiers` by the name of the run.
    """

    def __init__(
        self,
        classified: Mapping[str, Probabilities],
        dataset: Dataset,
        targets: Targets,
        clips: Sequence[Clip],
    ) -> None:
        self._classified, self._dataset, self._targets = classified, dataset, targets
        self._groups = group_numbers([clip.group for clip in clips])

    def choose(
        self, runs: Sequence[FoldRun], params: TrainFusion, trained: Sequence[TrainedRun] = ()
    ) -> dict[int, SourceValues]:
        """Choose the sources of the model `params.model` by outer fold, and log those left out.

        `trained` are the finished runs, which a model that weighs sources needs.
        """
        own = {each.run.name: each for each in trained}
        chosen = {}
        ordered = sorted(runs, key=lambda run: run.fold.outer_fold)
        for outer_fold, group in groupby(ordered, lambda run: run.fold.outer_fold):
            chosen[outer_fold] = self._choose(list(group), params, own)
            self._log(params.model, outer_fold, chosen[outer_fold])
        return chosen

    def _choose(
        self, runs: Sequence[FoldRun], params: TrainFusion, trained: Mapping[str, TrainedRun]
    ) -> SourceValues:
        model = build(self._targets.task, params, self._dataset.shapes, seed=0)
        fusion = model.fusion
        probs = [
            self._own_decisions(model.to(self._dataset.device), trained[run.name])
            if fusion.weighs_sources
            else self._classified[run.name]
            for run in runs
        ]
        clips = np.concatenate([run.fold.validation for run in runs])
        read = [n for n, source in enumerate(fusion.sources) if source in fusion.input_sources]
        decisions = self._decisions(np.concatenate(probs)[:, read], clips)
        fitted = fit_decision_weights(decisions)
        chosen = _kept(fitted) * (fitted.weights if fusion.weighs_sources else 1.0)
        values: list[SourceValue | None] = [None] * len(fusion.sources)
        for source, *numbers in zip(read, chosen, *fitted, strict=True):
            values[source] = SourceValue(*map(float, numbers))
        return tuple(values)

    def _decisions(self, probs: Probabilities, clips: Indices) -> Decisions:
        """Collect the decisions on the clips with a label; an absent source has none."""
        weight = self._targets.weight[clips]
        seeds = np.bincount(clips)[clips]
        present = probs.any(axis=-1, keepdims=True)
        return Decisions(
            np.where(present, np.log(np.maximum(probs, EPS)), 0.0),
            self._targets.values["class_probs"][clips].astype("float64"),
            weight.astype("float64") / seeds,
            self._groups[clips],
        ).select(weight > 0)

    def _own_decisions(self, model: Model, trained: TrainedRun) -> Probabilities:
        """Predict the validation clips of a run by each source alone, with its own model."""
        weights, _ = read_weights(trained.weights, trained.digest, "run again to train again")
        model.load_state_dict(weights)
        clips = trained.run.fold.validation
        probs = np.zeros((len(clips), len(model.fusion.sources), model.fusion.outputs))
        present = self._dataset.presence(clips)
        for source, alone in enumerate(np.eye(len(model.fusion.sources))):
            model.set_source_weights(alone.tolist())
            probs[:, source] = predict(model, self._dataset, clips).outputs
        return probs * present[..., None]

    def _log(self, model: str, outer_fold: int, values: SourceValues) -> None:
        for shape, value in zip(self._dataset.shapes, values, strict=True):
            if value and value.weight == 0:
                log.warning(
                    "%s, test fold %d: %s is left out. Its decisions on clips that were not "
                    "trained on had no weight in %.0f %% of the resamples of their groups",
                    model, outer_fold, shape.name, 100 * value.no_say,
                )  # fmt: skip


def _kept(fitted: FittedWeights) -> NDArray[np.bool_]:
    """Return whether each source is kept; if none has a sure weight, the one of the largest is."""
    kept = fitted.no_say < MAX_NO_SAY
    kept[fitted.weights.argmax()] |= not kept.any()
    return kept
