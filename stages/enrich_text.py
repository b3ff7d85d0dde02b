"""Transcripts and measured facts -> text with emotional cues, one record per clip."""

import functools
from collections.abc import Sequence
from contextlib import nullcontext
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ecmf import registry
from ecmf.cli import stage
from ecmf.data.enriched_text import EnrichedText, Line, write_texts
from ecmf.data.manifest import Clip, classes_of, read_manifest
from ecmf.enrichment.base import Provider, Transcript
from ecmf.enrichment.nonverbal_cues import (
    NO_FACE,
    VOICE,
    bounds,
    face_facts,
    has_action_units,
    measured_voice,
    voice_facts,
)
from ecmf.errors import ParamsError
from ecmf.execution import code_fingerprint, engine
from ecmf.execution.error_budget import check_budget
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import Given, InProcesses
from ecmf.params import EnrichText
from ecmf.storage.store import Store


def enrich_text(
    manifest: Path, audio: Path, faces: Path, face_features: Path, text: Path, params: EnrichText
) -> None:
    """Let the provider enrich the transcript of every clip; facts are measured first."""
    provider: Provider = registry.create(
        "llms", "Provider", params.provider, params.options.get(params.provider, {})
    )
    clips = read_manifest(manifest)
    voices: dict[str, dict[str, float]] = {}
    failures: dict[str, str] = {}
    facts: dict[str, list[str]] = {clip.clip_id: [] for clip in clips}
    if params.facts:
        units = face_features / f"{params.action_units}.h5" if params.action_units else None
        of_faces = facts_of_faces(clips, faces, units)
        voices, failures = measure_voices(clips, audio)
        check_budget(failures, len(clips), params.error_budget)
        compared = bounds(voices[clip.clip_id] for clip in clips if clip.split == "train")
        facts = {
            name: [*voice_facts(voice, compared), *of_faces[name]] for name, voice in voices.items()
        }
    before = preceding_lines(clips, params.context_lines)
    records = provider(
        [
            Transcript(
                clip.clip_id,
                clip.transcript,
                clip.language,
                tuple(facts[clip.clip_id]),
                before[clip.clip_id],
            )
            for clip in clips
        ],
        classes_of(manifest, clips),
    )
    unanswered = {one.clip_id: one.reason for one in records if one.state == "failed"}
    check_budget(unanswered, len(clips), params.error_budget)
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


def preceding_lines(clips: Sequence[Clip], most: int) -> dict[str, tuple[Line, ...]]:
    """Clip id -> the `most` lines that were said before it in its dialogue, the latest last.

    A line without a transcript is none. What is said in a dialogue tells nothing of its labels, so
    lines are taken from whatever split they are in.
    """
    said: dict[str, list[Line]] = {}
    before = {}
    for clip in clips:
        lines = said.setdefault(clip.dialogue, [])
        before[clip.clip_id] = tuple(lines[-most:]) if clip.dialogue and most else ()
        if clip.transcript.strip():
            lines.append(Line(speaker=clip.speaker, text=clip.transcript))
    return before


def measure_voices(
    clips: Sequence[Clip], audio: Path
) -> tuple[dict[str, dict[str, float]], dict[str, str]]:
    """Clip id -> what was measured of its voice, and clip id -> why that failed."""
    identity = {
        "code": code_fingerprint.of("ecmf.enrichment.nonverbal_cues"),
        "versions": [version(name) for name in ("librosa", "numpy", "scipy")],
    }
    recipe = InProcesses("voices", (VOICE,), identity, measured_voice)
    voices: dict[str, dict[str, float]] = {}
    failures: dict[str, str] = {}
    with Store(audio) as sounds:
        given = [
            Given(name, sounds.digest(name), functools.partial(_waveform, sounds, name))
            for name in (clip.clip_id for clip in clips)
        ]
        for clip_id, result in engine.apply(recipe, given) or ():
            if isinstance(result, Failure):
                failures[clip_id] = result.reason
            voices[clip_id] = {} if isinstance(result, Failure) else dict(result[0].facts)
    return voices, failures


def _waveform(sounds: Store, clip_id: str) -> Any:
    return sounds[clip_id].values


def facts_of_faces(clips: Sequence[Clip], faces: Path, units: Path | None) -> dict[str, list[str]]:
    """Clip id -> what is said of its face; `units` is a store of action units, if there is one."""
    facts: dict[str, list[str]] = {}
    with Store(faces) as crops, Store(units) if units else nullcontext() as measured:
        columns = measured.provenance.get("columns", []) if measured is not None else []
        if measured is not None and not has_action_units(columns):
            raise ParamsError(
                f"{units} has no column of an action unit, such as AU04_c or AU04_r: name in "
                "enrich_text.action_units an encoder of faces that has, or null"
            )
        for clip in clips:
            rows = (
                np.asarray(measured[clip.clip_id].values) if measured is not None else np.empty(0)
            )
            if not len(rows) and clip.video and crops.state(clip.clip_id)[0] == "empty":
                facts[clip.clip_id] = [NO_FACE]
            else:
                facts[clip.clip_id] = face_facts(rows, columns)
    return facts


if __name__ == "__main__":
    stage.main(enrich_text)
