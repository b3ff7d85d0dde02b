"""The record of one clip's text, raw and enriched, and the file of all of them: `data/text.jsonl`.

One JSON object per line, in manifest order, whoever the provider was: what was said, what was added
to it, and by whom, can be read back for every clip.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from ecmf.errors import MissingFileError, StoreError
from ecmf.storage.files import write_text
from ecmf.storage.store import State


def _encodable(text: str) -> str:
    text.encode()  # half a surrogate pair, as a model may answer with, would break the file
    return text


Words = Annotated[str, AfterValidator(_encodable)]
Share = Annotated[float, Field(ge=0, le=1)]


class Line(BaseModel):
    """One line of a dialogue: who said it, if that is known, and what."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    speaker: Words = ""
    text: Words


class EnrichedText(BaseModel):
    """What is said in one clip, and what was added.

    `raw` is the transcript as the manifest has it, `enriched` the text that `encode_text` reads in
    the view of that name, `context` the lines said before it, the latest last, as far as the
    parameters ask for them. `cues` and `paraphrase`, what is felt said in other words, come from
    the provider, `facts` from measurement, all in words; `measured` holds the numbers the facts
    speak of. `polarity` is null where the provider has no opinion, `probabilities` (class -> share)
    is empty where it has none on the classes.

    `model` is what a server calls the language model that answered, `prompt_sha256` the hash of all
    that it was asked: with them the raw reply is found in the cache.

    `state` is whole; empty, if nothing was said; flagged, if it is usable with the `reason` given;
    or failed, if the provider gave no answer: `enriched` is then the raw text with the facts.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    clip_id: Words
    raw: Words
    enriched: Words
    context: tuple[Line, ...] = ()
    cues: tuple[Words, ...] = ()
    paraphrase: Words = ""
    facts: tuple[Words, ...] = ()
    measured: dict[str, float] = {}
    polarity: Annotated[float, Field(ge=-1, le=1)] | None = None
    probabilities: dict[str, Share] = {}
    provider: Words
    prompt_version: Words
    model: Words = ""
    prompt_sha256: Words = ""
    state: State = "whole"
    reason: Words = ""


def compose(raw: str, cues: Sequence[str], facts: Sequence[str]) -> str:
    """Put cues and facts in brackets after what is said: `I hate it! (negative: hate; loud voice)`.

    Without a transcript the brackets stand alone; without cues and facts the text is the raw one.
    """
    added = "; ".join([*cues, *facts])
    return f"{raw} ({added})".lstrip() if added else raw


def write_texts(records: Sequence[EnrichedText], path: Path) -> None:
    """Write one line per record, all of them or nothing; the same records make the same bytes."""
    lines = (
        json.dumps(record.model_dump(mode="json"), ensure_ascii=False, sort_keys=True)
        for record in records
    )
    write_text(path, "".join(f"{line}\n" for line in lines))


def read_texts(path: Path) -> list[EnrichedText]:
    """All records, in manifest order.

    Raises:
        MissingFileError: there is no such file.
        StoreError: a line is no record; says which and why.
    """
    if not path.is_file():
        raise MissingFileError(f"no texts {path}: `dvc repro enrich_text` makes them")
    records = []
    # Not splitlines(): JSON leaves signs in a text as they are that Unicode calls ends of a line.
    for number, line in enumerate(path.read_text(encoding="utf-8").split("\n"), 1):
        if not line:
            continue
        try:
            records.append(EnrichedText.model_validate_json(line))
        except ValidationError as error:
            fault = error.errors()[0]
            where = ".".join(map(str, fault["loc"])) or "line"
            raise StoreError(
                f"{path}, line {number}: {where}: {fault['msg']}; delete the file and run again"
            ) from error
    return records
