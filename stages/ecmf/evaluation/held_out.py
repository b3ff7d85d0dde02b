"""Predict every clip with the models of all folds and seeds that did not train on its label.

An unlabelled clip is predicted by all models, also by those that trained on its pseudo-label
(decision `added` in `data/labels.csv`) and so repeat it; it is not scored, and nothing is fitted to
it.

Ensemble weights are fitted per seed and outer fold on the validation clips of its runs, and applied
to the clips that none of its runs used.
"""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

import numpy as np

from ecmf.data.manifest import Clip
from ecmf.data.splits import Indices, refit_fold
from ecmf.evaluation.ensembling import EnsembleWeights, check_validation_clips, fit_weights
from ecmf.evaluation.prediction import MeanPrediction, Predictor
from ecmf.params import EvaluateFusion
from ecmf.training.fold_runs import FoldRun, plan_runs
from ecmf.training.task import Prediction, Values

TEST, VALIDATION = 0, 1
"""Positions on the first axis of a held-out prediction, (2, clips, …).

TEST has the clips that no training used: the test split, candidates, and the validation split if
folds were cut from the training split. It also has all unlabelled clips. With `refit`, the models
trained on all folds predict it. VALIDATION has clips of
the training split, predicted by the models that used them for early stopping. All others are NaN.
"""


@dataclass(frozen=True)
class HeldOutPredictions:
    """Held-out predictions of all clips in manifest order, averaged over folds and seeds.

    Attributes:
        ensemble: All members, combined with their `ensemble_weights`. The weights of sources are
            NaN for several members, whose weights differ in meaning (shares, gates, attention).
        by_seed: `ensemble` of each seed, averaged over its folds.
        members: Each member by name.
        ensemble_weights: By seed and outer fold.
        input_sources: Names of the sources that a model reads.
    """

    ensemble: Prediction
    by_seed: Mapping[int, Prediction]
    members: Mapping[str, Prediction]
    ensemble_weights: Mapping[str, EnsembleWeights]
    input_sources: set[str]


def predict_held_out(
    predictor: Predictor,
    clips: Sequence[Clip],
    params: EvaluateFusion,
    only: Indices | None = None,
) -> HeldOutPredictions:
    """Predict every clip with every model that did not train on its label.

    `only` restricts it to these clips; fitted ensemble weights and a class prior need all clips.

    Raises:
        ParamsError: `params` require validation clips, but the training has none.
    """
    training = predictor.metadata.training
    check_validation_clips(params, training)
    by_seed: dict[int, MeanPrediction] = defaultdict(MeanPrediction)
    members: dict[str, dict[int, MeanPrediction]] = {
        name: defaultdict(MeanPrediction) for name in training.members
    }
    ensemble_weights = {}
    groups = groupby(plan_runs(clips, training), lambda run: (run.seed, run.fold.outer_fold))
    for (seed, outer_fold), group in groups:
        runs = list(group)
        own = {
            name: _mean_of_runs(predictor, name, runs, len(clips), only)
            for name in training.members
        }
        validation = np.unique(np.concatenate([run.fold.validation for run in runs]))
        truth = predictor.task.truth([clips[i] for i in validation])
        on_validation = [member.outputs[VALIDATION][validation] for member in own.values()]
        weights = fit_weights(on_validation, truth, params)
        ensemble_weights[weights_name(seed, outer_fold)] = weights
        by_seed[seed].add(combine(list(own.values()), weights))
        for name, member in own.items():
            members[name][seed].add(member)
    seeds = {seed: mean.value() for seed, mean in by_seed.items()}
    return HeldOutPredictions(
        ensemble=mean_of(list(seeds.values())),
        by_seed=seeds,
        members={
            name: mean_of([mean.value() for mean in of_seeds.values()])
            for name, of_seeds in members.items()
        },
        ensemble_weights=ensemble_weights,
        input_sources=predictor.input_sources,
    )


def tested_or_validated(prediction: Prediction) -> Prediction:
    """Return the predictions of all clips: TEST, or VALIDATION where TEST is NaN."""
    return prediction.map(
        lambda values: np.where(np.isnan(values[TEST]), values[VALIDATION], values[TEST])
    )


def weights_name(seed: int, outer_fold: int) -> str:
    """Name the ensemble weights of a seed and outer fold in `evaluation_details.json`."""
    return f"seed{seed}-round{outer_fold}"


def _mean_of_runs(
    predictor: Predictor, member: str, runs: Sequence[FoldRun], clips: int, only: Indices | None
) -> Prediction:
    """Average the held-out predictions of the runs of one seed and outer fold.

    If a model was trained on all folds again, it alone predicts TEST.
    """
    used = np.union1d(runs[0].fold.train, runs[0].fold.validation)
    asked = np.arange(clips) if only is None else only
    unseen = np.setdiff1d(asked, used)
    refits = predictor.metadata.training.refits
    mean = MeanPrediction()
    for run in runs:
        tested, validation = (unseen[:0] if refits else unseen), run.fold.validation
        validation = validation[np.isin(validation, asked)]
        if len(tested) + len(validation):
            predicted = predictor.predict(member, run.name, np.concatenate([tested, validation]))
            mean.add(_spread(predicted, tested, validation, clips))
    if refits and len(unseen):
        run = FoldRun(runs[0].seed, refit_fold([run.fold for run in runs]))
        predicted = predictor.predict(member, run.name, unseen)
        mean.add(_spread(predicted, unseen, unseen[:0], clips))
    return mean.value()


def _spread(prediction: Prediction, unseen: Indices, validation: Indices, clips: int) -> Prediction:
    """Place predictions, first of `unseen` and then of `validation`, in arrays of all clips."""

    def place(values: Values) -> Values:
        placed = np.full((2, clips, *values.shape[1:]), np.nan)
        placed[TEST, unseen] = values[: len(unseen)]
        placed[VALIDATION, validation] = values[len(unseen) :]
        return placed

    return prediction.map(place)


def combine(members: Sequence[Prediction], weights: EnsembleWeights) -> Prediction:
    """Combine the predictions of the members; the sources of several have no weights."""
    mean = mean_of(members)
    outputs = weights([member.outputs for member in members])
    sources = mean.weights if len(members) == 1 else np.full_like(mean.weights, np.nan)
    return Prediction(outputs, sources, mean.dimensions)


def mean_of(predictions: Sequence[Prediction]) -> Prediction:
    """Average predictions, without NaN."""
    mean = MeanPrediction()
    for prediction in predictions:
        mean.add(prediction)
    return mean.value()
