"""A transcript is enriched with cues from its words and measured nonverbal cues only."""

import csv
import json
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tiny_chat
from llm_double import KEY, answer, completion, error_response, fake_server
from pydantic import ValidationError

from ecmf import registry
from ecmf.data.enriched_text import EnrichedText, Utterance, compose, read_texts, write_texts
from ecmf.data.manifest import Clip, write_manifest
from ecmf.enrichment.base import EnrichmentInput
from ecmf.enrichment.clip_texts import enrich_stores
from ecmf.enrichment.dialogue_context import preceding_utterances
from ecmf.enrichment.nonverbal_cues import (
    describe_face,
    describe_voice,
    fit_thresholds,
    measure_voice,
)
from ecmf.errors import ErrorBudgetError, MissingFileError, ParamsError, StoreError
from ecmf.media import SAMPLE_RATE, Samples
from ecmf.params import EnrichText, TranscribeSpeech
from ecmf.storage import files
from ecmf.storage.store import Layout, Rows, no_rows
from ecmf.storage.store_writer import StoreWriter
from ecmf.transcription.clip_transcripts import transcribe_clips
from enrich_text import enrich_text
from transcribe_speech import transcribe_speech

STAGES = Path(__file__).parents[2] / "stages"
PROVIDERS = registry.names("llms")
CLASSES = ("angry", "happy")


# --- every provider ---------------------------------------------------------------------------


@pytest.fixture(params=PROVIDERS)
def provider(
    request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Any]:
    """Each provider, with a fake server or tiny weights where needed."""
    probabilities = dict.fromkeys(CLASSES, 1 / len(CLASSES))
    with fake_server(
        lambda _: completion(json.dumps(answer(probabilities=probabilities)))
    ) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        monkeypatch.setenv("OPENAI_MODEL", "fake")
        options = {}
        if request.param == "transformers":
            folder = tiny_chat.even_handed(tmp_path)
            options = {"folder": str(folder), "sha256": files.sha256(folder)}
        yield registry.build("llms", "Provider", request.param, options)


def test_a_provider_returns_a_record_for_every_clip_in_order_and_unchanged(provider: Any) -> None:
    inputs = [
        EnrichmentInput(
            "a", "I hate this!", "en", ("loud voice",), (Utterance(speaker="s", text="Well?"),)
        ),
        EnrichmentInput("b", ""),
        EnrichmentInput("c", "你好", "zh"),
        EnrichmentInput("d", "nul \x00, \u2028 line, \N{FACE WITH TEARS OF JOY}", "en"),
    ]
    records = provider(inputs, CLASSES)
    assert [record.clip_id for record in records] == ["a", "b", "c", "d"]
    for record, clip in zip(records, inputs, strict=True):
        assert record.raw == clip.text
        assert record.facts == clip.nonverbal_cues
        assert record.raw in record.enriched
        assert record.prompt_version == provider.prompt_version
        assert record.context == clip.context
        assert set(record.probabilities) in (set(), set(CLASSES))
        assert record.reason or record.state == "whole"
    assert [record.state for record in records][:2] == ["whole", "empty"]
    assert provider(inputs, CLASSES) == records
    assert provider([], CLASSES) == []


# --- the lexicon ------------------------------------------------------------------------------


def enriched(text: str, language: str = "en", facts: Sequence[str] = (), **options: int) -> Any:
    provider = registry.build("llms", "Provider", "lexicon", options)
    (record,) = provider([EnrichmentInput("clip", text, language, tuple(facts))], CLASSES)
    return record


@pytest.mark.parametrize(
    ("text", "cues"),
    [
        ("I hate this.", ("strongly negative words: hate",)),
        ("What a wonderful day.", ("strongly positive words: wonderful",)),
        ("I am not happy.", ("negative words: not happy",)),
        ("Kids are talking by the door.", ("neutral words",)),
        ("It is great!", ("strongly positive words: great", "exclaimed")),
        ("Did you see that ugly thing?", ("strongly negative words: ugly", "asked")),
        ("That is a SAD story.", ("strongly negative words: sad", "some words in capitals")),
        ("I AM SAD", ("negative words: sad",)),
    ],
)
def test_cues_name_the_charged_words_and_their_emphasis(text: str, cues: tuple[str, ...]) -> None:
    assert enriched(text).cues == cues


