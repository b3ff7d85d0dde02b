"""Constrain decoding to a JSON schema: mask the logits of tokens that would violate it."""

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
"""Prevents endless whitespace between two values."""


class Grammar:
    """A JSON schema compiled for the vocabulary of a tokenizer.

    Raises:
        ParamsError: llguidance cannot apply the schema to this tokenizer.
    """

    def __init__(
        self, schema: Mapping[str, Any], tokenizer: Any, vocabulary: int, ends: Sequence[int]
    ) -> None:
        """Compile the schema; `vocabulary` is the number of logits, `ends` the end tokens."""
        self._tokens = llguidance.hf.from_tokenizer(
            tokenizer, n_vocab=vocabulary, eos_token=list(ends)
        )
        self._rules = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=COMPACT)
        failed, messages = LLMatcher.validate_grammar_with_warnings(self._rules, self._tokens)
        if failed:
            raise ParamsError(f"llguidance cannot apply the schema to the tokenizer: {messages[0]}")
        self.vocabulary = vocabulary
        self.ends = frozenset(ends)

    def matcher(self) -> Any:
        """Return a matcher for a new reply."""
        return LLMatcher(self._tokens, self._rules)


class GrammarLogitsProcessor(LogitsProcessor):  # type: ignore[misc]
    """Constrain each row of a batch to the grammar; `has_nan` (rows,) marks NaN logits."""

    def __init__(self, grammar: Grammar, rows: int, prompt_tokens: int) -> None:
        self._grammar = grammar
        self._prompt_tokens = prompt_tokens
        self._matchers = [grammar.matcher() for _ in range(rows)]
        self.has_nan = np.zeros(rows, bool)

    def __call__(self, input_ids: torch.Tensor, scores: torch.Tensor) -> torch.Tensor:
        """Mask logits, (rows, vocabulary), given the tokens so far, (rows, tokens)."""
        self.has_nan |= scores.isnan().any(dim=1).cpu().numpy()
        allowed = np.zeros(scores.shape, bool)
        last = input_ids[:, -1].tolist() if input_ids.shape[1] > self._prompt_tokens else None
        for row, matcher in enumerate(self._matchers):
            if last and not matcher.is_stopped():
                matcher.consume_token(last[row])
            allowed[row] = self._allowed(matcher)
        mask = torch.from_numpy(allowed).to(scores.device)
        return scores.nan_to_num(0.0).masked_fill(~mask, float("-inf"))

    def _allowed(self, matcher: Any) -> np.ndarray[Any, np.dtype[np.bool_]]:
        """Return the allowed tokens, (vocabulary,): only end tokens after a complete reply."""
        if matcher.is_error():
            raise RuntimeError(f"llguidance: {matcher.get_error()}")
        bits = np.frombuffer(matcher.compute_bitmask(), "uint8")
        return np.unpackbits(bits, bitorder="little")[: self._grammar.vocabulary].astype(bool)
