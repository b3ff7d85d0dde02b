"""Recognise speech with a network of transformers: one with a CTC head, or Whisper."""

from collections.abc import Iterable, Mapping
from typing import Any, cast

import numpy as np
import torch
from transformers import (
    AutoFeatureExtractor,
    AutomaticSpeechRecognitionPipeline,
    AutoModelForCTC,
    AutoTokenizer,
    WhisperForConditionalGeneration,
)

from ecmf.data.transcripts import Word
from ecmf.errors import ClipError
from ecmf.execution import device
from ecmf.media import SAMPLE_RATE, Samples
from ecmf.pretrained.transformers_model import Pretrained
from ecmf.transcription.base import Recognition, Segment
from ecmf.transcription.windows import split_at_pauses

CTC_SECONDS = 20.0
"""Longest window of a network with a CTC head, most of which were trained on up to 16 s."""

FULL_SCALE = 1 << 15

NO_SPEECH_TOKENS = ("<|nospeech|>", "<|nocaptions|>")
"""Names of Whisper's token in its published vocabularies."""

MAX_NEW_TOKENS, PREFIX_TOKENS = 256, 4
"""Longest text of a window, as in the pipeline of transformers; tokens before it, for language,
task and timestamps."""


class _Recogniser:
    """A network in the pipeline of transformers, which decodes and dates the words."""

    def __init__(self, pretrained: Pretrained, architecture: Any, unused: tuple[str, ...]) -> None:
        self._pretrained = pretrained
        self.extractor = pretrained.load_preprocessor(AutoFeatureExtractor)
        self.tokenizer = pretrained.load_preprocessor(AutoTokenizer)
        self.network: Any = cast(Any, pretrained.load_model(architecture, unused))
        self._pipeline = AutomaticSpeechRecognitionPipeline(
            model=self.network,
            tokenizer=self.tokenizer,
            feature_extractor=self.extractor,
            device=torch.device(device.torch_device()),
        )

    def recognise(self, window: Samples, timestamps: Any, **generation: Any) -> Mapping[str, Any]:
        """Return the text of a window and the times of its words."""
        shortest = SAMPLE_RATE // 10  # below it the convolutions have nothing to compute
        padded = np.pad(window, (0, max(0, shortest - len(window))))
        inputs = {"raw": padded.astype("float32") / FULL_SCALE, "sampling_rate": SAMPLE_RATE}
        options = {"generate_kwargs": generation} if generation else {}
        found: Mapping[str, Any] = self._pipeline(inputs, return_timestamps=timestamps, **options)
        return found

    def inference(self) -> Any:
        """Set precision and device of a block."""
        return self._pretrained.inference()

    def close(self) -> None:
        """Release the memory."""
        del self.network, self._pipeline
        device.free_memory()


class CtcRecogniser(_Recogniser):
    """wav2vec2, HuBERT, WavLM, … with a CTC head. The language is that of the weights."""

    def __init__(self, pretrained: Pretrained) -> None:
        body = pretrained.config.model_type.replace("-", "_")
        super().__init__(pretrained, AutoModelForCTC, (f"{body}.masked_spec_embed",))

    def __call__(self, samples: Samples, language: str) -> Recognition:
        """Take the most probable symbol of each step."""
        segments = []
        with self.inference():
            for start, window in split_at_pauses(samples, CTC_SECONDS):
                found = self.recognise(window, "word")
                end = start + len(window) / SAMPLE_RATE
                words = _words(found["chunks"], start, end)
                segments.append(
                    Segment(text=f" {found['text']}", start=start, end=end, words=words)
                )
        return Recognition(segments=tuple(segments), language=language)


