"""Adapt architectures of speech networks: times of steps, and inputs of a window.

HuBERT, wav2vec2, WavLM and data2vec-audio take the waveform, Whisper and AST a spectrogram of fixed
length.
"""

import warnings
from collections.abc import Mapping, Sequence
from itertools import pairwise
from typing import Any, ClassVar

import numpy as np
import torch
import transformers
from numpy.typing import NDArray
from transformers.audio_utils import mel_filter_bank, spectrogram, window_function

from ecmf.acoustics.descriptors import Waveform
from ecmf.encoding.network import Chunk
from ecmf.errors import MissingFileError, ParamsError
from ecmf.media import SAMPLE_RATE
from ecmf.pretrained.transformers_model import Pretrained

Window = tuple[int, int]
"""First step of a window, and the step after its last."""

DEFAULT_WINDOW_SECONDS = 20.0
"""For networks without a limit. HuBERT and similar networks were trained on up to 16 s at a time,
and nearly all clips of the usual corpora fit into one window of this length."""

STEPS_PER_BUCKET = 50
"""Windows that may be padded are padded to a multiple of this, 1 s, so that batches fill up."""


def split_windows(steps: int, window_steps: int) -> list[Window]:
    """Split `steps` into windows of `window_steps`; the last two share the remainder evenly."""
    edges = [*range(0, steps, window_steps), steps]
    if len(edges) > 2:
        edges[-2] = (edges[-3] + edges[-1]) // 2
    return list(pairwise(edges))


class SpeechModel:
    """An architecture of speech networks; this base class is for padded spectrograms.

    `receptive_field` is the number of samples that a step depends on, `hop_length` the number from
    one step to the next. `max_steps` is the maximum number of steps of an input, 0 for no limit;
    spectrograms are padded to it with silence.
    """

    models: ClassVar[Mapping[str, Any]]
    unused: Sequence[str] = ()
    recognises: ClassVar[bool] = False
    """Whether transformers has the network with the head of a CTC recogniser, too."""

    receptive_field: int = 1
    hop_length: int
    max_steps: int = 0

    def __init__(self, config: Any, extractor: Any) -> None:
        self.config, self.extractor = config, extractor

    def load(self, pretrained: Pretrained) -> Any:
        """Load the network."""
        return pretrained.load_model(self.models[self.config.model_type], self.unused)

    def load_recogniser(self, pretrained: Pretrained) -> Any:
        """Load the network with its head, whose `logits` are (chunks, steps, symbols)."""
        body = self.config.model_type.replace("-", "_")  # the name of the network in its recogniser
        unused = [f"{body}.{name}" for name in self.unused]
        return pretrained.load_model(transformers.AutoModelForCTC, unused)

    def spectrogram(self, waveform: Waveform) -> Mapping[str, NDArray[Any]]:
        """Compute the network's input for a window, by the name of its argument."""
        raise NotImplementedError

    def split(
        self, waveform: Waveform, windows: Sequence[Window], window_steps: int
    ) -> list[Chunk]:
        """Preprocess the windows of a clip; `valid` (steps,) is False for padding."""
        samples = self.window_samples(waveform, windows)
        return [
            Chunk({**self.spectrogram(part), "valid": np.arange(self.max_steps) < end - first})
            for part, (first, end) in zip(samples, windows, strict=True)
        ]

    def to_steps(self, states: torch.Tensor) -> torch.Tensor:
        """Return hidden states as (chunks, steps, dim)."""
        return states

    def times(self, steps: int) -> NDArray[np.float64]:
        """Return the middle of each step, in seconds."""
        return (np.arange(steps) * self.hop_length + (self.receptive_field - 1) / 2) / SAMPLE_RATE

    def window_samples(self, waveform: Waveform, windows: Sequence[Window]) -> list[Waveform]:
        """Return the samples of each window: to the end of its last step, or of the clip."""
        hop, overlap = self.hop_length, max(0, self.receptive_field - self.hop_length)
        full = [waveform[first * hop : end * hop + overlap] for first, end in windows[:-1]]
        return [*full, waveform[windows[-1][0] * hop :]]

    def steps_per_window(self, seconds: float | None) -> int:
        """Return the number of steps of a full window; raises ParamsError beyond `max_steps`."""
        steps = round((seconds or DEFAULT_WINDOW_SECONDS) * SAMPLE_RATE / self.hop_length)
        if seconds and self.max_steps and steps > self.max_steps:
            limit = self.max_steps * self.hop_length / SAMPLE_RATE
            raise ParamsError(f"window_seconds: the network takes {limit:g} s, not {seconds:g}")
        return self.max_steps if self.max_steps and not seconds else steps

    def check_spectrogram_shape(self, computed: tuple[int, int], read: tuple[int, int]) -> None:
        """Raise MissingFileError unless extractor and network have the same spectrogram shape."""
        if computed != read:
            raise MissingFileError(
                f"preprocessor_config.json makes a spectrogram of {computed} (bins, frames), but "
                f"the network of config.json reads {read}: take both from one repository"
            )


