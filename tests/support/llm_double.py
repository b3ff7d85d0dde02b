"""A scripted fake of an OpenAI-compatible server, which can fail in every way."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

CLASSES = ("neutral", "angry", "happy", "sad")
KEY = "sk-canary-5f1d2a7e9b"


@dataclass(frozen=True)
class Request:
    """One request; `number` counts all requests from 1."""

    number: int
    path: str
    headers: dict[str, str]
    body: dict[str, Any]

    @property
    def user_message(self) -> str:
        """The first user message, which contains the transcript."""
        content: str = self.body["messages"][1]["content"]
        return content

    @property
    def is_retry(self) -> bool:
        """Whether the request sends back an invalid reply."""
        return len(self.body["messages"]) > 2


@dataclass(frozen=True)
class Response:
    """A response after `seconds`; `cut` disconnects within the body, `drip` sends slowly."""

    body: bytes
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    seconds: float = 0
    cut: bool = False
    drip: bool = False


Script = Callable[[Request], Response]


def answer(**changes: Any) -> dict[str, Any]:
    """Return a valid answer, changed by `changes`."""
    probabilities = {"neutral": 0.1, "angry": 0.7, "happy": 0.0, "sad": 0.2}
    valid = {"cues": ["hate"], "paraphrase": "I cannot stand it.", "probabilities": probabilities}
    return {**valid, **changes}


def completion(text: str, *, status: int = 200, **changes: Any) -> Response:
    """Return a completion with this text; `changes` replace its fields."""
    body = {
        "id": "1", "object": "chat.completion", "created": 1, "model": "fake-1",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": text},
                     "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }  # fmt: skip
    content = json.dumps({**body, **changes}).encode()
    return Response(content, status, {"Content-Type": "application/json"})


def valid_reply(_: Request) -> Response:
    """Reply with a valid answer."""
    return completion(json.dumps(answer()))


def error_response(status: int, message: str = "no", **headers: str) -> Response:
    """Return an error in the format of such servers."""
    body = json.dumps({"error": {"message": message, "type": "invalid_request_error"}})
    return Response(body.encode(), status, {"Content-Type": "application/json", **headers})


def _parsed(headers: Any, body: bytes) -> dict[str, Any]:
    """Parse a body of JSON, or the fields and files of a form; a field in `[]` is a list."""
    kind = headers.get("Content-Type", "")
    if not kind.startswith("multipart/form-data"):
        content: dict[str, Any] = json.loads(body or b"{}")
        return content
    form: dict[str, Any] = {}
    for part in message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body).get_payload():
        name = str(part.get_param("name", header="content-disposition"))
        content = part.get_payload(decode=True)
        if name.endswith("[]"):
            form.setdefault(name[:-2], []).append(content.decode())
        else:
            form[name] = content if part.get_filename() else content.decode()
    return form


class FakeServer:
    """The server: `script` returns each response; `requests` records all requests."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.requests: list[Request] = []
        self.max_concurrent = 0
        self._concurrent = 0
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
        self._server.handle_error = lambda *_: None  # type: ignore[method-assign] # a client may disconnect
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
                number, handler.path, dict(handler.headers), _parsed(handler.headers, body)
            )
            self.requests.append(request)
            self._concurrent += 1
            self.max_concurrent = max(self.max_concurrent, self._concurrent)
        response = self.script(request)
        time.sleep(response.seconds)
        with self._lock:
            self._concurrent -= 1
        handler.send_response(response.status)
        for name, value in response.headers.items():
            handler.send_header(name, value)
        handler.send_header("Content-Length", str(len(response.body)))
        handler.end_headers()
        if response.cut:
            handler.wfile.write(response.body[: len(response.body) // 2])
            handler.close_connection = True
            return
        chunks = [response.body]
        if response.drip:
            chunks = [response.body[i : i + 1] for i in range(len(response.body))]
        for chunk in chunks:
            handler.wfile.write(chunk)
            if response.drip:
                time.sleep(0.05)


@contextmanager
def fake_server(script: Script = valid_reply) -> Iterator[FakeServer]:
    """Run a fake server within the block."""
    server = FakeServer(script)
    server._thread.start()
    try:
        yield server
    finally:
        with suppress(OSError):
            server._server.shutdown()
        server._server.server_close()
        server._thread.join()
