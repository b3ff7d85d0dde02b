"""Enrich the transcripts of the clips of a corpus with one provider."""

from collections.abc import Sequence
from pathlib import Path

from ecmf import registry
from ecmf.data.enriched_text import EnrichedText
from ecmf.data.languages import (
    check_languages,
    count_transcripts,
    languages_of,
    unreadable_transcripts,
)
from ecmf.data.manifest import Clip
from ecmf.data.transcripts import Transcript, with_transcripts
from ecmf.enrichment.base import EnrichmentInput, Provider
from ecmf.enrichment.clip_cues import ClipCues, measure_cues
from ecmf.enrichment.dialogue_context import preceding_utterances
from ecmf.enrichment.nonverbal_cues import Thresholds
from ecmf.execution.error_budget import check_budget
from ecmf.params import EnrichText

FAMILY = "llms"


def enrich_stores(
    clips: Sequence[Clip],
    transcripts: Sequence[Transcript],
    classes: Sequence[str],
    audio: Path,
    faces: Path,
    face_features: Path,
    params: EnrichText,
    thresholds: Thresholds | None = None,
) -> list[EnrichedText]:
    """Measure the nonverbal cues of clips in their stores, and enrich their transcripts.

    `face_features` is the folder of the stores of encoded faces; `thresholds` as in `measure_cues`.
    A corpus without a transcript has no text to enrich, so its voices are not measured, and its
    texts are empty. New clips, whose `thresholds` are given, are measured one like the other.
    """
    provider = build_provider(params)  # wrong options stop the stage before it measures
    clips = with_transcripts(clips, transcripts)
    check_transcripts(params.provider, clips)
    cues = ClipCues()
    if params.facts and (thresholds is not None or count_transcripts(clips)):
        units = face_features / f"{params.action_units}.h5" if params.action_units else None
        cues = measure_cues(clips, audio, faces, units, params.error_budget, thresholds)
    records = enrich_clips(provider, clips, classes, cues, params)
    return list(map(_with_origin, records, transcripts))


def _with_origin(record: EnrichedText, transcript: Transcript) -> EnrichedText:
    """Return a record that names its transcriber, and why its transcript is absent or in doubt."""
    changes: dict[str, object] = {"transcriber": transcript.transcriber}
    if record.state == "empty" and transcript.state == "failed":
        changes["reason"] = f"no transcript: {transcript.reason}"
    elif record.state == "empty" and transcript.reason:
        changes["reason"] = transcript.reason
    elif record.state == "whole" and transcript.state == "flagged":
        changes |= {"state": "flagged", "reason": f"its transcript: {transcript.reason}"}
    return record.model_copy(update=changes)


def build_provider(params: EnrichText) -> Provider:
    """Build the chosen provider; raises ParamsError if its options are wrong."""
    provider: Provider = registry.build(FAMILY, "Provider", params.provider, params.chosen_options)
    return provider


def enrich_clips(
    provider: Provider,
    clips: Sequence[Clip],
    classes: Sequence[str],
    cues: ClipCues,
    params: EnrichText,
) -> list[EnrichedText]:
    """Return the enriched text of every clip, with its language and the measures of its voice.

    A clip whose voice could not be measured is flagged.

    Raises:
        ErrorBudgetError: more clips failed than `params.error_budget` allows.
    """
    contexts = preceding_utterances(clips, params.context_lines)
    inputs = [
        EnrichmentInput(
            clip.clip_id,
            clip.transcript,
            clip.language,
            tuple(cues.phrases.get(clip.clip_id, ())),
            contexts[clip.clip_id],
        )
        for clip in clips
    ]
    records = provider(inputs, classes)
    failed = {record.clip_id: record.reason for record in records if record.state == "failed"}
    check_budget(failed, len(clips), params.error_budget)
    return [
        _complete(record, clip.language, cues) for record, clip in zip(records, clips, strict=True)
    ]


def check_transcripts(provider: str, clips: Sequence[Clip]) -> None:
    """Raise ParamsError if the provider does not read the language of most transcripts."""
    unreadable = unreadable_transcripts(clips, languages_of(FAMILY, provider))
    check_languages("enrich_text.provider", FAMILY, provider, unreadable, count_transcripts(clips))


def _complete(record: EnrichedText, language: str, cues: ClipCues) -> EnrichedText:
    changes: dict[str, object] = {
        "language": language,
        "measured": dict(cues.voices.get(record.clip_id, {})),
    }
    reason = cues.failures.get(record.clip_id)
    if reason and record.state != "failed":
        changes |= {"state": "flagged", "reason": f"its voice: {reason}"}
    return record.model_copy(update=changes)
