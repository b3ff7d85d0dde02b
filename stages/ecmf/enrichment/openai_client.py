"""Messages -> one reply, over HTTP, from a server that speaks OpenAI's protocol.

What a server sends is untrusted: it is bounded in bytes and in time, and the key is taken out of
all it says.
"""

import logging
import os
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import httpx2
import openai
from pydantic import BaseModel, Field, ValidationError

from ecmf.enrichment.chat import Reply, number, reply
from ecmf.enrichment.credentials import Access
from ecmf.enrichment.prompts import Message
from ecmf.enrichment.response_limits import TooLargeError, bound
from ecmf.errors import UserError
from ecmf.execution.process_pool import Failure

RETRIES = 5
"""By the client itself, after 429, 5xx, a time-out or a lost connection: from half a second on it
waits twice as long every time, or as long as the server says."""

ATTEMPTS = 3
"""For a response that came and is broken."""

SECONDS_BETWEEN = 0.5
"""Before the second attempt; twice that before the third."""

SECONDS_TO_CONNECT = 10

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
    """What is read of a response."""

    model: str = ""
    choices: list[_Choice] = Field(min_length=1)
    usage: _Usage | None = None


@dataclass(frozen=True)
class Request:
    """What every request of a run says beside its messages."""

    model: str
    longest_answer: int
    seed: int
    schema: Mapping[str, Any]

    def body(self, constrained: bool) -> dict[str, Any]:
        """Arguments for the client; `constrained` holds decoding to the schema."""
        body: dict[str, Any] = {
            "model": self.model,
            "max_tokens": self.longest_answer,
            "temperature": 0.0,
            "seed": self.seed,
        }
        if constrained:
            form = {"name": "answer", "strict": True, "schema": dict(self.schema)}
            body["response_format"] = {"type": "json_schema", "json_schema": form}
        return body


class Completions:
    """A server, which threads may share; a request may take `ECMF_LLM_SECONDS`, or 300.

    Raises:
        UserError: the environment does not say which server, or says something of no use.
    """

    def __init__(self, request: Request) -> None:
        self._access = Access()
        self.url = self._access.url
        self._request = request
        self._seconds = number("ECMF_LLM_SECONDS", 300)
        self._budgeted = bool(os.environ.get("ECMF_LLM_TOKENS"))
        for name in ("httpx2", "httpcore2", "openai"):  # their lines repeat what a server says
            logging.getLogger(name).setLevel(logging.WARNING)
        connecting = min(SECONDS_TO_CONNECT, self._seconds)
        self._client = openai.OpenAI(
            api_key=self._access.key,
            base_url=self.url,
            max_retries=RETRIES,
            http_client=openai.DefaultHttpxClient(
                timeout=httpx2.Timeout(self._seconds, connect=connecting),
                follow_redirects=False,  # to wherever a server may say
                headers={"Accept-Encoding": "identity"},
                event_hooks={"response": [bound(self._seconds)]},
            ),
        )
        self._constrained = True
        self._ever_replied = False

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def ask(self, messages: Sequence[Message]) -> Reply | Failure:
        """Ask, and again where the server does not do its part; then it is a Failure.

        Raises:
            UserError: the next request would fare no better: the server cannot be reached, refuses
                the key or does not know the model.
        """
        try:
            return self._whole(messages)
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            fault = f"refuses the key ({self._said(error)}): check OPENAI_API_KEY"
        except openai.NotFoundError as error:
            fault = (
                f"knows no model {self._request.model!r}, or no such address "
                f"({self._said(error)}): check the model, and OPENAI_BASE_URL, which mostly ends "
                "in /v1"
            )
        except openai.APITimeoutError:
            return Failure(f"no reply within {self._seconds:g} s (ECMF_LLM_SECONDS)")
        except openai.APIConnectionError as error:
            cause = self._said(error.__cause__ or error)
            if self._ever_replied or not isinstance(error.__cause__, httpx2.ConnectError):
                return Failure(f"the connection broke: {cause}")
            fault = f"cannot be reached ({cause}): start the server, or check OPENAI_BASE_URL"
        except (openai.APIStatusError, TooLargeError) as error:
            return Failure(self._said(error))
        raise UserError(f"{self.url} {fault}")

    def _whole(self, messages: Sequence[Message]) -> Reply | Failure:
        """Ask until a response is a completion; a status that the client gave up at is raised."""
        fault = ""
        for attempt in range(ATTEMPTS):
            if attempt:
                time.sleep(SECONDS_BETWEEN * 2 ** (attempt - 1))
            since = time.monotonic()
            response = self._response(messages)
            try:
                found = _Completion.model_validate_json(response.content)
            except ValidationError:
                kind = response.headers.get("content-type", "of no type")
                fault = self._access.short(
                    f"the response is {kind}, no completion: {response.text}"
                )
                continue
            self._ever_replied = True
            return self._reply(found, time.monotonic() - since)
        return Failure(fault)

    def _response(self, messages: Sequence[Message]) -> Any:
        """Ask once; a server that does not take a schema is asked without, from then on."""
        create: Any = self._client.chat.completions.with_raw_response.create
        refusal = ""
        if self._constrained:
            try:
                return create(messages=messages, **self._request.body(constrained=True))
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refusal = self._said(error)
        response = create(messages=messages, **self._request.body(constrained=False))
        if refusal and self._constrained:
            self._constrained = False
            log.warning(
                "%s takes no JSON schema (%s): its replies are only checked", self.url, refusal
            )
        return response

    def _reply(self, found: _Completion, seconds: float) -> Reply:
        if found.usage is None and self._budgeted:
            raise UserError(
                f"{self.url} does not say how many tokens it used, so ECMF_LLM_TOKENS cannot be "
                "kept: unset it"
            )
        first, used = found.choices[0], found.usage
        return reply(
            self._access.without_key(first.message.content or first.message.refusal or ""),
            model=self._access.without_key(found.model),
            used=(used.prompt_tokens, used.completion_tokens) if used else (0, 0),
            seconds=seconds,
            ended=first.finish_reason != "length",
        )

    def _said(self, error: BaseException) -> str:
        return self._access.short(str(error) or type(error).__name__)
