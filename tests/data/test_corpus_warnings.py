"""What makes scores doubtful is found in the manifest, before anything is trained."""

from dataclasses import replace
from pathlib import Path

import pytest

from ecmf.data.corpus_warnings import corpus_warnings, describe_corpus, shared_contents
from ecmf.data.manifest import Clip, write_manifest

Rows = list[tuple[str, str, str]]


def make(rows: Rows) -> list[Clip]:
    """Make clips of (group, split, label)."""
    return [
        Clip(str(number), speaker=group, group=group, split=split, label=label)  # type: ignore[arg-type]
        for number, (group, split, label) in enumerate(rows)
    ]


SOUND: Rows = [(group, "train", label) for group in "abc" for label in ("joy", "sad")]
TEST: Rows = [("t", "test", "joy"), ("t", "test", "sad")]


def warnings(rows: Rows, classes: tuple[str, ...] = ("joy", "sad")) -> str:
    return "\n".join(corpus_warnings(make(rows), classes))


@pytest.mark.parametrize("rows", [SOUND, SOUND + TEST])
def test_a_sound_corpus_has_no_warning(rows: Rows) -> None:
    assert warnings(rows) == ""


@pytest.mark.parametrize(
    ("rows", "warning"),
    [
        ([("a", "train", "joy")], "have one class, 'joy': with fewer than two"),
        ([("a", "unlabelled", "")], "have no class"),
        ([*SOUND, *TEST, ("t", "test", "fear")], "'fear' has no training clip but 1 test clips"),
        ([*SOUND, ("a", "train", "fear")], "'fear' has training clips of one group only (1 clips"),
        ([*SOUND, *TEST[:1]], "class 'sad' has no test clip"),
        ([*SOUND, *TEST, ("a", "test", "joy")], "1 of 2 speakers of the split test are in train"),
        ([*SOUND, *TEST, ("a", "val", "joy")], "1 of 1 speakers of the split val are in training"),
    ],
)
def test_a_doubt_is_said(rows: Rows, warning: str) -> None:
    classes = tuple(sorted({label for _, _, label in rows if label}))
    assert warning in warnings(rows, classes)


def test_a_speaker_in_several_groups_is_said_of_a_corpus_without_a_test_split() -> None:
    clips = make(SOUND)
    films = [replace(clip, speaker="s") for clip in clips]
    (warning,) = corpus_warnings(films, ("joy", "sad"))
    assert "1 of 1 speakers are in several groups" in warning


def test_equal_contents_leak_between_splits_or_between_groups_that_are_cut_into_folds() -> None:
    def clip(name: str, split: str, group: str, sha: str) -> Clip:
        return Clip(name, group=group, split=split, label="x", sha256=sha)  # type: ignore[arg-type]

    held = [clip("a", "train", "1", "A"), clip("b", "test", "1", "A"), clip("c", "val", "2", "A")]
    assert [(x.clip_id, y.clip_id) for x, y in shared_contents(held)] == [("a", "b")]
    same = [clip("a", "train", "1", "A"), clip("b", "train", "1", "A"), clip("c", "test", "2", "B")]
    assert shared_contents(same) == []
    cut = [clip("a", "train", "1", "A"), clip("b", "train", "2", "A"), clip("c", "train", "3", "B")]
    assert [(x.clip_id, y.clip_id) for x, y in shared_contents(cut)] == [("a", "b")]
    text = [clip("a", "train", "1", ""), clip("b", "test", "2", "")]
    assert shared_contents(text) == []


def test_the_corpus_of_scores_is_identified_without_naming_a_clip(tmp_path: Path) -> None:
    clips = make([("secret", "train", "joy"), ("secret", "test", "sad")])
    write_manifest(clips, tmp_path / "mine.csv")
    about = describe_corpus(tmp_path / "mine.csv", clips)
    assert (about["name"], about["clips"]) == ("mine", 2)
    assert about["test_clips_by_class"] == {"sad": 1}
    assert "secret" not in str(about)
    before = about["manifest_sha256"]
    write_manifest(clips[:1], tmp_path / "mine.csv")
    assert describe_corpus(tmp_path / "mine.csv", clips[:1])["manifest_sha256"] != before


@pytest.mark.parametrize(
    ("first", "second", "shared"),
    [
        (("0", "5"), ("4.5", "9"), 1),
        (("0", "5"), ("5", "9"), 0),
        (("", ""), ("3", "4"), 1),
        (("6", ""), ("3", "6"), 0),
        (("6", ""), ("3", ""), 1),
    ],
)
def test_overlapping_pieces_of_a_file_leak_as_equal_files_do(
    first: tuple[str, str], second: tuple[str, str], shared: int
) -> None:
    clips = [
        Clip("a", split="train", sha256="0", start=first[0], end=first[1]),
        Clip("b", split="train", sha256="0", start="1", end="2"),
        Clip("c", split="test", sha256="0", start=second[0], end=second[1]),
    ]
    assert len(shared_contents(clips)) == len(shared_contents(clips[::-1])) == shared
