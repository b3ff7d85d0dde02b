"""Trained fusion models -> scores with intervals, and a prediction for every clip.

The only stage that looks at the labels of the test split.
"""

import json
from pathlib import Path
from typing import Any

import numpy as np

from ecmf.cli import stage
from ecmf.data.manifest import Clip, read_manifest
from ecmf.data.valence import given_valence
from ecmf.evaluation.prediction import Predictions, Probabilities, Spoken, predict_all
from ecmf.evaluation.tables import Prediction, draw_confusion, write_confusion, write_predictions
from ecmf.evaluation.valence import valence_scores
from ecmf.metrics import Labels, scores, weighted_f1
from ecmf.params import EvaluateFusion, Sources
from ecmf.storage.files import write_text
from ecmf.training.cross_validation import read_sources
from ecmf.training.model_metadata import Card, read_card


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

    `test` is what the members say together of the mean over folds and seeds; `waf_by_seed` is each
    seed alone, `members` each member. `val` is the corpus's validation split, or where the corpus
    has none, the training clips by the models that they only stopped, which flatters a little, and
    more where votes or classes were fitted on them. Where nothing was held out it is left out.
    """
    clips = read_manifest(manifest)
    card = read_card(model)
    read = read_sources(sources.paths(features), clips, card.training)
    card.check_sources(read)
    said = predict_all(model, card, clips, read, params)
    has_test = any(clip.split == "test" for clip in clips)
    tested = _of_split(clips, "test" if has_test else None)
    validated, judged = _validation(clips, has_test, said.joint)
    report: dict[str, object] = {
        "protocol": "test split" if has_test else f"{card.training.test_folds} test folds by group",
        "test": _test_report(clips, tested, said, card.classes, params),
    }
    if len(validated):
        report["val"] = _report(clips, validated, judged, card.classes, params)
    report |= _votes(clips, tested, said, card, params)

    write_text(evaluation, json.dumps(report, indent=2) + "\n")
    columns = [number for number, source in enumerate(read) if source.name in said.read]
    prediction = Prediction(
        said.joint.best,
        said.weights[:, columns],
        said.valence.best[:, 0],
        np.stack([read[number].present for number in columns], axis=1),
    )
    names = [read[number].name for number in columns]
    write_predictions(clips, card.classes, names, prediction, predictions)
    truth = [clips[i].label for i in tested]
    predicted = [card.classes[i] for i in said.joint.test[tested].argmax(axis=1)]
    write_confusion(truth, predicted, confusion)
    draw_confusion(truth, predicted, card.classes, picture)


def _of_split(clips: list[Clip], split: str | None) -> Labels:
    """Positions of the labelled clips of a split; of all but unlabelled splits for None."""
    wanted = {"train", "val", "test"} if split is None else {split}
    return np.array(
        [i for i, clip in enumerate(clips) if clip.label and clip.split in wanted], "int64"
    )


def _truth(clips: list[Clip], chosen: Labels, classes: list[str]) -> Labels:
    return np.array([classes.index(clips[i].label) for i in chosen], "int64")


def _waf(clips: list[Clip], chosen: Labels, said: Probabilities, classes: list[str]) -> float:
    return weighted_f1(_truth(clips, chosen, classes), said[chosen].argmax(axis=1))


def _validation(clips: list[Clip], has_test: bool, said: Spoken) -> tuple[Labels, Probabilities]:
    """Return which clips `val` is about, perhaps none, and what the models say of them."""
    own = _of_split(clips, "val")
    if has_test and len(own):
        return own, said.best
    labelled = _of_split(clips, None)
    known = np.flatnonzero(~np.isnan(said.held_out).any(axis=1))
    return np.intersect1d(labelled, known), said.held_out


def _test_report(
    clips: list[Clip],
    tested: Labels,
    said: Predictions,
    classes: list[str],
    params: EvaluateFusion,
) -> dict[str, object]:
    report = _report(clips, tested, said.joint.test, classes, params)
    report["waf_by_seed"] = {
        str(seed): _waf(clips, tested, of_seed, classes)
        for seed, of_seed in said.test_by_seed.items()
    }
    told = said.valence.test[tested, 0]
    return report | valence_scores(given_valence(clips)[tested], told, report["waf"])


def _votes(
    clips: list[Clip], tested: Labels, said: Predictions, card: Card, params: EvaluateFusion
) -> dict[str, object]:
    """How the members came to a joint word, round by round, and the test score of each alone."""
    report: dict[str, object] = {}
    if len(said.members) > 1:
        report["members"] = {
            name: {"waf": _waf(clips, tested, spoken.test, card.classes)}
            for name, spoken in said.members.items()
        }
        report["votes"] = {
            name: dict(zip(said.members, vote.weights.tolist(), strict=True))
            for name, vote in said.votes.items()
        }
    if params.prior == "validation":
        report["class_factors"] = {
            name: dict(zip(card.classes, vote.factors.tolist(), strict=True))
            for name, vote in said.votes.items()
            if vote.factors is not None
        }
    return report


def _report(
    clips: list[Clip],
    chosen: Labels,
    said: Probabilities,
    classes: list[str],
    params: EvaluateFusion,
) -> dict[str, Any]:
    truth = _truth(clips, chosen, classes)
    return scores(truth, said[chosen].argmax(axis=1), classes, params.bootstrap, params.seed)


if __name__ == "__main__":
    stage.main(evaluate_fusion)
