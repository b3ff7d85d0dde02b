"""Run many conversations with a chat model concurrently, each until its reply is valid.

An invalid reply is sent back to the model with the error, at most twice. The last reply is stored
even if invalid (it has been billed); it is parsed again when the record is built.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from ecmf.enrichment import response_schema
from ecmf.enrichment.prompts import Message, Prompt
from ecmf.errors import UserError
from ecmf.execution.process_pool import Failure

MAX_REPLIES = 3
"""Maximum replies per conversation: the first, and two retries after an error."""

MAX_MODEL_NAME = 200
"""Maximum characters of the model name that a server reports."""


class Reply(BaseModel):
    """Reply of the model to one request.

    `text` is cut after MAX_REPLY_CHARACTERS + 1 characters, which `parse_answer` rejects;
    `characters` is the full length. `model` is the name that the server reports. `ended` is false
    if the token limit cut the reply.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    characters: int
    model: str
    tokens_in: int
    tokens_out: int
    seconds: float
    ended: bool

    def parse(self, classes: Sequence[str]) -> response_schema.Answer:
        """Parse the answer; raises AnswerError with the reason if it is invalid."""
        try:
            return response_schema.parse_answer(self.text, classes)
        except response_schema.AnswerError as error:
            if self.ended:
                raise
            message = f"cut at {self.tokens_out} tokens ({error}): be shorter"
            raise response_schema.AnswerError(message) from None


def make_reply(
    text: str, *, model: str, tokens: tuple[int, int], seconds: float, ended: bool
) -> Reply:
    """Build a reply from text and model name of any length; `tokens` are those in and out."""
    return Reply(
        text=text[: response_schema.MAX_REPLY_CHARACTERS + 1],
        characters=len(text),
        model=response_schema.to_one_line(model)[:MAX_MODEL_NAME],
        tokens_in=tokens[0],
        tokens_out=tokens[1],
        seconds=seconds,
        ended=ended,
    )


class Conversation(BaseModel):
    """All replies to one prompt, in order. The cache stores it as JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt_sha256: str
    replies: tuple[Reply, ...]


class Chat(Protocol):
    """A local or remote chat model; answers up to `max_in_flight` prompts at once in any order."""

    max_in_flight: int

    def submit(self, key: str, messages: Sequence[Message]) -> None:
        """Queue the messages of the conversation `key`."""
        ...

    def receive(self) -> tuple[str, Reply | Failure]:
        """Wait for the next reply and return it with its key.

        A failed request gives a Failure. Raises UserError if further requests would fail as well,
        e.g. if the server cannot be reached.
        """
        ...

    def close(self) -> None:
        """Release connections, threads and memory."""
        ...


@dataclass
class TokenUsage:
    """Count the conversations and tokens of a run, against a token budget."""

    budget: float = math.inf
    conversations: int = 0
    retries: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def exhausted(self) -> bool:
        """Return whether the budget is used up."""
        return self.tokens_in + self.tokens_out >= self.budget

    def add(self, reply: Reply) -> None:
        """Add the tokens of a reply."""
        self.tokens_in += reply.tokens_in
        self.tokens_out += reply.tokens_out

    def __str__(self) -> str:
        """Return the counts as text."""
        return (
            f"{self.conversations:,} conversations, {self.retries:,} retries, "
            f"{self.tokens_in:,} tokens in, {self.tokens_out:,} out"
        )


def usage_from_env() -> TokenUsage:
    """Return a counter with the budget of `ECMF_LLM_TOKENS`: tokens in and out of one run."""
    return TokenUsage(env_number("ECMF_LLM_TOKENS", math.inf))


def env_number(name: str, default: float) -> float:
    """Read a positive number from the environment; raises UserError for anything else."""
    text = os.environ.get(name, "")
    if not text:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UserError(f"{name} is {text!r}: set it to a number above 0, or unset it")
    return value


def run_conversations(
    chat: Chat,
    prompts: Iterable[tuple[str, Callable[[], Prompt]]],
    classes: Sequence[str],
    usage: TokenUsage,
) -> Iterator[tuple[str, Conversation | Failure]]:
    """Yield the conversation about each prompt, or its failure, with its key, as they end.

    Raises:
        UserError: no further reply is possible, or the budget is spent; conversations in flight are
            finished and yielded before.
    """
    pending = iter(prompts)
    in_flight: dict[str, tuple[Prompt, list[Reply]]] = {}
    while True:
        while (
            len(in_flight) < chat.max_in_flight
            and not usage.exhausted
            and (entry := next(pending, None))
        ):
            key, load = entry
            in_flight[key] = load(), []
            chat.submit(key, in_flight[key][0].messages)
        if not in_flight:
            break
        key, reply = chat.receive()
        if isinstance(reply, Failure):
            del in_flight[key]
            yield key, reply
            continue
        prompt, replies = in_flight[key]
        usage.add(reply)
        replies.append(reply)
        error = _parse_error(reply, classes)
        if error and len(replies) < MAX_REPLIES:
            usage.retries += 1
            chat.submit(key, prompt.retry(reply.text, error))
            continue
        del in_flight[key]
        usage.conversations += 1
        yield key, Conversation(prompt_sha256=prompt.sha256, replies=tuple(replies))
    if remaining := sum(1 for _ in pending):
        raise UserError(
            f"the budget of {usage.budget:,.0f} tokens (ECMF_LLM_TOKENS) is spent: {usage}. "
            f"{remaining:,} prompts remain; replies are cached, so run again to continue"
        )


def _parse_error(reply: Reply, classes: Sequence[str]) -> str:
    try:
        reply.parse(classes)
    except response_schema.AnswerError as error:
        return str(error)
    return ""
