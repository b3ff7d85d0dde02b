"""Which server reads the transcripts, and with which key: from the environment, and nowhere else.

There is no default, so that transcripts do not leave the machine by accident.
"""

import os
import textwrap
from dataclasses import dataclass, field

import httpx2

from ecmf.enrichment.response_schema import on_one_line
from ecmf.errors import UserError

SHORTEST_SECRET = 8
"""Characters. A shorter key is a dummy ("none", "EMPTY"), and may well be a word of an answer."""

REDACTED = "[key]"


def _url() -> str:
    given = os.environ.get("OPENAI_BASE_URL", "")
    if not given:
        raise UserError(
            "OPENAI_BASE_URL is not set: set it to the server that shall read the transcripts, "
            "such as http://localhost:8000/v1"
        )
    try:
        url = httpx2.URL(given)
    except httpx2.InvalidURL as error:
        raise UserError(f"OPENAI_BASE_URL is no address: {error}") from None
    if url.scheme not in ("http", "https") or not url.host or url.userinfo or url.query:
        raise UserError(
            "OPENAI_BASE_URL has to be http://host/v1 or https://host/v1: keep user, password and "
            "query out of it, a key belongs into OPENAI_API_KEY"
        )
    return given


def _key() -> str:
    key = os.environ.get("OPENAI_API_KEY", "").strip()
    if not key or not key.isascii() or not key.isprintable():
        raise UserError(
            f"OPENAI_API_KEY {'has a sign that no key has' if key else 'is not set'}: set it to "
            "the server's key, or to any word where it asks for none"
        )
    return key


@dataclass(frozen=True)
class Access:
    """`OPENAI_BASE_URL` and `OPENAI_API_KEY`.

    Raises:
        UserError: one of them is not set, or is of no use.
    """

    url: str = field(default_factory=_url)
    key: str = field(default_factory=_key, repr=False)

    def without_key(self, text: str) -> str:
        """Take the key out of what a server says."""
        return text.replace(self.key, REDACTED) if len(self.key) >= SHORTEST_SECRET else text

    def short(self, text: str) -> str:
        """Make a line of what a server says, without the key."""
        line = on_one_line(self.without_key(text)[:2000])
        return textwrap.shorten(line, 240, placeholder=" ...")
