"""The texts of `enrich_text`, seen in one of four views -> features of one encoder.

    raw         the transcript
    enriched    the transcript with its cues and facts
    both        the vectors of the two side by side, in one row of twice the width
    context     the transcript, read behind the lines said before it in its dialogue

A text is encoded once, however many clips and views it stands in: views that lay vectors side by
side ask the cache for each, and a line without any before it is in `context` what it is in `raw`.
"""

import functools
import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

from ecmf.data.enriched_text import EnrichedText, Line, read_texts
from ecmf.encoding.store_encoder import Branch, Named, encode, nothing
from ecmf.errors import ParamsError
from ecmf.execution.recipe import Given
from ecmf.execution.shard import Shard
from ecmf.media import Text
from ecmf.params import TextChoice, View


def _raw(record: EnrichedText) -> Text:
    return Text(record.clip_id, record.raw)


def _enriched(record: EnrichedText) -> Text:
    return Text(record.clip_id, record.enriched)


def _in_context(record: EnrichedText) -> Text:
    return Text(record.clip_id, record.raw, tuple(map(_spoken, record.context)))


def _spoken(line: Line) -> str:
    return f"{line.speaker}: {line.text}" if line.speaker else line.text


SIDES: Mapping[View, tuple[Callable[[EnrichedText], Text], ...]] = {
    "raw": (_raw,),
    "enriched": (_enriched,),
    "both": (_raw, _enriched),
    "context": (_in_context,),
}
"""View -> the texts of a clip whose vectors stand side by side."""


def _itself(_: str, text: Any) -> Any:
    return text


TEXT = Branch("encoders.text", _itself)


def encode_transcripts(
    source: str,
    choice: TextChoice,
    texts: Path,
    features: Path,
    budget: float,
    shard: Shard | None = None,
) -> None:
    """Encode the chosen view of the texts of `enrich_text`.

    Raises:
        ParamsError: the encoder cannot give that view.
    """
    named = Named(TEXT, choice)
    _check(source, named, choice)
    records = read_texts(texts)
    sides = [
        [_given(named, record, side(record)) for record in records] for side in SIDES[choice.view]
    ]
    encode(source, named, sides, features, budget, shard)


def _check(source: str, named: Named, choice: TextChoice) -> None:
    if choice.view != "raw" and not named.encoder.needs_rows:
        raise ParamsError(
            f"{source}: view {choice.view!r}, but {choice.member} reads no text, it looks features "
            "up: leave its view out"
        )
    if choice.view == "context" and not getattr(named.encoder, "reads_before", False):
        raise ParamsError(
            f"{source}: view 'context', but {choice.member} reads each line by itself: choose "
            "minilm or huggingface, or another view"
        )


def _given(named: Named, record: EnrichedText, text: Text) -> Given:
    return Given(
        record.clip_id,
        _key(text),
        functools.partial(_told, text),
        None if text.text else nothing(named, record.reason),
    )


def _key(text: Text) -> str:
    """Return what a text is known by: its own content and that of the lines before it."""
    own = sha256(text.text.encode()).hexdigest()
    if not text.before:
        return own
    return f"{own}-{sha256(json.dumps(text.before).encode()).hexdigest()}"


def _told(text: Text) -> tuple[str, Text]:
    return text.clip_id, text
