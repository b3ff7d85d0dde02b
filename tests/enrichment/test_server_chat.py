"""The provider `openai` with a real server: `transformers serve` with small generated models.

The server ignores a schema. One of the models gives a valid answer, the other nonsense.
"""

import json
import os
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
import tiny_chat
from llm_double import CLASSES, answer

from ecmf import registry
from ecmf.data.enriched_text import EnrichedText
from ecmf.enrichment.base import EnrichmentInput

INPUTS = [
    EnrichmentInput("a", "I hate this!", "en", ("loud voice",)),
    EnrichmentInput("b", ""),
    EnrichmentInput("c", "你好", "zh"),
]
SECONDS_TO_START = 120


@dataclass(frozen=True)
class Server:
    url: str
    log: Path

    @property
    def requests(self) -> int:
        """Number of requests so far."""
        return self.log.read_text().count('"POST /v1/chat/completions')


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("server") / "log"
    with log.open("w") as out:
        process = subprocess.Popen(
            ["transformers", "serve", "--host", "127.0.0.1", "--port", str(port),
             "--device", "cpu"],
            stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        try:
            for _ in range(SECONDS_TO_START * 5):
                assert process.poll() is None, log.read_text()
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=9).close()
                    break
                except (urllib.error.URLError, ConnectionError):
                    time.sleep(0.2)
            yield Server(f"http://127.0.0.1:{port}/v1", log)
        finally:
            process.kill()
            process.wait()


@pytest.fixture
def environment(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", server.url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("ECMF_LLM_CONCURRENCY", "2")


def enrich(model: Path | str, **options: int) -> list[EnrichedText]:
    provider = registry.build("llms", "Provider", "openai", {"model": str(model), **options})
    records: list[EnrichedText] = provider(INPUTS, CLASSES)
    return records


@pytest.mark.usefixtures("environment")
def test_a_real_server_gets_one_request_for_every_clip(server: Server, tmp_path: Path) -> None:
    model = tiny_chat.parrot(tmp_path, json.dumps(answer()))
    records = enrich(model)
    assert [record.state for record in records] == ["whole", "empty", "whole"]
    assert records[0].probabilities == answer()["probabilities"]
    assert records[0].enriched == "I hate this! (hate; I cannot stand it.; loud voice)"
    assert records[0].model.startswith(str(model))
    assert server.requests == 2
    assert enrich(model) == records
    assert server.requests == 2


@pytest.mark.usefixtures("environment")
def test_nonsense_is_retried_twice_and_the_raw_transcript_stays(
    server: Server, tmp_path: Path
) -> None:
    model, before = tiny_chat.chat(tmp_path), server.requests
    records = enrich(model, longest_answer=16)
    assert [record.state for record in records] == ["failed", "empty", "failed"]
    assert records[0].reason.startswith("no answer in 3 replies: cut at 16 tokens (")
    assert records[0].enriched == "I hate this! (loud voice)"
    assert server.requests == before + 6
    assert enrich(model, longest_answer=16) == records
    assert server.requests == before + 6
