"""No response is endless: a hook for an HTTP client that ends one in bytes and in time."""

import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx2
from openai import OpenAIError

MOST_BYTES = 1 << 22
"""Of one response: a thousand times what an answer takes."""


class TooLargeError(OpenAIError):
    """A response that will not be read. The client raises its own errors at once, as this one."""


def bound(seconds: float) -> Callable[[httpx2.Response], None]:
    """Return a hook that bounds the body of each response before any of it is read."""

    def hook(response: httpx2.Response) -> None:
        if response.headers.get("content-encoding", "identity") != "identity":
            raise TooLargeError("the response is compressed, to a size nobody knows")
        response.stream = _Bounded(response, time.monotonic() + seconds)

    return hook


class _Bounded(httpx2.SyncByteStream):
    """The body of a response, up to MOST_BYTES and until a moment."""

    def __init__(self, response: httpx2.Response, until: float) -> None:
        self._stream: Any = response.stream
        self._request = response.request
        self._until = until

    def __iter__(self) -> Iterator[bytes]:
        """Yield the bytes; raises TooLargeError, or what the client takes for a time-out."""
        total = 0
        for piece in self._stream:
            total += len(piece)
            if total > MOST_BYTES:
                raise TooLargeError(f"the response has more than {MOST_BYTES >> 20} MiB")
            if time.monotonic() > self._until:
                raise httpx2.ReadTimeout("the response does not end", request=self._request)
            yield piece

    def close(self) -> None:
        """Close the connection."""
        self._stream.close()
