"""Measure what each source adds: the score of validation clips with it, less that without it.

The trained models predict the clips again with the source hidden, as where it is absent. They were
trained with it, so the difference says how much they rely on it, not how a model trained without it
would score.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from ecmf.data.manifest import Clip
from ecmf.data.splits import Indices
from ecmf.evaluation.held_out import predict_held_out, tested_or_validated
from ecmf.evaluation.prediction import Predictor
from ecmf.metrics import INTERVAL, group_numbers
from ecmf.params import EvaluateFusion
from ecmf.training.task import Values

MAX_RESAMPLES = 200
"""Resamples of the groups, each of which scores all clips for every source."""


def source_values(
    predictor: Predictor, clips: Sequence[Clip], chosen: Indices, params: EvaluateFusion
) -> dict[str, dict[str, float]]:
    """Return the difference of each source of the model, with its 95 % interval over groups.

    Args:
        predictor: The trained models, with all sources.
        clips: All clips of the corpus.
        chosen: Positions of the validation clips to score; without any, the result is empty.
        params: Number of resamples, and their seed.
    """
    if not len(chosen):
        return {}
    equal = params.model_copy(update={"ensemble_weights": "equal", "class_prior": "none"})

    def predict(with_sources: Predictor) -> Values:
        held_out = predict_held_out(with_sources, clips, equal, chosen)
        return tested_or_validated(held_out.ensemble).outputs[chosen]

    task, scored = predictor.task, [clips[i] for i in chosen]
    truth = task.truth(scored)
    complete = predict(predictor)
    draws = list(_resample_groups(scored, params))
    score = task.score(truth, complete)
    drawn_scores = [task.score(truth[draw], complete[draw]) for draw in draws]
    values = {}
    for name in [source.name for source in predictor.sources]:
        if name not in predictor.input_sources:
            continue
        without = predict(predictor.without(name))
        differences = [
            drawn - task.score(truth[draw], without[draw])
            for drawn, draw in zip(drawn_scores, draws, strict=True)
        ]
        low, high = np.percentile(differences, INTERVAL)
        difference = score - task.score(truth, without)
        values[name] = {"difference": difference, "low": float(low), "high": float(high)}
    return values


def _resample_groups(clips: Sequence[Clip], params: EvaluateFusion) -> Iterator[Indices]:
    """Draw the groups of the clips with replacement, and yield the positions of their clips."""
    number = group_numbers([clip.group for clip in clips])
    members = [np.flatnonzero(number == group) for group in range(number.max() + 1)]
    rng = np.random.default_rng(params.seed)
    for _ in range(min(params.bootstrap, MAX_RESAMPLES)):
        yield np.concatenate([members[i] for i in rng.integers(0, len(members), len(members))])
