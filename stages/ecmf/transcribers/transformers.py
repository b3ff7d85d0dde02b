"""Transcribe with a repository of transformers: wav2vec2 and its kin with a CTC head, or Whisper.

wav2vec2, HuBERT, WavLM and others with a CTC head know one language and write what they hear letter
by letter; they invent no sentences, but their words may be none. Whisper detects the language where
the manifest names none.
"""

from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from pydantic import Field

from ecmf.execution import device
from ecmf.pretrained.transformers_model import locate
from ecmf.pretrained.weights import Weights
from ecmf.transcription.base import Recogniser
from ecmf.transcription.speech_transcriber import SpeechTranscriber

WEIGHTS_LICENCE = "that of the repository"
NEEDS = "a repository of the hub, fetched once, or a folder of weights"


class Options(Weights):
    """Weights with their tokenizer, e.g. openai/whisper-small, facebook/wav2vec2-base-960h."""

    beam_size: int = Field(5, ge=1, description="Hypotheses of Whisper's beam search.")


class Transcriber(SpeechTranscriber):
    """Use a network in this process. Weights are hashed first, and loaded for the first clip."""

    name = "transformers"

    def __init__(self, options: Options) -> None:
        self._options = options
        self._pretrained = locate(options)
        self._is_whisper = self._pretrained.config.model_type == "whisper"
        self.model = (
            f"{options.repository}@{self._pretrained.provenance['commit']}"
            if options.repository
            else self._pretrained.folder.name
        )
        self.on_gpu = device.requested() != "cpu"

    @property
    def identity(self) -> Mapping[str, Any]:
        """Weights, search and versions."""
        return {
            "provenance": dict(self._pretrained.provenance),
            "beam_size": self._options.beam_size if self._is_whisper else None,
            "device": device.requested().partition(":")[0],
            "versions": {"tokenizers": version("tokenizers")},
        }

    def open(self) -> Recogniser:
        """Load the network."""
        from ecmf.transcription.transformers_recognisers import CtcRecogniser, WhisperRecogniser

        if self._is_whisper:
            return WhisperRecogniser(self._pretrained, self._options.beam_size)
        return CtcRecogniser(self._pretrained)
