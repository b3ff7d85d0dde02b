"""The provider `openai`: requests, validation, failures, limits and secrets.

The server is a fake (`llm_double.py`); `enrichment/test_server_chat.py` uses a real one.
"""

import json
import logging
import re
import socket
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from command import run_ecmf
from injections import INJECTIONS
from llm_double import (
    CLASSES,
    KEY,
    FakeServer,
    Request,
    Response,
    Script,
    answer,
    completion,
    error_response,
    fake_server,
    valid_reply,
)

from ecmf import registry
from ecmf.data.enriched_text import EnrichedText
from ecmf.enrichment import response_limits, server_chat, server_client
from ecmf.enrichment.base import EnrichmentInput
from ecmf.errors import ParamsError, UserError
from ecmf.execution import result_cache

STAGES = Path(__file__).parents[2] / "stages"
HATE = EnrichmentInput("hate", "I hate this!", "en", ("loud voice",))
MANY = [EnrichmentInput(f"clip{number}", f"Line {number}.", "en") for number in range(40)]
AT_ONCE = {"Retry-After-Ms": "10"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    with fake_server() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_MODEL", "fake")
        monkeypatch.setattr(server_client, "RETRIES", 2)  # the waits double every time
        yield server


def enrich(inputs: Sequence[EnrichmentInput] = (HATE,), **options: Any) -> list[EnrichedText]:
    records: list[EnrichedText] = registry.build("llms", "Provider", "openai", options)(
        inputs, CLASSES
    )
    assert [record.clip_id for record in records] == [clip.clip_id for clip in inputs]
    return records


def first(*responses: Response) -> Script:
    """Send these responses, and valid replies from then on."""
    return lambda request: (
        responses[request.number - 1] if request.number <= len(responses) else valid_reply(request)
    )


def always(response: Response) -> Script:
    return lambda _: response


# --- requests and records ------------------------------------------------------------------------


def test_an_answer_becomes_a_record(server: FakeServer) -> None:
    (record,) = enrich()
    assert record.state == "whole"
    assert record.enriched == "I hate this! (hate; I cannot stand it.; loud voice)"
    assert (record.cues, record.paraphrase) == (("hate",), "I cannot stand it.")
    assert record.probabilities == {"neutral": 0.1, "angry": 0.7, "happy": 0.0, "sad": 0.2}
    assert record.model == "fake-1"
    assert len(record.prompt_sha256) == 64


def test_a_request_is_reproducible_and_requires_the_schema(server: FakeServer) -> None:
    enrich(longest_answer=99, seed=3)
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    parameters = {"model": "fake", "temperature": 0, "seed": 3, "max_tokens": 99}
    assert parameters.items() <= request.body.items()
    form = request.body["response_format"]
    assert (form["type"], form["json_schema"]["strict"]) == ("json_schema", True)
    shares = form["json_schema"]["schema"]["properties"]["probabilities"]
    assert list(shares["properties"]) == list(CLASSES)


def test_a_rerun_sends_nothing_and_needs_no_server(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = enrich(MANY)
    assert len(server.requests) == len(MANY)
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.delenv("OPENAI_API_KEY")
    assert enrich(MANY) == records


def test_clips_with_the_same_prompt_share_one_request(server: FakeServer) -> None:
    one, other = enrich([HATE, EnrichmentInput("twin", HATE.text, "en", HATE.nonverbal_cues)])
    assert len(server.requests) == 1
    assert one.model_copy(update={"clip_id": "twin"}) == other


def test_another_model_seed_or_length_sends_a_request_and_another_server_does_not(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    for options in ({}, {"model": "other"}, {"seed": 1}, {"longest_answer": 9}):
        enrich(**options)
    assert len(server.requests) == 4
    with fake_server() as elsewhere:
        monkeypatch.setenv("OPENAI_BASE_URL", elsewhere.url)
        enrich()
        assert elsewhere.requests == []


def test_an_empty_transcript_sends_no_request(server: FakeServer) -> None:
    (record,) = enrich([EnrichmentInput("mute", " \n", "en", ("no face visible",))])
    assert (record.state, record.reason) == ("empty", "no transcript")
    assert record.enriched == "(no face visible)"
    assert server.requests == []


def test_a_transcript_of_a_megabyte_is_a_failed_clip_without_a_request(server: FakeServer) -> None:
    huge, _ = enrich([EnrichmentInput("huge", "x" * 1_000_000), HATE])
    assert huge.state == "failed"
    assert "more than 20000" in huge.reason
    assert len(server.requests) == 1


def test_the_cache_lists_and_verifies_conversations(server: FakeServer) -> None:
    enrich(MANY)

    def command(name: str) -> str:
        done = run_ecmf("cache", name)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert "40 clips" in command("list")
    assert 'days ago  openai {"longest_answer": 512, "model": "fake", "seed": 0}' in command("list")
    assert "40 results are intact, 0 were damaged" in command("verify")


def test_all_replies_are_cached(server: FakeServer) -> None:
    server.script = first(completion("no"))
    (record,) = enrich()
    (folder,) = result_cache.recipe_folders()
    about = json.loads((folder / result_cache.RECIPE_FILE).read_text())
    layouts = (result_cache.Layout(**{**about["layouts"][0], "shape": ()}),)
    result = result_cache.ResultCache(about["name"], layouts, about["identity"]).get(
        record.prompt_sha256
    )
    assert result is not None
    conversation = json.loads(bytes(result[0].values))  # type: ignore[arg-type]
    assert conversation["prompt_sha256"] == record.prompt_sha256
    assert [reply["text"] for reply in conversation["replies"]] == ["no", json.dumps(answer())]
    for reply in conversation["replies"]:
        assert (reply["model"], reply["tokens_in"], reply["tokens_out"]) == ("fake-1", 100, 20)
        assert reply["seconds"] > 0


# --- invalid replies ----------------------------------------------------------------------------

INVALID_REPLIES = {
    "malformed JSON": (completion('{"cues": ["hate"], '), "Invalid JSON"),
    "prose alone": (completion("She is angry."), "no JSON object"),
    "wrong label": (completion(json.dumps(answer(probabilities={"furious": 1.0}))), "furious"),
    "two objects": (completion("{} {}"), "trailing characters"),
    "nothing": (completion(""), "no JSON object"),
    "a refusal": (
        completion("", choices=[{"message": {"content": None, "refusal": "I cannot."}}]),
        "no JSON object",
    ),
    "a megabyte": (completion(json.dumps(answer(paraphrase="x" * 1_000_000))), "more than 20000"),
    "cut": (
        completion(
            '{"cues": [', choices=[{"message": {"content": "{"}, "finish_reason": "length"}]
        ),
        "cut at 20 tokens",
    ),
}
"""Kind -> the reply and its error."""


@pytest.mark.parametrize("kind", INVALID_REPLIES)
def test_an_invalid_reply_is_sent_back_with_its_error(server: FakeServer, kind: str) -> None:
    response, error = INVALID_REPLIES[kind]
    server.script = first(response)
    (record,) = enrich()
    assert record.state == "whole"
    first_request, retry = server.requests
    assert retry.body["messages"][:2] == first_request.body["messages"]
    assert error in retry.body["messages"][3]["content"]
    assert len(json.dumps(retry.body)) < 10_000


@pytest.mark.parametrize("kind", INVALID_REPLIES)
def test_after_two_retries_the_raw_transcript_is_kept_and_no_request_is_repeated(
    server: FakeServer, kind: str
) -> None:
    response, error = INVALID_REPLIES[kind]
    server.script = always(response)
    (record,) = enrich()
    assert record.state == "failed"
    assert record.reason.startswith("no answer in 3 replies: ")
    assert error in record.reason
    assert record.enriched == "I hate this! (loud voice)"
    assert (record.cues, record.probabilities) == ((), {})
    assert len(server.requests) == 3
    assert enrich() == [record]
    assert len(server.requests) == 3


@pytest.mark.parametrize("around", ["Sure!\n{}\nAnything else?", "```json\n{}\n```"])
def test_prose_around_an_answer_costs_no_second_request(server: FakeServer, around: str) -> None:
    server.script = always(completion(around.format(json.dumps(answer()))))
    assert enrich()[0].state == "whole"
    assert len(server.requests) == 1


def test_an_instruction_hidden_in_a_transcript_changes_nothing_but_its_own_record(
    server: FakeServer,
) -> None:
    """The server obeys every injection and replies with it."""
    server.script = lambda request: (
        valid_reply(request) if "Line" in request.user_message else completion(request.user_message)
    )
    hidden = [EnrichmentInput(f"bad{number}", text, "en") for number, text in enumerate(INJECTIONS)]
    mixed = [clip for pair in zip(MANY, hidden, strict=False) for clip in pair]
    records = {record.clip_id: record for record in enrich(mixed)}
    harmless = {record.clip_id: record for record in enrich(MANY[: len(hidden)])}
    assert {name: records[name] for name in harmless} == harmless
    for clip in hidden:
        record = records[clip.clip_id]
        assert (record.state, record.raw, record.enriched) == ("failed", clip.text, clip.text)
        assert record.reason.isprintable()
        assert len(record.reason) < 300


# --- invalid responses --------------------------------------------------------------------------

HTML = {"Content-Type": "text/html"}
TRANSIENT = {
    "429": error_response(429, **AT_ONCE),
    "500": error_response(500, **AT_ONCE),
    "503": error_response(503, **AT_ONCE),
    "an HTML page": Response(b"<html><body>please wait</body></html>", headers=HTML),
    "broken JSON": Response(b'{"choices": [', headers={"Content-Type": "application/json"}),
    "no choices": completion("", choices=[]),
    "a cut connection": Response(valid_reply(MANY).body, cut=True),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("kind", TRANSIENT)
def test_a_transient_error_is_retried(server: FakeServer, kind: str) -> None:
    server.script = first(TRANSIENT[kind])
    (record,) = enrich()
    assert (record.state, record.reason) == ("whole", "")
    assert len(server.requests) == 2


PERSISTENT = {
    "429": (error_response(429, "slow down", **AT_ONCE), "Error code: 429 .*slow down", 3),
    "500": (error_response(500, "oh no", **AT_ONCE), "Error code: 500 .*oh no", 3),
    "an HTML page": (TRANSIENT["an HTML page"], "text/html, no completion: <html>", 3),
    "a cut connection": (TRANSIENT["a cut connection"], "the connection broke: ", 3),
    "a huge body": (Response(b" " * (response_limits.MAX_BYTES + 1)), "more than 4 MiB", 1),
    "a compressed body": (Response(b"", headers={"Content-Encoding": "gzip"}), "compressed", 1),
    "a clip it cannot read": (error_response(400, "too long"), "Error code: 400 .*too long", 2),
    "a redirection": (error_response(307, Location="http://127.0.0.1:1/"), "Error code: 307", 1),
}
"""Kind -> the response, its error, and the number of requests."""


@pytest.mark.parametrize("kind", PERSISTENT)
def test_a_persistent_error_is_a_failed_clip_that_the_next_run_tries_again(
    server: FakeServer, kind: str
) -> None:
    response, error, tries = PERSISTENT[kind]
    server.script = lambda request: (
        response if "hate" in request.user_message else valid_reply(request)
    )
    other = MANY[0]
    enrich([other])
    record, fine = enrich([HATE, other])
    assert (record.state, fine.state) == ("failed", "whole")
    assert re.search(error, record.reason), record.reason
    assert record.enriched == "I hate this! (loud voice)"
    assert len(server.requests) == 1 + tries
    server.script = valid_reply
    assert [record.state for record in enrich([HATE, other])] == ["whole", "whole"]


@pytest.mark.parametrize("drip", [False, True])
def test_a_slow_server_costs_its_time_limit(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, drip: bool
) -> None:
    monkeypatch.setenv("ECMF_LLM_SECONDS", "0.2")
    slow = Response(valid_reply(MANY).body, seconds=0 if drip else 0.5, drip=drip)  # type: ignore[arg-type]
    server.script = always(slow)
    (record,) = enrich()
    assert record.state == "failed"
    assert record.reason == "no reply within 0.2 s (ECMF_LLM_SECONDS)"


@pytest.mark.parametrize("seconds", [0.2, 5, 300])
def test_every_time_limit_is_that_of_the_client(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    monkeypatch.setenv("ECMF_LLM_SECONDS", str(seconds))
    client = server_client.ServerClient("fake")
    timeout: Any = client.client.timeout
    assert (timeout.read, timeout.connect) == (seconds, min(seconds, 10))
    client.close()


def test_the_schema_is_dropped_for_a_server_that_does_not_support_it(
    server: FakeServer, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECMF_LLM_CONCURRENCY", "1")
    server.script = lambda request: (
        error_response(422, "Unexpected field")
        if "response_format" in request.body
        else valid_reply(request)
    )
    assert {record.state for record in enrich(MANY)} == {"whole"}
    assert ["response_format" in request.body for request in server.requests].count(True) == 1
    warnings = [log.getMessage() for log in caplog.records if log.levelno == logging.WARNING]
    assert len(warnings) == 1
    assert "does not support a JSON schema" in warnings[0]
    assert "Unexpected field" in warnings[0]


# --- errors that stop the stage -----------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "rejects the key .*check OPENAI_API_KEY"),
        (403, "rejects the key .*check OPENAI_API_KEY"),
        (404, "has no model 'fake', or no such address .*usually ends in /v1"),
    ],
)
def test_an_error_that_all_requests_share_stops_at_once(
    server: FakeServer, status: int, message: str
) -> None:
    server.script = always(error_response(status, f"not with {KEY}"))
    with pytest.raises(UserError, match=message) as caught:
        enrich(MANY)
    assert KEY not in str(caught.value)
    assert len(server.requests) <= 8


def test_an_unreachable_server_stops_with_one_message(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
    with pytest.raises(UserError, match=f"127.0.0.1:{port}/v1 cannot be reached .*start the"):
        enrich(MANY)


def test_a_server_that_goes_away_stops_after_a_few_failures(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECMF_LLM_CONCURRENCY", "4")
    server.script = lambda request: (
        valid_reply(request) if request.number <= 5 else error_response(418, "tea")
    )
    with pytest.raises(UserError, match=r"failed 16 times in a row, last with: .*tea"):
        enrich(MANY)
    assert len(server.requests) <= 5 + server_chat.MAX_CONSECUTIVE_FAILURES + 8
    server.script = valid_reply
    enrich(MANY)
    assert len({request.user_message for request in server.requests}) == len(MANY)


def test_a_budget_of_tokens_stops_cleanly_and_the_next_run_goes_on(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECMF_LLM_CONCURRENCY", "4")
    monkeypatch.setenv("ECMF_LLM_TOKENS", "1200")  # ten answers
    with pytest.raises(UserError, match=r"budget of 1,200 tokens .* is spent: 1\d conversations"):
        enrich(MANY)
    assert 10 <= len(server.requests) <= 13
    monkeypatch.delenv("ECMF_LLM_TOKENS")
    assert {record.state for record in enrich(MANY)} == {"whole"}
    assert len(server.requests) == len(MANY)


def test_a_budget_that_cannot_be_enforced_is_refused(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = always(completion(json.dumps(answer()), usage=None))
    assert enrich()[0].state == "whole"
    monkeypatch.setenv("ECMF_LLM_TOKENS", "1200")
    with pytest.raises(UserError, match="does not report used tokens"):
        enrich(MANY)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OPENAI_BASE_URL", "", "OPENAI_BASE_URL is not set: .*to send the transcripts to"),
        ("OPENAI_BASE_URL", "localhost:8000", "must be http://host/v1"),
        ("OPENAI_BASE_URL", "http://me:secret@host/v1", "without user, password or query"),
        ("OPENAI_BASE_URL", "http://host:port/v1", "is not a valid URL"),
        ("OPENAI_API_KEY", " ", "OPENAI_API_KEY is not set: .*any word if the server needs none"),
        ("OPENAI_API_KEY", "sk-canary\nX-Other: 1", "contains an invalid character"),
        ("ECMF_LLM_CONCURRENCY", "many", "ECMF_LLM_CONCURRENCY is 'many': .*number above 0"),
        ("ECMF_LLM_SECONDS", "-1", "ECMF_LLM_SECONDS is '-1': .*number above 0"),
        ("ECMF_LLM_TOKENS", "nan", "ECMF_LLM_TOKENS is 'nan': .*number above 0"),
        ("ECMF_ENGINE", "ray", "nodes of a cluster cannot share the rate limit"),
    ],
)
def test_an_invalid_environment_variable_is_reported_with_a_remedy(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message) as caught:
        enrich()
    assert "canary" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert server.requests == []


def test_a_model_is_required(server: FakeServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_MODEL")
    with pytest.raises(ParamsError, match=r"no model .*enrich_text\.options.openai.model"):
        enrich()
    assert enrich(model="fake")[0].state == "whole"


# --- limits and secrets -------------------------------------------------------------------------


@pytest.mark.parametrize("limit", [1, 3])
def test_concurrent_requests_are_limited(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch, limit: int
) -> None:
    monkeypatch.setenv("ECMF_LLM_CONCURRENCY", str(limit))
    server.script = lambda request: Response(valid_reply(request).body, seconds=0.02)
    enrich(MANY[:12])
    assert server.max_concurrent == limit


def test_the_order_of_replies_changes_no_record(server: FakeServer) -> None:
    server.script = lambda request: Response(
        valid_reply(request).body, seconds=request.number % 5 / 100
    )
    records = enrich(MANY)
    result_cache.prune(0)
    server.script = valid_reply
    assert enrich(MANY) == records


def echoing(request: Request) -> Response:
    """Put the key wherever the server can put text."""
    key = request.headers["authorization"]
    if "Line 0." in request.user_message:
        return error_response(500, key, **AT_ONCE, **{"X-Echo": key})
    if "Line 1." in request.user_message:
        return Response(f"<html>{key}</html>".encode(), headers={"X-Echo": key})
    if (
        "Line 2." in request.user_message
    ):  # within the key, if it is cut before the key is taken out
        return error_response(400, f"{' ' * 1960}{key}")
    if "Line 3." in request.user_message:
        return completion(f"the key is {key}", model=key)
    return completion(json.dumps(answer(cues=[key], paraphrase=key)), model=key, id=key)


def test_the_key_reaches_no_log_no_error_no_cache_and_no_record(
    server: FakeServer, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    server.script = echoing
    records = enrich(MANY[:6])
    assert [record.state for record in records] == ["failed"] * 4 + ["whole"] * 2
    assert records[5].cues == ("Bearer [key]",)
    texts = [caplog.text, repr(records), *(path.read_bytes().decode("latin-1")
            for path in tmp_path.rglob("*") if path.is_file())]  # fmt: skip
    assert len(texts) > 3
    for text in texts:
        assert KEY not in text
        assert KEY[:12] not in text
    assert KEY in repr(server.requests)  # it was sent


def test_a_placeholder_key_is_not_redacted(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "hate")
    assert enrich()[0].cues == ("hate",)
