"""Questions -> exchanges: many conversations at once with one chat, each until it has an answer.

A reply that is no answer is returned to the model with what is wrong with it, twice at most. What
its last reply is worth is not decided here: an exchange is what was said, and it is paid for.
"""

import math
import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from ecmf.enrichment import response_schema
from ecmf.enrichment.prompts import Message, Question
from ecmf.errors import UserError
from ecmf.execution.process_pool import Failure

MOST_REPLIES = 3
"""In one exchange: the first, and two more after being told what was wrong."""


MOST_OF_A_NAME = 200
"""Characters of what a server calls its model."""


class Reply(BaseModel):
    """What came back of one request.

    `text` is cut behind MOST_CHARACTERS, which `answers.parse` refuses; `characters` counts all of
    them. `model` is what the server says it asked. `ended` is false where the limit of tokens cut
    it.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    text: str
    characters: int
    model: str
    tokens_in: int
    tokens_out: int
    seconds: float
    ended: bool

    def answer(self, classes: Sequence[str]) -> response_schema.Answer:
        """Read the answer; raises AnswerError saying why there is none."""
        try:
            return response_schema.parse(self.text, classes)
        except response_schema.AnswerError as error:
            if self.ended:
                raise
            fault = f"cut at {self.tokens_out} tokens ({error}): be shorter"
            raise response_schema.AnswerError(fault) from None


def reply(text: str, *, model: str, used: tuple[int, int], seconds: float, ended: bool) -> Reply:
    """Make a reply of a text and a name of any length; `used` are tokens in and out."""
    return Reply(
        text=text[: response_schema.MOST_CHARACTERS + 1],
        characters=len(text),
        model=response_schema.on_one_line(model)[:MOST_OF_A_NAME],
        tokens_in=used[0],
        tokens_out=used[1],
        seconds=seconds,
        ended=ended,
    )


class Exchange(BaseModel):
    """All that was replied about one question, the last reply last: what the cache keeps."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    prompt_sha256: str
    replies: tuple[Reply, ...]


class Chat(Protocol):
    """A chat model, somewhere: conversations in, replies out, in any order.

    `window` is how many conversations it wants at once. `receive` waits for the next reply; one
    that cannot be had is a Failure with its reason. Raises UserError where no other will come
    either, as from a server that is not there.
    """

    window: int

    def submit(self, tag: str, messages: Sequence[Message]) -> None:
        """Take a conversation, known by a name."""
        ...

    def receive(self) -> tuple[str, Reply | Failure]:
        """Wait for a reply to any of those submitted."""
        ...

    def close(self) -> None:
        """Let go of connections and threads."""
        ...


@dataclass
class Meter:
    """What a run has asked and used, and its budget of tokens, if it has one."""

    budget: float = math.inf
    exchanges: int = 0
    asked_again: int = 0
    tokens_in: int = 0
    tokens_out: int = 0

    @property
    def spent(self) -> bool:
        """Whether the budget is used up."""
        return self.tokens_in + self.tokens_out >= self.budget

    def add(self, reply: Reply) -> None:
        """Count a reply."""
        self.tokens_in += reply.tokens_in
        self.tokens_out += reply.tokens_out

    def __str__(self) -> str:
        """Say it in words."""
        return (
            f"{self.exchanges:,} questions answered, {self.asked_again:,} times asked again, "
            f"{self.tokens_in:,} tokens in, {self.tokens_out:,} out"
        )


def metered() -> Meter:
    """Start counting against `ECMF_LLM_TOKENS` of the environment, tokens in and out in one run."""
    return Meter(number("ECMF_LLM_TOKENS", math.inf))


def number(name: str, default: float) -> float:
    """Read a positive number from the environment; raises UserError for anything else."""
    given = os.environ.get(name, "")
    if not given:
        return default
    try:
        value = float(given)
    except ValueError:
        value = math.nan
    if not 0 < value < math.inf:
        raise UserError(f"{name} is {given!r}: set it to a number above 0, or unset it")
    return value


def hold(
    chat: Chat,
    questions: Iterable[tuple[str, Callable[[], Question]]],
    classes: Sequence[str],
    meter: Meter,
) -> Iterator[tuple[str, Exchange | Failure]]:
    """Yield the exchange of each question, known by its key, or why there is none, as they end.

    Raises:
        UserError: no reply will come any more, or the budget is spent; what was in flight has been
            finished and yielded.
    """
    todo = iter(questions)
    held: dict[str, tuple[Question, list[Reply]]] = {}
    while True:
        while len(held) < chat.window and not meter.spent and (entry := next(todo, None)):
            key, read = entry
            held[key] = read(), []
            chat.submit(key, held[key][0].messages)
        if not held:
            break
        key, received = chat.receive()
        if isinstance(received, Failure):
            del held[key]
            yield key, received
            continue
        question, replies = held[key]
        meter.add(received)
        replies.append(received)
        fault = _fault(received, classes)
        if fault and len(replies) < MOST_REPLIES:
            meter.asked_again += 1
            chat.submit(key, question.again(received.text, fault))
            continue
        del held[key]
        meter.exchanges += 1
        yield key, Exchange(prompt_sha256=question.key, replies=tuple(replies))
    if left := sum(1 for _ in todo):
        raise UserError(
            f"the budget of {meter.budget:,.0f} tokens (ECMF_LLM_TOKENS) is spent: {meter}. "
            f"{left:,} questions are left; what was answered is kept, so run again to go on"
        )


def _fault(reply: Reply, classes: Sequence[str]) -> str:
    try:
        reply.answer(classes)
    except response_schema.AnswerError as error:
        return str(error)
    return ""
