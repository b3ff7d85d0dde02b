"""Transcribe clips with a model; every clip is recognised only once.

Recognitions are stored unchecked in the per-clip result cache, under the hash of the waveform. A
record is built from the cached recognition, so a change of the checks takes effect without running
the model again.
"""

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import numpy as np

from ecmf.data.languages import language_code
from ecmf.data.manifest import Clip
from ecmf.data.transcripts import Transcript
from ecmf.execution import engine
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import ClipInput
from ecmf.storage.json_rows import BYTES, from_rows
from ecmf.storage.store import Result, Store
from ecmf.transcription.base import Recogniser, Recognition
from ecmf.transcription.hallucinations import checked_transcript
from ecmf.transcription.recognition_recipe import PROTOCOL, RecognitionRecipe, Speech


class SpeechTranscriber(ABC):
    """Base class of transcribers with a model; a subclass opens the model.

    Attributes:
        name: The plugin.
        model: Name of the weights, which the records have.
        in_flight: Clips recognised at once.
        on_gpu: Whether the model runs on a GPU of this process.
    """

    name: ClassVar[str]
    model: str
    in_flight: int = 1
    on_gpu: bool = False

    @property
    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """Everything but the clip that determines a recognition: weights and options, as JSON."""

    @abstractmethod
    def open(self) -> Recogniser:
        """Load the model, or connect to the server; called if a clip is not in the cache."""

    def __call__(self, clips: Sequence[Clip], audio: Path) -> list[Transcript]:
        """Recognise the words of clips, and check them."""
        if not clips:
            return []
        identity = {"transcriber": self.name, "protocol": PROTOCOL, **self.identity}
        recipe = RecognitionRecipe(
            f"transcribe_speech with {self.name}", (BYTES,), identity, self.open, self.in_flight,
            self.on_gpu,
        )  # fmt: skip
        with Store(audio) as store:
            heard = [clip for clip in clips if store.count(clip.clip_id)]
            inputs = [
                ClipInput(
                    clip.clip_id,
                    f"{store.digest(clip.clip_id)}-{language_code(clip.language)}",
                    functools.partial(_speech, store, clip),
                )
                for clip in heard
            ]
            results = dict(engine.run(recipe, inputs) or ())
            return [
                self._record(clip, results[clip.clip_id])
                if clip.clip_id in results
                else self._without_voice(clip, store)
                for clip in clips
            ]

    def _record(self, clip: Clip, result: Result | Failure) -> Transcript:
        record = {"clip_id": clip.clip_id, "transcriber": self.name, "model": self.model}
        if isinstance(result, Failure):
            return Transcript.model_validate(
                {**record, "language": clip.language, "state": "failed", "reason": result.reason}
            )
        checked = checked_transcript(from_rows(result, Recognition))
        of_language: dict[str, Any] = {}
        if clip.language:
            of_language = {"language": clip.language, "language_probability": None}
        return Transcript.model_validate({**record, **checked, **of_language})

    def _without_voice(self, clip: Clip, store: Store) -> Transcript:
        """Return the record of a clip without a waveform.

        A failure is not one of this stage: it has been counted against the budget of decode_video.
        """
        state, reason = store.state(clip.clip_id)
        cause = f"decoding failed: {reason}" if state == "failed" else reason
        return Transcript(
            clip_id=clip.clip_id,
            language=clip.language,
            transcriber=self.name,
            model=self.model,
            state="empty",
            reason=f"no voice: {cause}",
        )


def _speech(store: Store, clip: Clip) -> Speech:
    return Speech(np.asarray(store[clip.clip_id].values), language_code(clip.language))
