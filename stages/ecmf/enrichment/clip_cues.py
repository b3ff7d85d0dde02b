"""Measure the nonverbal cues of the clips of a corpus: phrases about each voice and each face."""

import functools
from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from ecmf.data.manifest import Clip
from ecmf.enrichment.nonverbal_cues import (
    NO_FACE,
    VOICE,
    Thresholds,
    VoiceMeasures,
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
from ecmf.storage.store import Store


@dataclass(frozen=True)
class ClipCues:
    """Cues of all clips by clip id; a clip that is not in a mapping has none.

    `phrases` describe voice and face, `voices` are the measures of the voice, and `failures` the
    reasons why a voice could not be measured.
    """

    phrases: Mapping[str, Sequence[str]] = field(default_factory=dict)
    voices: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    failures: Mapping[str, str] = field(default_factory=dict)


def measure_cues(
    clips: Sequence[Clip],
    audio: Path,
    faces: Path,
    action_units: Path | None,
    budget: float,
    thresholds: Thresholds | None = None,
) -> ClipCues:
    """Measure the voice and describe the face of every clip.

    The thresholds of the phrases are fitted to the voices of the training split if they are None.
    `action_units` is a store of facial action units, if there is one.

    Raises:
        ErrorBudgetError: a larger fraction of the voices than `budget` could not be measured.
        ParamsError: `action_units` has no column of an action unit.
    """
    of_faces = describe_faces(clips, faces, action_units)
    voices, failures = measure_voices(clips, audio)
    check_budget(failures, len(clips), budget)
    if thresholds is None:
        thresholds = training_thresholds(clips, voices)
    phrases = {
        clip_id: [*describe_voice(voice, thresholds), *of_faces[clip_id]]
        for clip_id, voice in voices.items()
    }
    return ClipCues(phrases, voices, failures)


def training_thresholds(
    clips: Sequence[Clip], voices: Mapping[str, VoiceMeasures]
) -> dict[str, tuple[float, float]]:
    """Fit the thresholds of the phrases to the voices of the training split, by clip id."""
    return fit_thresholds(voices[clip.clip_id] for clip in clips if clip.split == "train")


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
    """Return phrases about each clip's face by clip id; `units` is a store of action units.

    A face is absent only where frames were searched for it: nothing is said of a clip without
    video, or whose video failed.
    """
    phrases: dict[str, list[str]] = {}
    with Store(faces) as crops, Store(units) if units else nullcontext() as action_units:
        columns = action_units.provenance.get("columns", []) if action_units is not None else []
        if action_units is not None and not has_action_units(columns):
            raise ParamsError(
                f"{units} has no column of an action unit, such as AU04_c or AU04_r: set "
                "enrich_text.action_units to an encoder of faces that has one, or to null"
            )
        searched = dict(zip(crops, crops.facts.get("frames", np.zeros(len(crops))), strict=True))
        for clip in clips:
            rows = np.empty(0)
            if action_units is not None:
                rows = np.asarray(action_units[clip.clip_id].values)
            if not len(rows) and searched[clip.clip_id] > 0 and not crops.count(clip.clip_id):
                phrases[clip.clip_id] = [NO_FACE]
            else:
                phrases[clip.clip_id] = describe_face(rows, columns)
    return phrases
