"""What every source says of the training clips, for the refiners to weigh."""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from ecmf.features import Source
from ecmf.manifest import Clip
from ecmf.refiners.base import Opinion

log = logging.getLogger(__name__)

REGULARISATION = 0.01
"""Inverse strength C of the classifiers that vote: few clips, some of them labelled wrongly."""

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
"""How pleasant a sentence said with each emotion reads, on VADER's scale of -1 to 1. Ours."""

POLARITY_SPREAD = 0.5
"""Standard deviation around it: wide, for words tell little."""

SMALLEST_POLARITY = 0.05
"""VADER's own bound, below which a sentence is neither positive nor negative: no opinion."""


def as_shares(labels: Sequence[str], classes: Sequence[str]) -> NDArray[np.float64]:
    """Labels -> one-hot rows (clips, classes); zeros for an empty label."""
    return np.array([[float(label == name) for name in classes] for label in labels]).reshape(
        len(labels), len(classes)
    )


def of_annotators(clips: Sequence[Clip], classes: Sequence[str]) -> dict[str, Opinion]:
    """One opinion per annotator of the manifest."""
    names = sorted({name for clip in clips for name in clip.annotators})
    return {
        name: Opinion(
            "annotators", as_shares([clip.annotators.get(name, "") for clip in clips], classes)
        )
        for name in names
    }


def out_of_fold(
    source: Source,
    clips: Sequence[Clip],
    among: NDArray[np.int64],
    classes: Sequence[str],
    folds: int,
    seed: int,
) -> Opinion:
    """Let a classifier on one source vote on each clip of `among`, never having seen its speaker.

    Logistic regression on the clip's mean row, in folds by group. Clips without the source get no
    vote. Rows are those of `among`; `clips` are all clips of the manifest.
    """
    shares = np.zeros((len(among), len(classes)))
    voters = np.flatnonzero(source.present[among])
    values = source.clip_means()[among[voters]].astype("float64")
    labels = np.array([clips[i].label for i in among[voters]])
    groups = [clips[i].group for i in among[voters]]
    if len(set(groups)) < folds or max(Counter(labels.tolist()).values()) < folds:
        log.info("%s is in too few clips to vote in %d folds", source.name, folds)
        return Opinion("out_of_fold", shares)
    cut = StratifiedGroupKFold(folds, shuffle=True, random_state=seed)
    for learn, vote in cut.split(values, labels, groups):
        if len(set(labels[learn])) < 2:
            continue
        classifier = make_pipeline(
            StandardScaler(), LogisticRegression(C=REGULARISATION, max_iter=1000)
        ).fit(values[learn], labels[learn])
        columns = [list(classes).index(name) for name in classifier.classes_]
        shares[np.ix_(voters[vote], columns)] = classifier.predict_proba(values[vote])
    return Opinion("out_of_fold", shares)


def of_polarity(polarity: Sequence[float | None], classes: Sequence[str]) -> Opinion:
    """How well the polarity of a clip's words goes with each class; unknown classes get 0."""
    centres = np.array([CLASS_POLARITY.get(name, np.nan) for name in classes])
    shares = np.zeros((len(polarity), len(classes)))
    for row, said in enumerate(polarity):
        if said is None or abs(said) < SMALLEST_POLARITY or np.isnan(centres).all():
            continue
        likely = np.nan_to_num(np.exp(-(((said - centres) / POLARITY_SPREAD) ** 2) / 2))
        shares[row] = likely / likely.sum()
    return Opinion("text_cues", shares)
