import numpy as np
import pytest

from ecmf.data.manifest import Clip
from ecmf.data.splits import hold_out_test, make_folds
from ecmf.errors import CorpusError, ParamsError


def corpus(splits, speakers=12, each=6):
    return [
        Clip(f"{s:02d}-{i}", group=f"s{s}", split=splits(s), label=("sad", "happy", "angry")[i % 3])
        for s in range(speakers)
        for i in range(each)
    ]


WITH_TEST = corpus(lambda s: "test" if s < 2 else "val" if s < 4 else "train")
WITHOUT_TEST = corpus(lambda s: "train")


def groups(clips, positions):
    return {clips[i].group for i in positions}


@pytest.mark.parametrize("clips", [WITH_TEST, WITHOUT_TEST])
def test_no_group_is_in_two_parts_of_a_fold(clips):
    for fold in make_folds(clips, 4, 3, seed=0):
        train, validation, test = (
            groups(clips, side) for side in (fold.train, fold.validation, fold.test)
        )
        assert not train & validation and not train & test and not validation & test


def test_a_corpus_with_a_test_split_is_tested_on_it_and_keeps_its_validation_split():
    folds = make_folds(WITH_TEST, 4, 3, seed=0)
    assert len(folds) == 4
    used = np.concatenate([np.concatenate([fold.train, fold.validation]) for fold in folds])
    assert {WITH_TEST[i].split for i in used} == {"train"}
    assert all(groups(WITH_TEST, fold.test) == {"s0", "s1"} for fold in folds)
    validated = np.concatenate([fold.validation for fold in folds])
    assert sorted(validated) == [i for i, clip in enumerate(WITH_TEST) if clip.split == "train"]


def test_one_fold_trains_on_all_training_clips_and_stops_early_on_the_validation_split():
    (fold,) = make_folds(WITH_TEST, 1, 3, seed=0)
    assert {WITH_TEST[i].split for i in fold.train} == {"train"}
    assert {WITH_TEST[i].split for i in fold.validation} == {"val"}


@pytest.mark.parametrize("clips", [WITH_TEST, WITHOUT_TEST])
def test_zero_folds_train_on_every_training_clip_without_early_stopping(clips):
    folds = make_folds(clips, 0, 3, seed=0)
    assert len(folds) == (1 if clips is WITH_TEST else 3)
    for fold in folds:
        assert not len(fold.validation) and not groups(clips, fold.train) & groups(clips, fold.test)
        rest = {i for i, clip in enumerate(clips) if clip.split == "train"} - set(fold.test)
        assert set(fold.train) == rest


def test_a_corpus_without_test_split_is_tested_on_every_clip_once():
    folds = make_folds(WITHOUT_TEST, 4, 3, seed=0)
    assert len(folds) == 12
    tested = np.concatenate([fold.test for fold in folds if fold.fold == 0])
    assert sorted(tested) == list(range(len(WITHOUT_TEST)))


def test_folds_follow_from_the_seed_alone():
    same, again, other = (make_folds(WITHOUT_TEST, 4, 3, seed) for seed in (1, 1, 2))
    assert all(np.array_equal(a.test, b.test) for a, b in zip(same, again, strict=True))
    assert not all(np.array_equal(a.test, b.test) for a, b in zip(same, other, strict=True))


def test_more_folds_than_groups_are_refused_with_both_numbers():
    with pytest.raises(ParamsError, match=r"outer_folds is 13, but .* 12 groups.*outer_folds=12"):
        make_folds(WITHOUT_TEST, 4, 13, seed=0)


def test_more_folds_than_clips_of_any_class_are_refused():
    rare = [Clip(f"c{i}", group=f"g{i}", label=("sad", "happy")[i % 2]) for i in range(8)]
    with pytest.raises(
        ParamsError, match=r"is 5, but .* class has 4: -S train_fusion\.outer_folds=4"
    ):
        make_folds(rare, 2, 5, seed=0)


def test_one_fold_without_a_validation_split_is_refused():
    with pytest.raises(ParamsError, match="no validation split"):
        make_folds(WITHOUT_TEST, 1, 3, seed=0)


def test_a_test_split_is_held_out_by_group_and_has_about_its_fraction():
    clips = [
        *(Clip(f"{g}_{n}", group=f"g{g}", label="ab"[n % 2]) for g in range(20) for n in range(6)),
        Clip("wild", group="g1", split="unlabelled"),
    ]
    held_out = hold_out_test(clips, 0.2, 0)
    tested = {clip.group for clip in held_out if clip.split == "test"}
    assert 3 <= len(tested) <= 5
    assert not tested & {clip.group for clip in held_out if clip.split == "train"}
    assert held_out[-1].split == "unlabelled"
    assert held_out == hold_out_test(clips, 0.2, 0)


def test_a_test_split_is_not_replaced_and_an_impossible_fraction_is_refused():
    clips = [Clip("a", group="a", label="x", split="test"), Clip("b", group="b", label="x")]
    with pytest.raises(ParamsError, match="has its own test split: omit the option"):
        hold_out_test(clips, 0.2, 0)
    with pytest.raises(ParamsError, match=r"expected a fraction above 0 and up to 0\.5"):
        hold_out_test(clips[1:], 0.7, 0)
    with pytest.raises(
        ParamsError,
        match=r"of --hold-out is 5, but the 1 clips .* add clips of other",
    ):
        hold_out_test(clips[1:], 0.2, 0)


def test_clips_that_are_each_their_own_group_are_cut_by_class_alone():
    """As on MER2025, where a cut by group took seconds for every seed."""
    clips = [
        Clip(f"{i:04d}", group=f"{i:04d}", label=("sad", "happy", "angry")[i % 3])
        for i in range(900)
    ]
    for fold in make_folds(clips, 3, 5, seed=0):
        for part, count in ((fold.train, 480), (fold.validation, 240), (fold.test, 180)):
            assert len(part) == count
            labels = [clips[i].label for i in part]
            assert [labels.count(name) for name in ("sad", "happy", "angry")] == [count // 3] * 3


@pytest.mark.parametrize(
    "split_of", [lambda s: "unlabelled", lambda s: "test" if s < 2 else "candidate"]
)
@pytest.mark.parametrize("folds", [0, 1, 4])
def test_a_corpus_without_a_clip_to_train_on_is_told_to_label_some(split_of, folds):
    with pytest.raises(CorpusError, match=r"none of the 72 clips .* label clips in .*index`"):
        make_folds(corpus(split_of), folds, 3, seed=0)


def test_too_few_groups_for_any_fold_are_told_what_works_without():
    with pytest.raises(ParamsError, match=r"-S train_fusion\.folds=0 trains on all of them"):
        make_folds([Clip("a", group="a", label="x"), Clip("b", split="test")], 2, 5, seed=0)


def test_a_class_of_few_clips_gives_no_warning_of_a_library(recwarn):
    rare = [*WITH_TEST, Clip("rare", group="s5", label="rare")]
    alone = [Clip(f"{i}", group=f"{i}", label="ab"[i == 0]) for i in range(9)]
    assert make_folds(rare, 4, 3, seed=0) and make_folds(alone, 2, 3, seed=0)
    assert not recwarn.list
