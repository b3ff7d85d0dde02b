"""Enrich the transcript of every clip with emotional cues and measured nonverbal cues."""

import functools
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ecmf import registry
from ecmf.cli import stage
from ecmf.data.enriched_text import EnrichedText, Utterance, write_texts
from ecmf.data.manifest import Clip, classes_of, read_manifest
from ecmf.enrichment.base import EnrichmentInput, Provider
from ecmf.enrichment.nonverbal_cues import (
    NO_FACE,
    VOICE,
    describe_face,
    describe_voice,
    fit_thresholds,
    has_action_units,
    measure_voice_result,
)
from ecmf.errors import ParamsError
from ecmf.execution import code_fingerprint, engine
from ecmf.execution.error_budget import check_budget
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import ClipInput, PoolRecipe
from ecmf.params import EnrichText
from ecmf.storage.store import Store


def enrich_text(
    manifest: Path, audio: Path, faces: Path, face_features: Path, text: Path, params: EnrichText
) -> None:
    """Measure nonverbal cues, then let the provider enrich the transcript of every clip."""
    provider: Provider = registry.build(
        "llms", "Provider", params.provider, params.options.get(params.provider, {})
    )
    clips = read_manifest(manifest)
    voices: dict[str, dict[str, float]] = {}
    failures: dict[str, str] = {}
    cues: dict[str, list[str]] = {clip.clip_id: [] for clip in clips}
    if params.facts:
        units = face_features / f"{params.action_units}.h5" if params.action_units else None
        of_faces = describe_faces(clips, faces, units)
        voices, failures = measure_voices(clips, audio)
        check_budget(failures, len(clips), params.error_budget)
        thresholds = fit_thresholds(voices[clip.clip_id] for clip in clips if clip.split == "train")
        cues = {
            clip_id: [*describe_voice(voice, thresholds), *of_faces[clip_id]]
            for clip_id, voice in voices.items()
        }
    contexts = preceding_utterances(clips, params.context_lines)
    records = provider(
        [
            EnrichmentInput(
                clip.clip_id,
                clip.transcript,
                clip.language,
                tuple(cues[clip.clip_id]),
                contexts[clip.clip_id],
            )
            for clip in clips
        ],
        classes_of(manifest, clips),
    )
    failed = {record.clip_id: record.reason for record in records if record.state == "failed"}
    check_budget(failed, len(clips), params.error_budget)
    write_texts(
        [
            record.model_copy(
                update={"measured": voices.get(record.clip_id, {})}
                | _flag(record, failures.get(record.clip_id, ""))
            )
            for record in records
        ],
        text,
    )


def _flag(record: EnrichedText, reason: str) -> dict[str, str]:
    if not reason or record.state == "failed":
        return {}
    return {"state": "flagged", "reason": f"its voice: {reason}"}


def preceding_utterances(clips: Sequence[Clip], limit: int) -> dict[str, tuple[Utterance, ...]]:
    """Return up to `limit` preceding utterances of each clip's dialogue by clip id, latest last.

    Clips without a transcript are skipped. Utterances of all splits are used, since transcripts
    hold no labels.
    """
    dialogues: dict[str, list[Utterance]] = {}
    contexts = {}
    for clip in clips:
        utterances = dialogues.setdefault(clip.dialogue, [])
        contexts[clip.clip_id] = tuple(utterances[-limit:]) if clip.dialogue and limit else ()
        if clip.transcript.strip():
            utterances.append(Utterance(speaker=clip.speaker, text=clip.transcript))
    return contexts


def measure_voices(
    clips: Sequence[Clip], audio: Path
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Return the measures of each clip's voice, and the reasons of failures, by clip id."""
    identity = {
        "code": code_fingerprint.hash_modules("ecmf.enrichment.nonverbal_cues"),
        "versions": [version(name) for name in ("librosa", "numpy", "scipy")],
    }
    recipe = PoolRecipe("voices", (VOICE,), identity, measure_voice_result)
    voices: dict[str, dict[str, float]] = {}
    failures: dict[str, str] = {}
    with Store(audio) as store:
        inputs = [
            ClipInput(clip_id, store.digest(clip_id), functools.partial(_waveform, store, clip_id))
            for clip_id in (clip.clip_id for clip in clips)
        ]
        for clip_id, result in engine.run(recipe, inputs) or ():
            if isinstance(result, Failure):
                failures[clip_id] = result.reason
            voices[clip_id] = {} if isinstance(result, Failure) else dict(result[0].facts)
    return voices, failures


def _waveform(store: Store, clip_id: str) -> Any:
    return store[clip_id].values


def describe_faces(clips: Sequence[Clip], faces: Path, units: Path | None) -> dict[str, list[str]]:
    """Return phrases about each clip's face by clip id; `units` is a store of action units."""
    phrases: dict[str, list[str]] = {}
    with Store(faces) as crops, Store(units) if units else nullcontext() as action_units:
        columns = action_units.provenance.get("columns", []) if action_units is not None else []
        if action_units is not None and not has_action_units(columns):
            raise ParamsError(
                f"{units} has no column of an action unit, such as AU04_c or AU04_r: set "
                "enrich_text.action_units to an encoder of faces that has one, or to null"
            )
        for clip in clips:
            rows = np.empty(0)
            if action_units is not None:
                rows = np.asarray(action_units[clip.clip_id].values)
            if not len(rows) and clip.video and crops.state(clip.clip_id)[0] == "empty":
                phrases[clip.clip_id] = [NO_FACE]
            else:
                phrases[clip.clip_id] = describe_face(rows, columns)
    return phrases


if __name__ == "__main__":
    stage.main(enrich_text)
