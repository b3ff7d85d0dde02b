"""A JSON schema -> the tokens that may come next: decoding that cannot leave the schema."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

import llguidance.hf
import numpy as np
import torch
from llguidance import LLMatcher
from transformers import LogitsProcessor

from ecmf.errors import ParamsError

COMPACT = {"whitespace_flexible": False}
"""Else a model may go on with blanks and line ends between two values for ever."""


class Grammar:
    """The schema as a tokenizer would have to spell it.

    Raises:
        ParamsError: llguidance cannot hold this tokenizer to it.
    """

    def __init__(
        self, schema: Mapping[str, Any], tokenizer: Any, vocabulary: int, ends: Sequence[int]
    ) -> None:
        """`vocabulary` counts the network's logits; `ends` are the tokens that end a reply."""
        self._tokens = llguidance.hf.from_tokenizer(
            tokenizer, n_vocab=vocabulary, eos_token=list(ends)
        )
        self._rules = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=COMPACT)
        failed, messages = LLMatcher.validate_grammar_with_warnings(self._rules, self._tokens)
        if failed:
            raise ParamsError(f"llguidance cannot hold the tokenizer to the schema: {messages[0]}")
        self.vocabulary = vocabulary
        self.ends = frozenset(ends)

    def matcher(self) -> Any:
        """Start a reply."""
        return LLMatcher(self._tokens, self._rules)


class Held(LogitsProcessor):  # type: ignore[misc]
    """Holds each row of a batch to the grammar. `broken` says which rows had a logit of NaN."""

    def __init__(self, grammar: Grammar, rows: int, prompt_tokens: int) -> None:
        self._grammar = grammar
        self._prompt_tokens = prompt_tokens
        self._matchers = [grammar.matcher() for _ in range(rows)]
        self.broken = np.zeros(rows, bool)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Tokens (rows, tokens) and logits (rows, vocabulary) in, logits out."""
        self.broken |= scores.isnan().any(dim=1).cpu().numpy()
        allowed = np.zeros(scores.shape, bool)
        last = input_ids[:, -1].tolist() if input_ids.shape[1] > self._prompt_tokens else None
        for row, matcher in enumerate(self._matchers):
            if last and not matcher.is_stopped():
                matcher.consume_token(last[row])
            allowed[row] = self._allowed(matcher)
        where = torch.from_numpy(allowed).to(scores.device)
        return scores.nan_to_num(0.0).masked_fill(~where, float("-inf"))

    def _allowed(self, matcher: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """(vocabulary,), only the end where the reply is complete."""
        if matcher.is_error():
            raise RuntimeError(f"llguidance: {matcher.get_error()}")
        bits = np.frombuffer(matcher.compute_bitmask(), "uint8")
        return np.unpackbits(bits, bitorder="little")[: self._grammar.vocabulary].astype(bool)
