"""Several models trained side by side, and their ensemble."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from corpus import CLASSES, SOURCES, make_corpus
from safetensors.torch import load_file
from scipy.optimize import minimize
from tables import read_table
from torch import nn
from trainings import (
    PARAMS,
    evaluate,
    files_of,
    model_of,
    reports,
    train,
    train_and_evaluate,
)

from ecmf.cli import scores
from ecmf.errors import CorpusError, ParamsError
from ecmf.evaluation import held_out
from ecmf.evaluation.ensembling import EnsembleWeights, fit_mixture_weights, fit_weights
from ecmf.evaluation.prediction import Predictor
from ecmf.fusion import concat
from ecmf.fusion.base import Output
from ecmf.metrics import valence_scores
from ecmf.params import EvaluateFusion, TrainFusion, load_params
from ecmf.probabilities import apply_prior
from ecmf.training import run_trainer, source_reading, training_cache
from ecmf.training.fold_runs import plan_runs
from ecmf.training.model_metadata import read_metadata
from ecmf.training.targets import class_targets

JOINED = PARAMS.model_copy(update={"ensemble": ("concat",), "epochs": 4, "learning_rate": 0.003})
FITTED = {"ensemble_weights": "validation", "class_prior": "validation"}
VALENCE = {"angry": -1.0, "happy": 1.0, "sad": -0.5}


pytestmark = pytest.mark.usefixtures("one_worker")


@pytest.fixture(scope="module")
def joined(tmp_path_factory):
    return train_and_evaluate(tmp_path_factory.mktemp("joined"), JOINED, **FITTED)


def random_members(clips=400):
    """Three members: one that is often right, one that is sometimes, one that is random."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, clips)
    right = np.eye(3)[truth]
    members = [
        rng.dirichlet(np.ones(3), clips) * (1 - skill) + skill * right for skill in (0.5, 0.2, 0)
    ]
    return [probs / probs.sum(axis=1, keepdims=True) for probs in members], truth


def probabilities(folder):
    rows = read_table(folder / "predictions.csv")
    return np.array([[float(row[f"probability_{name}"]) for name in CLASSES] for row in rows])


def with_wrong_label(clip):
    if clip.split != "test":
        return clip
    label = CLASSES[(CLASSES.index(clip.label) + 1) % 3]
    return type(clip)(**{**vars(clip), "label": label, "valence": "9" if clip.valence else ""})


def test_fitted_weights_are_those_of_maximum_likelihood():
    rng = np.random.default_rng(1)
    right = rng.beta(2, 1, (300, 3)) * [1.0, 0.9, 0.95]

    def loss(weights):
        return -np.log(right @ weights).mean()

    best = minimize(
        loss, np.full(3, 1 / 3), bounds=[(0, 1)] * 3, method="SLSQP", tol=1e-12,
        constraints={"type": "eq", "fun": lambda weights: weights.sum() - 1},
    )  # fmt: skip
    weights = fit_mixture_weights(right)
    assert weights.sum() == pytest.approx(1) and (weights >= 0).all()
    assert loss(weights) == pytest.approx(best.fun, abs=1e-6)
    assert weights == pytest.approx(best.x, abs=0.02)
    assert loss(weights) < loss(np.full(3, 1 / 3)) - 1e-5


def test_a_random_member_gets_a_small_weight():
    members, truth = random_members()
    weights = fit_weights(members, truth, EvaluateFusion(ensemble_weights="validation")).weights
    assert weights[0] > 0.9 and weights[2] < 0.05
    assert fit_weights(members, truth, EvaluateFusion()).weights == pytest.approx([1 / 3] * 3)


def test_a_clip_whose_class_no_member_predicts_is_left_out():
    right = np.array([[0.0, 0.0], [0.9, 0.1], [0.8, 0.2]])
    assert fit_mixture_weights(right) == pytest.approx([1, 0], abs=1e-3)
    assert fit_mixture_weights(right[:1]).tolist() == [0.5, 0.5]


