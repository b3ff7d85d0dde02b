"""The features of a text by `huggingface` equal those of a plain call of transformers."""

import functools
import json
import logging
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import safetensors.torch
import tiny_text
import torch
import transformers
from numpy.typing import NDArray

from ecmf import registry
from ecmf.encoding.batching import encode
from ecmf.encoding.text_transformer import PADDING_MULTIPLE
from ecmf.errors import ClipError, MissingFileError, ParamsError
from ecmf.media import Text
from ecmf.storage.files import sha256

TEXTS = [
    Text("short", "No."),
    Text("one", "I"),
    Text("plain", "Kids are talking by the door."),
    Text("odd", "naïve — 你好, \x07 😡\u200b!!"),
    Text("long", "I can't believe you did that again, and on my birthday! " * 20),
    *(Text(f"{count} words", "door" + " by" * (count - 1)) for count in range(12, 34)),
]
"""Of all lengths, among them those that need no padding."""

Folders = Callable[[str], Path]


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    """Return the folder of a tiny network of a kind, saved on first use."""
    return functools.cache(
        lambda kind: tiny_text.NETWORKS[kind](tmp_path_factory.mktemp(kind))  # type: ignore[return-value]
    )


def encoder(folder: Path, **options: Any) -> Any:
    given = {"folder": str(folder), "sha256": sha256(folder), **options}
    return registry.build("encoders.text", "Encoder", "huggingface", given)


def rows(folder: Path, texts: list[Text] = TEXTS, **options: Any) -> NDArray[np.float32]:
    return np.concatenate(
        [features.values for features in encode(encoder(folder, **options), texts)]
    )


@functools.cache
def _loaded(folder: Path) -> tuple[Any, Any]:
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    return tokenizer, transformers.AutoModel.from_pretrained(folder).eval()


def plain(folder: Path, text: str, max_tokens: int) -> tuple[Any, NDArray[np.bool_]]:
    """The output of a transformers call, and which tokens are special."""
    tokenizer, network = _loaded(folder)
    inputs = tokenizer(
        text,
        truncation=True,
        max_length=max_tokens,
        return_special_tokens_mask=True,
        return_tensors="pt",
    )
    special = inputs.pop("special_tokens_mask")[0].numpy().astype(bool)
    with torch.inference_mode():
        return network(**inputs, output_hidden_states=True), special


