"""The prediction of one clip, with its reasons for doubt, as a record of JSON and as a line."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from ecmf.data.enriched_text import EnrichedText
from ecmf.data.transcripts import GIVEN
from ecmf.training.task import Values

CLOSE = 0.1
"""Difference of the two largest probabilities below which a decision is named close."""


@dataclass(frozen=True)
class ClipPrediction:
    """The prediction of one clip; without one, `error` states why, and all else is empty.

    Attributes:
        clip_id: Its path, or its id in the table that named it.
        predicted: The decision, e.g. the most probable class.
        outputs: Prediction for each output of the task, e.g. the probability of each class.
        weights: Weight of each source that a model reads; empty if the model has no weights.
        dimensions: Further predictions, e.g. valence.
        entropy: Entropy of the probabilities, 0 for certainty to 1 for equal ones.
        margin: Difference of the two largest probabilities.
        absent: Reason why the clip lacks a source, by source.
        doubts: Reasons to distrust the prediction.
        transcript: The words that were read, if the clip has any.
        transcriber: The plugin that recognised them; empty if they were given.
        error: Why there is no prediction.
    """

    clip_id: str
    predicted: str = ""
    outputs: Mapping[str, float] = field(default_factory=dict)
    weights: Mapping[str, float] = field(default_factory=dict)
    dimensions: Mapping[str, float] = field(default_factory=dict)
    entropy: float | None = None
    margin: float | None = None
    absent: Mapping[str, str] = field(default_factory=dict)
    doubts: Sequence[str] = ()
    transcript: str = ""
    transcriber: str = ""
    error: str = ""


def entropy_and_margin(probs: Values) -> tuple[float, float]:
    """Return the entropy of probabilities (classes,) as a fraction of the largest, and the margin.

    The margin is the difference of the two largest.
    """
    known = probs[probs > 0]
    entropy = -float((known * np.log(known)).sum()) / np.log(max(2, len(probs)))
    first, second = np.sort(np.append(probs, 0.0))[::-1][:2]
    return max(0.0, float(entropy)), float(first - second)


def with_words(predicted: ClipPrediction, text: EnrichedText) -> ClipPrediction:
    """Return a prediction with the words of the clip, and with who recognised them."""
    recognised = text.raw and text.transcriber != GIVEN
    return replace(
        predicted, transcript=text.raw, transcriber=text.transcriber if recognised else ""
    )
