"""Run a chat model in this process: greedy, batched decoding constrained to a JSON schema.

A reply does not depend on the other conversations of its batch: all batches have the same number of
rows, filled up with copies. Prompts are padded on the left to one of few lengths, and by at least
one token, since transformers drops a mask without padding, which selects another kernel.
"""

import time
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Any, cast

import jinja2
import numpy as np
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, LogitsProcessorList

from ecmf.enrichment.chat import Reply, make_reply
from ecmf.enrichment.constrained_decoding import Grammar, GrammarLogitsProcessor
from ecmf.enrichment.prompts import Message
from ecmf.errors import MissingFileError, ParamsError, UserError
from ecmf.execution import device
from ecmf.execution.process_pool import Failure
from ecmf.pretrained.transformers_model import Pretrained

ROWS_PER_BATCH = 8
"""Constant, since it affects the last bits of every logit."""

TOKENS_PER_STEP = 128
"""Prompts are padded to a multiple of this."""

BATCHES_AHEAD = 8
"""Batches of conversations accepted at once, so that prompts of equal length can be batched."""


class LocalChat:
    """A `Chat` with a model of transformers.

    Raises:
        MissingFileError: the weights have no tokenizer with a chat template.
        ParamsError: prompt and answer together exceed the model's positions.
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
                f"than the {positions} tokens that {name} supports: lower them"
            )
        self._tokenizer = load_chat_tokenizer(pretrained)
        self._network = cast(Any, pretrained.load_model(AutoModelForCausalLM))
        ends = self._ends()
        self._grammar = Grammar(
            schema, self._tokenizer, self._network.get_output_embeddings().weight.shape[0], ends
        )
        # The model's own configuration may enable sampling or a repetition penalty.
        self._network.generation_config = self._decoding = GenerationConfig(
            do_sample=False, max_new_tokens=longest_answer, eos_token_id=ends, pad_token_id=ends[0]
        )
        # An expert's batch, and so the last bits, depends on the routing of all rows.
        experts = hasattr(pretrained.config, "num_experts_per_tok")
        self._rows = 1 if experts else ROWS_PER_BATCH
        self.max_in_flight = BATCHES_AHEAD * self._rows
        self._queues: dict[int, deque[tuple[str, list[int]]]] = {}
        self._replies: deque[tuple[str, Reply | Failure]] = deque()

    def submit(self, key: str, messages: Sequence[Message]) -> None:
        """Queue the messages of a conversation; too long a prompt becomes a Failure."""
        ids = self._ids(messages)
        if len(ids) > self._longest_prompt:
            reason = f"the prompt has {len(ids)} tokens, longest_prompt is {self._longest_prompt}"
            self._replies.append((key, Failure(reason)))
            return
        length = (len(ids) // TOKENS_PER_STEP + 1) * TOKENS_PER_STEP
        self._queues.setdefault(length, deque()).append((key, ids))

    def receive(self) -> tuple[str, Reply | Failure]:
        """Return a reply; if there is none, decode a batch of the longest queue."""
        if not self._replies:
            length = max(self._queues, key=lambda length: len(self._queues[length]))
            queue = self._queues[length]
            batch = [queue.popleft() for _ in range(min(len(queue), self._rows))]
            self._replies.extend(self._decode(batch, length))
        return self._replies.popleft()

    def close(self) -> None:
        """Release the model's memory."""
        del self._network
        device.free_memory()

    def _ids(self, messages: Sequence[Message]) -> list[int]:
        try:
            encoded = self._tokenizer.apply_chat_template(
                list(messages),
                add_generation_prompt=True,
                return_dict=True,
                enable_thinking=False,  # the grammar does not allow it
            )
        except jinja2.TemplateError as error:
            raise ParamsError(
                f"the chat template of {self._name} does not accept a system message before the "
                f"user's ({error}): choose a model whose template does"
            ) from error
        return list(encoded["input_ids"])

    def _ends(self) -> list[int]:
        """Return the end tokens; a chat model often has others than the tokenizer's."""
        eos = self._network.generation_config.eos_token_id
        ends = [eos] if isinstance(eos, int) else list(eos or ())
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
        processor = GrammarLogitsProcessor(self._grammar, self._rows, length)
        start = time.monotonic()
        try:
            with self._pretrained.inference():
                decoded = self._network.generate(
                    **inputs,
                    generation_config=self._decoding,
                    logits_processor=LogitsProcessorList([processor]),
                )
        except (MemoryError, RuntimeError, torch.OutOfMemoryError) as error:
            if not device.is_out_of_memory(error):
                raise
            raise UserError(
                f"{self._rows} prompts of {length} tokens do not fit into the memory of "
                f"{device.requested()}: choose a smaller model or precision: bfloat16"
            ) from error
        seconds = (time.monotonic() - start) / len(batch)
        replies: list[tuple[str, Reply | Failure]] = []
        for row, (key, ids) in enumerate(batch):
            if processor.has_nan[row]:
                reason = "the network returned NaN: try precision: float32"
                replies.append((key, Failure(reason)))
                continue
            generated = decoded[row, length:].tolist()
            stop = next((i for i, token in enumerate(generated) if token in ends), None)
            text = self._tokenizer.decode(generated[:stop], skip_special_tokens=True)
            tokens = (len(ids), len(generated) if stop is None else stop + 1)
            reply = make_reply(
                text, model=self._name, tokens=tokens, seconds=seconds, ended=stop is not None
            )
            replies.append((key, reply))
        return replies


def load_chat_tokenizer(pretrained: Pretrained) -> Any:
    """Load the tokenizer beside the weights.

    Raises:
        MissingFileError: there is no tokenizer, or it has no chat template.
    """
    tokenizer = pretrained.load_preprocessor(AutoTokenizer)
    if not tokenizer.is_fast or tokenizer.eos_token_id is None or not tokenizer.chat_template:
        raise MissingFileError(
            f"{pretrained.folder} has no fast tokenizer with a chat template and an end token: "
            "choose a chat model (its name usually contains -Instruct or -Chat), and save its "
            "tokenizer beside the weights with `save_pretrained`"
        )
    return tokenizer
