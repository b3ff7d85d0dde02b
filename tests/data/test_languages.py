"""A plugin that does not read the language of the clips is refused before its stage starts."""

import logging
from collections.abc import Sequence
from pathlib import Path

import pytest
import tiny_text

from ecmf.data.enriched_text import EnrichedText, write_texts
from ecmf.data.languages import is_unreadable, language_code
from ecmf.data.manifest import Clip, write_manifest
from ecmf.encoding.text_views import encode_transcripts
from ecmf.errors import ParamsError
from ecmf.params import EnrichText, TextChoice, TranscribeSpeech
from ecmf.storage.files import sha256
from ecmf.storage.store import Store
from enrich_text import enrich_text
from transcribe_speech import transcribe_speech

ENGLISH, CHINESE = "I told you so.", "我真的没有想到会这样。"


@pytest.mark.parametrize("name", ["zh", "zh-CN", "zh_TW", "Chinese", "cmn", "Mandarin", "zho"])
def test_a_language_has_one_code_whatever_its_name(name: str) -> None:
    assert language_code(name) == "zh"


@pytest.mark.parametrize(
    ("text", "language", "unreadable"),
    [
        (ENGLISH, "en-US", False),
        (ENGLISH, "", False),
        ("Das ist schön.", "de", True),
        ("Das ist schön.", "", False),  # the same letters: nothing is certain
        (CHINESE, "", True),
        ("Это правда?", "", True),
        ("OK, 好", "", False),
        ("12:30 ?!", "", False),
        (" ", "zh", False),
    ],
)
def test_the_language_of_the_manifest_decides_and_without_one_the_letters(
    text: str, language: str, unreadable: bool
) -> None:
    assert is_unreadable(text, language, ("en",)) == unreadable
    assert not is_unreadable(text, language, ())


def test_a_language_without_a_known_script_is_not_judged_by_its_letters() -> None:
    assert not is_unreadable(CHINESE, "", ("en", "ja"))
    assert not is_unreadable(CHINESE, "", ("en", "zh"))


# --- enrich_text ------------------------------------------------------------------------------


def enrich(folder: Path, clips: Sequence[tuple[str, str]]) -> None:
    """Run the stage with the lexicon on transcripts and their languages, without media."""
    manifest = folder / "own.csv"
    write_manifest(
        [
            Clip(f"clip{i}", transcript=text, language=language, group=str(i), label="angry")
            for i, (text, language) in enumerate(clips)
        ],
        manifest,
    )
    params = EnrichText.model_validate({"facts": False})
    absent, transcripts = folder / "absent", folder / "transcripts.jsonl"
    transcribe_speech(manifest, absent, transcripts, TranscribeSpeech())
    enrich_text(manifest, transcripts, absent, absent, absent, folder / "text.jsonl", params)


@pytest.mark.parametrize("language", ["zh", ""])
def test_the_lexicon_refuses_a_chinese_corpus_and_names_the_remedy(
    tmp_path: Path, language: str
) -> None:
    found = language or "no language, but unknown letters or words"
    with pytest.raises(
        ParamsError,
        match=rf"enrich_text\.provider: lexicon reads en only, and 2 of 2 texts .*\(2 {found}\).*"
        r"another plugin \(openai, transformers\).*`ecmf preset`",
    ):
        enrich(tmp_path, [(CHINESE, language), (CHINESE, language), ("", "")])
    assert not (tmp_path / "text.jsonl").exists()


def test_some_clips_of_another_language_are_a_warning_with_counts(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        enrich(tmp_path, [(ENGLISH, "en"), (CHINESE, "zh"), (ENGLISH, ""), (CHINESE, "")])
    (warning,) = caplog.messages
    assert "2 of 4 texts" in warning and "1 zh, 1 no language" in warning
    assert "clip 'clip1'" in warning


def test_an_english_corpus_is_no_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        enrich(tmp_path, [(ENGLISH, "en"), ("", ""), ("Ok.", "")])
    assert caplog.messages == []


# --- encode_text ------------------------------------------------------------------------------


def encode(where: Path, texts: Sequence[tuple[str, str]], **choice: str) -> int:
    """Encode texts with their languages; return the number of rows."""
    records = [
        EnrichedText(
            clip_id=f"clip{i}", raw=text, enriched=f"{text} (loud voice)", language=language,
            provider="lexicon", prompt_version="1",
        )
        for i, (text, language) in enumerate(texts)
    ]  # fmt: skip
    write_texts(records, where / "text.jsonl")
    chosen = TextChoice.model_validate(choice)
    encode_transcripts("text/own", chosen, where / "text.jsonl", where / "own.h5", 0)
    with Store(where / "own.h5") as features:
        return sum(features.count(clip_id) for clip_id in features)


@pytest.mark.parametrize("view", ["raw", "enriched", "both"])
@pytest.mark.parametrize("language", ["zh", ""])
def test_minilm_refuses_chinese_texts_before_it_encodes(
    tmp_path: Path, view: str, language: str
) -> None:
    with pytest.raises(
        ParamsError,
        match=r"text/own: minilm reads en only, and 2 of 2 texts .*another plugin "
        r"\(hashing, huggingface",
    ):
        encode(tmp_path, [(CHINESE, language)] * 2, encoder="minilm", view=view)
    assert not (tmp_path / "own.h5").exists()


def test_minilm_encodes_some_chinese_texts_with_a_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    texts = [(ENGLISH, "en"), (CHINESE, ""), (ENGLISH, "")]
    with caplog.at_level(logging.WARNING):
        assert encode(tmp_path, texts, encoder="minilm") == 3
    assert "1 of 3 texts are another language" in caplog.text


def test_an_encoder_of_any_language_encodes_chinese(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        assert encode(tmp_path, [(CHINESE, "zh")], encoder="hashing") == 1
    assert caplog.messages == []


def test_weights_whose_vocabulary_lacks_the_words_are_refused_whatever_the_language(
    tmp_path: Path,
) -> None:
    tiny_text.bert(tmp_path / "weights")
    weights = {"folder": str(tmp_path / "weights"), "sha256": sha256(tmp_path / "weights")}
    with pytest.raises(
        ParamsError, match=r"huggingface does not know these words, and 1 of 1 texts"
    ):
        encode(tmp_path, [("鬱龜 鬱龜", "")], encoder="huggingface", **weights)
