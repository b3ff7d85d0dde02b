"""Write the tables of the corpus: clips.csv for the pipeline, and the ground truth."""

import csv
import io
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ecmf.corpora.folder import TABLE
from ecmf.data.manifest import ANNOTATOR_PREFIX
from ecmf.params import VoiceName
from ecmf.storage.files import write_text
from sample_corpus.plan import PlannedClip

VIDEOS = "clip_*.mp4"
LANGUAGE = "en"


def video_name(clip: PlannedClip) -> str:
    """Return the file name of the clip's video."""
    return f"{clip.clip_id}.mp4"


def remove_corpus(folder: Path) -> None:
    """Delete the corpus of an earlier run in `folder`, beginning with its table."""
    (folder / TABLE).unlink(missing_ok=True)
    for video in folder.glob(VIDEOS):
        video.unlink()


def write_clips(clips: Sequence[PlannedClip], folder: Path) -> None:
    """Write clips.csv in the format of `corpora/folder.py`."""
    _write(folder / TABLE, (_clip_row(clip) for clip in clips))


def write_truth(clips: Sequence[PlannedClip], voice: VoiceName, path: Path) -> None:
    """Write the true emotion of each clip and modality, the missing part and the synthesiser."""
    _write(path, (_truth_row(clip, voice) for clip in clips))


def _clip_row(clip: PlannedClip) -> dict[str, str]:
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
            f"{ANNOTATOR_PREFIX}{number}": label
            for number, label in enumerate(clip.annotators, start=1)
        },
    }


def _truth_row(clip: PlannedClip, voice: VoiceName) -> dict[str, str]:
    row = {
        "clip_id": clip.clip_id,
        "emotion": clip.emotion,
        "label_is_wrong": "yes" if clip.label and clip.label != clip.emotion else "no",
        "missing": clip.missing,
        "voice": voice,
    }
    for blend in (clip.face, clip.voice, clip.text):
        row[f"{blend.modality}_emotion"] = blend.emotion
        row[f"{blend.modality}_alike"] = blend.alike
        row[f"{blend.modality}_blend"] = f"{blend.blend:.4f}"
    return row


def _write(path: Path, rows: Iterable[Mapping[str, str]]) -> None:
    rows = list(rows)
    table = io.StringIO()
    writer = csv.DictWriter(table, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_text(path, table.getvalue())
