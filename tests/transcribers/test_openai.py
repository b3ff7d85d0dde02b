"""The transcriber `openai`: requests, records, cache, failures and secrets, with a fake server."""

import io
import json
import wave
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from llm_double import KEY, FakeServer, Request, Response, error_response, fake_server

from ecmf.data.manifest import Clip
from ecmf.data.transcripts import Transcript
from ecmf.decoding.clip_decoder import AUDIO
from ecmf.enrichment import server_client
from ecmf.errors import ErrorBudgetError, ParamsError, UserError
from ecmf.media import SAMPLE_RATE
from ecmf.params import TranscribeSpeech
from ecmf.storage.store import Rows, no_rows
from ecmf.storage.store_writer import StoreWriter
from ecmf.transcription.clip_transcripts import transcribe_clips

PARAMS = TranscribeSpeech(transcriber="openai", options={"openai": {"model": "whisper-1"}})
CLIPS = (
    Clip("said", audio="a.wav"),
    Clip("given", transcript="It is you.", language="en"),
    Clip("polish", audio="b.wav", language="pl"),
    Clip("silent", audio="c.wav"),
    Clip("mute", video="d.mp4"),
)


def reply(**changes: Any) -> Response:
    content = {
        "text": "It is me.", "language": "english",
        "segments": [{"text": " It is me.", "start": 0.5, "end": 1.5, "avg_logprob": -0.2,
                      "no_speech_prob": 0.1, "id": 0}],
        "words": [{"word": "It", "start": 0.5, "end": 0.6}, {"word": "is", "start": 0.6, "end": 1},
                  {"word": "me", "start": 1.0, "end": 1.5}],
    }  # fmt: skip
    body = json.dumps({**content, **changes}).encode()
    return Response(body, headers={"Content-Type": "application/json"})


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    with fake_server(lambda _: reply()) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        monkeypatch.setattr(server_client, "RETRIES", 0)
        yield server


@pytest.fixture
def audio(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    with StoreWriter(tmp_path / "audio.h5", AUDIO, {}) as out:
        for clip in CLIPS:
            if clip.clip_id in ("given", "mute"):
                out.append(clip.clip_id, no_rows(AUDIO, "empty", "no audio track"))
                continue
            level = 0 if clip.clip_id == "silent" else 3000
            samples = (level * rng.standard_normal(2 * SAMPLE_RATE)).astype("int16")
            out.append(clip.clip_id, Rows(samples, np.empty(0)))
    return tmp_path / "audio.h5"


def transcribe(audio: Path, **changes: Any) -> dict[str, Transcript]:
    records = transcribe_clips(CLIPS, audio, PARAMS.model_copy(update=changes))
    assert [record.clip_id for record in records] == [clip.clip_id for clip in CLIPS]
    return {record.clip_id: record for record in records}


def test_only_voices_without_a_transcript_are_sent_once_as_wav(
    server: FakeServer, audio: Path
) -> None:
    first = transcribe(audio)
    assert len(server.requests) == 2
    assert {request.path for request in server.requests} == {"/v1/audio/transcriptions"}
    bodies = [request.body for request in server.requests]
    assert sorted(body.get("language", "") for body in bodies) == ["", "pl"]
    assert {body["model"] for body in bodies} == {"whisper-1"}
    with wave.open(io.BytesIO(bodies[0]["file"])) as sent:
        assert sent.getparams()[:4] == (1, 2, SAMPLE_RATE, 2 * SAMPLE_RATE)
    assert transcribe(audio) == first
    assert len(server.requests) == 2


def test_a_response_becomes_a_record_with_language_and_times(
    server: FakeServer, audio: Path
) -> None:
    records = transcribe(audio)
    said = records["said"]
    assert (said.text, said.language, said.state) == ("It is me.", "en", "whole")
    assert (said.transcriber, said.model) == ("openai", "whisper-1")
    assert [(word.text, word.start, word.end) for word in said.words] == [
        ("It", 0.5, 0.6), ("is", 0.6, 1.0), ("me", 1.0, 1.5),
    ]  # fmt: skip
    assert records["polish"].language == "pl"
    assert (records["given"].text, records["given"].transcriber) == ("It is you.", "given")


def test_silence_and_a_clip_without_audio_track_are_not_sent_and_have_the_reason(
    server: FakeServer, audio: Path
) -> None:
    records = transcribe(audio)
    for name, reason in (("silent", "no speech: silence"), ("mute", "no voice: no audio track")):
        record = records[name]
        assert (record.text, record.state, record.reason) == ("", "empty", reason)


def test_words_that_the_server_invented_are_left_out_without_asking_again(
    server: FakeServer, audio: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    invented = {"text": " Thank you.", "start": 0, "end": 2, "avg_logprob": -0.9,
                "no_speech_prob": 0.9}  # fmt: skip
    server.script = lambda _: reply(segments=[invented])
    record = transcribe(audio)["said"]
    assert (record.text, record.words, record.state) == ("", (), "empty")
    monkeypatch.setattr("ecmf.transcription.hallucinations.NO_SPEECH_ABOVE", 0.95)
    assert transcribe(audio)["said"].text == "Thank you."  # of the cached recognition
    assert len(server.requests) == 2


def test_a_server_without_times_gives_the_text_alone(server: FakeServer, audio: Path) -> None:
    def script(request: Request) -> Response:
        if request.body["response_format"] == "verbose_json":
            return error_response(400, "verbose_json is not supported")
        return Response(b'{"text": "It is me."}', headers={"Content-Type": "application/json"})

    server.script = script
    record = transcribe(audio)["said"]
    assert (record.text, record.words, record.language) == ("It is me.", (), "")


@pytest.mark.parametrize(
    ("response", "reason"),
    [
        (error_response(500, f"the key {KEY} is odd"), r"the key \[key\] is odd"),
        (Response(b"<html>", headers={"Content-Type": "text/html"}), "no transcription: <html>"),
        (reply(segments=[{"text": "x" * 3000, "start": 0, "end": 1e9}]), "too many words for 2"),
    ],
    ids=["error", "html", "endless"],
)
def test_a_failed_request_fails_its_clip_with_the_reason(
    server: FakeServer, audio: Path, response: Response, reason: str
) -> None:
    server.script = lambda request: response if "language" in request.body else reply()
    with pytest.raises(ErrorBudgetError, match=rf"polish: .*{reason}") as caught:
        transcribe(audio)
    assert KEY not in str(caught.value)
    records = transcribe(audio, error_budget=0.5)
    assert (records["polish"].state, records["said"].state) == ("failed", "whole")


def test_a_rejected_key_and_a_missing_model_name_stop_the_stage(
    server: FakeServer, audio: Path
) -> None:
    server.script = lambda _: error_response(401, "no such key")
    with pytest.raises(UserError, match=r"rejects the key .*check OPENAI_API_KEY"):
        transcribe(audio)
    with pytest.raises(ParamsError, match=r"set transcribe_speech\.options\.openai\.model"):
        transcribe(audio, options={})
