"""Enrich transcripts with a chat model; every prompt is sent only once.

Conversations are stored in the per-clip result cache under the hash of their prompt, so a rerun
sends and costs nothing. A record is built from the cached conversation, so a change of the parsing
code takes effect without new requests.
"""

import functools
import itertools
import logging
import os
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from typing import Any, ClassVar

from ecmf.data.enriched_text import EnrichedText, compose
from ecmf.enrichment import chat, prompts, response_schema
from ecmf.enrichment.base import EnrichmentInput
from ecmf.enrichment.chat import Chat, Conversation, TokenUsage
from ecmf.enrichment.prompts import Prompt, PromptLanguage
from ecmf.enrichment.response_schema import AnswerError
from ecmf.errors import ClipError, UserError
from ecmf.execution import engine
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import ClipInput, Load, Recipe
from ecmf.storage.json_rows import BYTES, from_rows, to_rows
from ecmf.storage.store import Result

PROTOCOL = 1
"""Increment it when the retries of a conversation or its stored form change."""

RecordFields = Mapping[str, Any]
"""Fields of a record that come from a conversation."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ChatRecipe(Recipe):
    """Run conversations concurrently in this process."""

    open: Callable[[], Chat]
    classes: tuple[str, ...]
    usage: TokenUsage
    on_gpu: bool

    @property
    def on_device(self) -> bool:
        """Return whether the chat model runs on a GPU of this process."""
        return self.on_gpu

    def status(self) -> Mapping[str, str]:
        """Return the tokens used so far."""
        return {"in": f"{self.usage.tokens_in:,}", "out": f"{self.usage.tokens_out:,}"}

    def __call__(
        self, items: Iterable[tuple[str, Load]], processes: int
    ) -> Iterator[tuple[str, Result | Failure]]:
        """Yield the conversations as they end; `processes` is ignored."""
        pending = iter(items)
        first = list(itertools.islice(pending, 1))
        if not first:  # everything is cached: no server or weights are needed
            return
        prompts = itertools.chain(first, pending)
        with closing(self.open()) as model:
            for key, ended in chat.run_conversations(model, prompts, self.classes, self.usage):
                yield key, ended if isinstance(ended, Failure) else (to_rows(ended),)


class ChatProvider(ABC):
    """Base class of providers with a chat model; a subclass opens the model."""

    name: ClassVar[str]
    on_gpu: bool = False

    def __init__(self, prompt_language: PromptLanguage) -> None:
        self._language = prompt_language
        self.prompt_version = prompts.prompt_versions(prompt_language)

    @abstractmethod
    def open(self, schema: Mapping[str, Any]) -> Chat:
        """Open the chat, with replies constrained to this JSON schema if possible."""

    @property
    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """Everything but the prompt that determines a reply: model and options, as JSON."""

    def __call__(
        self, inputs: Sequence[EnrichmentInput], classes: Sequence[str]
    ) -> list[EnrichedText]:
        """Enrich every clip that has a transcript; the record of a failed clip has the reason."""
        if os.environ.get("ECMF_ENGINE") == "ray":
            raise UserError(
                f"ECMF_ENGINE is 'ray', but nodes of a cluster cannot share the rate limit and the "
                f"budget of a chat: unset it for enrich_text with provider {self.name}"
            )
        keys: dict[str, str] = {}
        without_prompt: dict[str, RecordFields] = {}
        for clip in inputs:
            if not clip.text.strip():
                without_prompt[clip.clip_id] = {"state": "empty", "reason": "no transcript"}
                continue
            try:
                keys[clip.clip_id] = self._prompt(clip, classes).sha256
            except ClipError as error:
                without_prompt[clip.clip_id] = {"state": "failed", "reason": str(error)}
        # Clips with the same prompt share a conversation.
        by_key = {keys[clip.clip_id]: clip for clip in inputs if clip.clip_id in keys}
        fields = {
            key: _record_fields(conversation, classes)
            for key, conversation in self._conversations(by_key, classes)
        }
        return [
            self._record(clip, without_prompt.get(clip.clip_id) or fields[keys[clip.clip_id]])
            for clip in inputs
        ]

    def _prompt(self, clip: EnrichmentInput, classes: Sequence[str]) -> Prompt:
        return prompts.build_prompt(clip, classes, self._language)

    def _conversations(
        self, by_key: Mapping[str, EnrichmentInput], classes: Sequence[str]
    ) -> Iterator[tuple[str, Conversation | Failure]]:
        """Yield the cached conversation about each clip, or run it."""
        usage = chat.usage_from_env()
        schema = response_schema.answer_schema(classes)
        # Any change of these keys or values would discard replies that have been paid for.
        identity = {"member": self.name, "protocol": PROTOCOL, "schema": schema, **self.identity}
        recipe = ChatRecipe(
            self.name, (BYTES,), identity, functools.partial(self.open, schema),
            tuple(classes), usage, self.on_gpu,
        )  # fmt: skip
        items = [
            ClipInput(key, key, functools.partial(self._prompt, clip, classes))
            for key, clip in by_key.items()
        ]
        try:
            for key, result in engine.run(recipe, items) or ():
                if not isinstance(result, Failure):
                    yield key, from_rows(result, Conversation)
                else:
                    yield key, result
        finally:
            if usage.tokens_in:
                log.info("%s: %s", self.name, usage)

    def _record(self, clip: EnrichmentInput, fields: RecordFields) -> EnrichedText:
        cues = [*fields.get("cues", ()), *filter(None, [fields.get("paraphrase")])]
        return EnrichedText(
            clip_id=clip.clip_id,
            raw=clip.text,
            enriched=compose(clip.text, cues, clip.nonverbal_cues),
            context=clip.context,
            facts=clip.nonverbal_cues,
            provider=self.name,
            prompt_version=self.prompt_version,
            **fields,
        )


def _record_fields(conversation: Conversation | Failure, classes: Sequence[str]) -> RecordFields:
    if isinstance(conversation, Failure):
        return {"state": "failed", "reason": conversation.reason}
    last = conversation.replies[-1]
    origin = {"model": last.model, "prompt_sha256": conversation.prompt_sha256}
    try:
        answer = last.parse(classes)
    except AnswerError as error:
        reason = f"no answer in {len(conversation.replies)} replies: {error}"
        return {**origin, "state": "failed", "reason": reason}
    return {
        **origin,
        "cues": answer.cues,
        "paraphrase": answer.paraphrase,
        "probabilities": answer.normalised_probabilities(classes),
    }
