"""Encode speech with HuBERT, wav2vec2, WavLM, data2vec-audio, Whisper's encoder or AST.

Audio is preprocessed as the authors of the weights do it: by the feature extractor that is stored
with them. A long clip is cut between steps of the network, so that its windows hold exactly the
steps of the whole clip, each once; no window is shorter than half a full one, and no padding enters
a mean. Normalisation by mean and deviation covers the whole clip, before it is cut; Whisper's
log-mel has a floor relative to the loudest moment of its window.

With `posteriors`, weights fine-tuned to recognise speech (`…ForCTC`: HuBERT, wav2vec2, WavLM,
data2vec-audio) give the probability of each symbol at each step (Graves et al. 2006). Hidden states
of the same or a similar network have the same steps, so that content and emotion share their time.
"""

import functools
import warnings
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, Literal, Self

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from pydantic import Field, model_validator

from ecmf.acoustics.descriptors import trim_silence
from ecmf.encoding.network import Chunk, Network
from ecmf.encoding.speech_models import SPEECH_MODELS, SpectrogramTransformer, Window, split_windows
from ecmf.errors import ParamsError
from ecmf.execution import device
from ecmf.media import SAMPLE_RATE, Audio, Features
from ecmf.pretrained.transformers_model import LayerOptions, Pretrained, locate
from ecmf.pretrained.weights import Weights

WEIGHTS_LICENCE = "that of the repository"
NEEDS = "a repository of the hub, fetched once, or a folder of weights"


class Options(Weights, LayerOptions):
    """Weights, layers, windows and pooling.

    `layers: [-4, -3, -2, -1]` is the field's usual choice for HuBERT and similar networks: the sum
    of the last four layers. -1 is the network's own output, after its last normalisation. The row
    of a clip is the mean over the steps of all its windows. Whisper takes at most 30 s, AST 10.1 s;
    AST's authors pool its `tokens` (Gong et al. 2021).
    """

    rows: Literal["clip", "window", "step"] = Field(
        "clip", description="One row per `clip`, `window` or `step` (20 ms; 100 ms with AST)."
    )
    window_seconds: float | None = Field(
        None, ge=1, description="Maximum window; null: 20, or the network's own length."
    )
    posteriors: bool = Field(
        False, description="Probabilities of a CTC recogniser's symbols, not hidden states."
    )
    pooling: Literal["steps", "tokens"] = Field(
        "steps", description="Mean over the `steps`, or over AST's two summary `tokens`."
    )

    @model_validator(mode="after")
    def _tokens_have_no_time(self) -> Self:
        if self.pooling == "tokens" and self.rows == "step":
            raise ValueError("tokens summarise a whole window: choose rows: window or rows: clip")
        return self

    @model_validator(mode="after")
    def _posteriors_have_no_layers(self) -> Self:
        if self.posteriors and (self.needs_hidden_states or self.pooling == "tokens"):
            raise ValueError("posteriors are the network's output: leave out layers and pooling")
        return self


