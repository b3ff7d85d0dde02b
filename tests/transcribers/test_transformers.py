"""The transcriber `transformers` with tiny networks whose output is known."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_recognisers

from ecmf.data.manifest import Clip
from ecmf.data.transcripts import Transcript
from ecmf.decoding.clip_decoder import AUDIO
from ecmf.errors import ErrorBudgetError
from ecmf.media import SAMPLE_RATE, Samples
from ecmf.params import TranscribeSpeech
from ecmf.storage.store import Rows
from ecmf.storage.store_writer import StoreWriter
from ecmf.transcription.clip_transcripts import transcribe_clips
from ecmf.transcription.windows import split_at_pauses


def noise(seconds: float) -> Samples:
    return np.random.default_rng(0).normal(0, 3000, int(seconds * SAMPLE_RATE)).astype("int16")


def transcribe(
    folder: Path, weights: dict[str, Any], *clips: Clip, seconds: float = 1.5, **options: Any
) -> list[Transcript]:
    with StoreWriter(folder / "audio.h5", AUDIO, {}) as out:
        for clip in clips:
            out.append(clip.clip_id, Rows(noise(seconds), np.empty(0)))
    params = TranscribeSpeech(
        transcriber="transformers", options={"transformers": {**weights, **options}}
    )
    return transcribe_clips(clips, folder / "audio.h5", params)


def test_a_ctc_network_gives_what_it_hears_with_the_times_of_the_words(tmp_path: Path) -> None:
    weights = tiny_recognisers.ctc(tmp_path / "ctc", "H")
    (record,) = transcribe(tmp_path, weights, Clip("a", language="de"))
    assert (record.text, record.state) == ("H", "whole")  # repeated symbols are one
    assert (record.transcriber, record.model, record.language) == ("transformers", "ctc", "de")
    (word,) = record.words
    assert 0 <= word.start < word.end <= 1.5


def test_a_ctc_network_that_hears_the_blank_alone_gives_no_words(tmp_path: Path) -> None:
    weights = tiny_recognisers.ctc(tmp_path / "ctc", "<pad>")
    (record,) = transcribe(tmp_path, weights, Clip("a"))
    assert (record.text, record.words, record.state) == ("", (), "empty")
    assert record.reason == "no speech was recognised"


def test_a_clip_shorter_than_a_step_of_the_network_is_transcribed(tmp_path: Path) -> None:
    weights = tiny_recognisers.ctc(tmp_path / "ctc", "<pad>")
    (record,) = transcribe(tmp_path, weights, Clip("a"), seconds=0.01)
    assert record.state == "empty"


def test_whisper_detects_the_language_or_takes_that_of_the_manifest(tmp_path: Path) -> None:
    scores = {"Ġhello": 6.0, "<|pl|>": 3.0, "<|en|>": 1.0}
    weights = tiny_recognisers.whisper(tmp_path / "whisper", scores)
    detected, given = transcribe(tmp_path, weights, Clip("a"), Clip("b", language="English"))
    assert (detected.text, given.text) == ("hello", "hello")
    assert (detected.language, given.language) == ("pl", "English")
    assert detected.language_probability == pytest.approx(1 / (1 + np.exp(-2)))
    assert given.language_probability is None


def test_whisper_writes_nothing_where_it_hears_no_speech(tmp_path: Path) -> None:
    scores = {"Ġhello": 5.0, "<|nospeech|>": 7.0, "<|en|>": 1.0}
    weights = tiny_recognisers.whisper(tmp_path / "whisper", scores)
    (record,) = transcribe(tmp_path, weights, Clip("a"))
    assert (record.text, record.state) == ("", "empty")
    assert record.reason == "no speech: the probability of no speech is 0.72"


def test_whisper_that_repeats_itself_without_end_writes_nothing(tmp_path: Path) -> None:
    weights = tiny_recognisers.whisper(tmp_path / "whisper", {"Ġhello": 9.0}, new_tokens=8)
    (record,) = transcribe(tmp_path, weights, Clip("a", language="en"), beam_size=1)
    assert (record.text, record.state) == ("", "empty")
    assert "repeated" in record.reason


def test_a_long_clip_is_recognised_window_by_window(tmp_path: Path) -> None:
    scores = {"Ġhello": 6.0, "<|en|>": 1.0}
    weights = tiny_recognisers.whisper(tmp_path / "whisper", scores)
    (record,) = transcribe(tmp_path, weights, Clip("a"), seconds=3.0)
    assert record.text == "hello hello"


def test_a_language_that_the_weights_do_not_know_fails_the_clip_with_the_reason(
    tmp_path: Path,
) -> None:
    weights = tiny_recognisers.whisper(tmp_path / "whisper", {"Ġhello": 6.0})
    with pytest.raises(ErrorBudgetError, match="does not know the language 'xx'"):
        transcribe(tmp_path, weights, Clip("a", language="xx"))


def test_windows_end_where_it_is_quiet_and_lose_no_sample() -> None:
    samples = noise(5.0)
    samples[int(1.6 * SAMPLE_RATE) : int(1.8 * SAMPLE_RATE)] //= 100
    windows = list(split_at_pauses(samples, 2.0))
    assert 1.6 < windows[1][0] < 1.8
    assert all(len(window) <= 2 * SAMPLE_RATE for _, window in windows)
    np.testing.assert_array_equal(np.concatenate([window for _, window in windows]), samples)
