"""Send requests to an OpenAI-compatible server, and turn its errors into failures or user errors.

A response is untrusted: it is limited in bytes and in time, and the key is redacted in its texts.
"""

import logging
from collections.abc import Callable
from typing import TypeVar

import httpx2
import openai

from ecmf.enrichment.chat import env_number
from ecmf.enrichment.credentials import Credentials
from ecmf.enrichment.response_limits import TooLargeError, response_limiter
from ecmf.errors import UserError
from ecmf.execution.process_pool import Failure

RETRIES = 5
"""Retries of the client after 429, 5xx, a time-out or a lost connection. The wait starts at half a
second and doubles every time, unless the server specifies it."""

CONNECT_TIMEOUT_SECONDS = 10

Answer = TypeVar("Answer")


class ServerClient:
    """Thread-safe client of one server, with a time limit of `ECMF_LLM_SECONDS` or 300 s.

    Raises:
        UserError: an environment variable is missing or invalid.
    """

    def __init__(self, model: str) -> None:
        self._model = model
        self.credentials = Credentials()
        self.url = self.credentials.url
        self._timeout = env_number("ECMF_LLM_SECONDS", 300)
        for name in ("httpx2", "httpcore2", "openai"):  # their messages repeat the server's texts
            logging.getLogger(name).setLevel(logging.WARNING)
        connect = min(CONNECT_TIMEOUT_SECONDS, self._timeout)
        self.client = openai.OpenAI(
            api_key=self.credentials.key,
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
        self.ever_replied = False

    def close(self) -> None:
        """Close the connections."""
        self.client.close()

    def attempt(self, request: Callable[[], Answer]) -> Answer | Failure:
        """Call `request`, which uses the client; return a Failure if this request alone fails.

        Raises:
            UserError: further requests would fail as well: the server cannot be reached, rejects
                the key or lacks the model.
        """
        try:
            return request()
        except (openai.AuthenticationError, openai.PermissionDeniedError) as error:
            problem = f"rejects the key ({self.message(error)}): check OPENAI_API_KEY"
        except openai.NotFoundError as error:
            problem = (
                f"has no model {self._model!r}, or no such address "
                f"({self.message(error)}): check the model and OPENAI_BASE_URL, which usually "
                "ends in /v1"
            )
        except openai.APITimeoutError:
            return Failure(f"no reply within {self._timeout:g} s (ECMF_LLM_SECONDS)")
        except openai.APIConnectionError as error:
            cause = self.message(error.__cause__ or error)
            if self.ever_replied or not isinstance(error.__cause__, httpx2.ConnectError):
                return Failure(f"the connection broke: {cause}")
            problem = f"cannot be reached ({cause}): start the server, or check OPENAI_BASE_URL"
        except (openai.APIStatusError, TooLargeError) as error:
            return Failure(self.message(error))
        raise UserError(f"{self.url} {problem}")

    def message(self, error: BaseException) -> str:
        """Return the message of an error in one line, with the key redacted."""
        return self.credentials.summarise(str(error) or type(error).__name__)
