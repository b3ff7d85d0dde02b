"""MELD (Poria et al. 2019, arXiv 1810.02508) in the layout it is published in: 13,708 lines.

    train_sent_emo.csv           9,989 lines of dialogue, one per row: its emotion and its speaker
    dev_sent_emo.csv             1,109 lines
    test_sent_emo.csv            2,610 lines
    train_splits/                dia<dialogue>_utt<utterance>.mp4, if the videos are unpacked
    dev_splits_complete/
    output_repeated_splits_test/

A line whose video is not there is a clip of text alone. Dialogues are counted anew in each table,
so clips are named `train_dia0_utt1`; a dialogue is a group, and its lines stand in the order of
their numbers, with gaps where the publishers took lines out. Sentiment, season and time in the
episode are not read.

Some copies of the tables were made by reading Windows-1252 as Latin-1, which turns the sign ’ into
the control character U+0092. Those are turned back; everything else stays as it was published. The
tables are under GPL-3.0, and so is a manifest made of them.
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
from ecmf.data.manifest import Clip, Split
from ecmf.errors import CorpusError, MissingFileError
from ecmf.storage.csv_rows import read_tables


class Part(NamedTuple):
    """Where an official split stands: its table and its videos, and how its ids begin."""

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
"""Lines of the whole set: any other number is a part of it."""

MISREAD = {
    code: sign
    for code in range(0x80, 0xA0)
    # Windows-1252 has no sign for five of these bytes: they stay what they are.
    if (sign := codecs.decode(bytes([code]), "cp1252", "ignore"))
}
"""Control characters no text holds -> the sign whose Windows-1252 byte was read as one."""

Row = Mapping[str, str]

log = logging.getLogger(__name__)


class Corpus:
    """Seven emotions in the order of the field, neutral first."""

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
        """Yield the lines of train, dev and test, dialogue by dialogue, as they were said.

        Raises:
            MissingFileError: a table is absent; names all that are.
            CorpusError: a table has other columns or broken lines, a number is none, a line stands
                twice, an emotion is unknown; names every fault.
        """
        absent = [part.table for part in PARTS if not (folder / part.table).is_file()]
        if absent:
            raise MissingFileError(
                f"no {', '.join(absent)} in {folder}: it must hold MELD as it is published, the "
                "three tables side by side"
            )
        tables = read_tables(folder, {part.table: COLUMNS for part in PARTS})
        faults = [fault for part in PARTS for fault in _faults(part, tables[part.table])]
        if faults:
            raise CorpusError("\n  ".join([f"{folder}: {len(faults)} faults", *faults]))
        found = [_clip(part, row, folder) for part in PARTS for row in _said(tables[part.table])]
        _report(folder, found, tables)
        yield from found


def _faults(part: Part, rows: list[dict[str, str]]) -> Iterator[str]:
    seen = Counter(_name(row) for row in rows)
    for name, count in seen.items():
        if count > 1:
            yield f"{part.table}: {name} stands {count} times: keep one row"
    for row in rows:
        for column in NUMBERS:
            if not NUMBER.fullmatch(row[column]):
                yield f"{part.table}: {_name(row)}: {column} {row[column]!r} is no whole number"
        emotion = row["Emotion"]
        if emotion not in Corpus.classes:
            yield (
                f"{part.table}: {_name(row)}: unknown emotion {emotion!r}, the classes are "
                f"{', '.join(Corpus.classes)}.{registry.hint(emotion, Corpus.classes)}"
            )


def _name(row: Row) -> str:
    return f"dia{row['Dialogue_ID']}_utt{row['Utterance_ID']}"


def _said(rows: list[dict[str, str]]) -> list[dict[str, str]]:
    return sorted(rows, key=lambda row: tuple(int(row[column]) for column in NUMBERS))


def _clip(part: Part, row: Row, folder: Path) -> Clip:
    video = f"{part.videos}/{_name(row)}.mp4"
    dialogue = f"{part.name}_dia{row['Dialogue_ID']}"
    return Clip(
        clip_id=f"{part.name}_{_name(row)}",
        video=video if (folder / video).is_file() else "",
        transcript=row["Utterance"].translate(MISREAD),
        language="en",
        speaker=row["Speaker"].translate(MISREAD),
        group=dialogue,
        dialogue=dialogue,
        split=part.split,
        label=row["Emotion"],
    )


def _report(folder: Path, clips: list[Clip], tables: Mapping[str, list[dict[str, str]]]) -> None:
    """Say what is legal but seldom meant."""
    if Counter(clip.split for clip in clips) != PUBLISHED:
        log.warning("%s: %d lines: this is a part of MELD", folder, len(clips))
    misread = sum(
        bool({*map(ord, row["Utterance"] + row["Speaker"])} & MISREAD.keys())
        for row in chain.from_iterable(tables.values())
    )
    without = sum(not clip.video for clip in clips)
    for count, what in (
        (misread, "lines with control characters for signs such as ’: put right"),
        (without if without < len(clips) else 0, "lines without a video: text alone"),
    ):
        if count:
            log.warning("%s: %d %s", folder, count, what)
