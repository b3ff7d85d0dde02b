"""New clips are predicted as the unlabelled clips of a corpus are, and each as if it were alone."""

import json

import numpy as np
import pytest
import torch
from corpus import SOURCES, make_corpus
from made_clips import make_batch, untrained
from trainings import PARAMS, evaluate, train

from ecmf import registry
from ecmf.data.features import Source
from ecmf.evaluation import held_out
from ecmf.evaluation.new_clips import predict_new
from ecmf.evaluation.prediction import Predictor
from ecmf.fusion.base import SourceShape
from ecmf.params import EvaluateFusion
from ecmf.training.dataset import Dataset
from ecmf.training.prediction import predict
from ecmf.training.source_reading import read_sources

pytestmark = pytest.mark.usefixtures("one_worker")


@pytest.mark.parametrize(
    ("training", "evaluation", "test_split"),
    [
        ({"refit": True, "seeds": (0, 1)}, {}, True),
        ({"ensemble": ("concat",)},
         {"ensemble_weights": "validation", "class_prior": "validation"}, False),
    ],
    ids=["refitted", "cross-validated ensemble with fitted weights"],
)  # fmt: skip
def test_new_clips_have_the_predictions_of_unlabelled_clips_to_the_bit(
    training, evaluation, test_split, tmp_path
):
    corpus = make_corpus(tmp_path, speakers=8, each=6, wild=5, test_split=test_split)
    params = PARAMS.model_copy(update={"epochs": 2, "seeds": (0,), **training})
    train(corpus, tmp_path, params)
    evaluate(corpus, tmp_path, **evaluation)
    details = json.loads((tmp_path / "evaluation_details.json").read_text())
    sources = read_sources(SOURCES.paths(corpus.features), corpus.clips, params)
    predictor = Predictor(tmp_path / "fusion", sources)
    params = EvaluateFusion(**evaluation)
    predicted = held_out.predict_held_out(predictor, corpus.clips, params)
    expected = held_out.tested_or_validated(predicted.ensemble)
    wild = np.array([i for i, c in enumerate(corpus.clips) if c.split == "unlabelled"])
    together = predict_new(predictor, details, wild)
    assert np.array_equal(together.outputs, expected.outputs[wild])
    assert np.array_equal(together.weights, expected.weights[wild], equal_nan=True)
    for row, clip in enumerate(wild):
        alone = predict_new(predictor, details, np.array([clip]))
        assert np.array_equal(alone.outputs[0], together.outputs[row])


@pytest.mark.parametrize("name", registry.all_names("fusion"))
def test_a_prediction_in_float64_has_the_same_float32_bits_in_every_batch(name):
    lengths = {"frame/a": [3, 0, 9, 1], "audio/b": [1, 5, 0, 2], "text/c": [2, 7, 1, 0]}
    batch = make_batch(lengths)
    shapes = [SourceShape(key, rows.shape[-1]) for key, rows in batch.rows.items()]
    model = untrained(name, shapes).double()
    sources = [
        Source(key, np.ascontiguousarray(rows[batch.masks[key]].numpy()),
               np.cumsum([0, *lengths[key]]), {})
        for key, rows in batch.rows.items()
    ]  # fmt: skip
    dataset = Dataset(sources, torch.device("cpu"))
    together = predict(model, dataset, np.arange(4)).outputs
    assert together.dtype == np.float64
    for clip in range(4):
        alone = predict(model, dataset, np.array([clip])).outputs
        assert np.array_equal(alone[0].astype("float32"), together[clip].astype("float32"))
