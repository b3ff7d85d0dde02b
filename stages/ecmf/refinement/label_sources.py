"""Read the votes of annotators, csv files, sentence polarity and language models.

Votes of models trained in this stage are computed by `out_of_fold`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecmf.data.enriched_text import EnrichedText, answering_models
from ecmf.data.manifest import Clip
from ecmf.errors import CorpusError, summarise
from ecmf.probabilities import normalise
from ecmf.refinement.base import SourceVotes
from ecmf.registry import did_you_mean
from ecmf.storage.csv_cells import is_number, restore
from ecmf.storage.csv_rows import read_csv

CLASS_POLARITY: Mapping[str, float] = {
    "neutral": 0.0,
    "calm": 0.0,
    "surprise": 0.2,
    "surprised": 0.2,
    "happy": 0.7,
    "joy": 0.7,
    "sad": -0.6,
    "sadness": -0.6,
    "angry": -0.6,
    "anger": -0.6,
    "worried": -0.5,
    "fearful": -0.5,
    "fear": -0.5,
    "disgust": -0.5,
}
"""Our estimate of the mean polarity of sentences with each emotion, on VADER's scale of -1 to 1."""

POLARITY_SPREAD = 0.5
"""Standard deviation of the polarity: large, because words are weak evidence of an emotion."""

MIN_POLARITY = 0.05
"""VADER's threshold below which a sentence is neutral; such a sentence has no vote."""


def one_hot_labels(labels: Sequence[str], classes: Sequence[str]) -> NDArray[np.float64]:
    """Encode labels as one-hot rows (clips, classes); an empty label is a row of zeros."""
    return np.array([[float(label == name) for name in classes] for label in labels]).reshape(
        len(labels), len(classes)
    )


def annotator_votes(clips: Sequence[Clip], classes: Sequence[str]) -> dict[str, SourceVotes]:
    """Return the votes of each annotator of the manifest, sorted by name."""
    names = sorted({name for clip in clips for name in clip.annotators})
    return {
        name: SourceVotes(
            "annotators", one_hot_labels([clip.annotators.get(name, "") for clip in clips], classes)
        )
        for name in names
    }


def llm_votes(records: Sequence[EnrichedText], classes: Sequence[str]) -> SourceVotes:
    """Return the class probabilities from the provider of `enrich_text`."""
    probs = [[record.probabilities.get(name, 0.0) for name in classes] for record in records]
    provenance = {"answered_by": answering_models(records)}
    rows = np.array(probs, "float64").reshape(len(records), len(classes))
    return SourceVotes("llm", normalise(rows), provenance)


def table_votes(
    path: Path, provenance: Mapping[str, Any], clip_ids: Sequence[str], classes: Sequence[str]
) -> SourceVotes:
    """Read the votes in a csv file of the user, e.g. another model's predictions.

    It has a column `clip_id` and either `label` or, like `metrics/predictions.csv`, one
    `probability_<class>` per class. Missing clips get no vote; other clips are ignored.

    Raises:
        CorpusError: a column is missing, a clip is listed twice, a class is unknown, or a
            probability is not a number from 0 to 1. The message lists every error.
    """
    columns = [f"probability_{name}" for name in classes]

    def header_errors(header: Sequence[str]) -> list[str]:
        errors = [] if "clip_id" in header else ["no column clip_id"]
        missing = [name for name in columns if name not in header]
        if missing and ("label" not in header or len(missing) < len(columns)):
            errors.append(
                f"no column {', '.join(missing)}: add one such column per class, or a column label"
            )
        return errors

    rows = read_csv(path, header_errors)
    errors = []
    probs: dict[str, list[float]] = {}
    for row in rows:
        clip_id = restore(row["clip_id"])  # in metrics/predictions.csv it is neutralised
        if clip_id in probs:
            errors.append(f"clip {clip_id!r} is listed twice")
        if columns[0] in row:
            cells = [row[column] or "0" for column in columns]
            if not all(is_number(cell) and 0 <= float(cell) <= 1 for cell in cells):
                errors.append(f"clip {clip_id!r}: a probability is not a number from 0 to 1")
                continue
            probs[clip_id] = [float(cell) for cell in cells]
        else:
            label = restore(row["label"])
            if label and label not in classes:
                errors.append(
                    f"clip {clip_id!r}: unknown label {label!r}, the classes are "
                    f"{', '.join(classes)}.{did_you_mean(label, classes)}"
                )
            probs[clip_id] = [float(label == name) for name in classes]
    if errors:
        raise CorpusError(summarise(path, errors))
    no_vote = [0.0] * len(classes)
    votes = np.array([probs.get(clip_id, no_vote) for clip_id in clip_ids])
    return SourceVotes("tables", normalise(votes.reshape(-1, len(classes))), provenance)


def polarity_votes(polarities: Sequence[float | None], classes: Sequence[str]) -> SourceVotes:
    """Vote by the likelihood of a sentence's polarity under each class; 0 for unknown classes."""
    centres = np.array([CLASS_POLARITY.get(name, np.nan) for name in classes])
    probs = np.zeros((len(polarities), len(classes)))
    for row, polarity in enumerate(polarities):
        if polarity is None or abs(polarity) < MIN_POLARITY or np.isnan(centres).all():
            continue
        likelihood = np.nan_to_num(np.exp(-(((polarity - centres) / POLARITY_SPREAD) ** 2) / 2))
        probs[row] = likelihood / likelihood.sum()
    return SourceVotes("text_cues", probs)
