"""HuBERT, wav2vec2, WavLM, data2vec-audio, Whisper's encoder, AST: a voice as a network hears it.

Sound is prepared as the authors of the weights prepare it: by the feature extractor that lies
beside them. A long clip is cut between steps of the network, so that its windows hold the very
steps of the whole clip, each once, none is shorter than half a full one, and no padding enters a
mean. What is scaled by mean and deviation is so over the whole clip, before it is cut; Whisper's
log-mel is floored below the loudest moment of its window.
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

from ecmf.acoustics.descriptors import spoken
from ecmf.encoding.network import Network, Piece
from ecmf.encoding.speech_models import KINDS, Patches, Window, cut
from ecmf.errors import ParamsError
from ecmf.execution import device
from ecmf.media import SAMPLES_PER_SECOND, Features, Sound
from ecmf.pretrained.transformers_model import Layers, Pretrained, locate
from ecmf.pretrained.weights import Weights


class Options(Weights, Layers):
    """Where the weights are, what makes a vector, and how many of them.

    `layers: [-4, -3, -2, -1]` are the features the field takes of HuBERT and its kin: the sum of
    the last four layers. -1 is the network's own output, behind its last normalisation.

    `rows`: one row per `clip` (the mean over the steps of all its windows), per `window` or per
    `step` (20 ms; 100 ms with AST). `window_seconds`: longest stretch heard at once; None is 20,
    or what the network fixes, and that is the most then (Whisper 30, AST 10.1). `pooling`: the mean
    over `steps`; or over the two summary `tokens` of AST, as its authors do (Gong et al. 2021).
    """

    rows: Literal["clip", "window", "step"] = "clip"
    window_seconds: float | None = Field(None, ge=1)
    pooling: Literal["steps", "tokens"] = "steps"

    @model_validator(mode="after")
    def _tokens_have_no_time(self) -> Self:
        if self.pooling == "tokens" and self.rows == "step":
            raise ValueError("tokens speak of a whole window: choose rows: window or rows: clip")
        return self


class Encoder(Network[Sound]):
    """Waveforms in; rows out, each at the middle of what it speaks of.

    Silence, sound below 0.1 s, and sound too short for one step (AST: 0.175 s) has no row.

    Raises:
        ParamsError: the network is none of those above, hears another sampling rate than 16 kHz, or
            has not the layers, windows or tokens that are asked for.
        MissingFileError: the weights or the settings of their feature extractor are absent, or do
            not belong together.
    """

    def __init__(self, options: Options) -> None:
        self._options = options
        self._pretrained = locate(options)
        config = self._pretrained.config
        if config.model_type not in KINDS:
            raise ParamsError(
                f"no sound is heard by {config.model_type!r}: only {', '.join(KINDS)}"
            )
        self._kind = KINDS[config.model_type](config, _extractor(self._pretrained))
        options.check(config.num_hidden_layers + 1)
        if options.pooling == "tokens" and not isinstance(self._kind, Patches):
            raise ParamsError(f"{config.model_type} has no summary tokens: leave out `pooling`")
        self._most = self._kind.steps_within(options.window_seconds)
        self.dim = options.dim(config.hidden_size)
        self.dtype = self._pretrained.dtype
        self.provenance: Mapping[str, Any] = {
            **self._pretrained.provenance,
            "network": config.model_type,
            "samples_per_step": self._kind.hop,
            "steps_per_window": self._most,
            "numpy": version("numpy"),
        }

    @functools.cached_property
    def _network(self) -> Any:
        return self._kind.loaded(self._pretrained)

    def _windows(self, samples: int) -> list[Window]:
        return cut((samples - self._kind.field) // self._kind.hop + 1, self._most)

    def pieces(self, clip: Sound) -> Sequence[Piece]:
        """One piece per window."""
        waveform, _ = spoken(clip.samples, None)
        windows = self._windows(len(waveform))
        return self._kind.pieces(waveform, windows, self._most) if windows else []

    def forward(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Return the mean of each window, (pieces, dim), or its steps, (pieces, steps, dim)."""
        # torch on WavLM, whose mask is of bools and whose position bias is of floats
        warnings.filterwarnings("ignore", "Support for mismatched key_padding_mask")
        with self._pretrained.computing():
            inputs = device.to_device(batch)
            valid = inputs.pop("valid", None)
            # named one by one, no others are kept: all of a large network are gigabytes
            wanted = list(self._options.layers) if self._options.inner else False
            states = self._options.tokens(self._network(**inputs, output_hidden_states=wanted))
            if self._options.pooling == "tokens":
                result = states[:, :2].mean(dim=1)
            else:
                result = self._kind.steps(states)
                if self._options.rows != "step":
                    result = _mean(result, valid)
        array: NDArray[Any] = result.cpu().numpy()
        return array

    def join(self, clip: Sound, results: Sequence[NDArray[Any]]) -> Features:
        """Weigh windows by their steps, or leave out the steps of padding."""
        if not results:
            return self.no_features()
        windows = self._windows(len(clip.samples))
        counts = [end - first for first, end in windows]
        times = self._kind.times(windows[-1][1])
        if self._options.rows == "step":
            valid = [result[:count] for result, count in zip(results, counts, strict=True)]
            return self.features(np.concatenate(valid), times)
        if self._options.rows == "window":
            middles = [times[first:end].mean() for first, end in windows]
            return self.features(np.stack(results), np.array(middles))
        mean = np.average(np.stack(results), axis=0, weights=counts)
        return self.features(mean[None], times.mean(keepdims=True))


def _mean(states: torch.Tensor, valid: torch.Tensor | None) -> torch.Tensor:
    """(pieces, steps, dim) -> (pieces, dim), over the valid steps only."""
    if valid is None:
        return states.mean(dim=1)
    return states.masked_fill(~valid[..., None], 0).sum(dim=1) / valid.sum(dim=1, keepdim=True)


def _extractor(pretrained: Pretrained) -> Any:
    """Load what prepares sound for the network; it must be made for 16 kHz."""
    # without dither, which is noise by chance
    extractor = pretrained.preprocessor(transformers.AutoFeatureExtractor, dither=0.0)
    if extractor.sampling_rate != SAMPLES_PER_SECOND:
        raise ParamsError(
            f"the network of {pretrained.folder} hears {extractor.sampling_rate} samples per "
            f"second, sound here has {SAMPLES_PER_SECOND}: choose weights trained at 16 kHz"
        )
    return extractor