def test_the_weight_of_a_single_member_changes_no_bit_and_nan_stays_nan():
    probs = np.random.default_rng(0).dirichlet([1, 2, 3], 50)
    probs[7] = np.nan
    assert np.array_equal(EnsembleWeights(np.ones(1), None)([probs]), probs, equal_nan=True)
    scaled = EnsembleWeights(np.full(2, 0.5), np.array([1.0, 0.5, 0.1]))([probs, probs])
    assert np.isnan(scaled[7]).all() and np.isnan(scaled).sum() == 3
    assert scaled[6] == pytest.approx(apply_prior(probs[[6]], np.array([1.0, 0.5, 0.1]))[0])


def test_the_prior_is_that_of_the_labels_and_its_factors_apply_to_other_clips():
    rng = np.random.default_rng(0)
    truth = rng.choice(3, 300, p=[0.2, 0.3, 0.5])
    biased = [rng.dirichlet([8, 1, 1], 300), rng.dirichlet([4, 2, 1], 300)]
    fitted = fit_weights(biased, truth, EvaluateFusion(class_prior="validation"))
    assert fitted(biased).mean(axis=0) == pytest.approx(np.bincount(truth) / 300, abs=1e-6)
    others = np.mean([probs[:9] for probs in biased], axis=0) * fitted.factors
    assert fitted([probs[:9] for probs in biased]) == pytest.approx(
        others / others.sum(axis=1, keepdims=True)
    )


def test_the_metadata_list_each_member_and_its_weights_are_in_a_folder_of_its_name(joined):
    _, folder, _ = joined
    metadata = read_metadata(folder / "fusion")
    assert [member.name for member in metadata.members] == ["ecmf", "concat"]
    for member in metadata.members:
        files = sorted((folder / "fusion" / member.name).iterdir())
        assert [file.stem for file in files] == sorted(run.name for run in member.runs)
        weights = load_file(files[0])
        assert weights.pop("fusion.source_weights").tolist() == [1, 1]
        learned = {key: w for key, w in weights.items() if key.startswith("fusion.")}
        assert member.parameters == sum(w.numel() for w in learned.values()) > 1000
        assert len(files) == 6
    training = json.loads((folder / "training.json").read_text())
    assert list(training["members"]) == ["ecmf", "concat"]
    assert training["members"]["ecmf"] == {
        key: value for key, value in training.items() if key not in ("members", "monitor")
    }
    assert training["members"]["concat"]["parameters"] == metadata.members[1].parameters


def test_an_ensemble_reads_the_features_once(tmp_path, monkeypatch):
    read = []

    def counted(function):
        return lambda *args: read.append(function.__name__) or function(*args)

    for module, name in ((source_reading, "load_sources"), (training_cache, "sha256")):
        monkeypatch.setattr(module, name, counted(getattr(module, name)))
    train(make_corpus(tmp_path), tmp_path, JOINED.model_copy(update={"seeds": (0,), "epochs": 1}))
    assert sorted(read) == ["load_sources", "sha256"]


@pytest.mark.parametrize("name", ["ecmf", "concat"])
def test_a_member_is_trained_as_it_would_be_alone(name, joined, tmp_path):
    corpus, folder, report = joined
    train(corpus, tmp_path, JOINED.of_member(name))
    ours = files_of(tmp_path / "fusion" / name)
    assert ours == files_of(folder / "fusion" / name) and ours
    alone = evaluate(corpus, tmp_path)
    assert report["members"][name]["waf"] == alone["test"]["waf"]
    assert not {"members", "votes", "class_factors"} & set(alone)


def test_equal_weights_give_the_mean_of_the_members(joined, tmp_path):
    corpus, folder, _ = joined
    members = []
    for name in ("ecmf", "concat"):
        (tmp_path / name).mkdir()
        train(corpus, tmp_path / name, JOINED.of_member(name))
        evaluate(corpus, tmp_path / name)
        members.append(probabilities(tmp_path / name))
    for made in ("fusion", "labels.csv"):
        (tmp_path / made).symlink_to(folder / made)
    report = evaluate(corpus, tmp_path)
    assert probabilities(tmp_path) == pytest.approx(np.mean(members, axis=0), abs=2e-6)
    assert np.abs(members[0] - members[1]).max() > 0.1
    assert report["votes"]["seed0-round0"] == {"ecmf": 0.5, "concat": 0.5}


