"""Encode a text as one vector, or as one per token: tokenizer, pretrained network and pooling.

The values equal those of transformers' tokenizer and network on the text alone. Padding is on the
right: there masked attention ignores it, causal attention does not reach it, it shifts no position,
and pooling excludes it.

The dialogue lines before a text and the text are a pair of sequences: the network attends to both,
but pooling excludes the lines, and none of their tokens is a row.
"""

import functools
import json
import logging
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from typing import Any, ClassVar, Literal, Self

import numpy as np
import tokenizers
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from transformers import AutoModel, AutoTokenizer
from transformers.models.auto import modeling_auto

from ecmf.encoding.base import has_visible_character
from ecmf.encoding.network import Chunk, Network
from ecmf.errors import ClipError, MissingFileError, ParamsError
from ecmf.execution import device
from ecmf.media import Features, Text
from ecmf.pretrained.transformers_model import LayerOptions, Pretrained

PADDING_MULTIPLE = 16
"""Texts are padded to a multiple of this number of tokens, so that batches fill up."""

DEFAULT_MAX_TOKENS = 512
"""Guards against a huge text, in a network that supports e.g. 32,000 tokens."""

OFFSET_POSITION_MODELS = (
    "camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta",
    "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
)  # fmt: skip
"""Networks whose first position is `pad_token_id + 1`: that many fewer tokens fit."""

PADDING_SENSITIVE_MODELS = ("convbert", "fnet", "nystromformer")
"""Networks that mix tokens regardless of the mask, by convolution or Fourier transform."""

MAX_UNKNOWN_TOKENS = 0.25
"""Fraction of a text's tokens that may be unknown to the vocabulary (`[UNK]`)."""

log = logging.getLogger(__name__)


class RowOptions(LayerOptions):
    """Rows of a text and the layers they are taken from, mixed into an encoder's `Options`."""

    rows: Literal["text", "token"] = Field(
        "text",
        description="One row per `text`, or per `token` without special tokens, whose time is its "
        "position.",
    )


class PoolingOptions(RowOptions):
    """Options of the pooling of a text to one vector, mixed into an encoder's `Options`.

    The earliest dialogue lines before a text are dropped until lines and text fit into
    `max_tokens`; special tokens before the text are never pooled.
    """

    pooling: Literal["mean", "cls", "last"] = Field(
        "mean", description="Mean of the tokens, first token (`cls`, encoders only), or last token."
    )
    special_tokens: bool = Field(
        True, description="Also pool special tokens ([CLS], </s>), which are never rows."
    )
    max_tokens: int | None = Field(
        None, ge=1, description="Tokens after which a text is cut; null: the network's, up to 512."
    )
    normalise: bool = Field(False, description="Scale each row to length 1.")

    @model_validator(mode="after")
    def _cls_is_a_special_token(self) -> Self:
        if self.pooling == "cls" and not self.special_tokens:
            raise ValueError("pooling cls reads a special token: leave special_tokens at true")
        return self

    @model_validator(mode="after")
    def _rows_of_tokens_are_not_pooled(self) -> Self:
        if self.rows == "token" and self.pooling != "mean":
            raise ValueError(
                f"pooling {self.pooling} has no effect on rows: token; leave it out, or choose "
                "rows: text"
            )
        return self


