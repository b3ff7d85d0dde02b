"""Selection of pseudo-labels, and the folds they join."""

import numpy as np
import pytest

from ecmf.data.manifest import Clip
from ecmf.data.splits import Fold, with_unlabelled
from ecmf.errors import ParamsError
from ecmf.params import PseudoLabels
from ecmf.probabilities import apply_prior, prior_factors
from ecmf.refinement.pseudo_labels import PseudoLabelSelector

CLASSES = ("angry", "happy", "sad")
UNIFORM = np.full(3, 1 / 3)
POSTERIOR = np.array(
    [[0.9, 0.05, 0.05], [0.7, 0.2, 0.1], [0.1, 0.85, 0.05], [0.2, 0.2, 0.6], [0.0, 0.0, 0.0]]
)


def select(posterior=POSTERIOR, prior=UNIFORM, *, class_prior="none", **params):
    given = {"rounds": 1, "class_prior": class_prior, "cap": None, **params}
    return PseudoLabelSelector(PseudoLabels.model_validate(given), CLASSES, prior)(posterior)


def test_only_confident_predictions_become_pseudo_labels():
    assert {row: np.argmax(label.soft) for row, label in select(threshold=0.8).items()} == {
        0: 0,
        2: 1,
    }
    assert select(threshold=0.99) == {}
    assert 4 not in select(threshold=0.0)  # it has no posterior


def test_a_class_can_have_a_threshold_of_its_own():
    assert set(select(threshold=0.8, thresholds={"sad": 0.5})) == {0, 2, 3}
    with pytest.raises(ParamsError, match=r"thresholds names 'sda'.*Did you mean 'sad'"):
        select(thresholds={"sda": 0.5})


def test_a_class_is_capped_near_its_prior_and_the_most_confident_come_first():
    posterior = np.tile([0.0, 0.1, 0.9], (12, 1))
    posterior[7] = [0.0, 0.0, 1.0]
    taken = select(posterior, threshold=0.5, cap=0.5)
    assert len(taken) == 2 and next(iter(taken)) == 7  # half of a third of twelve


def test_probabilities_are_scaled_to_the_prior_of_the_training_split():
    rng = np.random.default_rng(0)
    biased = rng.dirichlet([8, 1, 1], 500)
    prior = np.array([0.2, 0.3, 0.5])
    moved = apply_prior(biased, prior_factors(prior, biased))
    assert moved.mean(axis=0) == pytest.approx(prior, abs=1e-6)
    before = {int(np.argmax(label.soft)) for label in select(biased, threshold=0.6).values()}
    after = select(biased, prior, class_prior="training", threshold=0.6).values()
    assert before == {0} and len({int(np.argmax(label.soft)) for label in after}) == 3


def test_a_class_without_any_probability_does_not_disturb_the_others():
    sure = np.eye(3)[[0, 1, 0, 1, 0, 0]]
    prior = np.array([0.4, 0.4, 0.2])
    assert len(select(sure, prior, class_prior="training", threshold=0.6)) == 6
    assert prior_factors(prior, np.empty((0, 3))).tolist() == [1, 1, 1]


def test_a_pseudo_label_is_hard_or_soft_and_has_the_configured_weight():
    hard, soft = (select(threshold=0.8, soft=soft, weight=0.3)[0] for soft in (False, True))
    assert (hard.soft, hard.weight, hard.name) == ((1.0, 0.0, 0.0), 0.3, "added")
    assert soft.soft == (0.9, 0.05, 0.05)


def test_a_pseudo_labelled_clip_joins_no_fold_that_validates_or_tests_its_group():
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