class WhisperRecogniser(_Recogniser):
    """Whisper: beam search in windows of up to 30 s, each with its probability of no speech."""

    def __init__(self, pretrained: Pretrained, beam_size: int) -> None:
        super().__init__(pretrained, WhisperForConditionalGeneration, ("proj_out.",))
        self._beam_size = beam_size
        generation, config = self.network.generation_config, pretrained.config
        generation.max_length = None  # published ones have one, and every clip would log a warning
        self._languages: Mapping[str, int] = getattr(generation, "lang_to_id", None) or {}
        self._start: int = config.decoder_start_token_id
        self._task: Mapping[str, int] = getattr(generation, "task_to_id", None) or {}
        self._no_timestamps = getattr(generation, "no_timestamps_token_id", None)
        self._timestamps = "word" if getattr(generation, "alignment_heads", None) else False
        self._max_new_tokens = min(MAX_NEW_TOKENS, config.max_target_positions - PREFIX_TOKENS)
        unknown = self.tokenizer.unk_token_id
        known = map(self.tokenizer.convert_tokens_to_ids, NO_SPEECH_TOKENS)
        self._no_speech = next((i for i in known if i is not None and i != unknown), None)

    def __call__(self, samples: Samples, language: str) -> Recognition:
        """Detect the language in the first window, unless it is given, and recognise all."""
        if language and self._languages and f"<|{language}|>" not in self._languages:
            raise ClipError(f"the model does not know the language {language!r} of the manifest")
        probability: float | None = None
        segments = []
        with self.inference():
            for start, window in split_at_pauses(samples, self.extractor.chunk_length):
                states = self._encode(window)
                first = self._logits(states, [self._start])[0].softmax(-1)
                if not language and self._languages:
                    language, probability = self._detect(first)
                segments.append(self._segment(start, window, states, first, language))
        return Recognition(
            segments=tuple(segments), language=language, language_probability=probability
        )

    def _segment(
        self, start: float, window: Samples, states: Any, first: torch.Tensor, language: str
    ) -> Segment:
        options: dict[str, Any] = {
            "num_beams": self._beam_size, "do_sample": False,
            "max_new_tokens": self._max_new_tokens,
        }  # fmt: skip
        if self._languages:
            options |= {"language": language, "task": "transcribe"}
        found = self.recognise(window, self._timestamps, **options)
        text, end = found["text"], start + len(window) / SAMPLE_RATE
        return Segment(
            text=f" {text.strip()}",
            start=start,
            end=end,
            words=_words(found.get("chunks", ()), start, end),
            log_probability=self._log_probability(states, language, text),
            no_speech_probability=None
            if self._no_speech is None
            else float(first[self._no_speech]),
        )

    def _encode(self, window: Samples) -> Any:
        inputs = self.extractor(
            window.astype("float32") / FULL_SCALE, sampling_rate=SAMPLE_RATE, return_tensors="pt"
        )
        features = inputs.input_features.to(self.network.device, self.network.dtype)
        return self.network.get_encoder()(features)

    def _logits(self, states: Any, tokens: list[int]) -> torch.Tensor:
        """Return the scores of the token after each of `tokens`, (tokens, vocabulary)."""
        ids = torch.tensor([tokens], device=self.network.device)
        logits = self.network(encoder_outputs=states, decoder_input_ids=ids).logits
        scores: torch.Tensor = logits[0].float()
        return scores

    def _detect(self, first: torch.Tensor) -> tuple[str, float]:
        """Return the most probable language after the start token, and its probability."""
        names = list(self._languages)
        probs = first[[self._languages[name] for name in names]]
        probs = probs / probs.sum()
        best = int(probs.argmax())
        return names[best].strip("<|>"), float(probs[best])

    def _log_probability(self, states: Any, language: str, text: str) -> float | None:
        """Return the mean log-probability of the tokens of a text, and None for no text."""
        tokens = self.tokenizer(text, add_special_tokens=False).input_ids
        if not tokens:
            return None
        prefix = [self._start, self._languages.get(f"<|{language}|>"),
                  self._task.get("transcribe"), self._no_timestamps]  # fmt: skip
        before = [token for token in prefix if token is not None]
        limit = self.network.config.max_target_positions
        given = [*before, *tokens][:limit]
        scores = self._logits(states, given[:-1]).log_softmax(-1)[len(before) - 1 :]
        said = torch.tensor(given[len(before) :], device=scores.device)
        return float(scores.gather(1, said[:, None]).mean())


def _words(chunks: Iterable[Mapping[str, Any]], start: float, end: float) -> tuple[Word, ...]:
    """Return the words of a window with times in the clip; an end that is not told is the window's.

    A time beyond the window, which Whisper pads to 30 s, is its end.
    """
    found = []
    for chunk in chunks:
        first, last = chunk["timestamp"]
        times = [end if time is None else min(start + float(time), end) for time in (first, last)]
        if text := chunk["text"].strip():
            found.append(Word(text=text, start=times[0], end=times[1]))
    return tuple(found)
