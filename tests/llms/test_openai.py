"""A chat model behind a server: what is asked, what is accepted, and every way it can fail.

The server is a double (`llm_double.py`); a real one is asked in `test_llm_server.py`.
"""

import json
import logging
import re
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from injections import INJECTIONS
from llm_double import (
    CLASSES,
    KEY,
    Double,
    Request,
    Response,
    Script,
    answer,
    double,
    good,
    refuses,
    says,
)

from ecmf import registry
from ecmf.data.enriched_text import EnrichedText
from ecmf.enrichment import openai_client, response_limits, server_chat
from ecmf.enrichment.base import Transcript
from ecmf.errors import ParamsError, UserError
from ecmf.execution import result_cache

STAGES = Path(__file__).parents[2] / "stages"
HATE = Transcript("hate", "I hate this!", "en", ("loud voice",))
MANY = [Transcript(f"clip{number}", f"Line {number}.", "en") for number in range(40)]
AT_ONCE = {"Retry-After-Ms": "10"}


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Double]:
    with double() as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setenv("OPENAI_MODEL", "double")
        monkeypatch.setattr(openai_client, "RETRIES", 2)  # the waits double every time
        yield server


def ask(transcripts: Sequence[Transcript] = (HATE,), **options: Any) -> list[EnrichedText]:
    records: list[EnrichedText] = registry.create("llms", "Provider", "openai", options)(
        transcripts, CLASSES
    )
    assert [one.clip_id for one in records] == [one.clip_id for one in transcripts]
    return records


def first(*responses: Response) -> Script:
    """Give these responses, and good ones from then on."""
    return lambda request: (
        responses[request.number - 1] if request.number <= len(responses) else good(request)
    )


def always(response: Response) -> Script:
    return lambda _: response


# --- what is asked, and what becomes of it ------------------------------------------------------


def test_an_answer_becomes_a_record(server: Double) -> None:
    (record,) = ask()
    assert record.state == "whole"
    assert record.enriched == "I hate this! (hate; I cannot stand it.; loud voice)"
    assert (record.cues, record.paraphrase) == (("hate",), "I cannot stand it.")
    assert record.probabilities == {"neutral": 0.1, "angry": 0.7, "happy": 0.0, "sad": 0.2}
    assert record.model == "double-1"
    assert len(record.prompt_sha256) == 64


def test_a_request_is_reproducible_and_holds_the_server_to_the_schema(server: Double) -> None:
    ask(longest_answer=99, seed=3)
    (request,) = server.requests
    assert request.path == "/v1/chat/completions"
    wanted = {"model": "double", "temperature": 0, "seed": 3, "max_tokens": 99}
    assert wanted.items() <= request.body.items()
    form = request.body["response_format"]
    assert (form["type"], form["json_schema"]["strict"]) == ("json_schema", True)
    shares = form["json_schema"]["schema"]["properties"]["probabilities"]
    assert list(shares["properties"]) == list(CLASSES)