def test_polarity_follows_negation_degree_and_exclamation_marks() -> None:
    plain, more, most = (enriched(f"This is {x}").polarity for x in ("good", "very good", "good!!"))
    assert 0 < plain < min(more, most)
    assert enriched("This is not good").polarity < 0
    assert -1 <= enriched("terrible " * 500).polarity < -0.9


def test_no_more_words_are_named_than_the_limit() -> None:
    assert enriched("good, horrible, nice, fine", most_words=1).cues[0].endswith("words: horrible")
    assert enriched("horrible", most_words=0).cues == ("strongly negative words",)


def test_another_language_gets_nonverbal_cues_only() -> None:
    record = enriched("你好", "zh", ["loud voice"])
    assert (record.state, record.cues, record.polarity) == ("flagged", (), None)
    assert "English only, not 'zh'" in record.reason
    assert record.enriched == "你好 (loud voice)"


def test_an_unnamed_language_without_known_words_has_no_polarity() -> None:
    assert enriched("你好世界", "").polarity is None
    assert enriched("I hate it", "").polarity < 0


def test_an_empty_transcript_keeps_its_nonverbal_cues() -> None:
    record = enriched("", facts=["loud voice", "fast speech"])
    assert (record.state, record.reason, record.raw) == ("empty", "no transcript", "")
    assert record.enriched == "(loud voice; fast speech)"
    assert enriched("").enriched == ""


def test_the_lexicon_refuses_options_it_does_not_know() -> None:
    with pytest.raises(ParamsError, match="Did you mean 'most_words'"):
        enriched("", most_word=3)


# --- cues of the voice ------------------------------------------------------------------------


def voice(
    hertz: float = 150.0, level: float = 0.1, per_second: float = 4.0, glide: float = 1.0
) -> Samples:
    """Two seconds of syllables; `glide` is how far the pitch falls, as a factor."""
    time = np.arange(2 * SAMPLE_RATE) / SAMPLE_RATE
    pitch = hertz * glide ** (0.5 - time / 2)
    phase = 2 * np.pi * np.cumsum(pitch) / SAMPLE_RATE
    waves = sum(np.sin(n * phase) / n for n in range(1, 10))
    swell = 0.55 - 0.45 * np.cos(2 * np.pi * per_second * time)
    return (level * waves * swell * 32_767 / 2).astype(np.int16)


VARIED = [
    *(voice(hertz=hertz) for hertz in (100, 140, 160, 220)),
    *(voice(level=level) for level in (0.03, 0.09, 0.11, 0.3)),
    *(voice(per_second=pace) for pace in (2.0, 3.5, 4.5, 7.0)),
    *(voice(glide=glide) for glide in (1.0, 1.1, 1.2, 1.9)),
]


@pytest.mark.parametrize(
    ("samples", "phrase"),
    [
        (voice(level=0.4), "loud voice"),
        (voice(level=0.02), "quiet voice"),
        (voice(hertz=300), "high voice"),
        (voice(hertz=85), "low voice"),
        (voice(per_second=7), "fast speech"),
        (voice(per_second=1.5), "slow speech"),
        (voice(glide=1.8), "lively melody of speech"),
    ],
)
def test_an_unusual_voice_is_described(samples: Samples, phrase: str) -> None:
    thresholds = fit_thresholds(map(measure_voice, VARIED))
    assert phrase in describe_voice(measure_voice(samples), thresholds)


def test_a_voice_like_the_others_is_not_described() -> None:
    alike = [voice(hertz=hertz, level=level) for hertz in (148, 151) for level in (0.1, 0.11)]
    thresholds = fit_thresholds(map(measure_voice, alike))
    assert [describe_voice(measure_voice(samples), thresholds) for samples in alike] == [[]] * 4