class WaveformModel(SpeechModel):
    """Networks that begin with convolutions over the waveform.

    Zeros after a waveform change every step, even if masked, if the network normalises over time
    (HuBERT-base, wav2vec2-base) or adds positions in several layers (data2vec-audio): windows of
    these networks are not padded. The others mask padding before they add positions.
    """

    models: ClassVar[Mapping[str, Any]] = {
        "hubert": transformers.HubertModel,
        "wav2vec2": transformers.Wav2Vec2Model,
        "wavlm": transformers.WavLMModel,
        "data2vec-audio": transformers.Data2VecAudioModel,
    }
    unused = ("masked_spec_embed",)  # only for training; many published files lack it
    recognises = True

    def __init__(self, config: Any, extractor: Any) -> None:
        super().__init__(config, extractor)
        if getattr(config, "add_adapter", False):
            raise ParamsError(
                f"this {config.model_type} has an adapter, which changes the length of steps: "
                "choose weights without one"
            )
        self.hop_length = 1
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            self.receptive_field += (kernel - 1) * self.hop_length
            self.hop_length *= stride
        self._padded = (
            config.model_type != "data2vec-audio"
            and config.feat_extract_norm == "layer"
            and not getattr(config, "conv_pos_batch_norm", False)
        )

    def split(
        self, waveform: Waveform, windows: Sequence[Window], window_steps: int
    ) -> list[Chunk]:
        """Split the preprocessed clip into windows, padded if that does not change the steps."""
        prepared = self.extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="np")
        parts = self.window_samples(prepared["input_values"][0], windows)
        if not self._padded:
            full = self._samples(window_steps)
            return [Chunk({"input_values": part}, unbatched=len(part) != full) for part in parts]
        return [
            self._pad(part, end - first, window_steps)
            for part, (first, end) in zip(parts, windows, strict=True)
        ]

    def _pad(self, waveform: Waveform, steps: int, window_steps: int) -> Chunk:
        """Pad a window to its bucket, without the samples after its last step.

        A window that fills its bucket has no mask, so it shares no batch with masked windows: the
        last bits of torch's results depend on whether a batch has a mask.
        """
        waveform = waveform[: self._samples(steps)]
        bucket = min(-(-steps // STEPS_PER_BUCKET) * STEPS_PER_BUCKET, window_steps)
        if steps == bucket:
            return Chunk({"input_values": waveform})
        padding = (0, self._samples(bucket) - len(waveform))
        return Chunk(
            {
                "input_values": np.pad(
                    waveform, padding, constant_values=self.extractor.padding_value
                ),
                "attention_mask": np.pad(np.ones(len(waveform), "bool"), padding),
                "valid": np.arange(bucket) < steps,
            }
        )

    def _samples(self, steps: int) -> int:
        return (steps - 1) * self.hop_length + self.receptive_field


class WhisperEncoder(SpeechModel):
    """The encoder of Whisper: 30 s of log-mel, a step centred on every second frame of 10 ms."""

    models: ClassVar[Mapping[str, Any]] = {"whisper": transformers.WhisperModel}
    unused = ("decoder.",)

    def __init__(self, config: Any, extractor: Any) -> None:
        super().__init__(config, extractor)
        self.hop_length, self.max_steps = 2 * extractor.hop_length, int(config.max_source_positions)
        computed = (extractor.feature_size, extractor.nb_max_frames)
        self.check_spectrogram_shape(computed, (config.num_mel_bins, 2 * self.max_steps))

    def load(self, pretrained: Pretrained) -> Any:
        """Load the encoder of the network."""
        return super().load(pretrained).get_encoder()

    def spectrogram(self, waveform: Waveform) -> Mapping[str, NDArray[Any]]:
        """Compute the extractor's log-mel spectrogram, (bins, frames)."""
        inputs = self.extractor(waveform, sampling_rate=SAMPLE_RATE, return_tensors="np")
        return {"input_features": inputs["input_features"][0]}


class SpectrogramTransformer(SpeechModel):
    """AST: square patches of a log-mel spectrogram; a step is the mean over its frequencies.

    The spectrogram is always computed with numpy: transformers uses torchaudio if it is installed,
    and the same parameters would give other values on another machine.
    """

    models: ClassVar[Mapping[str, Any]] = {"audio-spectrogram-transformer": transformers.ASTModel}
    MEL_FRAME_LENGTH, MEL_HOP_LENGTH = 400, 160

    def __init__(self, config: Any, extractor: Any) -> None:
        super().__init__(config, extractor)
        bins, frames, patch = config.num_mel_bins, config.max_length, config.patch_size
        self.check_spectrogram_shape((extractor.num_mel_bins, extractor.max_length), (bins, frames))
        self.hop_length = config.time_stride * self.MEL_HOP_LENGTH
        self.receptive_field = (patch - 1) * self.MEL_HOP_LENGTH + self.MEL_FRAME_LENGTH
        self.max_steps = (frames - patch) // config.time_stride + 1
        self._window = window_function(self.MEL_FRAME_LENGTH, "hann", periodic=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the lowest of AST's 128 filters are empty
            self._filters = mel_filter_bank(
                257, bins, 20, SAMPLE_RATE // 2, SAMPLE_RATE,
                mel_scale="kaldi", triangularize_in_mel_space=True,
            )  # fmt: skip

    def spectrogram(self, waveform: Waveform) -> Mapping[str, NDArray[Any]]:
        """Compute (frames, bins) exactly as ASTFeatureExtractor does without torchaudio."""
        mel = spectrogram(
            waveform, self._window, self.MEL_FRAME_LENGTH, self.MEL_HOP_LENGTH,
            fft_length=512, power=2.0, center=False, preemphasis=0.97, mel_filters=self._filters,
            log_mel="log", mel_floor=1.192092955078125e-07, remove_dc_offset=True,
        ).T[: self.config.max_length]  # fmt: skip
        frames = np.pad(mel, ((0, self.config.max_length - len(mel)), (0, 0)))
        if self.extractor.do_normalize:
            frames = (frames - self.extractor.mean) / (self.extractor.std * 2)
        return {"input_values": frames}

    def to_steps(self, states: torch.Tensor) -> torch.Tensor:
        """Average the patches of a step over frequency (first axis), without summary tokens."""
        chunks, _, dim = states.shape
        return states[:, 2:].reshape(chunks, -1, self.max_steps, dim).mean(dim=1)


SPEECH_MODELS: Mapping[str, type[SpeechModel]] = {
    model_type: model
    for model in (WaveformModel, WhisperEncoder, SpectrogramTransformer)
    for model_type in model.models
}
"""A configuration's `model_type` -> the adapter of its architecture."""