def test_an_ensemble_of_several_members_has_no_source_weights(tmp_path):
    corpus = make_corpus(tmp_path)
    params = JOINED.model_copy(update={"ensemble": ("baseline",), "seeds": (0,), "epochs": 1})
    train(corpus, tmp_path, params)
    evaluate(corpus, tmp_path)
    rows = read_table(tmp_path / "predictions.csv")
    for name in ("weight_face/mine", "weight_audio/mine"):
        assert not any(row[name] for row in rows)


def test_the_weights_and_class_factors_of_every_outer_fold_are_reported(joined):
    _, folder, report = joined
    assert list(report["votes"]) == list(report["class_factors"])
    assert list(report["votes"]) == ["seed0-round0", "seed1-round0"]
    for votes in report["votes"].values():
        assert set(votes) == {"ecmf", "concat"} and sum(votes.values()) == pytest.approx(1)
    for factors in report["class_factors"].values():
        assert set(factors) == set(CLASSES) and max(factors.values()) == 1
    assert "test WAF of each member alone: ecmf" in scores.table(*reports(folder))


@pytest.mark.slow
def test_fitted_weights_give_the_same_files_whatever_the_number_of_workers(
    joined, tmp_path, monkeypatch
):
    corpus, folder, _ = joined
    monkeypatch.setenv("ECMF_WORKERS", "2")
    train(corpus, tmp_path, JOINED)
    evaluate(corpus, tmp_path, **FITTED)
    assert model_of(tmp_path) == model_of(folder)
    ours, theirs = files_of(tmp_path), files_of(folder)
    assert all(content == theirs[name] for name, content in ours.items())
    assert {"evaluation.json", "training.json", "predictions.csv"} <= set(ours)


def test_labels_of_the_test_split_change_neither_weights_nor_factors(joined, tmp_path):
    _, folder, report = joined
    corpus = make_corpus(tmp_path, change=with_wrong_label)
    train(corpus, tmp_path, JOINED)
    assert model_of(tmp_path) == model_of(folder)
    other = evaluate(corpus, tmp_path, **FITTED)
    assert other["votes"] == report["votes"]
    assert other["class_factors"] == report["class_factors"]
    assert np.array_equal(probabilities(tmp_path), probabilities(folder))
    assert other["test"]["waf"] < 0.4 < report["test"]["waf"]


def test_weights_are_fitted_on_no_clip_of_the_test_fold(tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path, test_split=False)
    params = JOINED.model_copy(update={"seeds": (0,), "folds": 2})
    train(corpus, tmp_path, params)
    sources = source_reading.read_sources(SOURCES.paths(corpus.features), corpus.clips, params)
    planned = plan_runs(corpus.clips, params)
    # Folds are stratified by label: wrong labels would change them.
    monkeypatch.setattr(held_out, "plan_runs", lambda *args: planned)
    tested = set(planned[0].fold.test.tolist())
    clips = [
        with_wrong_label(type(clip)(**{**vars(clip), "split": "test"})) if i in tested else clip
        for i, clip in enumerate(corpus.clips)
    ]
    before, after = (
        held_out.predict_held_out(
            Predictor(tmp_path / "fusion", sources),
            relabelled,
            EvaluateFusion.model_validate(FITTED),
        ).ensemble_weights
        for relabelled in (corpus.clips, clips)
    )
    assert list(before) == ["seed0-round0", "seed0-round1"]
    same, other = ((before[name], after[name]) for name in before)
    for key in ("weights", "factors"):
        assert np.array_equal(*(getattr(fitted, key) for fitted in same))
        assert not np.array_equal(*(getattr(fitted, key) for fitted in other))


