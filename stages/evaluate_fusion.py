"""Trained fusion models -> scores with intervals, and a prediction for every clip.

The only stage that looks at the labels of the test split.
"""

import json
from pathlib import Path

import numpy as np

from ecmf import stage
from ecmf.card import read_card
from ecmf.files import write_text
from ecmf.manifest import Clip, read_manifest
from ecmf.params import EvaluateFusion, Sources
from ecmf.prediction import Predictions, Probabilities, predict_all
from ecmf.runs import read_sources
from ecmf.scores import Labels, scores, weighted_f1
from ecmf.tables import draw_confusion, write_confusion, write_predictions


def evaluate_fusion(
    manifest: Path,
    features: Path,
    model: Path,
    evaluation: Path,
    predictions: Path,
    confusion: Path,
    picture: Path,
    params: EvaluateFusion,
    sources: Sources,
) -> None:
    """Score the models on the test split, or on every test fold where the corpus has none.

    `test` is the mean of the probabilities over folds and seeds; `waf_by_seed` is each seed alone.
    `val` is the corpus's validation split, or where the corpus has none, the training clips by the
    models that they only stopped, which flatters a little.
    """
    clips = read_manifest(manifest)
    card = read_card(model)
    read = read_sources(sources.paths(features), clips, card.training)
    card.check_sources(read)
    said = predict_all(model, card, clips, read)
    has_test = any(clip.split == "test" for clip in clips)
    tested = _of_split(clips, "test" if has_test else None)
    by_seed = {
        str(seed): weighted_f1(_truth(clips, tested, card.classes), said_by[tested].argmax(axis=1))
        for seed, said_by in said.test_by_seed.items()
    }
    validated, judged = _validation(clips, has_test, said)
    report = {
        "protocol": "test split" if has_test else f"{card.training.test_folds} test folds by group",
        "test": {
            **_report(clips, tested, said.test, card.classes, params),
            "waf_by_seed": by_seed,
        },
        "val": _report(clips, validated, judged, card.classes, params),
    }

    write_text(evaluation, json.dumps(report, indent=2) + "\n")
    best = np.where(np.isnan(said.test), said.held_out, said.test)
    names = [source.name for source in card.sources]
    write_predictions(clips, card.classes, names, best, said.weights, predictions)
    truth = [clips[i].label for i in tested]
    predicted = [card.classes[i] for i in said.test[tested].argmax(axis=1)]
    write_confusion(truth, predicted, confusion)
    draw_confusion(truth, predicted, card.classes, picture)


def _of_split(clips: list[Clip], split: str | None) -> Labels:
    """Positions of the labelled clips of a split; of all labelled clips for None."""
    return np.array(
        [i for i, clip in enumerate(clips) if clip.label and split in (None, clip.split)], "int64"
    )


def _truth(clips: list[Clip], chosen: Labels, classes: list[str]) -> Labels:
    return np.array([classes.index(clips[i].label) for i in chosen], "int64")


def _validation(
    clips: list[Clip], has_test: bool, said: Predictions
) -> tuple[Labels, Probabilities]:
    """Return which clips `val` is about, and what the models say of them."""
    own = _of_split(clips, "val")
    if has_test and len(own):
        return own, np.where(np.isnan(said.test), said.held_out, said.test)
    labelled = _of_split(clips, None)
    known = np.flatnonzero(~np.isnan(said.held_out).any(axis=1))
    return np.intersect1d(labelled, known), said.held_out


def _report(
    clips: list[Clip],
    chosen: Labels,
    said: Probabilities,
    classes: list[str],
    params: EvaluateFusion,
) -> dict[str, object]:
    truth = _truth(clips, chosen, classes)
    return scores(truth, said[chosen].argmax(axis=1), classes, params.bootstrap, params.seed)


if __name__ == "__main__":
    stage.main(evaluate_fusion)
