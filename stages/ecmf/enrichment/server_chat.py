"""Chat with an OpenAI-compatible server: concurrent requests, each in a thread."""

import queue
import threading
from collections.abc import Sequence

from ecmf.enrichment.chat import Reply, env_number
from ecmf.enrichment.openai_client import CompletionRequest, CompletionsClient
from ecmf.enrichment.prompts import Message
from ecmf.errors import UserError
from ecmf.execution.process_pool import Failure

MAX_CONSECUTIVE_FAILURES = 16
"""Failures in a row after which the run stops instead of failing clip by clip."""

Outcome = Reply | Failure | BaseException


class ServerChat:
    """A `Chat` with `ECMF_LLM_CONCURRENCY` (default 8) requests at once.

    Raises:
        UserError: an environment variable is missing or invalid.
    """

    def __init__(self, request: CompletionRequest) -> None:
        self.max_in_flight = int(max(1, env_number("ECMF_LLM_CONCURRENCY", 8)))
        self._client = CompletionsClient(request)
        self._failures = 0
        self._closed = False
        self._requests: queue.SimpleQueue[tuple[str, Sequence[Message]] | None] = (
            queue.SimpleQueue()
        )
        self._outcomes: queue.SimpleQueue[tuple[str, Outcome]] = queue.SimpleQueue()
        self._other_threads = iter(range(self.max_in_flight - 1, -1, -1))
        # Not an executor: Ctrl-C would wait for its threads.
        for _ in range(self.max_in_flight):
            threading.Thread(target=self._work, daemon=True).start()

    def submit(self, key: str, messages: Sequence[Message]) -> None:
        """Queue the messages of a conversation."""
        self._requests.put((key, messages))

    def receive(self) -> tuple[str, Reply | Failure]:
        """Wait for the next reply.

        Raises:
            UserError: the server cannot be reached, lacks the model, rejects the key, or failed
                MAX_CONSECUTIVE_FAILURES times in a row.
        """
        key, outcome = self._outcomes.get()
        if isinstance(outcome, BaseException):
            raise outcome
        self._failures = self._failures + 1 if isinstance(outcome, Failure) else 0
        if isinstance(outcome, Failure) and self._failures == MAX_CONSECUTIVE_FAILURES:
            raise UserError(
                f"{self._client.url} failed {MAX_CONSECUTIVE_FAILURES} times in a row, last with: "
                f"{outcome.reason}. Replies are cached: fix the server and run again"
            )
        return key, outcome

    def close(self) -> None:
        """Send no further requests; do not wait for those in flight."""
        self._closed = True
        for _ in range(self.max_in_flight):
            self._requests.put(None)

    def _work(self) -> None:
        while (request := self._requests.get()) is not None and not self._closed:
            key, messages = request
            outcome: Outcome
            try:
                outcome = self._client.request_reply(messages)
            except BaseException as error:  # noqa: BLE001 (raised again by `receive`)
                outcome = error
            self._outcomes.put((key, outcome))
        if not next(self._other_threads):
            self._client.close()  # in the last thread: no other thread has an open connection
