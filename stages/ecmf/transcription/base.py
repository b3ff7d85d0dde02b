"""Define the interfaces of a transcriber, and of the model that recognises one clip."""

from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from ecmf.data.manifest import Clip
from ecmf.data.transcripts import Transcript, Word
from ecmf.media import Samples
from ecmf.storage.json_lines import EncodableText


class Segment(BaseModel):
    """Words that a model recognised in one go, from `start` to `end` in seconds of the clip.

    `text` begins with a space where one separates it from the segment before.
    `log_probability` is the mean natural logarithm of the tokens' probabilities, and
    `no_speech_probability` that of Whisper's token for it. Each is None if the model has none.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    text: EncodableText
    start: float
    end: float
    words: tuple[Word, ...] = ()
    log_probability: float | None = None
    no_speech_probability: float | None = None


class Recognition(BaseModel):
    """Everything that a model recognised in a clip, unchecked. The cache stores it as JSON.

    `language` is the one that was given or detected, as an ISO 639-1 code;
    `language_probability` is that of a detected one. `silence` is the reason if no model was run,
    since nothing was to be heard.
    """

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)

    segments: tuple[Segment, ...] = ()
    language: EncodableText = ""
    language_probability: float | None = None
    silence: EncodableText = ""


class Recogniser(Protocol):
    """A loaded model, or the client of a server."""

    def __call__(self, samples: Samples, language: str) -> Recognition:
        """Recognise the words of a clip; detect its language if `language`, a code, is empty.

        Raises:
            ClipError: this clip cannot be transcribed.
            UserError: nor could others, e.g. since a server cannot be reached.
        """
        ...

    def close(self) -> None:
        """Release connections and memory."""
        ...


class Transcriber(Protocol):
    """Transcribe clips that have no transcript in the manifest."""

    def __call__(self, clips: Sequence[Clip], audio: Path) -> list[Transcript]:
        """Return one record per clip, in the same order; `audio` is the store of all waveforms.

        The record of a clip in which nothing is said has no words, state empty and a reason; one
        that cannot be transcribed has state failed. No word is invented.
        """
        ...
