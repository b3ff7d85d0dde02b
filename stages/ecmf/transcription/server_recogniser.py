"""Request the words of a clip from a server with OpenAI's /audio/transcriptions."""

import io
import wave
from typing import Any

import openai
from pydantic import BaseModel, ValidationError

from ecmf.data.languages import language_code
from ecmf.data.transcripts import Word
from ecmf.enrichment.response_schema import to_one_line
from ecmf.enrichment.server_client import ServerClient
from ecmf.errors import ClipError
from ecmf.execution.process_pool import Failure
from ecmf.media import SAMPLE_RATE, Samples
from ecmf.transcription.base import Recognition, Segment

MAX_CHARACTERS_PER_SECOND, MAX_CHARACTERS = 100, 1000
"""A response with more, per second of the clip and in addition, is no transcript."""


class _Word(BaseModel):
    word: str
    start: float
    end: float


class _Segment(BaseModel):
    text: str
    start: float
    end: float
    avg_logprob: float | None = None
    no_speech_prob: float | None = None


class _Response(BaseModel):
    """Fields of a response that are read; one in the format `json` has the text alone."""

    text: str
    language: str = ""
    segments: list[_Segment] | None = None
    words: list[_Word] | None = None


class ServerRecogniser(ServerClient):
    """Thread-safe client of the transcriptions of one server."""

    def __init__(self, model: str) -> None:
        super().__init__(model)
        self._format = "verbose_json"

    def __call__(self, samples: Samples, language: str) -> Recognition:
        """Send the waveform; the server detects the language if it is empty."""
        arguments: dict[str, Any] = {"language": language} if language else {}
        response = self.attempt(lambda: self._request(_wav(samples), arguments))
        if isinstance(response, Failure):
            raise ClipError(response.reason)
        self.ever_replied = True
        try:
            found = _Response.model_validate_json(response.content)
        except ValidationError as error:
            text = self.credentials.summarise(response.text)
            raise ClipError(f"the response is no transcription: {text}") from error
        return self._recognition(found, len(samples) / SAMPLE_RATE, language)

    def _request(self, content: bytes, arguments: dict[str, Any]) -> Any:
        """Send one request; without times henceforth if the server does not support them."""
        create: Any = self.client.audio.transcriptions.with_raw_response.create
        common = {"file": ("clip.wav", content, "audio/wav"), "model": self._model,
                  "temperature": 0.0, **arguments}  # fmt: skip
        if self._format == "verbose_json":
            try:
                return create(
                    response_format="verbose_json",
                    timestamp_granularities=["word", "segment"],
                    **common,
                )
            except (openai.BadRequestError, openai.UnprocessableEntityError):
                response = create(response_format="json", **common)
                self._format = "json"
                return response
        return create(response_format="json", **common)

    def _recognition(self, found: _Response, seconds: float, language: str) -> Recognition:
        segments = found.segments or [_Segment(text=found.text, start=0.0, end=seconds)]
        if (
            sum(len(s.text) for s in segments)
            > MAX_CHARACTERS + MAX_CHARACTERS_PER_SECOND * seconds
        ):
            raise ClipError(f"the response has too many words for {seconds:.1f} s")

        def clean(text: str) -> str:
            return to_one_line(self.credentials.redact(text))

        def within(second: float) -> float:
            return min(max(second, 0.0), seconds)

        words = [
            Word(text=clean(word.word), start=within(word.start), end=within(word.end))
            for word in found.words or ()
        ]
        return Recognition(
            segments=tuple(
                Segment(
                    text=f" {clean(segment.text)}",
                    start=within(segment.start),
                    end=within(segment.end),
                    words=tuple(w for w in words if segment.start <= w.start < segment.end),
                    log_probability=segment.avg_logprob,
                    no_speech_probability=segment.no_speech_prob,
                )
                for segment in segments
            ),
            language=language or _code(clean(found.language)),
        )


def _wav(samples: Samples) -> bytes:
    with io.BytesIO() as file:
        with wave.open(file, "wb") as out:
            out.setnchannels(1)
            out.setsampwidth(2)
            out.setframerate(SAMPLE_RATE)
            out.writeframes(samples.astype("<i2").tobytes())
        return file.getvalue()


def _code(language: str) -> str:
    """Return the code of a language, which OpenAI's server names in English: "polish"."""
    from transformers.models.whisper.tokenization_whisper import TO_LANGUAGE_CODE

    code: str = TO_LANGUAGE_CODE.get(language.lower(), language_code(language))
    return code
