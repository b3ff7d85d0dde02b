"""Read and write the transcript of every clip: `data/transcripts.jsonl`.

The file has one JSON object per line, in manifest order, in the same format for every transcriber.
"""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ecmf.data.manifest import Clip
from ecmf.errors import MissingFileError, StoreError
from ecmf.storage.json_lines import EncodableText, read_records, write_records
from ecmf.storage.store import State

GIVEN = "given"
"""Transcriber of the transcripts that the manifest has."""


class Word(BaseModel):
    """A word, and its start and end in seconds from the beginning of the clip."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    text: EncodableText
    start: float
    end: float


class Transcript(BaseModel):
    """Words of one clip, and where they come from.

    `transcriber` is the plugin, or GIVEN; `model` names its weights. `language` is that of the
    manifest. Where the manifest has none, it is the detected one, and `language_probability` is
    set. `words` has the times of the words, if the transcriber tells them.

    `state` is whole; empty (no words, see `reason`); flagged (usable, see `reason`); or failed.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    clip_id: EncodableText
    text: EncodableText = ""
    language: EncodableText = ""
    language_probability: Annotated[float, Field(ge=0, le=1)] | None = None
    words: tuple[Word, ...] = ()
    transcriber: EncodableText = GIVEN
    model: EncodableText = ""
    state: State = "whole"
    reason: EncodableText = ""


def has_transcript(clip: Clip) -> bool:
    """Return whether the manifest has the words of a clip."""
    return bool(clip.transcript.strip())


def given_transcript(clip: Clip) -> Transcript:
    """Return the transcript that the manifest has of a clip, or the record that it has none."""
    missing = {} if has_transcript(clip) else {"state": "empty", "reason": "no transcript"}
    return Transcript.model_validate(
        {"clip_id": clip.clip_id, "text": clip.transcript, "language": clip.language, **missing}
    )


def with_transcripts(clips: Sequence[Clip], transcripts: Sequence[Transcript]) -> list[Clip]:
    """Return the clips with the text and the language of their transcripts.

    Raises:
        StoreError: the transcripts are of other clips.
    """
    if [clip.clip_id for clip in clips] != [record.clip_id for record in transcripts]:
        raise StoreError(
            f"the manifest lists {len(clips)} clips, and there are {len(transcripts)} transcripts, "
            "not of the same ones in the same order: run transcribe_speech again"
        )
    return [
        replace(clip, transcript=record.text, language=record.language)
        for clip, record in zip(clips, transcripts, strict=True)
    ]


def write_transcripts(transcripts: Sequence[Transcript], path: Path) -> None:
    """Write one line per transcript, atomically; equal transcripts give equal bytes."""
    write_records(transcripts, path)


def read_transcripts(path: Path) -> list[Transcript]:
    """Read all transcripts, in manifest order.

    Raises:
        MissingFileError: there is no such file.
        StoreError: a line is not a valid transcript; names the line number and the error.
    """
    if not path.is_file():
        raise MissingFileError(f"no transcripts {path}: run `dvc repro transcribe_speech`")
    return read_records(path, Transcript)
