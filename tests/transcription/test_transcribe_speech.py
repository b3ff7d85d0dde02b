"""The stage from waveforms to transcripts, and what the text records say of it."""

import pytest

from ecmf.data.manifest import Clip, write_manifest
from ecmf.data.transcripts import (
    Transcript,
    Word,
    given_transcript,
    read_transcripts,
    with_transcripts,
    write_transcripts,
)
from ecmf.errors import MissingFileError, ParamsError, StoreError
from ecmf.params import TranscribeSpeech
from transcribe_speech import transcribe_speech

CLIPS = [
    Clip("b", transcript="It is you.", language="en", label="sad"),
    Clip("a", audio="a.wav", split="unlabelled"),
    Clip("c", transcript=" 你好\u2028 ", language="zh", label="sad"),
]


def test_given_transcripts_are_kept_and_no_store_of_audio_is_opened(tmp_path):
    write_manifest(CLIPS, tmp_path / "corpus.csv")
    path = tmp_path / "transcripts.jsonl"
    transcribe_speech(tmp_path / "corpus.csv", tmp_path / "absent.h5", path, TranscribeSpeech())
    records = read_transcripts(path)
    assert with_transcripts(CLIPS, records) == CLIPS
    assert [(record.transcriber, record.state) for record in records] == [
        ("given", "whole"), ("given", "empty"), ("given", "whole"),
    ]  # fmt: skip
    assert records[1].reason == "no transcript"


def test_transcripts_are_read_back_as_they_were_written(tmp_path):
    word = Word(text="hm", start=0.1, end=0.25)
    written = [
        Transcript(clip_id="a", text="hm", words=(word,), language="en", language_probability=0.5,
                   transcriber="x", model="m"),
        Transcript(clip_id="b", state="failed", reason="r"),
    ]  # fmt: skip
    write_transcripts(written, tmp_path / "t.jsonl")
    assert read_transcripts(tmp_path / "t.jsonl") == written


def test_transcripts_of_other_clips_are_refused():
    with pytest.raises(StoreError, match="run transcribe_speech again"):
        with_transcripts(CLIPS, [given_transcript(clip) for clip in CLIPS[::-1]])


def test_missing_transcripts_say_how_to_make_them(tmp_path):
    with pytest.raises(MissingFileError, match="dvc repro transcribe_speech"):
        read_transcripts(tmp_path / "transcripts.jsonl")


def test_an_unknown_transcriber_is_refused_with_the_names_of_all(tmp_path):
    with pytest.raises(ValueError, match=r"no 'wisper' in transcribers: choose one of .*given"):
        TranscribeSpeech(transcriber="wisper")


def test_a_wrong_option_stops_the_stage_even_if_nothing_is_to_be_transcribed(tmp_path):
    write_manifest(CLIPS[:1], tmp_path / "corpus.csv")
    params = TranscribeSpeech(options={"given": {"beams": 5}})
    with pytest.raises(ParamsError, match="options of transcribers plugin 'given': beams"):
        transcribe_speech(tmp_path / "corpus.csv", tmp_path / "a", tmp_path / "t", params)
