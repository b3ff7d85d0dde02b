"""A chat with a server that speaks OpenAI's protocol: many requests at once, each in a thread."""

import queue
import threading
from collections.abc import Sequence

from ecmf.enrichment.chat import Reply, number
from ecmf.enrichment.openai_client import Completions, Request
from ecmf.enrichment.prompts import Message
from ecmf.errors import UserError
from ecmf.execution.process_pool import Failure

FAILURES_IN_A_ROW = 16
"""From then on the server is given up, not one clip after the other."""

Outcome = Reply | Failure | BaseException


class Endpoint:
    """A `Chat` with as many conversations at once as `ECMF_LLM_CONCURRENCY` says, or 8.

    Raises:
        UserError: the environment does not say which server, or says something of no use.
    """

    def __init__(self, request: Request) -> None:
        self.window = int(max(1, number("ECMF_LLM_CONCURRENCY", 8)))
        self._server = Completions(request)
        self._failures = 0
        self._closed = False
        self._asked: queue.SimpleQueue[tuple[str, Sequence[Message]] | None] = queue.SimpleQueue()
        self._replied: queue.SimpleQueue[tuple[str, Outcome]] = queue.SimpleQueue()
        self._others = iter(range(self.window - 1, -1, -1))
        # The threads of an executor would be waited for when Ctrl-C ends the program.
        for _ in range(self.window):
            threading.Thread(target=self._work, daemon=True).start()

    def submit(self, tag: str, messages: Sequence[Message]) -> None:
        """Take a conversation."""
        self._asked.put((tag, messages))

    def receive(self) -> tuple[str, Reply | Failure]:
        """Wait for the next reply.

        Raises:
            UserError: the server is not there, does not know the model, refuses the key, or has
                given no reply to FAILURES_IN_A_ROW conversations.
        """
        tag, received = self._replied.get()
        if isinstance(received, BaseException):
            raise received
        self._failures = self._failures + 1 if isinstance(received, Failure) else 0
        if isinstance(received, Failure) and self._failures == FAILURES_IN_A_ROW:
            raise UserError(
                f"{self._server.url} gave no reply to {FAILURES_IN_A_ROW} questions in a row, the "
                f"last: {received.reason}. What was answered is kept: mend it and run again"
            )
        return tag, received

    def close(self) -> None:
        """Ask nothing more; what is in flight is not waited for."""
        self._closed = True
        for _ in range(self.window):
            self._asked.put(None)

    def _work(self) -> None:
        while (asked := self._asked.get()) is not None and not self._closed:
            tag, messages = asked
            outcome: Outcome
            try:
                outcome = self._server.ask(messages)
            except BaseException as error:  # noqa: BLE001 (raised again by `receive`)
                outcome = error
            self._replied.put((tag, outcome))
        if not next(self._others):
            self._server.close()  # by the last thread: none of the others has a connection open
