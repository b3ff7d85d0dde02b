"""Encode the texts of `enrich_text` in one of four views.

    raw         the transcript
    enriched    the transcript with its cues and nonverbal cues
    both        the vectors of `raw` and `enriched`, concatenated to one row of twice the width
    context     the transcript, after the preceding lines of its dialogue

A text that occurs in several clips or views is encoded once: `both` takes its vectors from the
cache, and the first line of a dialogue is the same in `context` and `raw`.
"""

import functools
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from ecmf import registry
from ecmf.data.enriched_text import EnrichedText, Utterance, read_texts
from ecmf.data.languages import check_languages, is_unreadable, languages_of
from ecmf.encoding.base import Encoder
from ecmf.encoding.store_encoder import ConfiguredEncoder, Modality, encode
from ecmf.encoding.thinning import sum_if_known
from ecmf.errors import ParamsError
from ecmf.execution.recipe import ClipInput
from ecmf.execution.shard import Shard
from ecmf.media import Text
from ecmf.params import TextChoice, View


def _raw(record: EnrichedText) -> Text:
    return Text(record.clip_id, record.raw)


def _enriched(record: EnrichedText) -> Text:
    return Text(record.clip_id, record.enriched)


def _in_context(record: EnrichedText) -> Text:
    return Text(record.clip_id, record.raw, tuple(map(_with_speaker, record.context)))


def _with_speaker(line: Utterance) -> str:
    return f"{line.speaker}: {line.text}" if line.speaker else line.text


VIEW_TEXTS: Mapping[View, tuple[Callable[[EnrichedText], Text], ...]] = {
    "raw": (_raw,),
    "enriched": (_enriched,),
    "both": (_raw, _enriched),
    "context": (_in_context,),
}
"""View -> the texts of a clip whose vectors are concatenated."""


def _to_text(_: str, text: Any) -> Any:
    return text


TEXT = Modality("encoders.text", _to_text)


@dataclass(frozen=True)
class RecordEncoder(ConfiguredEncoder):
    """An encoder of other fields of the records than their text."""

    records: Sequence[EnrichedText]

    @functools.cached_property
    def encoder(self) -> Encoder[Any]:
        """The encoder, built with the records."""
        family, name = self.modality.family, self.choice.encoder
        options = registry.check_options(family, name, self.choice.options)
        encoder: Encoder[Any] = registry.interface(family, "Encoder", name)(options, self.records)
        return encoder


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
        ParamsError: the encoder does not support the view, or not the language of most texts.
    """
    records = read_texts(texts)
    configured = _configure(choice, records)
    _check_view(source, configured, choice)
    _check_languages(source, configured, choice, records)
    views = [
        [_clip_input(configured, record, to_text(record)) for record in records]
        for to_text in VIEW_TEXTS[choice.view]
    ]
    rows = sum_if_known(_rows_at_most(configured, clip) for clip in views[0])
    encode(source, configured, views, features, budget, shard, rows)


def _configure(choice: TextChoice, records: Sequence[EnrichedText]) -> ConfiguredEncoder:
    encoder = registry.interface(TEXT.family, "Encoder", choice.encoder)
    if getattr(encoder, "reads_records", False):
        return RecordEncoder(TEXT, choice, records)
    return ConfiguredEncoder(TEXT, choice)


def _check_view(source: str, configured: ConfiguredEncoder, choice: TextChoice) -> None:
    if choice.view != "raw" and not configured.encoder.reads_media:
        raise ParamsError(
            f"{source}: view {choice.view!r}, but {choice.encoder} does not read the text: leave "
            "out `view`"
        )
    if choice.view == "both" and getattr(configured.encoder, "rows_at_most", 1) > 1:
        raise ParamsError(
            f"{source}: view 'both' joins one row of the raw and one of the enriched text, but "
            f"{choice.encoder} gives a row per token: choose view enriched, which begins with the "
            "raw text, or an encoder for each view, or rows: text"
        )
    if choice.view == "context" and not getattr(configured.encoder, "supports_context", False):
        raise ParamsError(
            f"{source}: view 'context', but {choice.encoder} encodes each line by itself: choose "
            "minilm or huggingface, or another view"
        )


def _check_languages(
    source: str, configured: ConfiguredEncoder, choice: TextChoice, records: Sequence[EnrichedText]
) -> None:
    family = configured.modality.family
    languages = languages_of(family, choice.encoder)
    has_unknown_words = getattr(configured.encoder, "has_unknown_words", lambda _: False)
    unknown = functools.cache(has_unknown_words)  # texts recur

    def reads(record: EnrichedText) -> bool:
        if is_unreadable(record.raw, record.language, languages):
            return False
        texts = [record.raw, *(to_text(record).text for to_text in VIEW_TEXTS[choice.view])]
        return not any(map(unknown, texts))

    unreadable = {record.clip_id: record.language for record in records if not reads(record)}
    spoken = sum(bool(record.raw.strip()) for record in records)
    check_languages(source, family, choice.encoder, unreadable, spoken)


def _clip_input(configured: ConfiguredEncoder, record: EnrichedText, text: Text) -> ClipInput:
    return ClipInput(
        record.clip_id,
        _key(text),
        functools.partial(_load, text),
        None if text.text else configured.empty_result(record.reason),
    )


def _rows_at_most(configured: ConfiguredEncoder, clip: ClipInput) -> int | None:
    """Return the largest number of rows of a clip; a text encoder gives one if it states none."""
    if not configured.encoder.reads_media:
        return configured.thinning.rows_at_most(None)
    longest: int = getattr(configured.encoder, "rows_at_most", 1)
    return configured.thinning.rows_at_most(longest) if clip.result is None else 0


def _key(text: Text) -> str:
    """Return the hash of a text, followed by that of its context, if any."""
    own = sha256(text.text.encode()).hexdigest()
    if not text.context:
        return own
    return f"{own}-{sha256(json.dumps(text.context).encode()).hexdigest()}"


def _load(text: Text) -> tuple[str, Text]:
    return text.clip_id, text
