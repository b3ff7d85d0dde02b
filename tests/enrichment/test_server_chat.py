"""The provider `openai` and a real server: `transformers serve` with small models made on the spot.

It ignores a schema. One of the models gives an answer, the other nonsense.
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
from ecmf.enrichment.base import Transcript

ASKED = [
    Transcript("a", "I hate this!", "en", ("loud voice",)),
    Transcript("b", ""),
    Transcript("c", "你好", "zh"),
]
SECONDS_TO_START = 120


@dataclass(frozen=True)
class Served:
    url: str
    log: Path

    @property
    def requests(self) -> int:
        """How many it has answered."""
        return self.log.read_text().count('"POST /v1/chat/completions')


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    log = tmp_path_factory.mktemp("served") / "log"
    with log.open("w") as out:
        server = subprocess.Popen(
            ["transformers", "serve", "--host", "127.0.0.1", "--port", str(port),
             "--device", "cpu"],
            stdout=out, stderr=subprocess.STDOUT, env={**os.environ, "HF_HUB_OFFLINE": "1"},
        )  # fmt: skip
        try:
            for _ in range(SECONDS_TO_START * 5):
                assert server.poll() is None, log.read_text()
                try:
                    urllib.request.urlopen(f"http://127.0.0.1:{port}/health", timeout=9).close()
                    break
                except (urllib.error.URLError, ConnectionError):
                    time.sleep(0.2)
            yield Served(f"http://127.0.0.1:{port}/v1", log)
        finally:
            server.kill()
            server.wait()


@pytest.fixture
def asked(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", served.url)
    monkeypatch.setenv("OPENAI_API_KEY", "none")
    monkeypatch.setenv("ECMF_LLM_CONCURRENCY", "2")


def ask(model: Path | str, **options: int) -> list[EnrichedText]:
    given = {"model": str(model), **options}
    records: list[EnrichedText] = registry.create("llms", "Provider", "openai", given)(
        ASKED, CLASSES
    )
    return records


@pytest.mark.usefixtures("asked")
def test_a_real_server_answers_once_for_every_clip(served: Served, tmp_path: Path) -> None:
    model = tiny_chat.parrot(tmp_path, json.dumps(answer()))
    records = ask(model)
    assert [one.state for one in records] == ["whole", "empty", "whole"]
    assert records[0].probabilities == answer()["probabilities"]
    assert records[0].enriched == "I hate this! (hate; I cannot stand it.; loud voice)"
    assert records[0].model.startswith(str(model))
    assert served.requests == 2
    assert ask(model) == records
    assert served.requests == 2


@pytest.mark.usefixtures("asked")
def test_nonsense_is_asked_about_twice_more_and_the_raw_transcript_stays(
    served: Served, tmp_path: Path
) -> None:
    model, before = tiny_chat.chat(tmp_path), served.requests
    records = ask(model, longest_answer=16)
    assert [one.state for one in records] == ["failed", "empty", "failed"]
    assert records[0].reason.startswith("no answer in 3 replies: cut at 16 tokens (")
    assert records[0].enriched == "I hate this! (loud voice)"
    assert served.requests == before + 6
    assert ask(model, longest_answer=16) == records
    assert served.requests == before + 6
