"""Read the server's address and key from the environment, and redact the key in texts.

There is no default address, so that transcripts are never sent by accident.
"""

import os
import textwrap
from dataclasses import dataclass, field

import httpx2

from ecmf.enrichment.response_schema import to_one_line
from ecmf.errors import UserError

MIN_SECRET_LENGTH = 8
"""Characters; a shorter key is a placeholder ("none", "EMPTY") and may occur in an answer."""

REDACTED = "[key]"


def _url() -> str:
    text = os.environ.get("OPENAI_BASE_URL", "")
    if not text:
        raise UserError(
            "OPENAI_BASE_URL is not set: set it to the server to send the transcripts to, "
            "such as http://localhost:8000/v1"
        )
    try:
        url = httpx2.URL(text)
    except httpx2.InvalidURL as error:
        raise UserError(f"OPENAI_BASE_URL is not a valid URL: {error}") from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query:
        raise UserError(
            "OPENAI_BASE_URL must be http://host/v1 or https://host/v1, without user, password or "
            "query: put the key in OPENAI_API_KEY"
        )
    return text


def _key() -> str:
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise UserError(
            f"OPENAI_API_KEY {'contains an invalid character' if key else 'is not set'}: set it to "
            "the server's key, or to any word if the server needs none"
        )
    return key


@dataclass(frozen=True)
class Credentials:
    """`OPENAI_BASE_URL` and `OPENAI_API_KEY`.

    Raises:
        UserError: one of them is unset or invalid.
    """

    url: str = field(default_factory=_url)
    key: str = field(default_factory=_key, repr=False)

    def redact(self, text: str) -> str:
        """Replace the key in a server's text."""
        return text.replace(self.key, REDACTED) if len(self.key) >= MIN_SECRET_LENGTH else text

    def summarise(self, text: str) -> str:
        """Shorten a server's text to one line, with the key redacted."""
        line = to_one_line(self.redact(text)[:2000])
        return textwrap.shorten(line, 240, placeholder=" ...")
