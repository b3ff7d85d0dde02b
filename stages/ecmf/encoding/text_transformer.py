"""A text -> one vector, by a network with pretrained weights: tokens, a mask, and pooling.

Numbers are those of a plain transformers call of tokenizer and network on the text alone. Padding
stands on the right, where masked attention does not see it, causal attention has not yet come to
it, and it shifts no position; pooling leaves it out.

Lines said before a text are the first of a pair whose second is the text: the network reads both,
and its attention carries over what the lines tell, but pooling leaves them out.
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

from ecmf.encoding.network import Network, Piece
from ecmf.errors import ClipError, MissingFileError, ParamsError
from ecmf.execution import device
from ecmf.media import Features, Text
from ecmf.pretrained.transformers_model import Layers, Pretrained

TOKENS_PER_STEP = 16
"""Texts are padded up to a multiple of it, so that few lengths occur."""

MOST_BY_DEFAULT = 512
"""Tokens: a network made for 32,000 would else read a chapter pasted by mistake."""

NUMBERED_AFTER_PADDING = (
    "camembert", "data2vec-text", "ibert", "longformer", "luke", "mpnet", "roberta",
    "roberta-prelayernorm", "xlm-roberta", "xlm-roberta-xl", "xmod",
)  # fmt: skip
"""Networks whose first position is `pad_token_id + 1`: so many fewer are there for tokens."""

READING_PADDING = ("convbert", "fnet", "nystromformer")
"""Networks that mix tokens past the mask, by convolution or Fourier transform."""

log = logging.getLogger(__name__)


class Reading(Layers):
    """How a text becomes one vector: mixed into the `Options` of a member.

    `pooling` is the mean over the tokens, the first token (`cls`, of an encoder) or the last.
    `special_tokens` says whether those that the tokenizer puts around a text ([CLS], </s>) count in
    the mean, and as the last. A text of more than `longest` tokens, those included, is cut at its
    end; the default is what the network was made for, at most 512. `normalise` scales to length 1.

    With lines before a text those special tokens count that stand behind them. The earliest lines
    are left out until all fits into `longest`, whatever the text alone would be cut to.
    """

    pooling: Literal["mean", "cls", "last"] = "mean"
    special_tokens: bool = True
    longest: int | None = Field(None, ge=1)
    normalise: bool = False

    @model_validator(mode="after")
    def _not_contradicting(self) -> Self:
        if self.pooling == "cls" and not self.special_tokens:
            raise ValueError("pooling cls reads a special token: leave special_tokens at true")
        return self


class TextNetwork(Network[Text]):
    """Texts in, one row per text at time 0 out; none for a text without any visible character."""

    reads_before: ClassVar[bool] = True

    def __init__(self, pretrained: Pretrained, reading: Reading) -> None:
        self._pretrained = pretrained
        self._reading = reading
        config = pretrained.config
        layers, dim = (getattr(config, name, None) for name in ("num_hidden_layers", "hidden_size"))
        if not isinstance(layers, int) or not isinstance(dim, int) or config.is_encoder_decoder:
            raise ParamsError(
                f"{pretrained.folder} holds {config.model_type!r}, which does not turn a text into "
                "one series of hidden states: choose an encoder (bert, roberta, deberta-v2, ...) "
                "or a decoder (llama, qwen2, qwen3, ...)"
            )
        reading.check(layers + 1)
        tokenizer = _tokenizer(pretrained)
        self._longest = _longest(pretrained, tokenizer, reading.longest)
        if reading.pooling == "cls":
            _check_cls(config.model_type, tokenizer)
        # Experts get as many tokens as chose them, whole batches counted, and so matrix products
        # whose shape, and last bits, depend on the company.
        self._alone = config.model_type in READING_PADDING or hasattr(config, "num_experts_per_tok")
        self._with_types = "token_type_ids" in tokenizer.model_input_names
        # Cutting and padding are the tokenizer's state, and transformers sets it in every call: of
        # calls with and without cutting in 16 threads, one in seven got the other's length (older
        # releases fail with "Already borrowed"). So it is set once, and only read from then on.
        self._tokenizer: tokenizers.Tokenizer = tokenizer.backend_tokenizer
        self._tokenizer.no_padding()
        self._tokenizer.enable_truncation(self._longest)
        self.dim = reading.dim(dim)
        self.dtype = pretrained.dtype
        self.provenance: Mapping[str, Any] = {
            **pretrained.provenance,
            "network": config.model_type,
            "longest": self._longest,
            "tokenizers": version("tokenizers"),
        }

    def pieces(self, clip: Text) -> Sequence[Piece]:
        """Number the tokens of a text, and say which of them are pooled."""
        if not any(sign.isprintable() and not sign.isspace() for sign in clip.text):
            return []
        try:
            found = self._encoded(clip)
        except TypeError as error:
            raise ClipError(f"the text is no valid Unicode ({error}): write it anew") from error
        special = np.array(found.special_tokens_mask, bool)
        if special.all():
            return []
        if cut := sum(rest.special_tokens_mask.count(0) for rest in found.overflowing):
            log.warning(
                "clip %r: the last %d tokens of the text are not read (longest: %d)",
                clip.clip_id, cut, self._longest,
            )  # fmt: skip
        before = found.sequence_ids.index(1) if 1 in found.sequence_ids else 0
        inputs = {"input_ids": np.array(found.ids), "pooled": self._pooled(special, before)}
        if self._with_types:
            inputs["token_type_ids"] = np.array(found.type_ids)
        if self._alone:
            return [Piece(inputs, alone=True)]
        tokens = len(special)
        length = min(-(-tokens // TOKENS_PER_STEP) * TOKENS_PER_STEP, self._longest)
        if tokens < length:
            # A text that fills its length has no mask, and so shares no batch with one that has:
            # transformers drops a mask that hides nothing, and a GPU then takes another kernel.
            inputs["attention_mask"] = np.ones(tokens, np.int64)
        # Padding is token 0, which every vocabulary has: a token for it is lacking in many.
        return [Piece({name: np.pad(row, (0, length - tokens)) for name, row in inputs.items()})]

    def _encoded(self, clip: Text) -> tokenizers.Encoding:
        """Tokens of a text behind as many of the lines before it, the latest, as have room."""
        for first in range(len(clip.before)):
            pair = self._tokenizer.encode("\n".join(clip.before[first:]), clip.text)
            if not pair.overflowing and 1 in pair.sequence_ids:
                return pair
        return self._tokenizer.encode(clip.text)

    def _pooled(self, special: NDArray[np.bool_], before: int) -> NDArray[np.bool_]:
        """Say which tokens make the vector, given which are special; (tokens,) both.

        The first `before` tokens are not the text's own.
        """
        pooled = np.ones_like(special) if self._reading.special_tokens else ~special
        pooled[:before] = False
        if self._reading.pooling == "cls":
            pooled[:] = False
            pooled[0] = True
        elif self._reading.pooling == "last":
            pooled[: np.flatnonzero(pooled)[-1]] = False
        return pooled

    def forward(self, batch: Mapping[str, NDArray[Any]]) -> NDArray[Any]:
        """Tokens (texts, tokens) in, vectors (texts, dim) out."""
        inputs = device.to_device(batch)
        pooled = inputs.pop("pooled")[..., None]
        with self._pretrained.computing():
            outputs = self._network(
                **inputs, output_hidden_states=self._reading.inner, return_dict=True
            )
            tokens = self._reading.tokens(outputs).masked_fill(~pooled, 0)  # (texts, tokens, dim)
            vectors = tokens.sum(dim=1) / pooled.sum(dim=1)
            if self._reading.normalise:
                vectors = torch.nn.functional.normalize(vectors, dim=1)
            result: NDArray[Any] = vectors.cpu().numpy()
        return result

    def join(self, clip: Text, results: Sequence[NDArray[Any]]) -> Features:
        """Give the vector of a text the time 0."""
        return self.features(np.stack(results), np.zeros(1)) if results else self.no_features()

    @functools.cached_property
    def _network(self) -> Any:
        network: Any = self._pretrained.model(AutoModel, unused=("pooler",))
        network.config.use_cache = False  # keys and values are kept for writing on; nobody does
        return network


def _tokenizer(pretrained: Pretrained) -> Any:
    """Open the tokenizer that lies beside the weights."""
    tokenizer = pretrained.preprocessor(AutoTokenizer)
    files = tokenizer.vocab_files_names.values()
    if not tokenizer.is_fast:
        fault = f"has a {type(tokenizer).__name__}, which threads cannot share"
    elif not any((pretrained.folder / name).is_file() for name in files):
        fault = f"has none of {', '.join(files)}"  # of which transformers makes an empty vocabulary
    else:
        return tokenizer
    raise MissingFileError(
        f"{pretrained.folder} {fault}: `save_pretrained` the network's tokenizer beside its "
        "weights, so that there is a tokenizer.json"
    )


def _longest(pretrained: Pretrained, tokenizer: Any, wanted: int | None) -> int:
    """How many tokens are read: `wanted` if that is possible, else what the network is made for."""
    config = pretrained.config
    positions = getattr(config, "max_position_embeddings", None) or -1
    if positions < 0:  # they are relative, so that any number will do
        positions = tokenizer.model_max_length
    if config.model_type in NUMBERED_AFTER_PADDING:
        positions -= config.pad_token_id + 1
    most = int(min(positions, tokenizer.model_max_length))
    if wanted is None:
        sentences = pretrained.folder / "sentence_bert_config.json"
        trained = json.loads(sentences.read_text("utf-8")) if sentences.is_file() else {}
        return min(trained.get("max_seq_length") or most, most, MOST_BY_DEFAULT)
    frame = tokenizer.num_special_tokens_to_add()
    if not frame < wanted <= most:
        raise ParamsError(
            f"longest: {wanted} is not possible: network and tokenizer are made for {most} tokens "
            f"at most, and {frame} of them are special ones"
        )
    return wanted


def _check_cls(kind: str, tokenizer: Any) -> None:
    """Raise ParamsError if no token stands before a text that has seen all of it."""
    decoder = (
        kind in modeling_auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        and kind not in modeling_auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES
    )
    if decoder or tokenizer.backend_tokenizer.encode("a").ids[0] != tokenizer.cls_token_id:
        raise ParamsError(
            f"pooling: cls is not possible, {kind} has no first token that has seen the whole "
            "text: choose last or mean"
        )
