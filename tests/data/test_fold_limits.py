"""The folds proposed for a small corpus are folds that the stages can make."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from ecmf.data.fold_limits import MANY_GROUPS, check_folds, fitting_folds
from ecmf.data.manifest import Clip
from ecmf.data.splits import make_folds
from ecmf.errors import ParamsError
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
            assert len(fold.train) and len(fold.test)
            assert len(fold.validation) or not training.folds
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


def test_a_corpus_too_small_for_early_stopping_is_trained_without() -> None:
    assert fitting_folds(corpus(2), TRAINING, REFINEMENT) == {
        "train_fusion.folds": 0,
        "train_fusion.outer_folds": 2,
    }
    assert fitting_folds(corpus(1, 1), TRAINING, REFINEMENT) == {
        "train_fusion.folds": 0,
        "refine_labels.refiner": "keep",
    }


def test_a_corpus_of_one_group_cannot_be_divided() -> None:
    assert fitting_folds(corpus(1), TRAINING, REFINEMENT) is None


def test_a_stage_is_told_settings_that_fit_before_it_starts() -> None:
    check_folds(corpus(8), TRAINING, REFINEMENT)
    with pytest.raises(ParamsError, match=r"dvc exp run -S train_fusion\.folds=4$"):
        check_folds(corpus(6), TRAINING, REFINEMENT)
    with pytest.raises(ParamsError, match="add clips of others, or a test split"):
        check_folds(corpus(1), TRAINING, REFINEMENT)
    one = [replace(clip, label="sad") for clip in corpus(8)]
    with pytest.raises(ParamsError, match="all training clips have the label 'sad'"):
        check_folds(one, TRAINING, REFINEMENT)


def test_a_corpus_without_labels_is_not_checked_since_it_is_encoded_alone() -> None:
    check_folds([Clip("a", split="unlabelled")], TRAINING, REFINEMENT)