def test_a_rerun_asks_nothing_and_needs_no_server(
    server: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    records = ask(MANY)
    assert len(server.requests) == len(MANY)
    monkeypatch.delenv("OPENAI_BASE_URL")
    monkeypatch.delenv("OPENAI_API_KEY")
    assert ask(MANY) == records


def test_clips_that_are_told_the_same_are_asked_about_once(server: Double) -> None:
    one, other = ask([HATE, Transcript("twin", HATE.text, "en", HATE.facts)])
    assert len(server.requests) == 1
    assert one.model_copy(update={"clip_id": "twin"}) == other


def test_another_model_seed_or_length_is_asked_anew_and_another_server_is_not(
    server: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    for options in ({}, {"model": "other"}, {"seed": 1}, {"longest_answer": 9}):
        ask(**options)
    assert len(server.requests) == 4
    with double() as elsewhere:
        monkeypatch.setenv("OPENAI_BASE_URL", elsewhere.url)
        ask()
        assert elsewhere.requests == []


def test_nothing_is_asked_where_nothing_was_said(server: Double) -> None:
    (record,) = ask([Transcript("mute", " \n", "en", ("no face visible",))])
    assert (record.state, record.reason) == ("empty", "no transcript")
    assert record.enriched == "(no face visible)"
    assert server.requests == []


def test_a_transcript_of_a_megabyte_is_a_failed_clip_and_not_paid_for(server: Double) -> None:
    huge, _ = ask([Transcript("huge", "x" * 1_000_000), HATE])
    assert huge.state == "failed"
    assert "more than 20000" in huge.reason
    assert len(server.requests) == 1


def test_the_cache_lists_and_verifies_what_was_paid_for(server: Double) -> None:
    ask(MANY)

    def command(name: str) -> str:
        return subprocess.run(
            [sys.executable, "-m", "ecmf", "cache", name],
            capture_output=True,
            text=True,
            check=True,
        ).stdout

    assert "40 clips" in command("list")
    assert 'openai openai {"longest_answer": 512, "model": "double", "seed": 0}' in command("list")
    assert "40 results are sound, 0 were damaged" in command("verify")


def test_all_that_was_said_is_kept(server: Double) -> None:
    server.script = first(says("no"))
    (record,) = ask()
    (folder,) = result_cache.recipes()
    about = json.loads((folder / result_cache.ABOUT).read_text())
    layouts = (result_cache.Layout(**{**about["layouts"][0], "shape": ()}),)
    result = result_cache.Shelf(about["name"], layouts, about["identity"]).get(record.prompt_sha256)
    assert result is not None
    exchange = json.loads(bytes(result[0].values))  # type: ignore[arg-type]
    assert exchange["prompt_sha256"] == record.prompt_sha256
    assert [one["text"] for one in exchange["replies"]] == ["no", json.dumps(answer())]
    for one in exchange["replies"]:
        assert (one["model"], one["tokens_in"], one["tokens_out"]) == ("double-1", 100, 20)
        assert one["seconds"] > 0


# --- replies that are no answers ----------------------------------------------------------------

NO_ANSWERS = {
    "malformed JSON": (says('{"cues": ["hate"], '), "Invalid JSON"),
    "prose alone": (says("She is angry."), "no JSON object"),
    "wrong label": (says(json.dumps(answer(probabilities={"furious": 1.0}))), "furious"),
    "two objects": (says("{} {}"), "trailing characters"),
    "nothing": (says(""), "no JSON object"),
    "a refusal": (
        says("", choices=[{"message": {"content": None, "refusal": "I cannot."}}]),
        "no JSON object",
    ),
    "a megabyte": (says(json.dumps(answer(paraphrase="x" * 1_000_000))), "more than 20000"),
    "cut": (
        says('{"cues": [', choices=[{"message": {"content": "{"}, "finish_reason": "length"}]),
        "cut at 20 tokens",
    ),
}
"""Kind -> the reply, and what is said of it."""


@pytest.mark.parametrize("kind", NO_ANSWERS)
def test_a_reply_that_is_no_answer_is_asked_for_again_saying_why(server: Double, kind: str) -> None:
    response, fault = NO_ANSWERS[kind]
    server.script = first(response)
    (record,) = ask()
    assert record.state == "whole"
    asked, again = server.requests
    assert again.body["messages"][:2] == asked.body["messages"]
    assert fault in again.body["messages"][3]["content"]
    assert len(json.dumps(again.body)) < 10_000


@pytest.mark.parametrize("kind", NO_ANSWERS)
def test_after_two_more_replies_the_raw_transcript_is_kept_and_nothing_is_paid_twice(
    server: Double, kind: str
) -> None:
    response, fault = NO_ANSWERS[kind]
    server.script = always(response)
    (record,) = ask()
    assert record.state == "failed"
    assert record.reason.startswith("no answer in 3 replies: ")
    assert fault in record.reason
    assert record.enriched == "I hate this! (loud voice)"
    assert (record.cues, record.probabilities) == ((), {})
    assert len(server.requests) == 3
    assert ask() == [record]
    assert len(server.requests) == 3


@pytest.mark.parametrize("around", ["Sure!\n{}\nAnything else?", "```json\n{}\n```"])
def test_prose_around_an_answer_costs_no_second_request(server: Double, around: str) -> None:
    server.script = always(says(around.format(json.dumps(answer()))))
    assert ask()[0].state == "whole"
    assert len(server.requests) == 1


def test_an_instruction_hidden_in_a_transcript_changes_nothing_but_its_own_record(
    server: Double,
) -> None:
    """The server obeys every one of them, and answers with it."""
    server.script = lambda request: good(request) if "Line" in request.told else says(request.told)
    hidden = [Transcript(f"bad{number}", text, "en") for number, text in enumerate(INJECTIONS)]
    mixed = [one for pair in zip(MANY, hidden, strict=False) for one in pair]
    records = {one.clip_id: one for one in ask(mixed)}
    harmless = {one.clip_id: one for one in ask(MANY[: len(hidden)])}
    assert {name: records[name] for name in harmless} == harmless
    for one in hidden:
        record = records[one.clip_id]
        assert (record.state, record.raw, record.enriched) == ("failed", one.text, one.text)
        assert record.reason.isprintable()
        assert len(record.reason) < 300


# --- responses that are no replies --------------------------------------------------------------

HTML = {"Content-Type": "text/html"}
PASSING = {
    "429": refuses(429, **AT_ONCE),
    "500": refuses(500, **AT_ONCE),
    "503": refuses(503, **AT_ONCE),
    "an HTML page": Response(b"<html><body>please wait</body></html>", headers=HTML),
    "broken JSON": Response(b'{"choices": [', headers={"Content-Type": "application/json"}),
    "no choices": says("", choices=[]),
    "a cut connection": Response(good(MANY).body, cut=True),  # type: ignore[arg-type]
}


@pytest.mark.parametrize("kind", PASSING)
def test_what_passes_is_waited_for(server: Double, kind: str) -> None:
    server.script = first(PASSING[kind])
    (record,) = ask()
    assert (record.state, record.reason) == ("whole", "")
    assert len(server.requests) == 2


LASTING = {
    "429": (refuses(429, "slow down", **AT_ONCE), "Error code: 429 .*slow down", 3),
    "500": (refuses(500, "oh no", **AT_ONCE), "Error code: 500 .*oh no", 3),
    "an HTML page": (PASSING["an HTML page"], "text/html, no completion: <html>", 3),
    "a cut connection": (PASSING["a cut connection"], "the connection broke: ", 3),
    "a huge body": (Response(b" " * (response_limits.MOST_BYTES + 1)), "more than 4 MiB", 1),
    "a compressed body": (Response(b"", headers={"Content-Encoding": "gzip"}), "compressed", 1),
    "a clip it cannot read": (refuses(400, "too long"), "Error code: 400 .*too long", 2),
    "a redirection": (refuses(307, Location="http://127.0.0.1:1/"), "Error code: 307", 1),
}
"""Kind -> the response, what is said of it, and how often it is tried."""


@pytest.mark.parametrize("kind", LASTING)
def test_what_lasts_is_a_failed_clip_that_the_next_run_tries_again(
    server: Double, kind: str
) -> None:
    response, fault, tries = LASTING[kind]
    server.script = lambda one: response if "hate" in one.told else good(one)
    other = MANY[0]
    ask([other])
    record, fine = ask([HATE, other])
    assert (record.state, fine.state) == ("failed", "whole")
    assert re.search(fault, record.reason), record.reason
    assert record.enriched == "I hate this! (loud voice)"
    assert len(server.requests) == 1 + tries
    server.script = good
    assert [one.state for one in ask([HATE, other])] == ["whole", "whole"]


@pytest.mark.parametrize("drip", [False, True])
def test_a_slow_server_costs_the_time_that_was_given_to_it(
    server: Double, monkeypatch: pytest.MonkeyPatch, drip: bool
) -> None:
    monkeypatch.setenv("ECMF_LLM_SECONDS", "0.2")
    slow = Response(good(MANY).body, seconds=0 if drip else 0.5, drip=drip)  # type: ignore[arg-type]
    server.script = always(slow)
    (record,) = ask()
    assert record.state == "failed"
    assert record.reason == "no reply within 0.2 s (ECMF_LLM_SECONDS)"


def test_a_server_that_takes_no_schema_is_asked_without_from_then_on(
    server: Double, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECMF_LLM_CONCURRENCY", "1")
    server.script = lambda request: (
        refuses(422, "Unexpected field") if "response_format" in request.body else good(request)
    )
    assert {one.state for one in ask(MANY)} == {"whole"}
    assert ["response_format" in one.body for one in server.requests].count(True) == 1
    said = [one.getMessage() for one in caplog.records if one.levelno == logging.WARNING]
    assert len(said) == 1
    assert "takes no JSON schema" in said[0]
    assert "Unexpected field" in said[0]


# --- what stops the stage -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("status", "message"),
    [
        (401, "refuses the key .*check OPENAI_API_KEY"),
        (403, "refuses the key .*check OPENAI_API_KEY"),
        (404, "knows no model 'double', or no such address .*mostly ends in /v1"),
    ],
)
def test_what_no_other_request_can_mend_stops_at_once(
    server: Double, status: int, message: str
) -> None:
    server.script = always(refuses(status, f"not with {KEY}"))
    with pytest.raises(UserError, match=message) as caught:
        ask(MANY)
    assert KEY not in str(caught.value)
    assert len(server.requests) <= 8


def test_a_server_that_is_not_there_stops_with_one_message(
    server: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    monkeypatch.setenv("OPENAI_BASE_URL", f"http://127.0.0.1:{port}/v1")
    with pytest.raises(UserError, match=f"127.0.0.1:{port}/v1 cannot be reached .*start the"):
        ask(MANY)


def test_a_server_that_goes_away_is_not_asked_for_the_whole_corpus(
    server: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECMF_LLM_CONCURRENCY", "4")
    server.script = lambda request: good(request) if request.number <= 5 else refuses(418, "tea")
    with pytest.raises(UserError, match=r"no reply to 16 questions in a row, the last: .*tea"):
        ask(MANY)
    assert len(server.requests) <= 5 + server_chat.FAILURES_IN_A_ROW + 8
    server.script = good
    ask(MANY)
    assert len({one.told for one in server.requests}) == len(MANY)


def test_a_budget_of_tokens_stops_cleanly_and_the_next_run_goes_on(
    server: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ECMF_LLM_CONCURRENCY", "4")
    monkeypatch.setenv("ECMF_LLM_TOKENS", "1200")  # ten answers
    with pytest.raises(UserError, match=r"budget of 1,200 tokens .* is spent: 1\d questions"):
        ask(MANY)
    asked = len(server.requests)
    assert 10 <= asked <= 13
    monkeypatch.delenv("ECMF_LLM_TOKENS")
    assert {one.state for one in ask(MANY)} == {"whole"}
    assert len(server.requests) == len(MANY)


def test_a_budget_that_cannot_be_kept_is_refused(
    server: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    server.script = always(says(json.dumps(answer()), usage=None))
    assert ask()[0].state == "whole"
    monkeypatch.setenv("ECMF_LLM_TOKENS", "1200")
    with pytest.raises(UserError, match="does not say how many tokens it used"):
        ask(MANY)


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("OPENAI_BASE_URL", "", "OPENAI_BASE_URL is not set: .*shall read the transcripts"),
        ("OPENAI_BASE_URL", "localhost:8000", "has to be http://host/v1"),
        ("OPENAI_BASE_URL", "http://me:secret@host/v1", "keep user, password and query out"),
        ("OPENAI_BASE_URL", "http://host:port/v1", "is no address"),
        ("OPENAI_API_KEY", " ", "OPENAI_API_KEY is not set: .*any word where it asks for none"),
        ("OPENAI_API_KEY", "sk-canary\nX-Other: 1", "has a sign that no key has"),
        ("ECMF_LLM_CONCURRENCY", "many", "ECMF_LLM_CONCURRENCY is 'many': .*number above 0"),
        ("ECMF_LLM_SECONDS", "-1", "ECMF_LLM_SECONDS is '-1': .*number above 0"),
        ("ECMF_LLM_TOKENS", "nan", "ECMF_LLM_TOKENS is 'nan': .*number above 0"),
        ("ECMF_ENGINE", "ray", "nodes of a cluster cannot share the limits of one chat"),
    ],
)
def test_an_environment_of_no_use_says_how_to_mend_it(
    server: Double, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str
) -> None:
    monkeypatch.setenv(name, value)
    with pytest.raises(UserError, match=message) as caught:
        ask()
    assert "canary" not in str(caught.value)
    assert "secret" not in str(caught.value)
    assert server.requests == []


def test_a_model_has_to_be_named(server: Double, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_MODEL")
    with pytest.raises(ParamsError, match=r"no model .*enrich_text\.options.openai.model"):
        ask()
    assert ask(model="double")[0].state == "whole"


# --- limits and secrets -------------------------------------------------------------------------


@pytest.mark.parametrize("most", [1, 3])
def test_no_more_requests_run_at_once_than_allowed(
    server: Double, monkeypatch: pytest.MonkeyPatch, most: int
) -> None:
    monkeypatch.setenv("ECMF_LLM_CONCURRENCY", str(most))
    server.script = lambda request: Response(good(request).body, seconds=0.02)
    ask(MANY[:12])
    assert server.most_at_once == most


def test_the_order_replies_come_in_changes_no_record(server: Double) -> None:
    server.script = lambda request: Response(good(request).body, seconds=request.number % 5 / 100)
    records = ask(MANY)
    result_cache.prune(0)
    server.script = good
    assert ask(MANY) == records


def echoing(request: Request) -> Response:
    """Say the key wherever something can be said."""
    key = request.headers["authorization"]
    if "Line 0." in request.told:
        return refuses(500, key, **AT_ONCE, **{"X-Echo": key})
    if "Line 1." in request.told:
        return Response(f"<html>{key}</html>".encode(), headers={"X-Echo": key})
    if "Line 2." in request.told:  # within the key, if it is cut before the key is taken out
        return refuses(400, f"{' ' * 1960}{key}")
    if "Line 3." in request.told:
        return says(f"the key is {key}", model=key)
    return says(json.dumps(answer(cues=[key], paraphrase=key)), model=key, id=key)


def test_the_key_reaches_no_log_no_error_no_cache_and_no_record(
    server: Double, caplog: pytest.LogCaptureFixture, tmp_path: Path
) -> None:
    caplog.set_level(logging.DEBUG)
    server.script = echoing
    records = ask(MANY[:6])
    assert [one.state for one in records] == ["failed"] * 4 + ["whole"] * 2
    assert records[5].cues == ("Bearer [key]",)
    said = [caplog.text, repr(records), *(path.read_bytes().decode("latin-1")
            for path in tmp_path.rglob("*") if path.is_file())]  # fmt: skip
    assert len(said) > 3
    for text in said:
        assert KEY not in text
        assert KEY[:12] not in text
    assert KEY in repr(server.requests)  # it was sent


def test_a_dummy_key_is_no_secret_and_stays_a_word(
    server: Double, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "hate")
    assert ask()[0].cues == ("hate",)
