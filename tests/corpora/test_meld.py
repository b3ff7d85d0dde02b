"""MELD: three tables of dialogue become clips, with the videos present or as text only."""

import csv
import logging
from collections import Counter
from pathlib import Path

import pytest

from ecmf import registry
from ecmf.data.corpus_index import collect_clips
from ecmf.data.manifest import Clip, find_errors
from ecmf.errors import CorpusError, MissingFileError

COLUMNS = ["Sr No.", "Utterance", "Speaker", "Emotion", "Sentiment", "Dialogue_ID", "Utterance_ID"]
LINES = {
    "train": [
        ("You did what?", "Joey", "surprise", "0", "10"),
        ("Nothing, nothing.", "Ross", "fear", "0", "2"),
        ("Hello, “you”.", "Ann", "joy", "10", "0"),
        ("Goodbye.", "Ann", "neutral", "2", "0"),
    ],
    "dev": [("Ugh!", "Ross", "disgust", "0", "0")],
    "test": [("He’s gone…", "Bob", "sadness", "0", "0"), ("No!", "Ann", "anger", "0", "1")],
}


def table(folder: Path, name: str) -> Path:
    return folder / f"{name}_sent_emo.csv"


def write(folder: Path, name: str, lines: list[tuple[str, ...]]) -> None:
    with table(folder, name).open("w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for number, (utterance, speaker, emotion, *ids) in enumerate(lines, 1):
            writer.writerow([number, utterance, speaker, emotion, "neutral", *ids])


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name, lines in LINES.items():
        write(tmp_path, name, lines)
    return tmp_path


def clips(folder: Path) -> list[Clip]:
    return list(registry.load("corpora", "meld").Corpus().clips(folder))


def write_videos(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(name.encode())


def test_a_line_is_read_in_full(folder: Path) -> None:
    write_videos(folder, "train_splits/dia0_utt2.mp4")
    assert clips(folder)[0] == Clip(
        clip_id="train_dia0_utt2",
        video="train_splits/dia0_utt2.mp4",
        transcript="Nothing, nothing.",
        language="en",
        speaker="Ross",
        group="train_dia0",
        dialogue="train_dia0",
        split="train",
        label="fear",
    )


def test_utterances_are_in_the_order_of_speech_and_in_the_official_splits(folder: Path) -> None:
    assert [(clip.clip_id, clip.split) for clip in clips(folder)] == [
        ("train_dia0_utt2", "train"),
        ("train_dia0_utt10", "train"),
        ("train_dia2_utt0", "train"),
        ("train_dia10_utt0", "train"),
        ("dev_dia0_utt0", "val"),
        ("test_dia0_utt0", "test"),
        ("test_dia0_utt1", "test"),
    ]


def test_dialogues_of_the_same_number_in_two_splits_are_two(folder: Path) -> None:
    groups = {clip.group for clip in clips(folder)}
    assert {"train_dia0", "dev_dia0", "test_dia0"} < groups
    assert groups == {clip.dialogue for clip in clips(folder)}


def test_present_videos_are_used_and_text_only_clips_are_counted_in_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_videos(
        folder,
        *("dev_splits_complete/dia0_utt0.mp4", "output_repeated_splits_test/dia0_utt1.mp4"),
        *("train_splits/dia0_utt3.mp4", "train_splits/._dia0_utt10.mp4"),
    )
    with caplog.at_level(logging.WARNING):
        videos = [clip.video for clip in clips(folder)]
    assert videos[4:] == [
        "dev_splits_complete/dia0_utt0.mp4",
        "",
        "output_repeated_splits_test/dia0_utt1.mp4",
    ]
    assert videos[:4] == [""] * 4
    assert "5 utterances without a video: read as text only" in caplog.text


def test_without_any_video_every_clip_is_text_only_and_can_be_indexed(folder: Path) -> None:
    found = collect_clips("meld", folder)
    assert len(found) == 7
    assert not any(clip.sources or clip.sha256 for clip in found)
    assert all(clip.transcript for clip in found)


def test_characters_misread_from_windows_1252_are_restored_with_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write(
        folder, "dev", [("It\x92s \x93him\x94\x85 caf\xe9, 100\xa0%", "Joey\x92s", "joy", "0", "0")]
    )
    with caplog.at_level(logging.WARNING):
        (line,) = (clip for clip in clips(folder) if clip.split == "val")
    assert line.transcript == "It’s “him”… café, 100\xa0%"
    assert line.speaker == "Joey’s"
    assert "1 utterances with control characters for characters such as ’: restored" in caplog.text


def test_an_incomplete_corpus_gives_a_warning(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        clips(folder)
    assert "7 utterances: this is only a part of MELD" in caplog.text


def test_all_absent_tables_are_named_at_once(folder: Path) -> None:
    for name in ("dev", "test"):
        table(folder, name).unlink()
    with pytest.raises(MissingFileError, match=r"no dev_sent_emo\.csv, test_sent_emo\.csv in .*"):
        clips(folder)


def test_format_errors_of_all_tables_are_reported_at_once(folder: Path) -> None:
    table(folder, "train").write_text("Utterance,Speaker,Dialogue_ID,Utterance_ID\nNo,Ann,0,0\n")
    table(folder, "dev").write_text(",".join(COLUMNS) + "\n1,No, no!,Ann,joy,neutral,0,0\n")
    table(folder, "test").write_bytes(b"Utterance\nIt\x92s\n")
    with pytest.raises(
        CorpusError,
        match=r"(?s)train_sent.*no column Emotion.*dev_sent.*has 8 fields.*test_sent.* not UTF-8",
    ):
        clips(folder)


@pytest.mark.parametrize(
    ("line", "error"),
    [
        (
            ("a", "Ann", "joy", "0", "2"),
            r"train_sent_emo\.csv: dia0_utt2 appears 2 times: keep one",
        ),
        (
            ("a", "Ann", "happy", "5", "0"),
            "dia5_utt0: unknown emotion 'happy', the classes are neu",
        ),
        (("a", "Ann", "Joy", "5", "0"), "unknown emotion 'Joy'.* Did you mean 'joy'"),
        (("a", "Ann", "joy", "five", "0"), "Dialogue_ID 'five' is not a whole number"),
        (("a", "Ann", "joy", "5", "-1"), "Utterance_ID '-1' is not a whole number"),
        (("a", "Ann", "joy", "05", "1"), "Dialogue_ID '05' is not a whole number"),
        (("a", "Ann", "joy", "../5", "1"), r"Dialogue_ID '\.\./5' is not a whole number"),
        (("a", "Ann", "joy", "9" * 5000, "1"), "is not a whole number"),
    ],
)
def test_an_invalid_row_is_refused(folder: Path, line: tuple[str, ...], error: str) -> None:
    write(folder, "train", [*LINES["train"], line])
    with pytest.raises(CorpusError, match=error):
        clips(folder)


def test_errors_of_all_tables_are_reported_at_once(folder: Path) -> None:
    write(folder, "train", [("a", "Ann", "happy", "0", "0")])
    write(folder, "test", [("a", "Ann", "joy", "x", "0")])
    with pytest.raises(CorpusError, match=r"(?s): 2 errors.*'happy'.*Dialogue_ID 'x'"):
        clips(folder)


def test_a_line_without_words_is_refused_by_name_unless_it_has_a_video(folder: Path) -> None:
    write(folder, "dev", [("", "Ann", "joy", "0", "0"), ("", "Ann", "joy", "0", "1")])
    write_videos(folder, "dev_splits_complete/dia0_utt1.mp4")
    with pytest.raises(CorpusError, match=r": 1 error\n.*'dev_dia0_utt0' has no video"):
        collect_clips("meld", folder)


def test_the_real_meld_is_read_whole(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = clips(shared / "data" / "meld")
    assert not caplog.records
    assert Counter(clip.split for clip in found) == {"train": 9_989, "val": 1_109, "test": 2_610}
    assert len({clip.dialogue for clip in found}) == 1_038 + 114 + 280
    labels = Counter(clip.label for clip in found if clip.split == "test")
    assert labels == {
        "neutral": 1_256, "joy": 402, "anger": 345, "surprise": 281, "sadness": 208,
        "disgust": 68, "fear": 50,
    }  # fmt: skip
    assert find_errors(found, registry.load("corpora", "meld").Corpus.classes) == []
    assert not any(clip.sources for clip in found)
    assert not any(
        ord(character) in range(0x80, 0xA0) for clip in found for character in clip.transcript
    )
