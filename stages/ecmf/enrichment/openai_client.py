"""Request one reply from an OpenAI-compatible server.

The server's response is untrusted: `server_client.py` limits it in bytes and in time, and the key
is redacted in its texts.
"""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import openai
from pydantic import BaseModel, Field, ValidationError

from ecmf.enrichment.chat import Reply, make_reply
from ecmf.enrichment.prompts import Message
from ecmf.enrichment.server_client import ServerClient
from ecmf.errors import UserError
from ecmf.execution.process_pool import Failure

ATTEMPTS = 3
"""Maximum requests while the response is not a valid completion."""

RETRY_DELAY_SECONDS = 0.5
"""Before the second attempt; twice that before the third."""

log = logging.getLogger(__name__)


class _Message(BaseModel):
    content: str | None = None
    refusal: str | None = None


class _Choice(BaseModel):
    message: _Message
    finish_reason: str | None = None


class _Usage(BaseModel):
    prompt_tokens: int = Field(ge=0)
    completion_tokens: int = Field(ge=0)


class _Completion(BaseModel):
    """Fields of a response that are read."""

    model: str = ""
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


@dataclass(frozen=True)
class CompletionRequest:
    """Parameters of every request of a run, without its messages."""

    model: str
    longest_answer: int
    seed: int
    schema: Mapping[str, Any]

    def body(self, constrained: bool) -> dict[str, Any]:
        """Return arguments for the client; `constrained` adds the schema as response format."""
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": self.longest_answer,
            "temperature": 0.0,
            "seed": self.seed,
        }
        if constrained:
            schema = {"name": "answer", "strict": True, "schema": dict(self.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        return body


class CompletionsClient(ServerClient):
    """Thread-safe client of the chat completions of one server."""

    def __init__(self, request: CompletionRequest) -> None:
        super().__init__(request.model)
        self._request = request
        self._budgeted = bool(os.environ.get("ECMF_LLM_TOKENS"))
        self._constrained = True

    def request_reply(self, messages: Sequence[Message]) -> Reply | Failure:
        """Request a reply, with retries; return a Failure if the server sends none.

        Raises:
            UserError: further requests would fail as well: the server cannot be reached, rejects
                the key or lacks the model.
        """
        return self.attempt(lambda: self._complete(messages))

    def _complete(self, messages: Sequence[Message]) -> Reply | Failure:
        """Send the request until the response is valid; raises the client's errors."""
        problem = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(RETRY_DELAY_SECONDS * 2 ** (attempt - 1))
            start = time.monotonic()
            response = self._response(messages)
            try:
                completion = _Completion.model_validate_json(response.content)
            except ValidationError:
                kind = response.headers.get("content-type", "of no type")
                problem = self.credentials.summarise(
                    f"the response is {kind}, no completion: {response.text}"
                )
                continue
            self.ever_replied = True
            return self._reply(completion, time.monotonic() - start)
        return Failure(problem)

    def _response(self, messages: Sequence[Message]) -> Any:
        """Send one request; omit the schema henceforth if the server does not support it."""
        create: Any = self.client.chat.completions.with_raw_response.create
        refusal = ""
        if self._constrained:
            try:
                return create(messages=messages, **self._request.body(constrained=True))
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refusal = self.message(error)
        response = create(messages=messages, **self._request.body(constrained=False))
        if refusal and self._constrained:
            self._constrained = False
            log.warning(
                "%s does not support a JSON schema (%s): replies are only validated",
                self.url,
                refusal,
            )
        return response

    def _reply(self, completion: _Completion, seconds: float) -> Reply:
        if completion.usage is None and self._budgeted:
            raise UserError(
                f"{self.url} does not report used tokens, so the budget ECMF_LLM_TOKENS cannot be "
                "enforced: unset it"
            )
        first, usage = completion.choices[0], completion.usage
        return make_reply(
            self.credentials.redact(first.message.content or first.message.refusal or ""),
            model=self.credentials.redact(completion.model),
            tokens=(usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0),
            seconds=seconds,
            ended=first.finish_reason != "length",
        )
