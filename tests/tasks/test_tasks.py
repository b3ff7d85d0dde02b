"""Every task fulfils the interface of `training/task.py`, on a corpus that has what it predicts."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from corpus import CLASSES, SOURCES, make_corpus

from ecmf import registry
from ecmf.data.features import load_sources
from ecmf.data.label_table import hard_label, write_labels
from ecmf.data.splits import make_folds
from ecmf.params import EvaluateFusion, TrainFusion
from ecmf.training.dataset import Dataset
from ecmf.training.prediction import predict
from ecmf.training.targets import TargetTensors
from ecmf.training.task import load_task, task_of_corpus
from ecmf.training.trainer import fit

PARAMS = TrainFusion(model="concat", folds=2, epochs=12, learning_rate=0.01, batch_size=16)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    made = make_corpus(folder, change=lambda clip: replace(clip, valence="0.5"))
    labels = [hard_label(clip.clip_id, clip.label, CLASSES, "given") for clip in made.clips]
    write_labels(labels, CLASSES, folder / "labels.csv")
    return made, folder / "labels.csv"


@pytest.fixture(params=registry.names("tasks"))
def task(request, corpus):
    made, _ = corpus
    return task_of_corpus(request.param, made.manifest, made.clips)


@pytest.fixture
def targets(task, corpus):
    made, labels = corpus
    return task.read_targets(labels, made.clips)


def test_it_has_outputs_and_can_be_made_again_from_their_names(task):
    assert task.outputs and len(set(task.outputs)) == len(task.outputs)
    assert load_task(type(task).__module__.rpartition(".")[2], task.outputs).outputs == task.outputs
    assert len(task.columns) == len(task.outputs)


def test_targets_have_a_row_per_clip_and_none_of_the_test_split_is_needed(task, targets, corpus):
    clips = corpus[0].clips
    assert targets.task is task and targets.weight.shape == (len(clips),)
    assert all(len(values) == len(clips) for values in targets.values.values())
    test = np.array([clip.split == "test" for clip in clips])
    hidden = targets.hide(test)
    assert not hidden.weight[test].any()
    assert all(np.isnan(values[test]).all() for values in hidden.values.values())
    for name, values in targets.values.items():
        assert np.array_equal(hidden.values[name][~test], values[~test], equal_nan=True)
    everything = np.arange(len(clips))
    trained = ~test & (targets.weight > 0)
    assert hidden.known(everything)[next(iter(targets.values))] == trained.sum()


def test_its_loss_is_per_clip_and_the_same_for_outputs_of_several_heads(task, targets):
    target = TargetTensors(targets, torch.device("cpu"), 0.0).batch(torch.arange(6))
    heads = torch.randn(6, 3, len(task.outputs), generator=torch.Generator().manual_seed(0))
    together = target.loss(heads)
    assert together.shape == (6, 3)
    for head in range(3):
        assert torch.equal(together[:, head], target.loss(heads[:, head]))


def test_smoothing_by_nothing_changes_nothing_and_by_more_raises_the_least_loss(task, targets):
    plain, smooth = (
        TargetTensors(targets, torch.device("cpu"), amount).batch(torch.arange(6)).values
        for amount in (0.0, 0.2)
    )
    for name, values in targets.values.items():
        assert np.array_equal(plain[name].numpy(), values[:6], equal_nan=True)
    assert any(not torch.equal(plain[name], smooth[name]) for name in plain)


def test_a_training_learns_the_task_and_its_scores_are_those_of_its_predictions(
    task, targets, corpus
):
    made, _ = corpus
    sources = load_sources(SOURCES.paths(made.features), [clip.clip_id for clip in made.clips])
    dataset = Dataset(sources, torch.device("cpu"))
    fold = make_folds(made.clips, PARAMS.folds, PARAMS.outer_folds, seed=0)[0]
    fitted = fit(dataset, targets, fold, 0, PARAMS)
    predicted = predict(fitted.model, dataset, fold.test)
    assert predicted.outputs.shape == (len(fold.test), len(task.outputs))
    tested = [made.clips[i] for i in fold.test]
    truth = task.truth(tested)
    score = task.score(truth, predicted.outputs)
    shuffled = task.score(truth, np.roll(predicted.outputs, 1, axis=0))
    assert score > 0.7 > shuffled
    headline, _ = task.scores(tested, predicted, EvaluateFusion(bootstrap=50))
    first = next(iter(headline))
    assert first == task.monitor and headline[first] == pytest.approx(score)
    assert headline[f"{first}_low"] <= score <= headline[f"{first}_high"]
    assert headline["clips"] == len(tested)
    decisions = task.decide(predicted.outputs)
    assert set(decisions) <= set(task.decisions)
    assert np.mean(np.array(decisions) == task.true_decisions(tested)) > 0.7


def test_balance_gives_rare_targets_as_much_weight_as_frequent_ones(corpus):
    task = load_task("single_label", CLASSES)
    made, labels = corpus
    targets = task.read_targets(labels, made.clips)
    label = targets.values["class_probs"].argmax(axis=1)
    train = np.flatnonzero((label != 2) | (np.arange(len(label)) % 4 == 0))
    weight = task.balance(targets, train)
    totals = [weight[train][label[train] == number].sum() for number in range(3)]
    assert np.ptp([(label[train] == number).sum() for number in range(3)]) > 10
    assert totals == pytest.approx([totals[0]] * 3, rel=1e-5)


def test_cross_entropy_is_torchs_to_the_bit():
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(32, 5, generator=generator)
    probs = torch.randn(32, 5, generator=generator).softmax(dim=1)
    ours = load_task("single_label", list("abcde")).loss(logits, {"class_probs": probs})
    assert torch.equal(ours, torch.nn.functional.cross_entropy(logits, probs, reduction="none"))
