"""Transcripts -> records, by a chat model: each question is asked once, ever.

Exchanges are kept in the cache of results per clip, by the hash of all that was asked, so a rerun
asks nothing and pays nothing. A record is made of the exchange that is kept there, by whatever this
code then makes of the replies.
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

import numpy as np

from ecmf.data.enriched_text import EnrichedText, compose
from ecmf.enrichment import chat, prompts, response_schema
from ecmf.enrichment.base import Transcript
from ecmf.enrichment.chat import Chat, Exchange, Meter
from ecmf.enrichment.prompts import PromptLanguage, Question
from ecmf.enrichment.response_schema import AnswerError
from ecmf.errors import ClipError, UserError
from ecmf.execution import engine
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import Given, Read, Recipe
from ecmf.storage.store import Layout, Result, Rows

PROTOCOL = 1
"""Raised with every change of how conversations are led, or of the form an exchange is kept in."""

BYTES = Layout(dtype="uint8", rate=1.0)
"""An exchange as JSON, a byte a row."""

Added = Mapping[str, Any]
"""Fields of a record that come of an exchange."""

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Asking(Recipe):
    """The recipe of a chat: conversations are led by this process, in parallel."""

    open: Callable[[], Chat]
    classes: tuple[str, ...]
    meter: Meter
    on_gpu: bool

    @property
    def on_device(self) -> bool:
        """A chat in this process computes on the GPU, where there is one."""
        return self.on_gpu

    def shown(self) -> Mapping[str, str]:
        """Tokens used so far."""
        return {"in": f"{self.meter.tokens_in:,}", "out": f"{self.meter.tokens_out:,}"}

    def __call__(
        self, items: Iterable[tuple[str, Read]], processes: int
    ) -> Iterator[tuple[str, Result | Failure]]:
        """Yield the exchanges as they end; `processes` is no matter to a chat."""
        todo = iter(items)
        first = list(itertools.islice(todo, 1))
        if not first:  # all is known: no server and no weights are needed
            return
        questions = itertools.chain(first, todo)
        with closing(self.open()) as opened:
            for key, done in chat.hold(opened, questions, self.classes, self.meter):
                yield key, done if isinstance(done, Failure) else (_rows(done),)


def _rows(exchange: Exchange) -> Rows:
    values = np.frombuffer(exchange.model_dump_json().encode(), "uint8")
    return Rows(values, np.arange(len(values)) / (BYTES.rate or 1))


class Asked(ABC):
    """A provider that asks a chat model; members say which, and how it is opened."""

    name: ClassVar[str]
    on_gpu: bool = False

    def __init__(self, prompt_language: PromptLanguage) -> None:
        self._language = prompt_language
        self.prompt_version = prompts.versions(prompt_language)

    @abstractmethod
    def open(self, schema: Mapping[str, Any]) -> Chat:
        """Open the chat whose replies shall be of this JSON schema, where that can be forced."""

    @property
    @abstractmethod
    def identity(self) -> Mapping[str, Any]:
        """What decides a reply, beside what is asked: model and options, as JSON."""

    def __call__(
        self, transcripts: Sequence[Transcript], classes: Sequence[str]
    ) -> list[EnrichedText]:
        """Ask about every transcript that has one; failed ones say why."""
        if os.environ.get("ECMF_ENGINE") == "ray":
            raise UserError(
                f"ECMF_ENGINE is 'ray', but the nodes of a cluster cannot share the limits of one "
                f"chat: unset it for enrich_text with the provider {self.name}"
            )
        keys: dict[str, str] = {}
        unasked: dict[str, Added] = {}
        for one in transcripts:
            if not one.text.strip():
                unasked[one.clip_id] = {"state": "empty", "reason": "no transcript"}
                continue
            try:
                keys[one.clip_id] = self._question(one, classes).key
            except ClipError as error:
                unasked[one.clip_id] = {"state": "failed", "reason": str(error)}
        # Clips that are told the same share an answer.
        wanted = {keys[one.clip_id]: one for one in transcripts if one.clip_id in keys}
        added = {
            key: _added(exchange, classes) for key, exchange in self._exchanges(wanted, classes)
        }
        return [
            self._record(one, unasked.get(one.clip_id) or added[keys[one.clip_id]])
            for one in transcripts
        ]

    def _question(self, transcript: Transcript, classes: Sequence[str]) -> Question:
        return prompts.question(transcript, classes, self._language)

    def _exchanges(
        self, wanted: Mapping[str, Transcript], classes: Sequence[str]
    ) -> Iterator[tuple[str, Exchange | Failure]]:
        """Look up the exchange about each transcript, or have it."""
        meter = chat.metered()
        schema = response_schema.schema(classes)
        identity = {"member": self.name, "protocol": PROTOCOL, "schema": schema, **self.identity}
        recipe = Asking(
            self.name, (BYTES,), identity, functools.partial(self.open, schema),
            tuple(classes), meter, self.on_gpu,
        )  # fmt: skip
        given = [
            Given(key, key, functools.partial(self._question, one, classes))
            for key, one in wanted.items()
        ]
        try:
            for key, result in engine.apply(recipe, given) or ():
                yield key, result if isinstance(result, Failure) else _exchange(result)
        finally:
            if meter.tokens_in:
                log.info("%s: %s", self.name, meter)

    def _record(self, transcript: Transcript, added: Added) -> EnrichedText:
        said = [*added.get("cues", ()), *filter(None, [added.get("paraphrase")])]
        return EnrichedText(
            clip_id=transcript.clip_id,
            raw=transcript.text,
            enriched=compose(transcript.text, said, transcript.facts),
            context=transcript.context,
            facts=transcript.facts,
            provider=self.name,
            prompt_version=self.prompt_version,
            **added,
        )


def _exchange(result: Result) -> Exchange:
    return Exchange.model_validate_json(np.asarray(result[0].values).tobytes())


def _added(exchange: Exchange | Failure, classes: Sequence[str]) -> Added:
    """What an exchange adds to a record, or why it adds nothing."""
    if isinstance(exchange, Failure):
        return {"state": "failed", "reason": exchange.reason}
    last = exchange.replies[-1]
    asked = {"model": last.model, "prompt_sha256": exchange.prompt_sha256}
    try:
        answer = last.answer(classes)
    except AnswerError as error:
        reason = f"no answer in {len(exchange.replies)} replies: {error}"
        return {**asked, "state": "failed", "reason": reason}
    return {
        **asked,
        "cues": answer.cues,
        "paraphrase": answer.paraphrase,
        "probabilities": answer.shares(classes),
    }