class TextNetwork(Network[Text]):
    """Encode each text as one row at time 0, or each of its tokens as a row.

    A token has no seconds: its time is its position among the tokens of the text, from 0. A text
    without a visible character has no row.
    """

    supports_context: ClassVar[bool] = True

    def __init__(self, pretrained: Pretrained, options: PoolingOptions) -> None:
        self._pretrained = pretrained
        self._options = options
        config = pretrained.config
        layers, dim = (getattr(config, name, None) for name in ("num_hidden_layers", "hidden_size"))
        if not isinstance(layers, int) or not isinstance(dim, int) or config.is_encoder_decoder:
            raise ParamsError(
                f"{pretrained.folder} has {config.model_type!r}, which does not compute a "
                "sequence of hidden states: choose an encoder (bert, roberta, deberta-v2, ...) "
                "or a decoder (llama, qwen2, qwen3, ...)"
            )
        options.check_layers(layers + 1)
        tokenizer = _tokenizer(pretrained)
        self._max_tokens = _max_tokens(pretrained, tokenizer, options.max_tokens)
        if options.pooling == "cls":
            _check_cls(config.model_type, tokenizer)
        # An expert processes tokens from the whole batch: the shapes of its matrix products, and so
        # their last bits, depend on the other texts.
        self._unbatched = config.model_type in PADDING_SENSITIVE_MODELS or hasattr(
            config, "num_experts_per_tok"
        )
        self._with_types = "token_type_ids" in tokenizer.model_input_names
        # Truncation and padding are state of the tokenizer, which transformers sets in every call:
        # with 16 threads, one call in seven got the truncation of another (older releases fail with
        # "Already borrowed"). So it is set once.
        self._tokenizer: tokenizers.Tokenizer = tokenizer.backend_tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self._max_tokens)
        self._unknown_token = -1 if tokenizer.unk_token_id is None else tokenizer.unk_token_id
        self.dim = options.dim(dim)
        self.dtype = pretrained.dtype
        self.rows_at_most = self._max_tokens if options.rows == "token" else 1
        self.provenance: Mapping[str, Any] = {
            **pretrained.provenance,
            "network": config.model_type,
            "longest": self._max_tokens,
            "tokenizers": version("tokenizers"),
        }

    def has_unknown_words(self, text: str) -> bool:
        """Return whether the vocabulary lacks more than `MAX_UNKNOWN_TOKENS` of a text's tokens."""
        tokens = self._tokenizer.encode(text, add_special_tokens=False).ids
        return tokens.count(self._unknown_token) > MAX_UNKNOWN_TOKENS * len(tokens)

    def split(self, clip: Text) -> Sequence[Chunk]:
        """Tokenize a text and mask the tokens to pool, or to return."""
        if not has_visible_character(clip.text):
            return []
        try:
            encoding = self._tokenize(clip)
        except TypeError as error:
            raise ClipError(f"the text is no valid Unicode ({error}): correct it") from error
        special = np.array(encoding.special_tokens_mask, bool)
        if special.all():
            return []
        if cut := sum(rest.special_tokens_mask.count(0) for rest in encoding.overflowing):
            log.warning(
                "clip %r: the last %d tokens of the text are cut off (max_tokens: %d)",
                clip.clip_id, cut, self._max_tokens,
            )  # fmt: skip
        inputs = {"input_ids": np.array(encoding.ids)}
        if self._options.rows == "text":
            inputs["pooled"] = self._pooling_mask(encoding)
        if self._with_types:
            inputs["token_type_ids"] = np.array(encoding.type_ids)
        if self._unbatched:
            return [Chunk(inputs, unbatched=True)]
        tokens = len(special)
        length = min(-(-tokens // PADDING_MULTIPLE) * PADDING_MULTIPLE, self._max_tokens)
        if tokens < length:
            # A text that fills its length has no mask, so it shares no batch with masked texts:
            # transformers drops a mask that masks nothing, and a GPU then uses another kernel.
            inputs["attention_mask"] = np.ones(tokens, np.int64)
        # Padding is token 0: many vocabularies have no padding token.
        return [Chunk({name: np.pad(row, (0, length - tokens)) for name, row in inputs.items()})]

    def _tokenize(self, clip: Text) -> tokenizers.Encoding:
        """Tokenize a text after as many of the preceding lines as fit."""
        for first in range(len(clip.context)):
            pair = self._tokenizer.encode("\n".join(clip.context[first:]), clip.text)
            if not pair.overflowing and 1 in pair.sequence_ids:
                return pair
        return self._tokenizer.encode(clip.text)

    def _pooling_mask(self, encoding: tokenizers.Encoding) -> NDArray[np.bool_]:
        """Mask the tokens to pool, (tokens,), none of which is part of the context."""
        special = np.array(encoding.special_tokens_mask, bool)
        pooled = np.ones_like(special) if self._options.special_tokens else ~special
        pooled[: _context_tokens(encoding)] = False
        if self._options.pooling == "cls":
            pooled[:] = False
            pooled[0] = True
        elif self._options.pooling == "last":
            pooled[: np.flatnonzero(pooled)[-1]] = False
        return pooled

    def forward(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Compute vectors (texts, dim), or (texts, tokens, dim), from tokens (texts, tokens)."""
        inputs = device.to_device(batch)
        pooled = inputs.pop("pooled", None)
        with self._pretrained.inference():
            outputs = self._network(
                **inputs, output_hidden_states=self._options.needs_hidden_states, return_dict=True
            )
            vectors = self._options.select_states(outputs)  # (texts, tokens, dim)
            if pooled is not None:
                mask = pooled[..., None]
                vectors = vectors.masked_fill(~mask, 0).sum(dim=1) / mask.sum(dim=1)
            if self._options.normalise:
                vectors = torch.nn.functional.normalize(vectors, dim=-1)
            result: NDArray[Any] = vectors.cpu().numpy()
        return result

    def merge(self, clip: Text, results: Sequence[NDArray[Any]]) -> Features:
        """Return the vector of a text, at time 0, or those of its tokens, at their positions."""
        if not results:
            return self.empty_features()
        if self._options.rows == "text":
            return self.features(np.stack(results), np.zeros(1))
        encoding = self._tokenize(clip)
        own = ~np.array(encoding.special_tokens_mask, bool)
        own[: _context_tokens(encoding)] = False
        rows = results[0][: len(own)][own]
        return self.features(rows, np.arange(len(rows), dtype="float64"))

    @functools.cached_property
    def _network(self) -> Any:
        network: Any = self._pretrained.load_model(AutoModel, unused=("pooler",))
        network.config.use_cache = False  # keys and values are cached only for generation
        return network


def _context_tokens(encoding: tokenizers.Encoding) -> int:
    """Count the tokens before those of the text, if the text is the second of a pair."""
    sequences = encoding.sequence_ids
    return sequences.index(1) if 1 in sequences else 0


def _tokenizer(pretrained: Pretrained) -> Any:
    """Load the tokenizer from the folder of the weights."""
    tokenizer = pretrained.load_preprocessor(AutoTokenizer)
    files = tokenizer.vocab_files_names.values()
    if not tokenizer.is_fast:
        problem = f"has a {type(tokenizer).__name__}, which threads cannot share"
    elif not any((pretrained.folder / name).is_file() for name in files):
        problem = f"has none of {', '.join(files)}"  # transformers would use an empty vocabulary
    else:
        return tokenizer
    raise MissingFileError(
        f"{pretrained.folder} {problem}: `save_pretrained` the network's tokenizer beside its "
        "weights, so that there is a tokenizer.json"
    )


def _max_tokens(pretrained: Pretrained, tokenizer: Any, requested: int | None) -> int:
    """Return `requested`, checked, or the default of the network if it is None."""
    config = pretrained.config
    positions = getattr(config, "max_position_embeddings", None) or -1
    if positions < 0:  # relative positions have no limit
        positions = tokenizer.model_max_length
    if config.model_type in OFFSET_POSITION_MODELS:
        positions -= config.pad_token_id + 1
    limit = int(min(positions, tokenizer.model_max_length))
    if requested is None:
        sentences = pretrained.folder / "sentence_bert_config.json"
        trained = json.loads(sentences.read_text("utf-8")) if sentences.is_file() else {}
        return min(trained.get("max_seq_length") or limit, limit, DEFAULT_MAX_TOKENS)
    special = tokenizer.num_special_tokens_to_add()
    if not special < requested <= limit:
        raise ParamsError(
            f"max_tokens: {requested} is not possible: network and tokenizer support at most "
            f"{limit} tokens, of which {special} are special tokens"
        )
    return requested


def _check_cls(model_type: str, tokenizer: Any) -> None:
    """Raise ParamsError if there is no first token that attends to the whole text."""
    decoder = (
        model_type in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        and model_type not in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    )
    if decoder or tokenizer.backend_tokenizer.encode("a").ids[0] != tokenizer.cls_token_id:
        raise ParamsError(
            f"pooling: cls is not possible, {model_type} has no first token that attends to the "
            "whole text: choose last or mean"
        )
