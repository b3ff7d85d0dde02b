"""Read and write the raw and enriched text of every clip: `data/text.jsonl`.

The file has one JSON object per line, in manifest order, in the same format for every provider.
"""

from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from ecmf.data.manifest import Clip
from ecmf.data.transcripts import GIVEN
from ecmf.errors import MissingFileError
from ecmf.storage.json_lines import EncodableText, read_records, write_records
from ecmf.storage.store import State

Probability = Annotated[float, Field(ge=0, le=1)]


class Utterance(BaseModel):
    """One utterance of a dialogue and its speaker, if known."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    speaker: EncodableText = ""
    text: EncodableText


class EnrichedText(BaseModel):
    """Transcript of one clip and its enrichment.

    `raw` is the transcript and `language` its language, empty if unknown; both come from the
    manifest if `transcriber` is "given", and else from that plugin. `enriched` is the text of the
    view `enriched`. `context` holds up to
    `enrich_text.context_lines` preceding utterances, the latest last. `cues` and `paraphrase` (the
    emotion in other words) are the provider's; `facts` are nonverbal cues, worded from the values
    in `measured`. `polarity` is null and `probabilities` (class -> probability) empty if the
    provider has none.

    `model` is the server's name of the language model, `prompt_sha256` the hash of the prompt; they
    locate the raw replies in the cache.

    `state` is whole; empty (no transcript); flagged (usable, see `reason`); or failed (no valid
    reply): `enriched` is then the raw text with the nonverbal cues.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    clip_id: EncodableText
    language: EncodableText = ""
    raw: EncodableText
    transcriber: EncodableText = GIVEN
    enriched: EncodableText
    context: tuple[Utterance, ...] = ()
    cues: tuple[EncodableText, ...] = ()
    paraphrase: EncodableText = ""
    facts: tuple[EncodableText, ...] = ()
    measured: dict[str, float] = {}
    polarity: Annotated[float, Field(ge=-1, le=1)] | None = None
    probabilities: dict[str, Probability] = {}
    provider: EncodableText
    prompt_version: EncodableText
    model: EncodableText = ""
    prompt_sha256: EncodableText = ""
    state: State = "whole"
    reason: EncodableText = ""


def compose(raw: str, cues: Sequence[str], facts: Sequence[str]) -> str:
    """Append cues and nonverbal cues: `I hate it! (negative: hate; loud voice)`.

    Without a transcript only the brackets are returned; without cues only the raw text.
    """
    added = "; ".join([*cues, *facts])
    return f"{raw} ({added})".lstrip() if added else raw


def answering_models(records: Iterable[EnrichedText]) -> list[str]:
    """List provider, model and version of the prompt of the records with class probabilities."""
    models = {
        (record.provider, record.model, record.prompt_version)
        for record in records
        if record.probabilities
    }
    return [" ".join(filter(None, model)) for model in sorted(models)]


def with_raw_texts(clips: Iterable[Clip], records: Iterable[EnrichedText]) -> list[Clip]:
    """Return the clips with the transcript and the language of their records."""
    return [
        replace(clip, transcript=record.raw, language=record.language)
        for clip, record in zip(clips, records, strict=True)
    ]


def write_texts(records: Sequence[EnrichedText], path: Path) -> None:
    """Write one line per record, atomically; equal records give equal bytes."""
    write_records(records, path)


def read_texts(path: Path) -> list[EnrichedText]:
    """Read all records, in manifest order.

    Raises:
        MissingFileError: there is no such file.
        StoreError: a line is not a valid record; names the line number and the error.
    """
    if not path.is_file():
        raise MissingFileError(f"no texts {path}: run `dvc repro enrich_text`")
    return read_records(path, EnrichedText)
