"""Read MER2025 (arXiv 2504.19423) in its published layout: 132,171 clips, 7,369 labelled.

    video/<name>.mp4             every clip
    audio/<name>.wav             its audio track, extracted by the publishers
    subtitle_chieng.csv          name, chinese, english; a text may be empty
    track1_train_disdim.csv      name, discrete, valence: the labelled clips
    track_all_candidates.csv     name: 20,000 clips to predict, 2,026 of which were scored

The audio of a clip is its wav, or else the track of its video. The transcript is the Chinese
subtitle, or else the English one, or else empty.

The labels of the candidates are not published, so a model is scored by cross-validation over the
labelled clips. Neither speakers nor films are identified: each clip is its own group, and clips of
one film may be on both sides of a fold, as in the random folds of the official code (MERTools).

The other files of the corpus (faces, labels of tracks 2 and 3) are not read. The licence permits
academic research only; neither the clips nor files derived from the labels may be redistributed.
"""

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import ClassVar

from ecmf import registry
from ecmf.data.manifest import Clip, Split, raise_errors
from ecmf.errors import CorpusError, MissingFileError
from ecmf.storage.csv_cells import is_number
from ecmf.storage.csv_rows import read_csv_files

VIDEOS, AUDIO = "video", "audio"
SUBTITLES = "subtitle_chieng.csv"
LABELS = "track1_train_disdim.csv"
CANDIDATES = "track_all_candidates.csv"
COLUMNS = {
    SUBTITLES: ("name", "chinese", "english"),
    LABELS: ("name", "discrete", "valence"),
    CANDIDATES: ("name",),
}
PUBLISHED: dict[Split, int] = {"train": 7_369, "candidate": 20_000, "unlabelled": 104_802}
"""Clips of the complete corpus."""

Row = dict[str, str]
Tables = dict[str, list[Row]]
Recordings = dict[str, str]
"""Name of a clip -> path of its file, relative to the folder of the corpus."""

log = logging.getLogger(__name__)


class Corpus:
    """Six emotions in the order of the official code."""

    classes: ClassVar[tuple[str, ...]] = ("neutral", "angry", "happy", "sad", "worried", "surprise")
    gated: ClassVar[bool] = True

    def clips(self, folder: Path) -> Iterator[Clip]:
        """Yield labelled clips and candidates in the order of their tables, then the rest by name.

        The candidates of the manifest are therefore in the order of `track_all_candidates.csv`, as
        a submission requires.

        Raises:
            MissingFileError: the videos or tables are absent; the message names all of them.
            CorpusError: a table lacks a column or has malformed rows, a name appears twice or in
                both lists or has no video, a class is unknown, or a valence is not a number; the
                message lists every error.
        """
        tables = _tables(folder)
        videos, video_errors = _recordings(folder, VIDEOS, ".mp4")
        if not videos:
            raise CorpusError(f"{folder / VIDEOS} holds no .mp4: unpack the videos into it")
        audio, audio_errors = _recordings(folder, AUDIO, ".wav")
        raise_errors(folder, [*video_errors, *audio_errors, *_table_errors(tables, videos)])
        clips = _clips(tables, videos, audio)
        _warn(folder, clips, tables, audio)
        yield from clips


def _tables(folder: Path) -> Tables:
    absent = [f"{VIDEOS}/"] if not (folder / VIDEOS).is_dir() else []
    absent += [name for name in COLUMNS if not (folder / name).is_file()]
    if absent:
        raise MissingFileError(
            f"no {', '.join(absent)} in {folder}: the folder must have MER2025's published layout"
        )
    return read_csv_files(folder, COLUMNS)


def _recordings(folder: Path, kind: str, suffix: str) -> tuple[Recordings, list[str]]:
    """Return the recordings of a folder, and an error per duplicate; ignore hidden files.

    Archives of macOS contain hidden files `._*`.
    """
    recordings: Recordings = {}
    errors = []
    directory = folder / kind
    for file in sorted(path.name for path in directory.iterdir()) if directory.is_dir() else ():
        name, dot, ending = file.rpartition(".")
        if file.startswith(".") or f"{dot}{ending}".lower() != suffix:
            continue
        path = f"{kind}/{file}"
        first = recordings.setdefault(name, path)
        if first != path:
            errors.append(f"{path!r} duplicates {first!r}: keep one of them")
    return recordings, errors


def _table_errors(tables: Tables, videos: Recordings) -> Iterator[str]:
    names = {table: Counter(row["name"] for row in rows) for table, rows in tables.items()}
    for table, counts in names.items():
        for name, count in counts.items():
            if count > 1:
                yield f"{table}: {name!r} appears {count} times: keep one row"
    for table in (LABELS, CANDIDATES):
        for name in names[table]:
            if name not in videos:
                yield f"{table}: {name!r} has no video {VIDEOS}/{name}.mp4: add it"
    for name in names[CANDIDATES]:
        if name in names[LABELS]:
            yield f"{name!r} is in {LABELS} and in {CANDIDATES}: remove it from one"
    for row in tables[LABELS]:
        label, valence = row["discrete"], row["valence"]
        if label not in Corpus.classes:
            yield (
                f"{LABELS}: {row['name']!r}: unknown class {label!r}, the classes are "
                f"{', '.join(Corpus.classes)}.{registry.did_you_mean(label, Corpus.classes)}"
            )
        if valence and not is_number(valence):
            yield f"{LABELS}: {row['name']!r}: valence {valence!r} is not a number"


def _clips(tables: Tables, videos: Recordings, audio: Recordings) -> list[Clip]:
    subtitles = {row["name"]: row for row in tables[SUBTITLES]}

    def clip(name: str, split: Split, label: str = "", valence: str = "") -> Clip:
        subtitle = subtitles.get(name, {})
        chinese, english = subtitle.get("chinese", ""), subtitle.get("english", "")
        return Clip(
            clip_id=name,
            video=videos[name],
            audio=audio.get(name, ""),
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


def _warn(folder: Path, clips: Sequence[Clip], tables: Tables, audio: Recordings) -> None:
    """Warn of valid but probably unintended content."""
    if Counter(clip.split for clip in clips) != PUBLISHED:
        log.warning("%s: %s clips: this is only a part of MER2025", folder, len(clips))
    names = {clip.clip_id for clip in clips}
    for count, message in (
        (sum(not clip.audio for clip in clips), "clips without a wav: the video's audio is used"),
        (sum(row["name"] not in names for row in tables[SUBTITLES]), "subtitles without a video"),
        (len(audio.keys() - names), "wavs without a video: left out"),
    ):
        if count:
            log.warning("%s: %d %s", folder, count, message)
