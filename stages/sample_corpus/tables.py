"""The corpus as tables: what everybody may read, and the truth that only scoring reads."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ecmf.corpora.folder import LIST
from ecmf.data.manifest import ANNOTATOR_PREFIX
from ecmf.params import VoiceName
from ecmf.storage.files import write_text
from sample_corpus.plan import PlannedClip

VIDEOS = "clip_*.mp4"
LANGUAGE = "en"


def video_name(clip: PlannedClip) -> str:
    """The clip's file in the folder of the corpus."""
    return f"{clip.clip_id}.mp4"


def remove_corpus(folder: Path) -> None:
    """Delete what an earlier run left in `folder`, the table first."""
    (folder / LIST).unlink(missing_ok=True)
    for video in folder.glob(VIDEOS):
        video.unlink()


def write_clips(clips: Sequence[PlannedClip], folder: Path) -> None:
    """Write what a corpus says of its clips, in the csv format of `corpora/folder.py`."""
    _write(folder / LIST, (_public(clip) for clip in clips))


def write_truth(clips: Sequence[PlannedClip], voice: VoiceName, path: Path) -> None:
    """Write what really is in each clip, and the voice that spoke."""
    _write(path, (_truth(clip, voice) for clip in clips))


def _public(clip: PlannedClip) -> dict[str, str]:
    return {
        "clip_id": clip.clip_id,
        "video": video_name(clip),
        "transcript": "" if clip.missing == "transcript" else clip.sentence,
        "language": LANGUAGE,
        "speaker": clip.speaker,
        "group": clip.speaker,
        "split": clip.split,
        "label": clip.label,
        **{
            f"{ANNOTATOR_PREFIX}{number}": said
            for number, said in enumerate(clip.annotators, start=1)
        },
    }


def _truth(clip: PlannedClip, voice: VoiceName) -> dict[str, str]:
    row = {
        "clip_id": clip.clip_id,
        "emotion": clip.emotion,
        "label_is_wrong": "yes" if clip.label and clip.label != clip.emotion else "no",
        "missing": clip.missing,
        "voice": voice,
    }
    for shown in (clip.face, clip.voice, clip.text):
        row[f"{shown.modality}_emotion"] = shown.emotion
        row[f"{shown.modality}_alike"] = shown.alike
        row[f"{shown.modality}_blend"] = f"{shown.blend:.4f}"
    return row


def _write(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    rows = list(rows)
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, table.getvalue())
