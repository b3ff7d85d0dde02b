"""With `refit`, folds choose the number of epochs, and the models are trained on all of them."""

from statistics import median_low

import numpy as np
import pytest
import torch
import yaml
from corpus import CLASSES, SOURCES, make_corpus
from tables import read_table
from trainings import PARAMS, evaluate, files_of, reports, train

from ecmf.data.features import load_sources
from ecmf.data.splits import Fold, make_folds, refit_fold
from ecmf.evaluation import prediction
from ecmf.training.dataset import Dataset
from ecmf.training.fold_runs import Chosen, plan_runs
from ecmf.training.prediction import predict
from ecmf.training.targets import class_targets
from ecmf.training.trainer import fit
from ecmf.training.vmap_trainer import fit_vmap

REFIT = PARAMS.model_copy(update={"refit": True, "seeds": (0,)})
pytestmark = pytest.mark.usefixtures("one_worker")


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("refit")
        patch.setenv("ECMF_CACHE", str(folder / "cache"))
        patch.setenv("ECMF_WORKERS", "1")
        corpus = make_corpus(folder, test_split=False)
        train(corpus, folder, REFIT)
        evaluate(corpus, folder)
        yield corpus, folder, yaml.safe_load((folder / "fusion/card.yaml").read_text())


@pytest.fixture(scope="module")
def data(trained):
    corpus, _, _ = trained
    sources = load_sources(SOURCES.paths(corpus.features), [clip.clip_id for clip in corpus.clips])
    probs = np.array([[clip.label == name for name in CLASSES] for clip in corpus.clips], "float32")
    return Dataset(sources, torch.device("cpu")), class_targets(probs, probs.sum(axis=1))


def test_each_outer_fold_has_a_model_of_all_its_clips_stopped_at_the_median_best_epoch(trained):
    _, _, card = trained
    runs = card["members"][0]["runs"]
    assert [run["name"] for run in runs[-2:]] == ["seed0-round0-refit", "seed0-round1-refit"]
    for refit in runs[-2:]:
        folds = [run for run in runs[:-2] if run["round"] == refit["round"]]
        assert len(folds) == 3 and refit["validation_groups"] == []
        assert refit["test_groups"] == folds[0]["test_groups"]
        assert refit["best_epoch"] == median_low(fold["best_epoch"] for fold in folds)
        largest = max(fold["targets"]["class_probs"] for fold in folds)
        assert refit["targets"]["class_probs"] > largest


def test_test_clips_are_predicted_by_the_refitted_models_and_others_by_those_of_the_folds(
    trained, tmp_path, monkeypatch
):
    corpus, folder, _ = trained
    asked = {}
    real = prediction.Predictor.predict

    def recorded(self, member, run, clips):
        asked[run] = set(clips.tolist())
        return real(self, member, run, clips)

    monkeypatch.setattr(prediction.Predictor, "predict", recorded)
    for made in ("fusion", "labels.csv"):
        (tmp_path / made).symlink_to(folder / made)
    evaluate(corpus, tmp_path)
    for run in plan_runs(corpus.clips, REFIT):
        assert asked[run.name] == set(run.fold.validation.tolist())
        refit = asked[f"seed0-round{run.fold.outer_fold}-refit"]
        assert set(run.fold.test.tolist()) <= refit
        assert not refit & {*run.fold.train.tolist(), *run.fold.validation.tolist()}
    assert reports(tmp_path)[0]["test"]["clips"] == sum(bool(c.label) for c in corpus.clips)
    assert all(row["predicted"] for row in read_table(tmp_path / "predictions.csv"))


def test_curves_and_validation_scores_are_those_of_the_folds(trained, tmp_path):
    corpus, folder, _ = trained
    train(corpus, tmp_path, REFIT.model_copy(update={"refit": False}))
    ours, theirs = files_of(folder), files_of(tmp_path)
    assert ours["curves.csv"] == theirs["curves.csv"]
    headline, details = reports(folder)
    evaluate(corpus, tmp_path)
    assert reports(tmp_path)[0]["val"] == headline["val"]
    assert reports(tmp_path)[1]["val"] == details["val"]
    assert reports(tmp_path)[0]["test"] != headline["test"]


def test_a_training_that_ends_early_is_the_beginning_of_the_whole_one(data):
    fold = Fold(0, 0, np.arange(40), np.array([], "int64"), np.array([], "int64"))
    whole = fit(*data, fold, 0, REFIT)
    short = fit(*data, fold, 0, REFIT, Chosen(3))
    assert short.history == whole.history[:3] and len(whole.history) == REFIT.epochs
    probs = [predict(each.model, data[0], np.arange(5)).outputs for each in (short, whole)]
    assert not np.allclose(*probs)


def test_trainings_of_a_vmap_group_end_each_at_its_own_epoch(trained, data):
    params = REFIT.model_copy(update={"model": "concat", "options": {}, "modality_dropout": 0.0})
    folds = make_folds(trained[0].clips, 2, 2, 0)
    refits = [refit_fold(folds[:2]), refit_fold(folds[2:])]
    both, longer = (
        fit_vmap(*data, refits, [0, 1], params, [Chosen(end) for end in ends])
        for ends in ((2, 2), (2, 5))
    )
    assert [len(each.history) for each in longer] == [2, 5]
    assert longer[1].history[:2] == both[1].history
    for name, tensor in longer[0].model.state_dict().items():
        assert torch.equal(tensor, both[0].model.state_dict()[name])
