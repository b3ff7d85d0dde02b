"""Transcribe with Whisper in CTranslate2, with times of words; fast on a CPU, faster on a GPU.

Silero's voice activity detection, whose weights are in the package, first finds the speech: Whisper
is not run on silence, noise or music. Decoding is a beam search at temperature 0, and no text is
passed on to the next 30 s, so an error does not spread (Radford et al., ICML 2023, section 4.5).
Where the manifest names no language, it is detected.
"""

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import Field

from ecmf.data.transcripts import Word
from ecmf.errors import MissingFileError, ParamsError
from ecmf.execution import device
from ecmf.media import Samples
from ecmf.pretrained.weights import WeightsLocation, find_folder
from ecmf.storage.files import sha256
from ecmf.transcription.base import Recognition, Segment
from ecmf.transcription.speech_transcriber import SpeechTranscriber

WEIGHTS_LICENCE = "MIT for OpenAI's Whisper, else that of the repository"
NEEDS = "pip install '.[transcribe]'; a repository of the hub in CTranslate2's format, or a folder"

PATTERNS = ("model.bin", "*.json", "vocabulary.txt")
"""Files to download; `model.bin` is CTranslate2's own format and holds arrays alone."""

FULL_SCALE = 1 << 15


class Options(WeightsLocation):
    """Options of the weights and of the search; e.g. Systran/faster-whisper-large-v3."""

    precision: Literal["float32", "float16", "bfloat16", "int8"] = Field(
        "float32", description="Precision of the network; int8 is the fastest on a CPU."
    )
    beam_size: int = Field(5, ge=1, description="Hypotheses kept by the beam search.")
    voice_activity: bool = Field(True, description="Whether Silero VAD first finds the speech.")


class Transcriber(SpeechTranscriber):
    """Use weights in this process. They are hashed first, and loaded for the first clip."""

    name = "faster_whisper"

    def __init__(self, options: Options) -> None:
        self._options = options
        self._versions = _versions()
        self._folder, source = find_folder(options, PATTERNS, _missing)
        if absent := _missing(self._folder):
            raise MissingFileError(
                f"{self._folder} has no {' and no '.join(absent)}: name weights in CTranslate2's "
                "format, e.g. repository: Systran/faster-whisper-small, or convert them with "
                "`ct2-transformers-converter`"
            )
        self._provenance = {**source, "weights_sha256": sha256(self._folder / "model.bin")}
        self.model = options.repository or self._folder.name
        if commit := source.get("commit"):
            self.model += f"@{commit}"
        self.on_gpu = device.requested() != "cpu"

    @property
    def identity(self) -> Mapping[str, Any]:
        """Weights, search and versions."""
        options = self._options
        return {
            "provenance": self._provenance,
            "options": options.model_dump(include={"precision", "beam_size", "voice_activity"}),
            "device": device.requested().partition(":")[0],
            "versions": self._versions,
        }

    def open(self) -> "_Recogniser":
        """Load the weights."""
        return _Recogniser(self._folder, self._options)


class _Recogniser:
    """A loaded Whisper."""

    def __init__(self, folder: Path, options: Options) -> None:
        from faster_whisper import WhisperModel

        logging.getLogger("faster_whisper").setLevel(logging.WARNING)  # else three lines per clip
        kind, _, number = device.requested().partition(":")
        self._options = options
        self._model = WhisperModel(
            str(folder),
            device=kind,
            device_index=int(number or 0),
            compute_type=options.precision,
            cpu_threads=device.thread_count(),
            local_files_only=True,
        )

    def __call__(self, samples: Samples, language: str) -> Recognition:
        """Find the speech of a clip, and recognise it."""
        from faster_whisper.vad import get_speech_timestamps

        waveform = samples.astype("float32") / FULL_SCALE
        if self._options.voice_activity and not get_speech_timestamps(waveform):
            return Recognition(language=language, silence="no voice activity")
        segments, info = self._model.transcribe(
            waveform,
            language=language or None,
            beam_size=self._options.beam_size,
            temperature=0.0,
            condition_on_previous_text=False,
            word_timestamps=True,
            vad_filter=self._options.voice_activity,
            no_speech_threshold=None,  # what is believed is decided in `hallucinations`
            log_prob_threshold=None,
            compression_ratio_threshold=None,
        )
        return Recognition(
            segments=tuple(map(_segment, segments)),
            language=info.language,
            language_probability=None if language else float(info.language_probability),
        )

    def close(self) -> None:
        """Release the weights."""
        self._model.model.unload_model()


def _segment(found: Any) -> Segment:
    return Segment(
        text=found.text,
        start=float(found.start),
        end=float(found.end),
        words=tuple(
            Word(text=word.word.strip(), start=float(word.start), end=float(word.end))
            for word in found.words or ()
        ),
        log_probability=float(found.avg_logprob),
        no_speech_probability=float(found.no_speech_prob),
    )


def _missing(folder: Path) -> list[str]:
    return [
        name
        for name in ("model.bin", "config.json", "tokenizer.json")
        if not (folder / name).is_file()
    ]


def _versions() -> dict[str, str]:
    """Return the versions of the libraries; raises ParamsError if they are not installed."""
    try:
        import ctranslate2
        import faster_whisper
    except ImportError as error:
        raise ParamsError(
            "the transcriber faster_whisper is not installed: run pip install '.[transcribe]', or "
            "choose another (`ecmf members transcribers`)"
        ) from error
    return {"faster-whisper": faster_whisper.__version__, "ctranslate2": ctranslate2.__version__}