@pytest.mark.parametrize("key", ["ensemble_weights", "class_prior"])
def test_without_validation_clips_nothing_can_be_fitted_and_val_is_left_out(key, tmp_path):
    corpus = make_corpus(tmp_path, test_split=False)
    train(corpus, tmp_path, JOINED.model_copy(update={"folds": 0, "seeds": (0,)}))
    with pytest.raises(
        ParamsError, match=rf"evaluate_fusion\.{key} is 'validation', but with .*folds 0"
    ):
        evaluate(corpus, tmp_path, **{key: "validation"})
    report = evaluate(corpus, tmp_path)
    assert "val" not in report and report["test"]["clips"] == 90
    printed = scores.table(*reports(tmp_path))
    assert "\ntest " in printed and "\nval " not in printed
    training = json.loads((tmp_path / "training.json").read_text())
    assert "validation_score" not in training["members"]["concat"]


@pytest.mark.parametrize(
    ("ensemble", "error"),
    [
        (["concat", "concat"], "'concat' is 2 times in model and ensemble"),
        (["ecmf"], "'ecmf' is 2 times in model and ensemble"),
        (["conact"], r"no 'conact' in fusion.*Did you mean 'concat'"),
    ],
)
def test_an_ensemble_names_existing_models_once_each(ensemble, error, tmp_path):
    content = yaml.safe_load((Path(__file__).parents[2] / "params.yaml").read_text())
    content["train_fusion"]["ensemble"] = ensemble
    path = tmp_path / "params.yaml"
    path.write_text(yaml.safe_dump(content))
    with pytest.raises(ParamsError, match=error):
        load_params(path)


class WithValence(concat.Fusion):
    """A model that predicts a valence by a linear layer on the projected sources."""

    def __init__(self, sources, classes, options):
        super().__init__(sources, classes, options)
        self.valence = nn.Linear(options.width * len(self.sources), 1)

    def forward(self, batch, target=None):
        vector = self.projection(batch).flatten(1)
        valence = self.valence(vector).squeeze(1)
        losses = {}
        if target is not None:
            error = (valence - target.values["valence"].nan_to_num()).square()
            losses["valence"] = error * ~target.values["valence"].isnan()
        return Output(self.classifier(self.dropout(vector)), None, {"valence": valence}, losses)


def with_valence(clip):
    return type(clip)(**{**vars(clip), "valence": str(VALENCE.get(clip.label, ""))})


def test_a_predicted_valence_is_written_and_scored_where_the_corpus_has_one(tmp_path, monkeypatch):
    monkeypatch.setattr(concat, "Fusion", WithValence)
    params = JOINED.model_copy(update={"seeds": (0,), "epochs": 30, "learning_rate": 0.01})
    scored, models = {}, {}
    for name, change in {
        "right": lambda clip: with_valence(clip) if clip.clip_id != "s0_0" else clip,
        "wrong": lambda clip: with_wrong_label(with_valence(clip)),
        "none": lambda clip: clip,
    }.items():
        folder = tmp_path / name
        folder.mkdir()
        corpus = make_corpus(folder, change=change)
        train(corpus, folder, params)
        scored[name], models[name] = evaluate(corpus, folder), model_of(folder)
    test = scored["right"]["test"]
    rows = [row for row in read_table(tmp_path / "right/predictions.csv") if row["split"] == "test"]
    known = [row for row in rows if row["clip_id"] != "s0_0"]
    truth = np.array([VALENCE[row["label"]] for row in known])
    predicted = np.array([float(row["valence"]) for row in known])
    assert test["valence_clips"] == len(known) == 17
    assert test["valence_mse"] == pytest.approx(np.mean((truth - predicted) ** 2), abs=1e-5)
    assert test["valence_r"] == pytest.approx(np.corrcoef(truth, predicted)[0, 1], abs=1e-5)
    assert test["valence_r"] > 0.8
    assert test["mer2023_combined"] == pytest.approx(test["waf"] - 0.25 * test["valence_mse"])
    printed = scores.table(*reports(tmp_path / "right"))
    assert f"valence_mse {test['valence_mse']:.3f}" in printed
    assert all(row["valence"] for row in read_table(tmp_path / "right/predictions.csv"))

    assert models["right"] == models["wrong"] != models["none"]
    assert scored["wrong"]["test"]["valence_mse"] > 50
    assert "valence_mse" not in scored["none"]["test"]
    assert "valence" not in read_table(tmp_path / "none/predictions.csv")[0]