def test_pitch_and_level_are_measured_in_their_units() -> None:
    low, high = measure_voice(voice(hertz=150)), measure_voice(voice(hertz=300, level=0.2))
    assert low["pitch"] == pytest.approx(0, abs=0.3)
    assert high["pitch"] == pytest.approx(12, abs=0.3)
    assert high["level"] - low["level"] == pytest.approx(6.02, abs=0.5)


@pytest.mark.parametrize(
    "samples",
    [
        np.zeros(0, np.int16),
        np.zeros(32_000, np.int16),
        np.random.default_rng(0).normal(0, 2000, 32_000).astype(np.int16),
    ],
    ids=["nothing", "silence", "hiss"],
)
def test_an_absent_voice_is_not_measured(samples: Samples) -> None:
    assert measure_voice(samples) == {}


def test_too_few_voices_give_no_thresholds() -> None:
    few = [measure_voice(samples) for samples in VARIED[:3]]
    assert fit_thresholds([*few, {}]) == {}
    assert describe_voice(few[0], fit_thresholds(few)) == []


# --- cues of the face -------------------------------------------------------------------------


def test_an_action_unit_is_described_only_if_it_was_measured() -> None:
    columns = ["AU04_c", "AU04_r", "AU12_c"]
    assert describe_face(np.array([[1, 2.5, 0], [1, 1.5, 0]]), columns) == [
        "eyebrows drawn together"
    ]
    assert describe_face(np.array([[0, 0.1, 1]]), columns) == ["lip corners pulled up"]
    assert describe_face(np.array([[1, 0.1, 0]]), columns) == []
    assert describe_face(np.array([[3.0]]), ["brightness"]) == []
    assert describe_face(np.empty((0, 3)), columns) == []


def test_an_action_unit_in_half_of_the_frames_is_described_and_in_a_third_is_not() -> None:
    assert describe_face(np.array([[1.0], [0.0]]), ["AU12_c"]) == ["lip corners pulled up"]
    assert describe_face(np.array([[1.0], [0.0], [0.0]]), ["AU12_c"]) == []


def test_real_smiles_are_found_on_happy_faces_and_not_on_angry_ones(shared: Path) -> None:
    with (shared / "data/ravdess_au/ravdess_action_units.csv").open(encoding="utf-8") as file:
        faces = list(csv.DictReader(file))
    columns = [name for name in faces[0] if name != "clip_id"]

    def share(emotion: str, phrase: str) -> float:
        of_emotion = [face for face in faces if face["clip_id"][6:8] == emotion]
        rows = [np.array([[float(face[name]) for name in columns]]) for face in of_emotion]
        return float(np.mean([phrase in describe_face(row, columns) for row in rows]))

    assert share("03", "lip corners pulled up") > 0.6
    assert share("05", "lip corners pulled up") < 0.1
    assert share("05", "eyebrows drawn together") > share("03", "eyebrows drawn together") + 0.2


# --- the record -------------------------------------------------------------------------------


def record(**changes: Any) -> EnrichedText:
    fields = {"clip_id": "a", "raw": "", "enriched": "", "provider": "p", "prompt_version": "1"}
    return EnrichedText(**{**fields, **changes})


ODD = 'a\nb\r\x00\x07\x1f\x7f\x85\u2028\u2029\u200b\ufeff"\\ é 你好 \N{FACE WITH TEARS OF JOY}'


def test_written_records_are_read_back(tmp_path: Path) -> None:
    records = [
        record(clip_id="b", raw=ODD, enriched=compose(ODD, ["x"], []), cues=("x",), polarity=-0.5),
        record(clip_id="a", facts=("loud voice",), measured={"level": -20.5}, state="empty"),
        record(clip_id="c", probabilities={"happy": 0.25, "sad": 0.75}, state="failed", reason="r"),
    ]
    path = tmp_path / "text.jsonl"
    write_texts(records, path)
    assert read_texts(path) == records
    assert path.read_bytes().count(b"\n") == 3
    assert "你好" in path.read_text(encoding="utf-8")


