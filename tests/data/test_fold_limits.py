"""The folds proposed for a small corpus are folds that the stages can make."""

from pathlib import Path

import numpy as np
import pytest

from ecmf.data.fold_limits import MANY_GROUPS, fitting_folds
from ecmf.data.manifest import Clip
from ecmf.data.splits import make_folds
from ecmf.params import load_params
from ecmf.refinement.out_of_fold import OutOfFoldPredictor
from ecmf.training.targets import class_targets

PARAMS = load_params(Path(__file__).resolve().parents[2] / "params.yaml")
TRAINING, REFINEMENT = PARAMS.train_fusion, PARAMS.refine_labels
CLASSES = ("happy", "sad")


def corpus(train: int, test: int = 0, each: int = 4) -> list[Clip]:
    """Make a corpus of that many groups per split, with both classes in each."""
    return [
        Clip(f"{g}_{i}", group=str(g), split="train" if g < train else "test", label=CLASSES[i % 2])
        for g in range(train + test)
        for i in range(each)
    ]


@pytest.mark.filterwarnings("ignore:The least populated class")
@pytest.mark.parametrize("each", [1, 2, 4])
@pytest.mark.parametrize("test", [0, 1])
@pytest.mark.parametrize("groups", range(3, 9))
def test_a_small_corpus_can_be_divided_as_proposed(groups: int, test: int, each: int) -> None:
    clips = corpus(groups, test, each)
    changes = fitting_folds(clips, TRAINING, REFINEMENT)
    assert changes is not None
    settings = {
        section: {name.partition(".")[2]: value for name, value in changes.items()
                  if name.startswith(section)}
        for section in ("train_fusion", "refine_labels")
    }  # fmt: skip
    training = TRAINING.model_copy(update=settings["train_fusion"])
    refinement = REFINEMENT.model_copy(update=settings["refine_labels"])
    for seed in training.seeds:
        for fold in make_folds(clips, training.folds, training.outer_folds, seed):
            assert len(fold.train) and len(fold.validation) and len(fold.test)
    if test and refinement.refiner != "keep":
        one_hot = np.eye(2, dtype="float32")[[CLASSES.index(clip.label) for clip in clips]]
        targets = class_targets(one_hot, np.ones(len(clips), "float32"))
        train = np.flatnonzero([clip.split == "train" for clip in clips])
        predictor = OutOfFoldPredictor({}, clips, CLASSES, train, train[:0], refinement)
        assert len(list(predictor._tasks(targets))) == refinement.folds


def test_a_corpus_of_enough_groups_needs_no_change() -> None:
    assert fitting_folds(corpus(8), TRAINING, REFINEMENT) == {}
    assert fitting_folds(corpus(8, 2), TRAINING, REFINEMENT) == {}
    assert fitting_folds(corpus(MANY_GROUPS + 1), TRAINING, REFINEMENT) == {}


def test_no_more_is_changed_than_needed() -> None:
    assert fitting_folds(corpus(6), TRAINING, REFINEMENT) == {"train_fusion.folds": 4}
    assert fitting_folds(corpus(4), TRAINING, REFINEMENT) == {
        "train_fusion.folds": 3,
        "train_fusion.outer_folds": 4,
    }


def test_a_training_split_too_small_for_models_that_vote_keeps_its_labels() -> None:
    assert fitting_folds(corpus(2, 1), TRAINING, REFINEMENT) == {
        "train_fusion.folds": 2,
        "refine_labels.refiner": "keep",
    }


@pytest.mark.parametrize("groups", [1, 2])
def test_a_corpus_of_too_few_groups_cannot_be_divided(groups: int) -> None:
    assert fitting_folds(corpus(groups), TRAINING, REFINEMENT) is None