@pytest.mark.parametrize("layers", [(-1,), (-4, -3, -2, -1), (0, 2)])
@pytest.mark.parametrize("kind", tiny_text.NETWORKS)
def test_features_are_those_of_a_transformers_call_on_the_text_alone(
    folders: Folders, kind: str, layers: tuple[int, ...]
) -> None:
    network = encoder(folders(kind), layers=layers)
    for text, features in zip(TEXTS, encode(network, TEXTS), strict=True):
        output, _ = plain(folders(kind), text.text, network.provenance["longest"])
        states = torch.stack([output.hidden_states[layer] for layer in layers]).sum(dim=0)
        expected = states[0].mean(dim=0).numpy()
        np.testing.assert_allclose(features.values[0], expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_concatenated_layers_are_each_layer_by_itself(folders: Folders, kind: str) -> None:
    each = [rows(folders(kind), layers=[layer]) for layer in (0, 3, -1)]
    joined = rows(folders(kind), layers=[0, 3, -1], combine="concat")
    assert joined.shape[1] == encoder(folders(kind), layers=[0, 3, -1], combine="concat").dim == 96
    np.testing.assert_array_equal(joined, np.hstack(each))


CONTEXT = ("Kids are talking.", "Dogs are sitting by the door!")


@pytest.mark.parametrize(
    ("pooling", "special_tokens"),
    [("mean", True), ("mean", False), ("last", True), ("last", False), ("cls", True)],
)
@pytest.mark.parametrize("kind", ["bert", "roberta", "llama", "qwen2"])
def test_a_text_in_context_is_encoded_with_it_and_pooled_without_it(
    folders: Folders, kind: str, pooling: str, special_tokens: bool
) -> None:
    if pooling == "cls" and kind in ("llama", "qwen2"):
        pytest.skip("has no first token that has seen the whole text")
    tokenizer, network = _loaded(folders(kind))
    inputs = tokenizer("\n".join(CONTEXT), "No. Yes!", return_tensors="pt")
    owner = inputs.sequence_ids(0)
    with torch.inference_mode():
        states = network(**inputs).last_hidden_state[0].numpy()
    behind = range(owner.index(1), len(owner))
    own = [number for number in behind if special_tokens or owner[number] == 1]
    expected = {"mean": states[own].mean(axis=0), "last": states[own[-1]], "cls": states[0]}
    options = {"pooling": pooling, "special_tokens": special_tokens}
    (row,) = rows(folders(kind), [Text("x", "No. Yes!", CONTEXT)], **options)
    np.testing.assert_allclose(row, expected[pooling], rtol=1e-5, atol=1e-5)
    assert not np.allclose(row, rows(folders(kind), [Text("x", "No. Yes!")], **options)[0])


@pytest.mark.parametrize("kind", ["bert", "roberta", "qwen2"])
def test_the_earliest_lines_are_dropped_first_where_there_is_no_room(
    folders: Folders, kind: str
) -> None:
    long = "I can't believe you did that again. " * 10
    text = "No. Yes, I am so happy for you."
    whole = rows(folders(kind), [Text("x", text, CONTEXT[1:])])
    assert np.array_equal(whole, rows(folders(kind), [Text("x", text, (long, *CONTEXT[1:]))]))
    alone = rows(folders(kind), [Text("x", text)])
    assert np.array_equal(alone, rows(folders(kind), [Text("x", text, (*CONTEXT, long))]))
    cut = rows(folders(kind), [Text("x", long)])
    assert np.array_equal(cut, rows(folders(kind), [Text("x", long, CONTEXT)]))


@pytest.mark.parametrize("kind", ["bert", "llama"])
def test_a_text_without_words_has_no_row_in_any_context(folders: Folders, kind: str) -> None:
    assert rows(folders(kind), [Text("x", " \u200b", CONTEXT)]).shape == (0, 32)


@pytest.mark.parametrize("kind", tiny_text.NETWORKS)
def test_the_last_layer_is_the_last_hidden_state_by_either_name(
    folders: Folders, kind: str
) -> None:
    output, _ = plain(folders(kind), "Kids are talking.", 64)
    assert torch.equal(output.hidden_states[-1], output.last_hidden_state)
    assert np.array_equal(rows(folders(kind), layers=[-1]), rows(folders(kind), layers=[4]))


POOLED = [
    (kind, pooling, special_tokens)
    for kind in ("bert", "roberta", "llama", "qwen2")
    for pooling in ("mean", "last")
    for special_tokens in (True, False)
] + [("bert", "cls", True), ("roberta", "cls", True)]


@pytest.mark.parametrize(("kind", "pooling", "special_tokens"), POOLED)
def test_the_chosen_tokens_are_pooled(
    folders: Folders, kind: str, pooling: str, special_tokens: bool
) -> None:
    options = {"pooling": pooling, "special_tokens": special_tokens}
    for text, row in zip(TEXTS[:5], rows(folders(kind), TEXTS[:5], **options), strict=True):
        output, special = plain(folders(kind), text.text, 64)
        states = output.last_hidden_state[0].numpy()
        tokens = states if special_tokens else states[~special]
        expected = {"mean": tokens.mean(axis=0), "last": tokens[-1], "cls": states[0]}[pooling]
        np.testing.assert_allclose(row, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("kind", tiny_text.NETWORKS)
def test_a_text_gets_the_same_bits_alone_and_among_others(folders: Folders, kind: str) -> None:
    network = encoder(folders(kind))
    for text, among_others in zip(TEXTS, encode(network, TEXTS), strict=True):
        (alone,) = encode(network, [text])
        assert alone.values.tobytes() == among_others.values.tobytes(), text.clip_id


@pytest.mark.parametrize("kind", sorted(set(tiny_text.NETWORKS) - {"fnet", "qwen3_experts"}))
def test_neither_the_length_of_padding_nor_its_token_matters(folders: Folders, kind: str) -> None:
    network = encoder(folders(kind), pooling="last", layers=[-2, -1])
    (chunk,) = network.split(TEXTS[2])
    mask = chunk.inputs["attention_mask"]
    assert len(mask) == PADDING_MULTIPLE > mask.sum()
    (expected,) = network.forward({name: row[None] for name, row in chunk.inputs.items()})
    for length, token in ((PADDING_MULTIPLE, 7), (2 * PADDING_MULTIPLE, 0), (50, 7)):
        longer = {
            name: np.pad(row, (0, length - len(row)))[None] for name, row in chunk.inputs.items()
        }
        longer["input_ids"][longer["attention_mask"] == 0] = token
        np.testing.assert_allclose(network.forward(longer)[0], expected, rtol=1e-5, atol=1e-5)


def test_a_text_that_fills_its_length_shares_no_batch_with_a_padded_one(folders: Folders) -> None:
    network = encoder(folders("bert"))
    lengths: dict[frozenset[str], set[int]] = {}
    for count in range(1, 2 * PADDING_MULTIPLE):
        (chunk,) = network.split(Text("x", "by " * count))
        lengths.setdefault(frozenset(chunk.inputs), set()).add(count + 2)  # [CLS] and [SEP]
    for names, tokens in lengths.items():
        assert ("attention_mask" in names) == all(count % PADDING_MULTIPLE for count in tokens)
    assert len(lengths) == 2


def test_threads_may_share_a_tokenizer(folders: Folders) -> None:
    network = encoder(folders("sentences"))  # cuts
    texts = [Text(str(count), "Kids are talking. " * (count % 40)) for count in range(500)]
    expected = [network.split(text) for text in texts]
    with ThreadPoolExecutor(16) as threads:
        for one, other in zip(expected, threads.map(network.split, texts), strict=True):
            assert str(one) == str(other)


@pytest.mark.parametrize("kind", tiny_text.NETWORKS)
@pytest.mark.parametrize("text", ["", " \n\t", "\u200b\u200d\ufeff", "\x07\x1b", "\u00a0\u2028"])
def test_a_text_with_nothing_visible_gives_no_row(folders: Folders, kind: str, text: str) -> None:
    assert rows(folders(kind), [Text("x", text)]).shape == (0, 32)


def test_a_text_that_leaves_no_token_gives_no_row(folders: Folders) -> None:
    accents = Text("x", "\u0301" * 3)  # which BERT strips
    assert rows(folders("bert"), [accents]).shape == (0, 32)


def test_invalid_unicode_fails_its_clip(folders: Folders) -> None:
    with pytest.raises(ClipError, match="no valid Unicode"):
        rows(folders("bert"), [Text("x", json.loads('"I \\ud83d"'))])


# --- a row per token ---------------------------------------------------------------------------


@pytest.mark.parametrize("layers", [(-1,), (-2, -1)])
@pytest.mark.parametrize("kind", tiny_text.NETWORKS)
def test_rows_of_tokens_are_the_hidden_states_without_special_tokens(
    folders: Folders, kind: str, layers: tuple[int, ...]
) -> None:
    network = encoder(folders(kind), rows="token", layers=layers)
    for text, features in zip(TEXTS, encode(network, TEXTS), strict=True):
        output, special = plain(folders(kind), text.text, network.provenance["longest"])
        states = torch.stack([output.hidden_states[layer] for layer in layers]).sum(dim=0)
        expected = states[0].numpy()[~special]
        np.testing.assert_allclose(features.values, expected, rtol=1e-4, atol=1e-4)
        assert features.times.tolist() == list(range(len(expected)))


@pytest.mark.parametrize("kind", tiny_text.NETWORKS)
def test_tokens_get_the_same_bits_alone_and_among_others(folders: Folders, kind: str) -> None:
    network = encoder(folders(kind), rows="token")
    for text, among_others in zip(TEXTS, encode(network, TEXTS), strict=True):
        (alone,) = encode(network, [text])
        assert alone.values.tobytes() == among_others.values.tobytes(), text.clip_id


@pytest.mark.parametrize("kind", ["bert", "roberta", "llama", "qwen2"])
def test_in_context_only_the_tokens_of_the_text_are_rows(folders: Folders, kind: str) -> None:
    tokenizer, network = _loaded(folders(kind))
    inputs = tokenizer("\n".join(CONTEXT), "No. Yes!", return_tensors="pt")
    own = [number for number, owner in enumerate(inputs.sequence_ids(0)) if owner == 1]
    with torch.inference_mode():
        states = network(**inputs).last_hidden_state[0].numpy()
    (features,) = encode(encoder(folders(kind), rows="token"), [Text("x", "No. Yes!", CONTEXT)])
    np.testing.assert_allclose(features.values, states[own], rtol=1e-5, atol=1e-5)
    assert features.times.tolist() == list(range(len(own)))


def test_each_token_is_scaled_to_length_one_by_option(folders: Folders) -> None:
    scaled = rows(folders("bert"), rows="token", normalise=True)
    np.testing.assert_allclose(np.linalg.norm(scaled, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize("text", ["", " \u200b", "\u0301" * 3])
def test_a_text_without_a_token_has_no_rows(folders: Folders, text: str) -> None:
    assert rows(folders("bert"), [Text("x", text)], rows="token").shape == (0, 32)


@pytest.mark.parametrize("pooling", ["cls", "last"])
def test_rows_of_tokens_are_not_pooled(folders: Folders, pooling: str) -> None:
    with pytest.raises(ParamsError, match=f"pooling {pooling} has no effect on rows: token"):
        encoder(folders("bert"), rows="token", pooling=pooling)


# --- how much is read -------------------------------------------------------------------------


@pytest.mark.parametrize("kind", tiny_text.NETWORKS)
def test_a_text_that_is_too_long_loses_its_end_with_a_warning(
    folders: Folders, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    network = encoder(folders(kind), max_tokens=20)
    with caplog.at_level(logging.WARNING):
        (features,) = encode(network, [Text("babble", "by" + " by" * 99)])
    output, special = plain(folders(kind), "by" + " by" * 99, 20)
    assert len(special) == 20
    np.testing.assert_allclose(
        features.values[0], output.last_hidden_state[0].mean(dim=0), rtol=1e-5, atol=1e-5
    )
    tokenizer, _ = _loaded(folders(kind))
    tokens = tokenizer("by" + " by" * 99, add_special_tokens=False)["input_ids"]
    read = int((~special).sum())
    assert f"clip 'babble': the last {len(tokens) - read} tokens" in caplog.text


@pytest.mark.parametrize("kind", tiny_text.NETWORKS)
def test_a_text_of_a_hundred_thousand_characters_is_only_cut(folders: Folders, kind: str) -> None:
    network = encoder(folders(kind))
    texts = [Text("many words", "Kids are. " * 10_000), Text("no space", "door" * 25_000)]
    for text in texts:
        (chunk,) = network.split(text)
        assert len(chunk.inputs["input_ids"]) <= network.provenance["longest"]
    assert all(np.isfinite(features.values).all() for features in encode(network, texts))


@pytest.mark.parametrize(
    ("kind", "max_tokens"), [("bert", 64), ("roberta", 64), ("sentences", 24), ("llama", 64)]
)
def test_the_default_of_max_tokens_is_the_limit_of_the_network(
    folders: Folders, kind: str, max_tokens: int
) -> None:
    assert encoder(folders(kind)).provenance["longest"] == max_tokens


def test_no_more_than_512_tokens_are_read_by_default(tmp_path: Path) -> None:
    folder = tiny_text.bert(tmp_path, max_position_embeddings=1024)
    assert encoder(folder).provenance["longest"] == 512
    assert encoder(folder, max_tokens=1024).provenance["longest"] == 1024


def test_a_sentence_model_can_read_more_than_it_was_trained_with(folders: Folders) -> None:
    assert encoder(folders("sentences"), max_tokens=40).provenance["longest"] == 40


@pytest.mark.parametrize(
    ("kind", "max_tokens", "special"), [("bert", 2, 2), ("roberta", 65, 2), ("llama", 65, 1)]
)
def test_max_tokens_beyond_the_limit_of_the_network_is_refused(
    folders: Folders, kind: str, max_tokens: int, special: int
) -> None:
    message = f"max_tokens: {max_tokens} .* 64 tokens, of which {special} are"
    with pytest.raises(ParamsError, match=message):
        encoder(folders(kind), max_tokens=max_tokens)


# --- options ----------------------------------------------------------------------------------


def test_rows_are_scaled_to_length_one_by_option(folders: Folders) -> None:
    raw, scaled = (rows(folders("bert"), normalise=normalise) for normalise in (False, True))
    lengths = np.linalg.norm(raw, axis=1, keepdims=True)
    assert np.abs(lengths - 1).min() > 0.1
    np.testing.assert_allclose(scaled, raw / lengths, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(
    ("precision", "dtype", "error"), [("bfloat16", "float32", 0.1), ("float16", "float16", 0.02)]
)
@pytest.mark.parametrize("kind", ["bert", "roberta", "llama", "qwen3"])
def test_half_precision_gives_nearly_the_same(
    folders: Folders, kind: str, precision: str, dtype: str, error: float
) -> None:
    whole, half = rows(folders(kind)), rows(folders(kind), precision=precision)
    assert half.dtype == dtype
    assert 0 < np.abs(half - whole).max() < error * np.abs(whole).max()


@pytest.mark.parametrize("kind", ["llama", "qwen2", "qwen3"])
def test_a_decoder_has_no_cls_token(folders: Folders, kind: str) -> None:
    with pytest.raises(ParamsError, match=r"no first token that attends .* choose last or mean"):
        encoder(folders(kind), pooling="cls")


def test_a_decoder_has_no_cls_token_even_with_the_tokenizer_of_bert(tmp_path: Path) -> None:
    tokenizer = tiny_text.word_pieces()
    config = transformers.GPT2Config(
        vocab_size=len(tokenizer), n_positions=64, n_embd=8, n_layer=2, n_head=2
    )
    folder = tiny_text.save(tmp_path, tokenizer, transformers.GPT2Model, config)
    assert rows(folder).shape == (len(TEXTS), 8)
    with pytest.raises(ParamsError, match="gpt2 has no first token"):
        encoder(folder, pooling="cls")


def test_an_encoder_has_no_cls_token_if_its_tokenizer_adds_none(tmp_path: Path) -> None:
    tokenizer = transformers.AutoTokenizer.from_pretrained(tiny_text.qwen2(tmp_path))
    config = transformers.BertConfig(vocab_size=len(tokenizer), **tiny_text.SHAPE)
    folder = tiny_text.save(tmp_path, tokenizer, transformers.BertModel, config)
    assert rows(folder).shape == (len(TEXTS), 32)
    with pytest.raises(ParamsError, match="bert has no first token"):
        encoder(folder, pooling="cls")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"pooling": "cls", "special_tokens": False}, "leave special_tokens at true"),
        ({"layers": [5]}, r"layers \[5\] do not exist: the network has 5 hidden states"),
        ({"poolling": "mean"}, "Did you mean 'pooling'"),
    ],
)
def test_contradictory_options_are_refused(
    folders: Folders, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParamsError, match=message):
        encoder(folders("bert"), **options)


# --- what is in the folder --------------------------------------------------------------------


def test_weights_are_loaded_only_when_there_is_something_to_encode(tmp_path: Path) -> None:
    network = encoder(tiny_text.bert(tmp_path))
    (tmp_path / "model.safetensors").unlink()
    assert len(encode(network, [Text("silent", "")])[0].values) == 0
    with pytest.raises(OSError, match=r"model\.safetensors"):
        encode(network, TEXTS[:1])


def _without(folder: Path, beginning: str) -> Path:
    file = folder / "model.safetensors"
    weights = safetensors.torch.load_file(file)
    kept = {name: weight for name, weight in weights.items() if not name.startswith(beginning)}
    assert len(kept) < len(weights)
    safetensors.torch.save_file(kept, file, metadata={"format": "pt"})
    return folder


def test_a_missing_weight_is_refused_but_a_missing_pooler_is_not(tmp_path: Path) -> None:
    expected = rows(tiny_text.bert(tmp_path))
    assert np.array_equal(rows(_without(tmp_path, "pooler.")), expected)
    with pytest.raises(MissingFileError, match=r"lacks .*weights .*encoder\.layer\.3"):
        rows(_without(tmp_path, "encoder.layer.3.output."))


@pytest.mark.parametrize("kind", ["bert", "roberta", "llama", "qwen2"])
def test_a_folder_without_a_tokenizer_is_refused(tmp_path: Path, kind: str) -> None:
    folder = tiny_text.NETWORKS[kind](tmp_path)
    for file in folder.glob("tokenizer*"):
        file.unlink()
    with pytest.raises(MissingFileError, match=r"save_pretrained.* tokenizer"):
        encoder(folder)


def test_a_tokenizer_that_threads_cannot_share_is_refused(tmp_path: Path) -> None:
    folder = tiny_text.bert(tmp_path)
    (folder / "tokenizer.json").unlink()
    transformers.ByT5Tokenizer().save_pretrained(folder)
    with pytest.raises(MissingFileError, match="has a ByT5Tokenizer, which threads cannot share"):
        encoder(folder)


def test_an_encoder_decoder_is_refused(tmp_path: Path) -> None:
    config = transformers.T5Config(
        vocab_size=300, d_model=8, d_kv=4, d_ff=8, num_layers=1, num_heads=2
    )
    folder = tiny_text.save(tmp_path, tiny_text.word_pieces(), transformers.T5Model, config)
    with pytest.raises(ParamsError, match="has 't5', which does not compute a seq"):
        encoder(folder)


def test_code_of_a_repository_is_never_run(tmp_path: Path) -> None:
    folder = tiny_text.llama(tmp_path)
    ran = tmp_path / "ran"
    (folder / "modeling_baichuan.py").write_text(f"open({str(ran)!r}, 'w')\n")
    config = json.loads((folder / "config.json").read_text())
    config |= {
        "model_type": "baichuan",
        "auto_map": {"AutoConfig": "modeling_baichuan.Config", "AutoModel": "modeling_baichuan.X"},
    }
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(MissingFileError, match="code of a repository is never run"):
        encoder(folder)
    assert not ran.exists()
