"""Predict clips that are in no corpus, as `held_out` predicts the unlabelled clips of one."""

from collections import defaultdict
from collections.abc import Mapping
from itertools import groupby
from typing import Any

from ecmf.data.splits import REFIT, Indices
from ecmf.evaluation.ensembling import reported_weights
from ecmf.evaluation.held_out import combine, mean_of, weights_name
from ecmf.evaluation.prediction import MeanPrediction, Predictor
from ecmf.training.task import Prediction


def predict_new(predictor: Predictor, details: Mapping[str, Any], clips: Indices) -> Prediction:
    """Predict the clips at these positions with all trained models, averaged over folds and seeds.

    If models were trained on all folds again, they alone predict. `details` is the content of
    `evaluation_details.json`, which has the weights of the members of an ensemble.
    """
    metadata = predictor.metadata
    names = [member.name for member in metadata.members]
    by_seed: dict[int, MeanPrediction] = defaultdict(MeanPrediction)
    runs = [
        run for run in metadata.members[0].runs if (run.fold == REFIT) == metadata.training.refits
    ]  # every member has the same ones
    for (seed, outer_fold), group in groupby(runs, lambda run: (run.seed, run.round)):
        of_fold = [run.name for run in group]
        own = [
            mean_of([predictor.predict(member, run, clips) for run in of_fold]) for member in names
        ]
        name = weights_name(seed, outer_fold)
        by_seed[seed].add(combine(own, reported_weights(details, name, names, metadata.outputs)))
    return mean_of([mean.value() for mean in by_seed.values()])
