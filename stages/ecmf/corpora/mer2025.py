"""MER2025 (arXiv 2504.19423) in the layout it is published in: 132,171 clips, 7,369 labelled.

    video/<name>.mp4             every clip
    audio/<name>.wav             its sound, cut out by the publishers
    subtitle_chieng.csv          name, chinese, english; a text may be empty
    track1_train_disdim.csv      name, discrete, valence: the labelled clips
    track_all_candidates.csv     name: 20,000 clips to predict, 2,026 of which were scored

The sound of a clip is its wav; where there is none, that of its video. Its words are the Chinese
subtitle, the English one where there is no Chinese, and nothing where there is neither.

Labelled clips are for training, for the labels of the candidates are not published: a model is
scored by folds. No speaker and no film is named, so each clip is a group of its own, and clips of
one film stand on both sides of a fold, as in the random folds of the official code (MERTools).

The other files of the set (faces, labels of the tracks 2 and 3) are not read. It is given for
academic research alone, and neither the clips nor files made from its labels may be passed on.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from ecmf import registry
from ecmf.data.manifest import Clip, Split
from ecmf.errors import CorpusError, MissingFileError
from ecmf.storage.csv_rows import is_number, read_tables

VIDEOS, SOUNDS = "video", "audio"
SUBTITLES = "subtitle_chieng.csv"
LABELS = "track1_train_disdim.csv"
CANDIDATES = "track_all_candidates.csv"
COLUMNS = {
    SUBTITLES: ("name", "chinese", "english"),
    LABELS: ("name", "discrete", "valence"),
    CANDIDATES: ("name",),
}
PUBLISHED: dict[Split, int] = {"train": 7_369, "candidate": 20_000, "unlabelled": 104_802}
"""Clips of the whole set: any other number is a part of it."""

Row = dict[str, str]
Tables = dict[str, list[Row]]
Recordings = dict[str, str]
"""Name of a clip -> its file, seen from the folder of the corpus."""

log = logging.getLogger(__name__)


class Corpus:
    """Six emotions in the order of the official code."""

    classes: ClassVar[tuple[str, ...]] = ("neutral", "angry", "happy", "sad", "worried", "surprise")
    gated: ClassVar[bool] = True

    def clips(self, folder: Path) -> Iterator[Clip]:
        """Yield labelled clips and candidates in the order of their tables, then the rest by name.

        So the candidates of the manifest, from top to bottom, are the lines of
        `track_all_candidates.csv`, and a submission needs no other list.

        Raises:
            MissingFileError: the videos or a table are absent; names all that are.
            CorpusError: a table has other columns or broken lines, a name stands twice or in both
                lists or has no video, a class is unknown, a valence no number; names every fault.
        """
        tables = _tables(folder)
        videos, faults = _recordings(folder, VIDEOS, ".mp4")
        if not videos:
            raise CorpusError(f"{folder / VIDEOS} holds no .mp4: unpack the videos right into it")
        sounds, more = _recordings(folder, SOUNDS, ".wav")
        faults += [*more, *_faults(tables, videos)]
        if faults:
            raise CorpusError("\n  ".join([f"{folder}: {len(faults)} faults", *faults]))
        found = _clips(tables, videos, sounds)
        _report(folder, found, tables, sounds)
        yield from found


def _tables(folder: Path) -> Tables:
    absent = [f"{VIDEOS}/"] if not (folder / VIDEOS).is_dir() else []
    absent += [name for name in COLUMNS if not (folder / name).is_file()]
    if absent:
        raise MissingFileError(
            f"no {', '.join(absent)} in {folder}: it must hold MER2025 as it is published"
        )
    return read_tables(folder, COLUMNS)


def _recordings(folder: Path, kind: str, suffix: str) -> tuple[Recordings, list[str]]:
    """List a folder, and what stands in it twice: one question to the disk, not 132,171.

    Hidden files (`._*` in archives made on a Mac) are no recordings.
    """
    recordings: Recordings = {}
    faults = []
    place = folder / kind
    for file in sorted(path.name for path in place.iterdir()) if place.is_dir() else ():
        name, dot, ending = file.rpartition(".")
        if file.startswith(".") or f"{dot}{ending}".lower() != suffix:
            continue
        path = f"{kind}/{file}"
        first = recordings.setdefault(name, path)
        if first != path:
            faults.append(f"{path!r} is there already as {first!r}: keep one of them")
    return recordings, faults


def _faults(tables: Tables, videos: Recordings) -> Iterator[str]:
    lines = {table: Counter(row["name"] for row in rows) for table, rows in tables.items()}
    for table, counts in lines.items():
        for name, count in counts.items():
            if count > 1:
                yield f"{table}: {name!r} stands {count} times: keep one line"
    for table in (LABELS, CANDIDATES):
        for name in lines[table]:
            if name not in videos:
                yield f"{table}: {name!r} has no video {VIDEOS}/{name}.mp4: add it"
    for name in lines[CANDIDATES]:
        if name in lines[LABELS]:
            yield f"{name!r} stands in {LABELS} and in {CANDIDATES}: take it out of one"
    for row in tables[LABELS]:
        label, valence = row["discrete"], row["valence"]
        if label not in Corpus.classes:
            yield (
                f"{LABELS}: {row['name']!r}: unknown class {label!r}, the classes are "
                f"{', '.join(Corpus.classes)}.{registry.hint(label, Corpus.classes)}"
            )
        if valence and not is_number(valence):
            yield f"{LABELS}: {row['name']!r}: valence {valence!r} is not a number"


def _clips(tables: Tables, videos: Recordings, sounds: Recordings) -> list[Clip]:
    subtitles = {row["name"]: row for row in tables[SUBTITLES]}

    def clip(name: str, split: Split, label: str = "", valence: str = "") -> Clip:
        subtitle = subtitles.get(name, {})
        chinese, english = subtitle.get("chinese", ""), subtitle.get("english", "")
        return Clip(
            clip_id=name,
            video=videos[name],
            audio=sounds.get(name, ""),
            transcript=chinese or english,
            language="zh" if chinese else "en" if english else "",
            group=name,
            split=split,
            label=label,
            valence=valence,
        )

    listed = {row["name"] for table in (LABELS, CANDIDATES) for row in tables[table]}
    return [
        *(clip(row["name"], "train", row["discrete"], row["valence"]) for row in tables[LABELS]),
        *(clip(row["name"], "candidate") for row in tables[CANDIDATES]),
        *(clip(name, "unlabelled") for name in sorted(videos.keys() - listed)),
    ]


def _report(folder: Path, clips: Sequence[Clip], tables: Tables, sounds: Recordings) -> None:
    """Say what is legal but seldom meant."""
    counts = Counter(clip.split for clip in clips)
    if counts != PUBLISHED:
        log.warning("%s: %s clips: this is a part of MER2025", folder, len(clips))
    names = {clip.clip_id for clip in clips}
    for count, what in (
        (sum(not clip.audio for clip in clips), "clips without a wav: the video's sound is used"),
        (sum(row["name"] not in names for row in tables[SUBTITLES]), "subtitles without a video"),
        (len(sounds.keys() - names), "wavs without a video: left out"),
    ):
        if count:
            log.warning("%s: %d %s", folder, count, what)
