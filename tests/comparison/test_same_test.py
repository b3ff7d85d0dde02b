"""Revisions of other test clips are refused, and what differs between revisions is found."""

from dataclasses import replace

import pytest

from ecmf.comparison.changes import changed_files, changed_params, edited_params
from ecmf.comparison.comparison import compare
from ecmf.comparison.revision import Revision
from ecmf.comparison.same_test import check_same_test
from ecmf.data.manifest import Clip
from ecmf.errors import ComparisonError

PARAMS = {
    "encode_frames": {"encoders": {"motion": {"encoder": "motion"}}},
    "train_fusion": {"model": "ecmf", "outer_folds": 5, "options": {}},
}
STAGES = {
    "encode_frames@motion": {
        "deps": [{"path": "stages/ecmf/encoders/image/motion.py", "md5": "1"}],
        "outs": [{"path": "data/features/frame/motion.h5", "md5": "2"}],
    },
    "encode_frames@gone": {"outs": [{"path": "data/features/frame/gone.h5", "md5": "3"}]},
    "train_fusion": {
        "deps": [{"path": "data/features", "md5": "4.dir"},
                 {"path": "data/labels.csv", "md5": "5"}],
        "params": {"params.yaml": {"train_fusion": PARAMS["train_fusion"],
                                   "encode_frames.encoders": {"motion": {"encoder": "motion"}}}},
        "outs": [{"path": "metrics/training.json", "md5": "6"}],
    },
}  # fmt: skip


def revision(name="first", wrong=(), test="test", params=PARAMS, stages=STAGES):
    """Make a revision of 12 clips, of which the last 8 are test clips, some wrongly decided."""
    clips = [
        Clip(f"c{i:02}", label="ab"[i % 2], group=f"s{i // 2}", sha256=f"{i}" * 64,
             split="train" if i < 4 else test)
        for i in range(12)
    ]  # fmt: skip
    rows = {}
    for i, clip in enumerate(clips):
        decided = "ab"[(i + (i in wrong)) % 2]
        sure = {decided: 0.5 + i / 100, "ab"[decided == "a"]: 0.5 - i / 100}
        rows[clip.clip_id] = {"predicted": decided, "probability_a": f"{sure['a']:.6f}",
                              "probability_b": f"{sure['b']:.6f}"}  # fmt: skip
    return Revision(name, clips, rows, params, stages)


def with_clip(base, number, **change):
    clips = [replace(c, **change) if i == number else c for i, c in enumerate(base.clips)]
    return replace(base, name="second", clips=clips)


def refused(second, match, first=None):
    with pytest.raises(ComparisonError, match=match):
        check_same_test(first or revision(), second)


def test_a_moved_clip_is_refused_with_its_splits():
    moved = with_clip(revision(), 3, split="test")
    refused(moved, "1 clips are in another split, e.g. 'c03' in train of first and in test of sec")


def test_other_test_clips_are_refused_with_one_of_them():
    fewer = replace(revision("second"), clips=revision().clips[:-1])
    refused(fewer, "first has 8 test clips and second 7, e.g. 'c11' is one of first alone")
    refused(revision("second"), "first has 7 test clips and second 8, e.g. 'c11' is one of second",
            replace(fewer, name="first"))  # fmt: skip


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (
            {"label": "a"},
            "1 test clips have another label, e.g. 'c05': 'b' in first, 'a' in second",
        ),
        ({"group": "s9"}, "another group, e.g. 'c05': 's2' in first, 's9' in second"),
        ({"sha256": "f" * 64}, "another file, e.g. 'c05': '555555555555' in first, 'ffffffffffff'"),
    ],
)
def test_a_test_clip_of_other_content_is_refused(change, match):
    refused(with_clip(revision(), 5, **change), match)


def test_further_training_clips_are_a_fair_comparison():
    more = replace(revision("more"), clips=[*revision().clips, Clip("new", label="a")])
    check_same_test(revision(), more)
    check_same_test(more, revision())


def test_a_corpus_without_a_test_split_needs_the_same_test_folds():
    params = {**PARAMS, "train_fusion": {**PARAMS["train_fusion"], "outer_folds": 3}}
    first, other = revision(test="val"), revision("second", test="val", params=params)
    refused(other, "no test split, and 5 test folds are not 3", first)
    check_same_test(first, revision(test="val"))
    assert len(first.test) == 12


def test_a_test_clip_without_a_prediction_is_refused():
    empty = revision("second")
    empty.predictions["c07"]["predicted"] = ""
    refused(empty, "second has no prediction of 1 test clips, e.g. 'c07'")


def test_changed_clips_are_those_that_one_decides_right_the_surest_first():
    (found,) = compare(revision(wrong={4, 5, 9}), [revision("second", wrong={5, 7, 11})])
    assert [clip.clip_id for clip in found.changed] == ["c11", "c09", "c07", "c04"]
    assert (found.mcnemar.gained, found.mcnemar.lost, found.disagree) == (2, 2, 4)
    surest = found.changed[0]
    assert (surest.label, surest.baseline, surest.other) == ("b", "b", "a")
    assert surest.baseline_probability == surest.other_probability == 0.61
    assert (found.clips, found.groups) == (8, 4)


def test_many_comparisons_need_more_evidence_than_one():
    wrong = {4, 6, 8, 10}
    (alone,) = compare(revision(wrong=wrong), [revision("second", wrong=wrong - {4, 8})])
    many = compare(
        revision(wrong=wrong), [revision("second", wrong=wrong - {4, 8}), revision("same", wrong)]
    )
    assert many[0].scores == alone.scores
    assert many[0].p_holm == pytest.approx(min(1, 2 * alone.p_holm))
    assert many[1].p_holm == 1 and many[1].verdict == 0


def test_changed_parameters_have_both_values():
    other = {"a": {"x": 1, "z": {}}, "c": [1]}
    assert changed_params({"a": {"x": 1, "y": {"k": 2}}, "c": [2]}, other) == {
        "a.y.k": (2, None),
        "c": ([2], [1]),
    }


def test_changed_files_are_features_labels_and_code_of_the_encoders_that_are_configured():
    assert changed_files(revision(), revision()) == {}
    params = {**PARAMS, "encode_frames": {"encoders": {"gone": {}}}}
    assert changed_files(revision(), revision(params=params)) == {
        "data/features/frame/gone.h5": "added",
        "data/features/frame/motion.h5": "removed",
        "stages/ecmf/encoders/image/motion.py": "removed",
    }
    train = {**STAGES["train_fusion"], "deps": [{"path": "data/labels.csv", "md5": "other"}]}
    assert changed_files(revision(), revision(stages={**STAGES, "train_fusion": train})) == {
        "data/labels.csv": "changed"
    }


def test_parameters_edited_after_the_run_are_named():
    assert edited_params(revision()) == []
    params = {
        "train_fusion": {**PARAMS["train_fusion"], "model": "mult", "options": {"mult": {"k": 1}}},
        "encode_frames": {"encoders": {}},
    }
    assert edited_params(revision(params=params)) == [
        "train_fusion.model",
        "train_fusion.options.mult.k",
        "encode_frames.encoders.motion.encoder",
    ]