class Encoder(Network[Audio]):
    """Encode waveforms as rows, each at the middle of the audio that it covers.

    Silence, audio below 0.1 s, and audio too short for one step (AST: 0.175 s) has no row.

    Raises:
        ParamsError: the network is none of the above, expects another sample rate than 16 kHz, or
            lacks the chosen layers, windows or tokens.
        MissingFileError: the weights or the settings of their feature extractor are absent, or do
            not belong together.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._pretrained = locate(options)
        config = self._pretrained.config
        if config.model_type not in SPEECH_MODELS:
            raise ParamsError(
                f"{self._pretrained.folder} holds {config.model_type!r}, not one of "
                f"{', '.join(SPEECH_MODELS)}"
            )
        self._model = SPEECH_MODELS[config.model_type](config, _extractor(self._pretrained))
        options.check_layers(config.num_hidden_layers + 1)
        if options.pooling == "tokens" and not isinstance(self._model, SpectrogramTransformer):
            raise ParamsError(f"{config.model_type} has no summary tokens: leave out `pooling`")
        self._window_steps = self._model.steps_per_window(options.window_seconds)
        if options.posteriors and not self._model.recognises:
            raise ParamsError(
                f"{config.model_type} is no CTC recogniser and has no posteriors: choose weights "
                "of hubert, wav2vec2, wavlm or data2vec-audio fine-tuned to recognise speech"
            )
        self.dim = config.vocab_size if options.posteriors else options.dim(config.hidden_size)
        self.dtype = self._pretrained.dtype
        self.provenance: Mapping[str, Any] = {
            **self._pretrained.provenance,
            "network": config.model_type,
            "samples_per_step": self._model.hop_length,
            "steps_per_window": self._window_steps,
            "numpy": version("numpy"),
        }

    @functools.cached_property
    def _network(self) -> Any:
        if self._options.posteriors:
            return self._model.load_recogniser(self._pretrained)
        return self._model.load(self._pretrained)

    def _windows(self, samples: int) -> list[Window]:
        steps = (samples - self._model.receptive_field) // self._model.hop_length + 1
        return split_windows(steps, self._window_steps)

    def split(self, clip: Audio) -> Sequence[Chunk]:
        """Preprocess a clip, one chunk per window."""
        waveform, _ = trim_silence(clip.samples, None)
        windows = self._windows(len(waveform))
        return self._model.split(waveform, windows, self._window_steps) if windows else []

    def forward(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Compute the mean of each window, (chunks, dim), or its steps, (chunks, steps, dim)."""
        # torch on WavLM, whose mask is of bools and whose position bias is of floats
        warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
        with self._pretrained.inference():
            inputs = device.to_device(batch)
            valid = inputs.pop("valid", None)
            # only the named layers are kept: all of a large network are gigabytes
            layers = list(self._options.layers) if self._options.needs_hidden_states else False
            outputs = self._network(**inputs, output_hidden_states=layers)
            if self._options.posteriors:
                states = outputs.logits.float().softmax(dim=-1)
            else:
                states = self._options.select_states(outputs)
            if self._options.pooling == "tokens":
                result = states[:, :2].mean(dim=1)
            else:
                result = self._model.to_steps(states)
                if self._options.rows != "step":
                    result = _mean(result, valid)
        array: NDArray[Any] = result.cpu().numpy()
        return array

    def merge(self, clip: Audio, results: Sequence[NDArray[Any]]) -> Features:
        """Weight windows by their number of steps, or drop the steps of padding."""
        if not results:
            return self.empty_features()
        windows = self._windows(len(clip.samples))
        counts = [end - first for first, end in windows]
        times = self._model.times(windows[-1][1])
        if self._options.rows == "step":
            valid = [result[:count] for result, count in zip(results, counts, strict=True)]
            return self.features(np.concatenate(valid), times)
        if self._options.rows == "window":
            middles = [times[first:end].mean() for first, end in windows]
            return self.features(np.stack(results), np.array(middles))
        mean = np.average(np.stack(results), axis=0, weights=counts)
        return self.features(mean[None], times.mean(keepdims=True))


def _mean(states: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """Average (chunks, steps, dim) over the valid steps: (chunks, dim)."""
    if valid is None:
        return states.mean(dim=1)
    return states.masked_fill(~valid[..., None], 0).sum(dim=1) / valid.sum(dim=1, keepdim=True)


def _extractor(pretrained: Pretrained) -> Any:
    """Load the feature extractor; raises ParamsError unless it is made for 16 kHz."""
    # without dither, which is random noise
    extractor = pretrained.load_preprocessor(transformers.AutoFeatureExtractor, dither=0.0)
    if extractor.sampling_rate != SAMPLE_RATE:
        raise ParamsError(
            f"{pretrained.folder} expects audio at {extractor.sampling_rate} Hz, but audio here "
            f"has {SAMPLE_RATE} Hz: choose weights trained at 16 kHz"
        )
    return extractor