def test_the_same_records_make_the_same_bytes(tmp_path: Path) -> None:
    one = record(probabilities={"sad": 0.5, "happy": 0.5})
    other = record(probabilities={"happy": 0.5, "sad": 0.5})
    write_texts([one], tmp_path / "one.jsonl")
    write_texts([other], tmp_path / "other.jsonl")
    assert (tmp_path / "one.jsonl").read_bytes() == (tmp_path / "other.jsonl").read_bytes()


@pytest.mark.parametrize(
    "changes",
    [
        {"polarity": 1.5},
        {"polarity": float("nan")},
        {"measured": {"level": float("inf")}},
        {"probabilities": {"happy": -0.1}},
        {"state": "fine"},
        {"mood": "good"},
        {"raw": "half a character \ud83d"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_an_invalid_record_is_refused(changes: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="1 validation error"):
        record(**changes)


def test_a_damaged_file_is_named_with_its_line(tmp_path: Path) -> None:
    path = tmp_path / "text.jsonl"
    write_texts([record(), record(clip_id="b")], path)
    path.write_text(path.read_text()[:-20])
    with pytest.raises(StoreError, match=r"text\.jsonl, line 2: .*delete the file and run again"):
        read_texts(path)
    path.write_text('{"clip_id": "a"}\n')
    with pytest.raises(StoreError, match="line 1: raw: Field required"):
        read_texts(path)


def test_a_missing_file_says_how_to_make_it(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="dvc repro enrich_text"):
        read_texts(tmp_path / "text.jsonl")


# --- the stage --------------------------------------------------------------------------------

CLIPS = [
    Clip("quiet", video="v", transcript="I hate this.", language="en", label="sad"),
    Clip("loud", video="v", transcript="I hate this.", language="en", label="sad"),
    Clip("b1", audio="a", transcript="Fine.", language="en", label="sad"),
    Clip("b2", audio="a", transcript="Fine.", language="en", label="sad"),
    Clip("mute", video="v", transcript="", split="unlabelled"),
]
LEVELS = {"quiet": 0.02, "loud": 0.4, "b1": 0.1, "b2": 0.1}
UNITS = ["AU04_c", "AU12_c"]


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Path]:
    monkeypatch.setenv("ECMF_WORKERS", "1")
    paths = {
        "manifest": tmp_path / "corpus.csv",
        "transcripts": tmp_path / "transcripts.jsonl",
        "audio": tmp_path / "audio.h5",
        "faces": tmp_path / "faces.h5",
        "face_features": tmp_path / "features",
        "text": tmp_path / "text.jsonl",
    }
    write_manifest(CLIPS, paths["manifest"])
    waves = Layout(dtype="int16", rate=SAMPLE_RATE)
    with StoreWriter(paths["audio"], waves, {}) as out:
        for clip in CLIPS:
            if clip.clip_id in LEVELS:
                samples = voice(level=LEVELS[clip.clip_id])
                out.append(clip.clip_id, Rows(samples, np.arange(len(samples)) / SAMPLE_RATE))
            else:
                out.append(clip.clip_id, no_rows(waves, "empty", "no audio track"))
    write_rows(paths["faces"], ["mean"], {"quiet": [1.0], "loud": [1.0]}, searched=("mute",))
    write_rows(paths["face_features"] / "openface.h5", UNITS, {"quiet": [0, 1], "loud": [1, 0]})
    write_rows(paths["face_features"] / "pixels.h5", ["brightness"], {})
    return paths


def write_rows(
    path: Path,
    columns: list[str],
    rows: dict[str, list[float]],
    searched: Sequence[str] = (),
) -> None:
    layout = Layout((len(columns),))
    with StoreWriter(path, layout, {"columns": columns}) as out:
        for clip in CLIPS:
            if clip.clip_id in rows:
                out.append(
                    clip.clip_id, Rows(np.array([rows[clip.clip_id]], "float32"), np.zeros(1))
                )
            else:
                facts = {"frames": 16.0 if clip.clip_id in searched else 0.0}
                out.append(clip.clip_id, no_rows(layout, "empty", "no face", facts))


def enriched_by(paths: dict[str, Path], **params: Any) -> dict[str, EnrichedText]:
    transcribe_speech(paths["manifest"], paths["audio"], paths["transcripts"], TranscribeSpeech())
    enrich_text(**paths, params=EnrichText(**params))
    records = read_texts(paths["text"])
    assert [record.clip_id for record in records] == [clip.clip_id for clip in CLIPS]
    return {record.clip_id: record for record in records}


def test_preceding_utterances_are_of_the_same_dialogue_and_within_the_limit() -> None:
    utterances = [
        ("a", "d1"),
        ("b", "d2"),
        ("c", "d1"),
        ("", "d1"),
        ("e", "d1"),
        ("f", "d1"),
        ("g", ""),
    ]
    clips = [
        Clip(str(number), transcript=text, dialogue=dialogue, speaker="s")
        for number, (text, dialogue) in enumerate(utterances)
    ]
    contexts = preceding_utterances(clips, 2)
    texts = {name: "".join(line.text for line in lines) for name, lines in contexts.items()}
    assert texts == {"0": "", "1": "", "2": "a", "3": "ac", "4": "ac", "5": "ce", "6": ""}
    assert contexts["2"][0].speaker == "s"
    assert not any(preceding_utterances(clips, 0).values())


def test_without_action_units_only_the_absence_of_a_face_is_described(
    paths: dict[str, Path],
) -> None:
    records = enriched_by(paths)
    assert records["quiet"].facts == ("quiet voice",)
    assert records["loud"].facts == ("loud voice",)
    assert records["mute"].facts == ("no face visible",)
    assert records["b1"].facts == ()  # no video, so no face was searched for
    assert records["quiet"].enriched == "I hate this. (strongly negative words: hate; quiet voice)"
    assert records["mute"].enriched == "(no face visible)"


def test_a_corpus_without_a_transcript_has_no_text_and_no_measured_voice(
    paths: dict[str, Path],
) -> None:
    write_manifest([replace(clip, transcript="") for clip in CLIPS], paths["manifest"])
    records = enriched_by(paths)
    assert not any(record.enriched or record.measured for record in records.values())
    assert {record.state for record in records.values()} == {"empty"}


def test_a_new_clip_without_a_transcript_has_the_cues_that_it_would_have_among_others(
    paths: dict[str, Path],
) -> None:
    clips = [replace(clip, transcript="") for clip in CLIPS]
    stores = paths["audio"], paths["faces"], paths["face_features"]
    transcripts = transcribe_clips(clips, paths["audio"], TranscribeSpeech())
    records = enrich_stores(
        clips, transcripts, CLASSES, *stores, EnrichText(), thresholds={"level": (-45, -25)}
    )
    assert [record.facts for record in records][:2] == [("quiet voice",), ("loud voice",)]


def test_a_video_that_failed_is_not_said_to_show_no_face(paths: dict[str, Path]) -> None:
    write_rows(paths["faces"], ["mean"], {"quiet": [1.0], "loud": [1.0]})
    records = enriched_by(paths)
    assert records["mute"].facts == ()
    assert records["mute"].enriched == ""


def test_action_units_are_described_where_they_were_measured(paths: dict[str, Path]) -> None:
    records = enriched_by(paths, action_units="openface")
    assert records["quiet"].facts == ("quiet voice", "lip corners pulled up")
    assert records["loud"].facts == ("loud voice", "eyebrows drawn together")
    assert records["b1"].facts == ()
    assert records["mute"].facts == ("no face visible",)


def test_the_measures_behind_the_nonverbal_cues_are_stored(paths: dict[str, Path]) -> None:
    records = enriched_by(paths)
    assert records["loud"].measured == measure_voice(voice(level=0.4))
    assert records["mute"].measured == {}


def test_nonverbal_cues_can_be_switched_off(paths: dict[str, Path]) -> None:
    assert {record.facts for record in enriched_by(paths, facts=False).values()} == {()}


def test_two_runs_write_the_same_bytes(paths: dict[str, Path]) -> None:
    enriched_by(paths)
    first = paths["text"].read_bytes()
    enriched_by(paths)
    assert paths["text"].read_bytes() == first


def user_messages(
    monkeypatch: pytest.MonkeyPatch, paths: dict[str, Path], **params: Any
) -> list[str]:
    """Run the stage and return the user message of every request."""
    probabilities = {"sad": 1.0}
    with fake_server(
        lambda _: completion(json.dumps(answer(probabilities=probabilities)))
    ) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", KEY)
        records = enriched_by(
            paths, provider="openai", options={"openai": {"model": "fake"}}, **params
        )
        assert {record.state for record in records.values() if record.raw} == {"whole"}
        assert records["quiet"].probabilities == probabilities
        return [request.user_message for request in server.requests]


def test_text_alone_and_text_with_context_are_two_experiments(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    dialogue = [Clip(**{**vars(clip), "dialogue": "d", "speaker": "Ann"}) for clip in CLIPS]
    write_manifest(dialogue, paths["manifest"])
    alone = user_messages(monkeypatch, paths, facts=False)
    assert len(alone) == 2  # of four clips, two and two say the same
    assert not any(word in text for text in alone for word in ("voice", "Ann"))
    text = paths["text"].read_bytes()
    assert user_messages(monkeypatch, paths, facts=False) == []
    assert paths["text"].read_bytes() == text
    enriched = user_messages(
        monkeypatch, paths, facts=True, context_lines=1, action_units="openface"
    )
    assert len(enriched) == 4
    (loud,) = (message for message in enriched if "loud voice" in message)
    assert 'said before it by "Ann": "I hate this."' in loud
    assert 'measured: "loud voice", "eyebrows drawn together"' in loud


def test_too_many_failed_clips_stop_the_stage(
    paths: dict[str, Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    with fake_server(lambda _: error_response(400, "not this one")) as server:
        monkeypatch.setenv("OPENAI_BASE_URL", server.url)
        monkeypatch.setenv("OPENAI_API_KEY", "none")
        monkeypatch.setenv("OPENAI_MODEL", "fake")
        with pytest.raises(ErrorBudgetError, match=r"4 of 5 clips failed.*(\n.*)*not this one"):
            enriched_by(paths, provider="openai")
        assert not paths["text"].exists()
        records = enriched_by(paths, provider="openai", error_budget=0.8)
        assert records["loud"].enriched == "I hate this. (loud voice)"


def test_only_voices_of_the_training_split_define_the_thresholds(paths: dict[str, Path]) -> None:
    clips = [
        Clip(**{**vars(clip), "split": "test"}) if clip.clip_id == "loud" else clip
        for clip in CLIPS
    ]
    write_manifest(clips, paths["manifest"])
    assert enriched_by(paths)["loud"].facts == ()  # three training voices are too few


def test_features_without_action_units_are_refused_as_such(paths: dict[str, Path]) -> None:
    with pytest.raises(ParamsError, match=r"pixels\.h5 has no column of an action unit"):
        enriched_by(paths, action_units="pixels")
    assert not paths["text"].exists()


def test_a_missing_input_is_reported_in_one_line(tmp_path: Path) -> None:
    project = Path(__file__).parents[2]
    arguments = [tmp_path / name for name in ("m.csv", "w", "a.h5", "f.h5", "features", "t.jsonl")]
    done = subprocess.run(
        [sys.executable, STAGES / "enrich_text.py", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=project,
    )
    assert done.returncode == 1
    assert done.stderr.startswith("error: no manifest")
    assert done.stderr.count("\n") == 1
