"""A chat in this process: greedy decoding in batches, each reply held to its JSON schema.

A reply does not depend on the company its conversation meets. A batch always has the same number of
rows, filled up with copies; prompts are padded on the left to one of few lengths, and always by one
token at least, for a mask that hides nothing is dropped and another kernel chosen.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, cast

import jinja2
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LogitsProcessorList

from ecmf.enrichment.chat import Reply, reply
from ecmf.enrichment.constrained_decoding import Grammar, Held
from ecmf.enrichment.prompts import Message
from ecmf.errors import MissingFileError, ParamsError, UserError
from ecmf.execution import device
from ecmf.execution.process_pool import Failure
from ecmf.pretrained.transformers_model import Pretrained

ROWS_PER_BATCH = 8
"""A constant, for it decides the last bits of every logit."""

TOKENS_PER_STEP = 128
"""Prompts are padded up to a multiple of it."""

BATCHES_AHEAD = 8
"""Conversations that wait for others of their length, in batches."""


class Conversing:
    """A `Chat` with a network of transformers.

    Raises:
        MissingFileError: there is no tokenizer with a chat template beside the weights.
        ParamsError: prompt and answer are longer than the network's positions.
    """

    def __init__(
        self,
        pretrained: Pretrained,
        name: str,
        schema: Mapping[str, Any],
        longest_prompt: int,
        longest_answer: int,
    ) -> None:
        self._pretrained, self._name = pretrained, name
        self._longest_prompt, self._longest_answer = longest_prompt, longest_answer
        positions = getattr(pretrained.config, "max_position_embeddings", None)
        if positions and longest_prompt + longest_answer > positions:
            raise ParamsError(
                f"longest_prompt {longest_prompt} and longest_answer {longest_answer} are more "
                f"than the {positions} tokens that {name} is made for"
            )
        self._tokenizer = tokenizer_of(pretrained)
        self._network = cast(Any, pretrained.model(AutoModelForCausalLM))
        ends = self._ends()
        self._grammar = Grammar(
            schema, self._tokenizer, self._network.get_output_embeddings().weight.shape[0], ends
        )
        # The one that lies there may ask for sampling, or forbid repetition.
        self._network.generation_config = self._decoding = GenerationConfig(
            do_sample=False, max_new_tokens=longest_answer, eos_token_id=ends, pad_token_id=ends[0]
        )
        # Experts get as many tokens as chose them, so their numbers depend on the company.
        experts = hasattr(pretrained.config, "num_experts_per_tok")
        self._rows = 1 if experts else ROWS_PER_BATCH
        self.window = BATCHES_AHEAD * self._rows
        self._waiting: dict[int, deque[tuple[str, list[int]]]] = {}
        self._done: deque[tuple[str, Reply | Failure]] = deque()

    def submit(self, tag: str, messages: Sequence[Message]) -> None:
        """Take a conversation; one that is too long fails."""
        ids = self._ids(messages)
        if len(ids) > self._longest_prompt:
            why = f"the prompt has {len(ids)} tokens, longest_prompt is {self._longest_prompt}"
            self._done.append((tag, Failure(why)))
            return
        length = (len(ids) // TOKENS_PER_STEP + 1) * TOKENS_PER_STEP
        self._waiting.setdefault(length, deque()).append((tag, ids))

    def receive(self) -> tuple[str, Reply | Failure]:
        """Return a reply; decode the fullest batch where there is none yet."""
        if not self._done:
            length = max(self._waiting, key=lambda length: len(self._waiting[length]))
            group = self._waiting[length]
            batch = [group.popleft() for _ in range(min(len(group), self._rows))]
            self._done.extend(self._decode(batch, length))
        return self._done.popleft()

    def close(self) -> None:
        """Give the network's memory back."""
        del self._network
        device.free_memory()

    def _ids(self, messages: Sequence[Message]) -> list[int]:
        try:
            encoded = self._tokenizer.apply_chat_template(
                list(messages),
                add_generation_prompt=True,
                return_dict=True,
                enable_thinking=False,  # the grammar leaves no room for it
            )
        except jinja2.TemplateError as error:
            raise ParamsError(
                f"the chat template of {self._name} does not take a system message before the "
                f"user's ({error}): choose a model whose template does"
            ) from error
        return list(encoded["input_ids"])

    def _ends(self) -> list[int]:
        """Tokens that end a reply; a chat model often has one beside the tokenizer's own."""
        given = self._network.generation_config.eos_token_id
        ends = [given] if isinstance(given, int) else list(given or ())
        return list(dict.fromkeys([self._tokenizer.eos_token_id, *ends]))

    def _decode(
        self, batch: Sequence[tuple[str, list[int]]], length: int
    ) -> list[tuple[str, Reply | Failure]]:
        prompts = [ids for _, ids in batch]
        rows = [*prompts, *prompts[-1:] * (self._rows - len(prompts))]
        ends = self._decoding.eos_token_id
        inputs = device.to_device(
            {
                "input_ids": np.array([[ends[0]] * (length - len(ids)) + ids for ids in rows]),
                "attention_mask": np.array([[0] * (length - len(i)) + [1] * len(i) for i in rows]),
            }
        )
        held = Held(self._grammar, self._rows, length)
        since = time.monotonic()
        try:
            with self._pretrained.computing():
                decoded = self._network.generate(
                    **inputs,
                    generation_config=self._decoding,
                    logits_processor=LogitsProcessorList([held]),
                )
        except (MemoryError, RuntimeError, torch.OutOfMemoryError) as error:
            if not device.is_out_of_memory(error):
                raise
            raise UserError(
                f"{self._rows} prompts of {length} tokens do not fit into the memory of "
                f"{device.requested()}: choose a smaller model or precision: bfloat16"
            ) from error
        seconds = (time.monotonic() - since) / len(batch)
        replies: list[tuple[str, Reply | Failure]] = []
        for row, (tag, ids) in enumerate(batch):
            if held.broken[row]:
                why = "the network gave NaN: does precision: float32 mend it?"
                replies.append((tag, Failure(why)))
                continue
            written = decoded[row, length:].tolist()
            stop = next((i for i, token in enumerate(written) if token in ends), None)
            text = self._tokenizer.decode(written[:stop], skip_special_tokens=True)
            used = (len(ids), len(written) if stop is None else stop + 1)
            replies.append(
                (tag, reply(text, model=self._name, used=used, seconds=seconds,
                            ended=stop is not None))
            )  # fmt: skip
        return replies


def tokenizer_of(pretrained: Pretrained) -> Any:
    """Open the tokenizer that lies beside the weights.

    Raises:
        MissingFileError: there is none, or it has no chat template.
    """
    tokenizer = pretrained.preprocessor(AutoTokenizer)
    if not tokenizer.is_fast or tokenizer.eos_token_id is None or not tokenizer.chat_template:
        raise MissingFileError(
            f"{pretrained.folder} has no fast tokenizer with a chat template and a token that ends "
            "a reply: choose a model that was made for chats (its name mostly says -Instruct or "
            "-Chat), and `save_pretrained` its tokenizer beside the weights"
        )
    return tokenizer
