"""Whatever a chat server sends costs at most one clip, and never the key."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llm_double import (
    CLASSES,
    KEY,
    FakeServer,
    Request,
    Response,
    answer,
    completion,
    fake_server,
    valid_reply,
)  # fmt: skip
from mutants import mutant

from ecmf import registry
from ecmf.data.enriched_text import EnrichedText
from ecmf.enrichment import openai_client, response_limits, server_client
from ecmf.enrichment.base import EnrichmentInput
from ecmf.errors import UserError

CLIPS = [EnrichmentInput(f"clip{number}", f"Line {number}.", "en") for number in range(3)]
HOSTILE = "Line 1."
"""Text of the clip whose requests get the hostile response."""

STATUSES = (
    200,
    200,
    200,
    201,
    204,
    206,
    302,
    307,
    400,
    401,
    404,
    409,
    413,
    418,
    422,
    429,
    500,
    503,
)

ODD_VALUES: tuple[Any, ...] = (
    None, True, -1, 10**30, 0.5, "", "\0\x1b[2J", KEY, "a" * 100_000, [], {}, [None],
    {"a": {}}, [[]],
)  # fmt: skip

ODD_HEADERS = (
    {}, {"Content-Type": "text/html"}, {"Content-Encoding": "gzip"}, {"Location": "file:///etc"},
    {"Retry-After-Ms": "1"}, {"Retry-After-Ms": "-1"}, {"Retry-After": "soon"},
    {"Content-Type": "application/json; charset=utf-7"}, {"Set-Cookie": KEY},
    {"X-Long": "a" * 9000}, {"Transfer-Encoding": "chunked"}, {"Connection": "close"},
    {"x-should-retry": "true"},
)  # fmt: skip


def with_odd_value(rng: np.random.Generator) -> bytes:
    """Replace a value anywhere in a completion, or remove it."""
    body = json.loads(completion(json.dumps(answer())).body)
    tables = [body, body["choices"][0], body["choices"][0]["message"], body["usage"]]
    table = tables[rng.integers(len(tables))]
    key = list(table)[rng.integers(len(table))]
    table[key] = ODD_VALUES[rng.integers(len(ODD_VALUES))]
    if rng.integers(4) == 0:
        del table[key]
    return json.dumps(body).encode()


def hostile(seed: int) -> Response:
    """Draw a response: body, status and headers, and whether the connection breaks."""
    rng = np.random.default_rng(seed)
    body = with_odd_value(rng)
    if rng.integers(2):
        body = mutant(body, seed)
    headers = dict(ODD_HEADERS[rng.integers(len(ODD_HEADERS))])
    status = STATUSES[rng.integers(len(STATUSES))]
    return Response(body, status, headers, cut=bool(rng.integers(8) == 0))


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    with fake_server() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("ECMF_LLM_SECONDS", "0.5")
        monkeypatch.setattr(server_client, "RETRIES", 1)  # the waits double every time
        monkeypatch.setattr(openai_client, "RETRY_DELAY_SECONDS", 0.01)
        monkeypatch.setattr(response_limits, "MAX_BYTES", 50_000)
        yield server


def test_a_hostile_response_costs_its_clip_alone_and_never_the_key(
    server: FakeServer, caplog: pytest.LogCaptureFixture, tmp_path: Path, seed: int
) -> None:
    caplog.set_level(logging.DEBUG)
    bad = hostile(seed)

    def script(request: Request) -> Response:
        return bad if HOSTILE in request.user_message else valid_reply(request)

    server.script = script
    texts = []
    try:
        provider = registry.build("llms", "Provider", "openai", {"model": "fake"})
        records: list[EnrichedText] = provider(CLIPS, CLASSES)
    except UserError as error:  # one that every request would share
        assert bad.status in (401, 404)
        texts.append(str(error))
    else:
        first, second, third = records
        assert (first.state, third.state) == ("whole", "whole")
        assert second.state in ("whole", "failed")
        assert second.reason.isprintable() and len(second.reason) < 500
        assert second.enriched == "Line 1." or second.state == "whole"
        texts.append(repr(records))
    texts += [caplog.text]
    texts += [path.read_text("latin-1") for path in tmp_path.rglob("*") if path.is_file()]
    assert not [text for text in texts if KEY in text or KEY[:12] in text]
