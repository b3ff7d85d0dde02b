"""How kinds of speech networks hear: when their steps are, and what they are given of a window.

HuBERT and its kin read the waveform, Whisper and AST a spectrogram of fixed length.
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

from ecmf.encoding.network import Piece
from ecmf.errors import MissingFileError, ParamsError
from ecmf.media import SAMPLES_PER_SECOND
from ecmf.pretrained.transformers_model import Pretrained

Waveform = NDArray[np.float32]
"""Samples in -1..1, (samples,)."""

Window = tuple[int, int]
"""The steps of a window: the first, and the one behind the last."""

WINDOW_SECONDS = 20.0
"""Where the network sets no limit: HuBERT and its kin learned from up to 16 s at a time, and nearly
every clip of the field's corpora is shorter than this and so heard in one piece.
"""

STEPS_PER_BUCKET = 50
"""What may be padded is padded to a multiple of this, 1 s: few shapes, hence full batches."""


def cut(steps: int, most: int) -> list[Window]:
    """Cut `steps` into windows of `most`; the last two share evenly what is left for them."""
    edges = [*range(0, steps, most), steps]
    if len(edges) > 2:
        edges[-2] = (edges[-3] + edges[-1]) // 2
    return list(pairwise(edges))


class Kind:
    """How a kind of network hears: when its steps are, and what it is given of a window.

    `field` are the samples that a step needs, `hop` those from one step to the next; `limit` is how
    many steps the network takes at once, 0 for any number. This one is given spectrograms of that
    length, silence behind the end.
    """

    models: ClassVar[Mapping[str, Any]]
    unused: Sequence[str] = ()
    field: int = 1
    hop: int
    limit: int = 0

    def __init__(self, config: Any, extractor: Any) -> None:
        self.config, self.extractor = config, extractor

    def loaded(self, pretrained: Pretrained) -> Any:
        """Load the network."""
        return pretrained.model(self.models[self.config.model_type], self.unused)

    def spectrogram(self, waveform: Waveform) -> Mapping[str, NDArray[Any]]:
        """Return what the network is given of a window, by the name it has there."""
        raise NotImplementedError

    def pieces(self, waveform: Waveform, windows: Sequence[Window], most: int) -> list[Piece]:
        """Prepare the windows of a clip; `valid` (steps,) tells steps from padding."""
        parts = zip(self.parts(waveform, windows), windows, strict=True)
        return [
            Piece({**self.spectrogram(part), "valid": np.arange(self.limit) < end - first})
            for part, (first, end) in parts
        ]

    def steps(self, states: torch.Tensor) -> torch.Tensor:
        """Hidden states -> (pieces, steps, dim)."""
        return states

    def times(self, steps: int) -> NDArray[np.float64]:
        """Return the middle of each step, in seconds."""
        return (np.arange(steps) * self.hop + (self.field - 1) / 2) / SAMPLES_PER_SECOND

    def parts(self, sound: Waveform, windows: Sequence[Window]) -> list[Waveform]:
        """Return the samples of each window, to the end of its last step; of the last one, all."""
        overhang = max(0, self.field - self.hop)
        whole = [sound[first * self.hop : end * self.hop + overhang] for first, end in windows[:-1]]
        return [*whole, sound[windows[-1][0] * self.hop :]]

    def steps_within(self, seconds: float | None) -> int:
        """Return how many steps a full window has; raises ParamsError beyond the limit."""
        steps = round((seconds or WINDOW_SECONDS) * SAMPLES_PER_SECOND / self.hop)
        if seconds and self.limit and steps > self.limit:
            most = self.limit * self.hop / SAMPLES_PER_SECOND
            raise ParamsError(f"window_seconds: the network hears {most:g} s, not {seconds:g}")
        return self.limit if self.limit and not seconds else steps

    def agree(self, made: tuple[int, int], read: tuple[int, int]) -> None:
        """Raise MissingFileError unless extractor and network mean the same spectrogram."""
        if made != read:
            raise MissingFileError(
                f"preprocessor_config.json makes a spectrogram of {made} (bins, frames), but the "
                f"network of config.json reads {read}: take both from one repository"
            )


class Convolved(Kind):
    """Networks that begin with convolutions over the waveform.

    Zeros behind a sound change all it gives where the network normalises over time (HuBERT-base,
    wav2vec2-base) or adds its positions in several layers (data2vec-audio), mask or no mask: these
    hear every window in its own length. The others hide padding before positions are added.
    """

    models: ClassVar[Mapping[str, Any]] = {
        "hubert": transformers.HubertModel,
        "wav2vec2": transformers.Wav2Vec2Model,
        "wavlm": transformers.WavLMModel,
        "data2vec-audio": transformers.Data2VecAudioModel,
    }
    unused = ("masked_spec_embed",)  # serves training only, and many published files lack it

    def __init__(self, config: Any, extractor: Any) -> None:
        super().__init__(config, extractor)
        if getattr(config, "add_adapter", False):
            raise ParamsError(
                f"behind this {config.model_type} an adapter makes steps of another length: choose "
                "weights without one"
            )
        self.hop = 1
        for kernel, stride in zip(config.conv_kernel, config.conv_stride, strict=True):
            self.field += (kernel - 1) * self.hop
            self.hop *= stride
        self._padded = (
            config.model_type != "data2vec-audio"
            and config.feat_extract_norm == "layer"
            and not getattr(config, "conv_pos_batch_norm", False)
        )

    def pieces(self, waveform: Waveform, windows: Sequence[Window], most: int) -> list[Piece]:
        """Cut what the extractor makes of the whole clip; pad where that changes nothing."""
        prepared = self.extractor(waveform, sampling_rate=SAMPLES_PER_SECOND, return_tensors="np")
        parts = self.parts(prepared["input_values"][0], windows)
        if not self._padded:
            full = self._samples(most)
            return [Piece({"input_values": part}, alone=len(part) != full) for part in parts]
        counts = (end - first for first, end in windows)
        return [self._in_bucket(part, n, most) for part, n in zip(parts, counts, strict=True)]

    def _in_bucket(self, sound: Waveform, steps: int, most: int) -> Piece:
        """Pad a window; samples behind its last step play no part here and are left out.

        One that fills its bucket has no mask, and so never shares a batch with one that has: torch
        computes otherwise, to the last bits, where nothing of a batch is hidden.
        """
        sound = sound[: self._samples(steps)]
        bucket = min(-(-steps // STEPS_PER_BUCKET) * STEPS_PER_BUCKET, most)
        if steps == bucket:
            return Piece({"input_values": sound})
        padding = (0, self._samples(bucket) - len(sound))
        return Piece(
            {
                "input_values": np.pad(
                    sound, padding, constant_values=self.extractor.padding_value
                ),
                "attention_mask": np.pad(np.ones(len(sound), "bool"), padding),
                "valid": np.arange(bucket) < steps,
            }
        )

    def _samples(self, steps: int) -> int:
        return (steps - 1) * self.hop + self.field


class Whisper(Kind):
    """The encoder of Whisper: 30 s of log-mel, a step centred on every second frame of 10 ms."""

    models: ClassVar[Mapping[str, Any]] = {"whisper": transformers.WhisperModel}
    unused = ("decoder.",)

    def __init__(self, config: Any, extractor: Any) -> None:
        super().__init__(config, extractor)
        self.hop, self.limit = 2 * extractor.hop_length, int(config.max_source_positions)
        made = (extractor.feature_size, extractor.nb_max_frames)
        self.agree(made, (config.num_mel_bins, 2 * self.limit))

    def loaded(self, pretrained: Pretrained) -> Any:
        """Load the network, and keep its encoder."""
        return super().loaded(pretrained).get_encoder()

    def spectrogram(self, waveform: Waveform) -> Mapping[str, NDArray[Any]]:
        """Return log-mel, (bins, frames), as the extractor makes it."""
        made = self.extractor(waveform, sampling_rate=SAMPLES_PER_SECOND, return_tensors="np")
        return {"input_features": made["input_features"][0]}


class Patches(Kind):
    """AST: square patches of a log-mel spectrogram; a step is the mean over its frequencies.

    The spectrogram is always computed with numpy: transformers takes torchaudio where it finds it,
    and the same parameters would give other numbers on another machine.
    """

    models: ClassVar[Mapping[str, Any]] = {"audio-spectrogram-transformer": transformers.ASTModel}
    SAMPLES_PER_FRAME, SAMPLES_TO_THE_NEXT = 400, 160

    def __init__(self, config: Any, extractor: Any) -> None:
        super().__init__(config, extractor)
        bins, frames, patch = config.num_mel_bins, config.max_length, config.patch_size
        self.agree((extractor.num_mel_bins, extractor.max_length), (bins, frames))
        self.hop = config.time_stride * self.SAMPLES_TO_THE_NEXT
        self.field = (patch - 1) * self.SAMPLES_TO_THE_NEXT + self.SAMPLES_PER_FRAME
        self.limit = (frames - patch) // config.time_stride + 1
        self._window = window_function(self.SAMPLES_PER_FRAME, "hann", periodic=False)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the lowest of the authors' 128 filters are empty
            self._filters = mel_filter_bank(
                257, bins, 20, SAMPLES_PER_SECOND // 2, SAMPLES_PER_SECOND,
                mel_scale="kaldi", triangularize_in_mel_space=True,
            )  # fmt: skip

    def spectrogram(self, waveform: Waveform) -> Mapping[str, NDArray[Any]]:
        """Compute (frames, bins) just as ASTFeatureExtractor does without torchaudio."""
        made = spectrogram(
            waveform, self._window, self.SAMPLES_PER_FRAME, self.SAMPLES_TO_THE_NEXT,
            fft_length=512, power=2.0, center=False, preemphasis=0.97, mel_filters=self._filters,
            log_mel="log", mel_floor=1.192092955078125e-07, remove_dc_offset=True,
        ).T[: self.config.max_length]  # fmt: skip
        frames = np.pad(made, ((0, self.config.max_length - len(made)), (0, 0)))
        if self.extractor.do_normalize:
            frames = (frames - self.extractor.mean) / (self.extractor.std * 2)
        return {"input_values": frames}

    def steps(self, states: torch.Tensor) -> torch.Tensor:
        """Leave the two summary tokens out; patches lie frequency by frequency."""
        pieces, _, dim = states.shape
        return states[:, 2:].reshape(pieces, -1, self.limit, dim).mean(dim=1)


KINDS: Mapping[str, type[Kind]] = {
    name: kind for kind in (Convolved, Whisper, Patches) for name in kind.models
}
"""A configuration's `model_type` -> how such a network hears."""
