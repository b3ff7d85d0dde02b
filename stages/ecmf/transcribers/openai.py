"""Transcribe with a server that has OpenAI's /audio/transcriptions, such as vLLM or speaches.

The waveform of a clip is sent as wav. `OPENAI_BASE_URL` and `OPENAI_API_KEY` define the server, as
for the provider of cues (`enrichment/credentials.py`). A server without `verbose_json` gives the
text alone: without times of words, and without the probabilities that tell invented words.
"""

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from ecmf.config import Section
from ecmf.data.manifest import Clip
from ecmf.data.transcripts import Transcript
from ecmf.enrichment.chat import env_number
from ecmf.errors import ParamsError, UserError
from ecmf.transcription.base import Recogniser
from ecmf.transcription.server_recogniser import ServerRecogniser
from ecmf.transcription.speech_transcriber import SpeechTranscriber

WEIGHTS_LICENCE = "that of the server's model"
NEEDS = "a server: OPENAI_BASE_URL and OPENAI_API_KEY"


class Options(Section):
    """Options of the requests; the temperature is 0."""

    model: str = Field("", description="Name of the model on the server, e.g. whisper-1.")


class Transcriber(SpeechTranscriber):
    """Use a model of a server. The cache key has the model's name, not the server's address."""

    name = "openai"

    def __init__(self, options: Options) -> None:
        if not options.model:
            raise ParamsError(
                "no model for the transcriber openai: set transcribe_speech.options.openai.model"
            )
        self.model = options.model
        self.in_flight = int(max(1, env_number("ECMF_LLM_CONCURRENCY", 8)))

    @property
    def identity(self) -> Mapping[str, Any]:
        """The name of the model."""
        return {"model": self.model}

    def __call__(self, clips: Sequence[Clip], audio: Path) -> list[Transcript]:
        """Recognise the words of clips, and check them."""
        if os.environ.get("ECMF_ENGINE") == "ray":
            raise UserError(
                "ECMF_ENGINE is 'ray', but nodes of a cluster cannot share the rate limit of a "
                "server: unset it for transcribe_speech with transcriber openai"
            )
        return super().__call__(clips, audio)

    def open(self) -> Recogniser:
        """Connect to the server."""
        return ServerRecogniser(self.model)
