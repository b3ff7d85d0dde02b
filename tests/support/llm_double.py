"""A small HTTP server that speaks OpenAI's protocol, and fails on it in every way it is told to."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CLASSES = ("neutral", "angry", "happy", "sad")
KEY = "sk-canary-5f1d2a7e9b"


@dataclass(frozen=True)
class Request:
    """What was asked: the number-th of all, from 1 on."""

    number: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def told(self) -> str:
        """The user's first message, where the transcript stands."""
        content: str = self.body["messages"][1]["content"]
        return content

    @property
    def again(self) -> bool:
        """Whether this is about an earlier reply."""
        return len(self.body["messages"]) > 2


@dataclass(frozen=True)
class Response:
    """What is sent back, after some seconds; `cut` closes the connection within the body."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0
    cut: bool = False
    drip: bool = False


Script = Callable[[Request], Response]


def answer(**changes: Any) -> dict[str, Any]:
    """An answer without fault, or with the faults given."""
    shares = {"neutral": 0.1, "angry": 0.7, "happy": 0.0, "sad": 0.2}
    good = {"cues": ["hate"], "paraphrase": "I cannot stand it.", "probabilities": shares}
    return {**good, **changes}


def says(text: str, *, status: int = 200, **changes: Any) -> Response:
    """A completion; `changes` replace its parts."""
    completion = {
        "id": "1", "object": "chat.completion", "created": 1, "model": "double-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text},
                     "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }  # fmt: skip
    body = json.dumps({**completion, **changes}).encode()
    return Response(body, status, {"Content-Type": "application/json"})


def good(_: Request) -> Response:
    """Answer as asked."""
    return says(json.dumps(answer()))


def refuses(status: int, message: str = "no", **headers: str) -> Response:
    """An error as such servers word it."""
    body = json.dumps({"error": {"message": message, "type": "invalid_request_error"}})
    return Response(body.encode(), status, {"Content-Type": "application/json", **headers})


class Double:
    """The server: `script` decides on each response; what came is kept in `requests`."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.most_at_once = 0
        self._at_once = 0
        self._lock = threading.Lock()
        outer = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                outer._respond(self)

            do_GET = do_POST  # noqa: N815 (as http.server calls it)

            def log_message(self, *_: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign] # who asks may go
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,))

    @property
    def url(self) -> str:
        """Its base URL."""
        return f"http://127.0.0.1:{self._server.server_port}/v1"

    def _respond(self, handler: BaseHTTPRequestHandler) -> None:
        body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
        with self._lock:
            number = len(self.requests) + 1
            request = Request(
                number, handler.path, dict(handler.headers), json.loads(body or b"{}")
            )
            self.requests.append(request)
            self._at_once += 1
            self.most_at_once = max(self.most_at_once, self._at_once)
        response = self.script(request)
        time.sleep(response.seconds)
        with self._lock:
            self._at_once -= 1
        handler.send_response(response.status)
        for name, value in response.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(response.body)))
        handler.end_headers()
        if response.cut:
            handler.wfile.write(response.body[: len(response.body) // 2])
            handler.close_connection = True
            return
        pieces = [response.body]
        if response.drip:
            pieces = [response.body[i : i + 1] for i in range(len(response.body))]
        for piece in pieces:
            handler.wfile.write(piece)
            if response.drip:
                time.sleep(0.05)


@contextmanager
def double(script: Script = good) -> Iterator[Double]:
    """Run a double while the block does."""
    server = Double(script)
    server._thread.start()
    try:
        yield server
    finally:
        with suppress(OSError):
            server._server.shutdown()
        server._server.server_close()
        server._thread.join()
