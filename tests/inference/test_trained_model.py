"""What a model cannot predict it refuses with the reason, before any work."""

from types import SimpleNamespace

import numpy as np
import pytest
import soundfile
from trainings import PARAMS, PREPARATION

from ecmf.data.manifest import Clip
from ecmf.errors import ParamsError
from ecmf.inference.clip_prediction import entropy_and_margin
from ecmf.inference.feature_extraction import FeatureExtractor
from ecmf.params import EncodeAudio, EnrichText


def metadata(**changes):
    """Metadata of a model that reads one source of audio."""
    given = {"training": PARAMS, "preparation": PREPARATION, **changes}
    return SimpleNamespace(sources=[SimpleNamespace(name="audio/librosa")], **given)


def test_a_model_standardised_by_speaker_refuses_clips_without_one(tmp_path):
    by_speaker = PARAMS.model_copy(update={"standardise": "speaker"})
    extract = FeatureExtractor(metadata(training=by_speaker))
    with pytest.raises(ParamsError, match=r"no speaker, e\.g\. 'a\.mp4': give a manifest"):
        extract([Clip("a.mp4", video="a.mp4", split="unlabelled")], tmp_path)


def test_a_model_of_imported_features_refuses_new_clips(tmp_path):
    table = {"librosa": {"encoder": "imported", "path": "x.npz"}}
    imported = PREPARATION.model_copy(
        update={"encode_audio": EncodeAudio.model_validate({"encoders": table})}
    )
    extract = FeatureExtractor(metadata(preparation=imported))
    with pytest.raises(ParamsError, match=r"imported from a file \(encode_audio.encoders.librosa"):
        extract([Clip("a.mp4", video="a.mp4", split="unlabelled")], tmp_path)


def test_a_model_without_a_source_of_text_asks_nobody_to_enrich_one(tmp_path, monkeypatch):
    """No server is set, and each request for a text would fail."""
    monkeypatch.setenv("ECMF_WORKERS", "1")
    monkeypatch.delenv("OPENAI_BASE_URL", raising=False)
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(16_000) / 9), 16_000)
    clip = Clip("a.wav", audio=str(tmp_path / "a.wav"), transcript="Fine.", split="unlabelled")
    asks = PREPARATION.model_copy(update={"enrich_text": EnrichText(provider="openai")})
    extracted = FeatureExtractor(metadata(preparation=asks))([clip], tmp_path)
    assert extracted.reasons("audio/librosa", "whole") == {"a.wav": ""}
    assert extracted.reasons("text", "whole", "failed", "empty") == {}


def test_entropy_is_0_for_certainty_and_1_for_equal_probabilities():
    assert entropy_and_margin(np.array([0.0, 1.0, 0.0])) == (0.0, 1.0)
    entropy, margin = entropy_and_margin(np.full(4, 0.25))
    assert entropy == pytest.approx(1)
    assert margin == 0