@pytest.mark.parametrize("member", ["afg", "jmt"])
def test_a_model_that_was_trained_on_no_valence_predicts_none(member, tmp_path):
    """All known valence is in one of two test folds: only models trained on it predict valence."""
    params = TrainFusion(model=member, folds=0, outer_folds=2, seeds=(0,), epochs=1, batch_size=16)
    train_clips = plan_runs(make_corpus(tmp_path, test_split=False).clips, params)[1].fold.train
    groups = {make_corpus(tmp_path, test_split=False).clips[i].group for i in train_clips}

    def known_in_one_fold(clip):
        return replace(clip, valence="0.5" if clip.group in groups else "")

    corpus = make_corpus(tmp_path, test_split=False, change=known_in_one_fold)
    train(corpus, tmp_path, params)
    report = evaluate(corpus, tmp_path)
    metadata = read_metadata(tmp_path / "fusion")
    assert [run.targets["valence"] for run in metadata.members[0].runs] == [0, len(train_clips)]
    for clip, row in zip(corpus.clips, read_table(tmp_path / "predictions.csv"), strict=True):
        assert bool(row["valence"]) == (clip.group not in groups)
    assert "valence_mse" not in report["test"]  # no clip has both a predicted and a true one


def test_only_clips_with_a_true_and_a_predicted_valence_are_scored():
    truth = np.array([1, 0, 2, np.nan], "float32")
    predicted = np.array([1.5, 0, np.nan, 3])
    assert valence_scores(truth, predicted, 0.5) == {
        "valence_clips": 2,
        "valence_mse": pytest.approx(0.125),
        "valence_r": pytest.approx(1),
        "mer2023_combined": pytest.approx(0.5 - 0.25 * 0.125),
    }
    assert valence_scores(truth, np.full(4, np.nan), 0.5) == {}


def test_without_a_predicted_valence_there_is_no_such_column(joined):
    _, folder, report = joined
    assert "valence" not in read_table(folder / "predictions.csv")[0]
    assert "valence_mse" not in report["test"]


def test_a_valence_that_is_not_a_number_is_refused_with_the_clips_name(tmp_path):
    corpus = make_corpus(
        tmp_path, change=lambda clip: type(clip)(**{**vars(clip), "valence": "high"})
    )
    with pytest.raises(
        CorpusError, match="valence of clip 's0_0' is 'high', which is not a number"
    ):
        train(corpus, tmp_path, JOINED)


def test_another_valence_is_another_key_in_the_cache(tmp_path):
    corpus = make_corpus(tmp_path)
    paths, count = SOURCES.paths(corpus.features), len(corpus.clips)
    soft, weight = np.ones((count, 3), "float32"), np.ones(count, "float32")
    keys = {
        training_cache.inputs_hash(paths, corpus.clips, class_targets(soft, weight, valence))
        for valence in (None, np.zeros(count, "float32"), np.ones(count, "float32"))
    }
    assert len(keys) == 3


def test_models_are_trained_on_the_valence_of_the_train_and_val_splits_alone(tmp_path, monkeypatch):
    fit, calls = run_trainer.fit, []
    monkeypatch.setattr(run_trainer, "fit", lambda *args: calls.append(args[1]) or fit(*args))
    corpus = make_corpus(
        tmp_path, change=lambda clip: type(clip)(**{**vars(clip), "valence": "0.5"})
    )
    train(corpus, tmp_path, PARAMS.model_copy(update={"seeds": (0,), "epochs": 1}))
    for targets in calls:
        known = ~np.isnan(targets.values["valence"])
        expected = [clip.split in ("train", "val") for clip in corpus.clips]
        assert known.tolist() == expected
    assert len(calls) == 3
