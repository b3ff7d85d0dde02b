"""Which unlabelled clips are learned from, and in which folds."""

import numpy as np
import pytest

from ecmf.data.manifest import Clip
from ecmf.data.splits import Fold, with_unlabelled
from ecmf.errors import ParamsError
from ecmf.params import PseudoLabels
from ecmf.probabilities import factors_to, scaled
from ecmf.refinement.pseudo_labels import Selector

CLASSES = ("angry", "happy", "sad")
EVEN = np.full(3, 1 / 3)
BELIEVED = np.array(
    [[0.9, 0.05, 0.05], [0.7, 0.2, 0.1], [0.1, 0.85, 0.05], [0.2, 0.2, 0.6], [0.0, 0.0, 0.0]]
)


def chosen(believed=BELIEVED, prior=EVEN, *, moved_to="none", **params):
    given = {"rounds": 1, "prior": moved_to, "cap": None, **params}
    return Selector(PseudoLabels.model_validate(given), CLASSES, prior)(believed)


def test_only_clips_the_models_are_sure_of_are_taken():
    assert {row: np.argmax(made.soft) for row, made in chosen(threshold=0.8).items()} == {
        0: 0,
        2: 1,
    }
    assert chosen(threshold=0.99) == {}
    assert 4 not in chosen(threshold=0.0)  # nothing is believed of it


def test_a_class_can_have_a_threshold_of_its_own():
    assert set(chosen(threshold=0.8, thresholds={"sad": 0.5})) == {0, 2, 3}
    with pytest.raises(ParamsError, match=r"thresholds names 'sda'.*Did you mean 'sad'"):
        chosen(thresholds={"sda": 0.5})


def test_no_class_takes_much_more_than_its_share_and_the_surest_come_first():
    believed = np.tile([0.0, 0.1, 0.9], (12, 1))
    believed[7] = [0.0, 0.0, 1.0]
    taken = chosen(believed, threshold=0.5, cap=0.5)
    assert len(taken) == 2 and next(iter(taken)) == 7  # half of a third of twelve


def test_probabilities_are_moved_to_the_shares_of_the_training_split():
    rng = np.random.default_rng(0)
    biased = rng.dirichlet([8, 1, 1], 500)
    prior = np.array([0.2, 0.3, 0.5])
    moved = scaled(biased, factors_to(prior, biased))
    assert moved.mean(axis=0) == pytest.approx(prior, abs=1e-6)
    before = {int(np.argmax(m.soft)) for m in chosen(biased, threshold=0.6).values()}
    after = chosen(biased, prior, moved_to="training", threshold=0.6).values()
    assert before == {0} and len({int(np.argmax(made.soft)) for made in after}) == 3


def test_a_class_that_nothing_is_believed_to_be_spoils_nothing():
    sure = np.eye(3)[[0, 1, 0, 1, 0, 0]]
    prior = np.array([0.4, 0.4, 0.2])
    assert len(chosen(sure, prior, moved_to="training", threshold=0.6)) == 6
    assert factors_to(prior, np.empty((0, 3))).tolist() == [1, 1, 1]


def test_a_pseudo_label_is_a_class_or_soft_and_weighs_what_was_set():
    hard, soft = (chosen(threshold=0.8, soft=soft, weight=0.3)[0] for soft in (False, True))
    assert (hard.soft, hard.weight, hard.name) == ((1.0, 0.0, 0.0), 0.3, "added")
    assert soft.soft == (0.9, 0.05, 0.05)


def test_a_pseudo_labelled_clip_joins_no_fold_that_judges_its_speaker():
    clips = [
        Clip("a", group="g1", label="sad"),
        Clip("b", group="g2", label="sad"),
        Clip("c", group="g2", split="unlabelled"),
        Clip("d", group="g3", split="unlabelled"),
        Clip("e", group="g4", split="unlabelled"),
        Clip("f", group="g5", split="val", label="sad"),
        Clip("g", group="g5", split="unlabelled"),
    ]
    fold = Fold(0, 0, np.array([0]), np.array([1]), np.array([], "int64"))
    weight = np.array([1, 1, 0.5, 0.5, 0, 1, 0.5], "float32")
    joined = with_unlabelled(fold, clips, weight)
    assert joined.train.tolist() == [0, 3] and joined.unlabelled.tolist() == [4]
