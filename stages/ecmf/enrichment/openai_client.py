"""Request one reply from an OpenAI-compatible server.

The server's response is untrusted: it is limited in bytes and in time, and the key is redacted in
its texts.
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

from ecmf.enrichment.chat import Reply, env_number, make_reply
from ecmf.enrichment.credentials import Credentials
from ecmf.enrichment.prompts import Message
from ecmf.enrichment.response_limits import TooLargeError, response_limiter
from ecmf.errors import UserError
from ecmf.execution.process_pool import Failure

RETRIES = 5
"""Retries of the client after 429, 5xx, a time-out or a lost connection. The wait starts at half a
second and doubles every time, unless the server specifies it."""

ATTEMPTS = 3
"""Maximum requests while the response is not a valid completion."""

RETRY_DELAY_SECONDS = 0.5
"""Before the second attempt; twice that before the third."""

CONNECT_TIMEOUT_SECONDS = 10

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


class CompletionsClient:
    """Thread-safe client of one server, with a time limit of `ECMF_LLM_SECONDS` or 300 s.

    Raises:
        UserError: an environment variable is missing or invalid.
    """

    def __init__(self, request: CompletionRequest) -> None:
        self._credentials = Credentials()
        self.url = self._credentials.url
        self._request = request
        self._timeout = env_number("ECMF_LLM_SECONDS", 300)
        self._budgeted = bool(os.environ.get("ECMF_LLM_TOKENS"))
        for name in ("httpx2", "httpcore2", "openai"):  # their messages repeat the server's texts
            logging.getLogger(name).setLevel(logging.WARNING)
        connect = min(CONNECT_TIMEOUT_SECONDS, self._timeout)
        self._client = openai.OpenAI(
            api_key=self._credentials.key,
            base_url=self.url,
            max_retries=RETRIES,
            # Not that of http_client: if it is httpx's default, 5 s, openai would wait for 600 s.
            timeout=httpx2.Timeout(self._timeout, connect=connect),
            http_client=openai.DefaultHttpxClient(
                follow_redirects=False,  # the server could redirect to any host
                headers={"Accept-Encoding": "identity"},
                event_hooks={"response": [response_limiter(self._timeout)]},
            ),
        )
        self._constrained = True
        self._ever_replied = False

    def close(self) -> None:
        """Close the connections."""
        self._client.close()

    def request_reply(self, messages: Sequence[Message]) -> Reply | Failure:
        """Request a reply, with retries; return a Failure if the server sends none.

        Raises:
            UserError: further requests would fail as well: the server cannot be reached, rejects
                the key or lacks the model.
        """
        try:
            return self._complete(messages)
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            problem = f"rejects the key ({self._message(error)}): check OPENAI_API_KEY"
        except openai.NotFoundError as error:
            problem = (
                f"has no model {self._request.model!r}, or no such address "
                f"({self._message(error)}): check the model and OPENAI_BASE_URL, which usually "
                "ends in /v1"
            )
        except openai.APITimeoutError:
            return Failure(f"no reply within {self._timeout:g} s (ECMF_LLM_SECONDS)")
        except openai.APIConnectionError as error:
            cause = self._message(error.__cause__ or error)
            if self._ever_replied or not isinstance(error.__cause__, httpx2.ConnectError):
                return Failure(f"the connection broke: {cause}")
            problem = f"cannot be reached ({cause}): start the server, or check OPENAI_BASE_URL"
        except (openai.APIStatusError, TooLargeError) as error:
            return Failure(self._message(error))
        raise UserError(f"{self.url} {problem}")

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
                problem = self._credentials.summarise(
                    f"the response is {kind}, no completion: {response.text}"
                )
                continue
            self._ever_replied = True
            return self._reply(completion, time.monotonic() - start)
        return Failure(problem)

    def _response(self, messages: Sequence[Message]) -> Any:
        """Send one request; omit the schema henceforth if the server does not support it."""
        create: Any = self._client.chat.completions.with_raw_response.create
        refusal = ""
        if self._constrained:
            try:
                return create(messages=messages, **self._request.body(constrained=True))
            except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
                refusal = self._message(error)
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
            self._credentials.redact(first.message.content or first.message.refusal or ""),
            model=self._credentials.redact(completion.model),
            tokens=(usage.prompt_tokens, usage.completion_tokens) if usage else (0, 0),
            seconds=seconds,
            ended=first.finish_reason != "length",
        )

    def _message(self, error: BaseException) -> str:
        return self._credentials.summarise(str(error) or type(error).__name__)
