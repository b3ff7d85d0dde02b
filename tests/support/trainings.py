"""Run the stages from labels to scores on a synthetic corpus, and read their outputs."""

import json

import pytest
from checkout import ROOT
from corpus import SOURCES, make_corpus

from ecmf.params import EvaluateFusion, RefineLabels, TrainFusion, load_params
from evaluate_fusion import evaluate_fusion
from refine_labels import refine_labels
from train_fusion import train_fusion

PREPARATION = load_params(ROOT / "params.yaml").preparation

PARAMS = TrainFusion(
    model="ecmf",
    options={"ecmf": {"width": 16}},
    folds=3,
    outer_folds=2,
    refit=False,
    seeds=(0, 1),
    epochs=8,
    patience=4,
    batch_size=16,
    learning_rate=0.01,
    modality_dropout=0.1,
    mixup=0.0,
)


def train(corpus, folder, params=PARAMS, **refinement):
    labels = folder / "labels.csv"
    chosen = RefineLabels.model_validate({"refiner": "keep", **refinement})
    refine_labels(
        corpus.manifest, corpus.text, corpus.features,
        labels, folder / "votes.csv", folder / "sources.json", chosen, SOURCES,
    )  # fmt: skip
    train_fusion(
        corpus.manifest, labels, corpus.text, corpus.features, folder / "fusion",
        folder / "training.json", folder / "curves.csv", params, SOURCES, PREPARATION,
    )  # fmt: skip
    return folder / "fusion"


def evaluate(corpus, folder, **params):
    """Evaluate the models, and return the headline scores together with the details."""
    evaluate_fusion(
        corpus.manifest, folder / "labels.csv", corpus.features, folder / "fusion",
        folder / "evaluation.json", folder / "evaluation_details.json",
        folder / "predictions.csv", folder / "confusion.csv", folder / "confusion.png",
        EvaluateFusion(bootstrap=50, **params), SOURCES,
    )  # fmt: skip
    headline, details = reports(folder)
    return details | {split: headline[split] | details[split] for split in headline}


def reports(folder):
    """Read the headline scores and the details of an evaluation."""
    names = ("evaluation", "evaluation_details")
    return [json.loads((folder / f"{name}.json").read_text()) for name in names]


def files_of(folder):
    return {path.name: path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()}


def model_of(folder):
    files = sorted(path for path in (folder / "fusion").rglob("*") if path.is_file())
    return {str(path.relative_to(folder)): path.read_bytes() for path in files}


def train_and_evaluate(folder, params=PARAMS, **evaluation):
    """Train and evaluate a corpus in `folder`, with one worker and a cache of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ECMF_CACHE", str(folder / "cache"))
        patch.setenv("ECMF_WORKERS", "1")
        corpus = make_corpus(folder)
        train(corpus, folder, params)
        return corpus, folder, evaluate(corpus, folder, **evaluation)
