"""Limit the responses of an HTTP client in bytes and in time."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
from openai import OpenAIError

MAX_BYTES = 1 << 22
"""Size limit of a response, a thousand times the size of an answer."""


class TooLargeError(OpenAIError):
    """A response too large to read. The client raises an OpenAIError without retry."""


def response_limiter(seconds: float) -> Callable[[httpx2.Response], None]:
    """Return a response hook that limits the body to MAX_BYTES and `seconds`."""

    def hook(response: httpx2.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise TooLargeError("the response is compressed, to a size nobody knows")
        response.stream = _LimitedStream(response, time.monotonic() + seconds)

    return hook


class _LimitedStream(httpx2.SyncByteStream):
    """Body of a response, limited in bytes and in time."""

    def __init__(self, response: httpx2.Response, deadline: float) -> None:
        self._stream: Any = response.stream
        self._request = response.request
        self._deadline = deadline

    def __iter__(self) -> Iterator[bytes]:
        """Yield the chunks; raises TooLargeError or ReadTimeout beyond the limits."""
        total = 0
        for chunk in self._stream:
            total += len(chunk)
            if total > MAX_BYTES:
                raise TooLargeError(f"the response has more than {MAX_BYTES >> 20} MiB")
            if time.monotonic() > self._deadline:
                raise httpx2.ReadTimeout("the response does not end", request=self._request)
            yield chunk

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()
