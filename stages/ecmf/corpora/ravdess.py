"""Read RAVDESS speech: wav, flac or mp4 under their official names, anywhere below the folder.

A file name encodes modality-channel-emotion-intensity-statement-repetition-actor, e.g.
`03-01-05-02-01-01-07` (Livingstone & Russo 2018, Zenodo 1188976). The corpus has no test split: all
clips are for training, and a model is scored by cross-validation with one group per actor.

A performance with files of several modalities is one clip: its audio-video file, or else its silent
video and its audio file. Songs are left out, with a warning.
"""

import logging
import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from ecmf.data.manifest import Clip, raise_errors
from ecmf.storage.files import walk

SUFFIXES = {".wav", ".flac", ".mp4"}
AUDIO_VIDEO, VIDEO, AUDIO = "01", "02", "03"
SONG = "02"
STATEMENTS = {"01": "Kids are talking by the door.", "02": "Dogs are sitting by the door."}
NAME = re.compile(
    r"(?P<modality>0[1-3])-(?P<performance>(?P<channel>0[12])-(?P<emotion>0[1-8])-0[12]"
    r"-(?P<statement>0[12])-0[12]-(?P<actor>0[1-9]|1\d|2[0-4]))"
)
NAME_FORMAT = "modality-channel-emotion-intensity-statement-repetition-actor, two digits each"

log = logging.getLogger(__name__)


class Corpus:
    """Eight emotions, 24 actors (odd ones male), two sentences."""

    classes: ClassVar[tuple[str, ...]] = (
        "neutral",
        "calm",
        "happy",
        "sad",
        "angry",
        "fearful",
        "disgust",
        "surprised",
    )
    gated: ClassVar[bool] = False

    def clips(self, folder: Path) -> Iterator[Clip]:
        """Yield one clip per performance, ordered by actor and then by name.

        Raises:
            CorpusError: a wav, flac or mp4 has another name, or a name appears twice.
        """
        performances: dict[str, dict[str, Path]] = {}
        errors, songs = [], 0
        for path in sorted(_recordings(folder)):
            name = NAME.fullmatch(path.stem)
            if name is None:
                errors.append(
                    f"{str(path)!r} is not named {NAME_FORMAT}: rename it or move it elsewhere"
                )
                continue
            if name["channel"] == SONG:
                songs += 1
                continue
            files = performances.setdefault(name["performance"], {})
            first = files.setdefault(name["modality"], path)
            if first != path:
                errors.append(f"{str(path)!r} duplicates {str(first)!r}: keep one of them")
            if (name["modality"] == AUDIO) == (path.suffix.lower() == ".mp4"):
                errors.append(f"{str(path)!r}: modality {name['modality']} is not a {path.suffix}")
        raise_errors(folder, errors)
        if songs:
            log.warning("%s: %d songs left out, only speech is read", folder, songs)
        yield from sorted(
            map(_clip, performances.values()), key=lambda clip: (clip.speaker, clip.clip_id)
        )


def _recordings(folder: Path) -> Iterator[Path]:
    """Yield the relative paths of recordings, without hidden files (`._*` in macOS archives)."""
    for path in walk(folder):
        if path.suffix.lower() in SUFFIXES and not path.name.startswith("."):
            yield path.relative_to(folder)


def _clip(files: dict[str, Path]) -> Clip:
    video = files.get(AUDIO_VIDEO, files.get(VIDEO))
    audio = None if AUDIO_VIDEO in files else files.get(AUDIO)
    stem = (video or files[AUDIO]).stem
    name = NAME.fullmatch(stem)
    if name is None:
        raise ValueError(stem)
    actor = f"actor_{name['actor']}"
    return Clip(
        clip_id=stem,
        video="" if video is None else video.as_posix(),
        audio="" if audio is None else audio.as_posix(),
        transcript=STATEMENTS[name["statement"]],
        language="en",
        speaker=actor,
        group=actor,
        split="train",
        label=Corpus.classes[int(name["emotion"]) - 1],
    )
