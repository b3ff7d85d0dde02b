"""Refiners on votes of CREMA-D: real raters, whose errors are not independent."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from refine_votes import DAWID_SKENE, DEFAULT, GIVEN, PLURALITY, PUBLISHED, pluralities, targets
from support.rated_corpora import crema_cases, read_crema

ACTORS = {f"{number}" for number in range(1001, 1016)}


@pytest.fixture(scope="module")
def folder(shared):
    path = shared / "data/crema_votes"
    if not path.is_dir():
        pytest.skip(f"no votes of CREMA-D in {path}")
    return path


@pytest.fixture(scope="module")
def accuracy(folder):
    """Accuracy of the labels of 15 actors by refiner, from one vote and all others on voices."""
    case = next(crema_cases(folder))
    ratings = case.draw(0)
    ratings = replace(ratings, clips=[clip for clip in ratings.clips if clip.group in ACTORS])
    truth = [case.classes.index(ratings.truth[clip.clip_id]) for clip in ratings.clips]
    return {
        name: float((made.argmax(axis=1) == truth).mean())
        for name, made in targets(case, ratings, 0).items()
    }


def test_the_votes_are_read_as_published(folder):
    read = pluralities(read_crema(folder))
    assert {name: round(mark, 3) for name, mark in read.items()} == PUBLISHED


def test_a_vote_of_equal_raters_is_their_plurality_and_better_than_one_of_them(accuracy):
    assert accuracy[DEFAULT] == pytest.approx(accuracy[PLURALITY], abs=0.02)
    assert accuracy[DEFAULT] > accuracy[GIVEN] + 0.03


def test_estimated_confusions_correct_what_most_raters_take_for_neutral(accuracy):
    assert accuracy[DAWID_SKENE] > accuracy[DEFAULT] + 0.03


def test_without_a_model_confident_learning_keeps_real_labels(accuracy):
    assert accuracy["confident_learning"] == accuracy[GIVEN]
