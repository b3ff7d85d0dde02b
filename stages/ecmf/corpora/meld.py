"""Read MELD (Poria et al. 2019, arXiv 1810.02508) in its published layout: 13,708 utterances.

    train_sent_emo.csv           9,989 utterances, one per row, with emotion and speaker
    dev_sent_emo.csv             1,109 utterances
    test_sent_emo.csv            2,610 utterances
    train_splits/                dia<dialogue>_utt<utterance>.mp4, if the videos are unpacked
    dev_splits_complete/
    output_repeated_splits_test/

An utterance without a video becomes a clip with only text. Each table numbers its dialogues from
zero, so clips are named `train_dia0_utt1`. A dialogue is a group; its utterances are in the order
of their numbers, which have gaps. Sentiment, season and time in the episode are not read.

In some copies of the tables, Windows-1252 was read as Latin-1, which turned the character ’ into
the control character U+0092. These are restored; everything else is as published. The tables are
under GPL-3.0, and so is a manifest derived from them.
"""

import codecs
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from itertools import chain
from pathlib import Path
from typing import ClassVar, NamedTuple

from ecmf import registry
from ecmf.data.manifest import Clip, Split, raise_errors
from ecmf.errors import MissingFileError
from ecmf.storage.csv_rows import read_csv_files


class Part(NamedTuple):
    """An official split: its table, the folder of its videos, and the prefix of its clip ids."""

    split: Split
    table: str
    videos: str
    name: str


PARTS = (
    Part("train", "train_sent_emo.csv", "train_splits", "train"),
    Part("val", "dev_sent_emo.csv", "dev_splits_complete", "dev"),
    Part("test", "test_sent_emo.csv", "output_repeated_splits_test", "test"),
)
COLUMNS = ("Utterance", "Speaker", "Emotion", "Dialogue_ID", "Utterance_ID")
NUMBERS = ("Dialogue_ID", "Utterance_ID")
NUMBER = re.compile(r"0|[1-9][0-9]{0,8}")
PUBLISHED: dict[Split, int] = {"train": 9_989, "val": 1_109, "test": 2_610}
"""Utterances of the complete corpus."""

CP1252_FIXES = {
    code: character
    for code in range(0x80, 0xA0)
    # Windows-1252 defines no character for five of these bytes; they are not changed.
    if (character := codecs.decode(bytes([code]), "cp1252", "ignore"))
}
"""Control character -> the character whose Windows-1252 byte was read as Latin-1."""

Row = Mapping[str, str]

log = logging.getLogger(__name__)


class Corpus:
    """Seven emotions in the order common in the literature, neutral first."""

    classes: ClassVar[tuple[str, ...]] = (
        "neutral",
        "surprise",
        "fear",
        "sadness",
        "joy",
        "disgust",
        "anger",
    )
    gated: ClassVar[bool] = False

    def clips(self, folder: Path) -> Iterator[Clip]:
        """Yield the utterances of train, dev and test by dialogue, in the order of speech.

        Raises:
            MissingFileError: tables are absent; the message names all of them.
            CorpusError: a table lacks a column or has malformed rows, a number is invalid, an
                utterance appears twice, or an emotion is unknown; the message lists every error.
        """
        absent = [part.table for part in PARTS if not (folder / part.table).is_file()]
        if absent:
            raise MissingFileError(
                f"no {', '.join(absent)} in {folder}: the folder must hold the three tables "
                "of MELD in their published layout"
            )
        tables = read_csv_files(folder, {part.table: COLUMNS for part in PARTS})
        errors = [error for part in PARTS for error in _row_errors(part, tables[part.table])]
        raise_errors(folder, errors)
        clips = [_clip(part, row, folder) for part in PARTS for row in _sorted(tables[part.table])]
        _warn(folder, clips, tables)
        yield from clips


def _row_errors(part: Part, rows: list[dict[str, str]]) -> Iterator[str]:
    for name, count in Counter(map(_name, rows)).items():
        if count > 1:
            yield f"{part.table}: {name} appears {count} times: keep one row"
    for row in rows:
        for column in NUMBERS:
            if not NUMBER.fullmatch(row[column]):
                yield f"{part.table}: {_name(row)}: {column} {row[column]!r} is not a whole number"
        emotion = row["Emotion"]
        if emotion not in Corpus.classes:
            yield (
                f"{part.table}: {_name(row)}: unknown emotion {emotion!r}, the classes are "
                f"{', '.join(Corpus.classes)}.{registry.did_you_mean(emotion, Corpus.classes)}"
            )


def _name(row: Row) -> str:
    return f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"


def _sorted(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(rows, key=lambda row: tuple(int(row[column]) for column in NUMBERS))


def _clip(part: Part, row: Row, folder: Path) -> Clip:
    video = f"{part.videos}/{_name(row)}.mp4"
    dialogue = f"{part.name}_dia{row['Dialogue_ID']}"
    return Clip(
        clip_id=f"{part.name}_{_name(row)}",
        video=video if (folder / video).is_file() else "",
        transcript=row["Utterance"].translate(CP1252_FIXES),
        language="en",
        speaker=row["Speaker"].translate(CP1252_FIXES),
        group=dialogue,
        dialogue=dialogue,
        split=part.split,
        label=row["Emotion"],
    )


def _warn(folder: Path, clips: list[Clip], tables: Mapping[str, list[dict[str, str]]]) -> None:
    """Warn of valid but probably unintended content."""
    if Counter(clip.split for clip in clips) != PUBLISHED:
        log.warning("%s: %d utterances: this is only a part of MELD", folder, len(clips))
    misread = sum(
        bool({*map(ord, row["Utterance"] + row["Speaker"])} & CP1252_FIXES.keys())
        for row in chain.from_iterable(tables.values())
    )
    without = sum(not clip.video for clip in clips)
    for count, message in (
        (misread, "utterances with control characters for characters such as ’: restored"),
        (without if without < len(clips) else 0, "utterances without a video: read as text only"),
    ):
        if count:
            log.warning("%s: %d %s", folder, count, message)
