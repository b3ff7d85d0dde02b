"""`encode_text` encodes the chosen view of a text, and no text twice."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ecmf.data.enriched_text import EnrichedText, Utterance, write_texts
from ecmf.encoding import store_encoder
from ecmf.encoding.network import Chunk, Network
from ecmf.encoding.text_views import encode_transcripts
from ecmf.errors import ClipError, ErrorBudgetError, ParamsError
from ecmf.execution.shard import Shard
from ecmf.media import Text
from ecmf.params import TextChoice
from ecmf.storage.files import sha256
from ecmf.storage.store import Store

JOKE = (Utterance(speaker="Ann", text="I have won!"), Utterance(text="Sure."))
GRIEF = (Utterance(speaker="Ann", text="He is dead."),)


def record(
    clip_id: str, raw: str, enriched: str, context: tuple[Utterance, ...] = ()
) -> EnrichedText:
    return EnrichedText(
        clip_id=clip_id, raw=raw, enriched=enriched, context=context,
        provider="lexicon", prompt_version="1",
    )  # fmt: skip


RECORDS = (
    record("first", "Oh no", "Oh no (loud voice)"),
    record("joke", "Oh no", "Oh no (calm)", JOKE),
    record("grief", "Oh no", "Oh no (sad)", GRIEF),
    record("again", "Oh no", "Oh no (sad)", GRIEF),
    record("mute", "", "(loud voice)", JOKE),
)


@pytest.fixture
def texts(tmp_path: Path) -> Path:
    write_texts(RECORDS, tmp_path / "text.jsonl")
    return tmp_path / "text.jsonl"


def encoded(
    texts: Path, encoder: str = "hashing", budget: float = 0, **options: Any
) -> dict[str, NDArray[Any]]:
    out = texts.with_name("out.h5")
    choice = TextChoice(encoder=encoder, **options)
    encode_transcripts("text/mine", choice, texts, out, budget=budget)
    with Store(out) as features:
        return {clip_id: np.asarray(features[clip_id].values) for clip_id in features}


def encoded_counts(caplog: pytest.LogCaptureFixture) -> list[int]:
    """Numbers of texts that were encoded, per call of the engine since the last check."""
    counts = [int(count) for count in re.findall(r"(\d+) to compute", caplog.text)]
    caplog.clear()
    return counts


def test_raw_and_enriched_are_the_texts_of_these_names(texts: Path) -> None:
    raw, enriched = encoded(texts, view="raw"), encoded(texts, view="enriched")
    assert np.array_equal(raw["first"], raw["grief"])
    assert not np.array_equal(enriched["first"], enriched["grief"])
    assert not np.array_equal(raw["first"], enriched["first"])
    assert (len(raw["mute"]), len(enriched["mute"])) == (0, 1)


def test_both_is_raw_and_enriched_side_by_side_in_one_row(texts: Path) -> None:
    raw, enriched = encoded(texts, view="raw"), encoded(texts, view="enriched")
    both = encoded(texts, view="both")
    for clip_id in ("first", "joke", "grief", "again"):
        expected = np.hstack([raw[clip_id], enriched[clip_id]])
        np.testing.assert_array_equal(both[clip_id], expected)
    assert both["first"].shape == (1, 2 * raw["first"].shape[1])


def test_a_clip_empty_in_one_view_is_empty_in_both_with_a_reason(texts: Path) -> None:
    assert len(encoded(texts, view="both")["mute"]) == 0
    with Store(texts.with_name("out.h5")) as features:
        assert features.state("mute") == ("empty", "nothing to encode")


def test_every_view_encodes_a_text_once(texts: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        encoded(texts, encoder="minilm", view="both")
        assert encoded_counts(caplog) == [1, 4]  # one transcript of all, four enriched texts
        encoded(texts, encoder="minilm", view="enriched")
        encoded(texts, encoder="minilm", view="raw")
        assert encoded_counts(caplog) == [0, 0]
        encoded(texts, encoder="minilm", view="context")
        assert encoded_counts(caplog) == [2]  # after a joke, after grief; `first` is as raw
        encoded(texts, encoder="minilm", view="context")
        assert encoded_counts(caplog) == [0]


def test_in_context_a_line_depends_on_the_lines_before_it(texts: Path) -> None:
    raw = encoded(texts, encoder="minilm", view="raw")
    context = encoded(texts, encoder="minilm", view="context")
    np.testing.assert_array_equal(context["first"], raw["first"])
    np.testing.assert_array_equal(context["grief"], context["again"])
    assert context["joke"].shape == raw["joke"].shape
    assert float(np.vdot(context["joke"], context["grief"])) < 0.999  # vectors of length 1
    assert float(np.vdot(context["joke"], context["first"])) < 0.999
    assert len(context["mute"]) == 0


def test_the_lines_before_a_text_name_their_speakers(
    texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = RecordingNetwork()
    monkeypatch.setattr(store_encoder, "_encoder", lambda *_: network)
    monkeypatch.setattr(store_encoder.code_fingerprint, "hash_modules", lambda *modules: "code")
    encoded(texts, encoder="hashing", view="context")
    assert Text("joke", "Oh no", ("Ann: I have won!", "Sure.")) in network.seen
    assert [text.context for text in network.seen if text.clip_id == "first"] == [()]


def test_a_text_that_fails_in_one_view_fails_its_clip(
    texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = RecordingNetwork(refused="Oh no (calm)")
    monkeypatch.setattr(store_encoder, "_encoder", lambda *_: network)
    monkeypatch.setattr(store_encoder.code_fingerprint, "hash_modules", lambda *modules: "code")
    with pytest.raises(ErrorBudgetError, match=r"1 of 5 clips failed(.*\n.*)*joke: too calm"):
        encoded(texts, view="both")
    found = encoded(texts, view="both", budget=0.2)
    assert [len(found[clip_id]) for clip_id in ("first", "joke", "grief")] == [1, 0, 1]


def test_a_shard_fills_its_share_of_both_views_and_writes_nothing(
    texts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, choice = texts.with_name("out.h5"), TextChoice(encoder="hashing", view="both")
    with caplog.at_level(logging.INFO):
        for share in ("1/2", "2/2"):
            encode_transcripts("text/mine", choice, texts, out, 0, Shard.parse(share))
        assert not out.exists()
        encoded_counts(caplog)
        encode_transcripts("text/mine", choice, texts, out, 0)
        assert encoded_counts(caplog) == [0, 0]


def test_an_encoder_of_single_lines_has_no_context_view(texts: Path) -> None:
    with pytest.raises(ParamsError, match="'context', but hashing encodes each line by itself"):
        encoded(texts, view="context")


def test_every_view_of_one_text_has_a_row_per_token(texts: Path) -> None:
    raw = encoded(texts, encoder="minilm", view="raw", rows="token")
    enriched = encoded(texts, encoder="minilm", view="enriched", rows="token")
    context = encoded(texts, encoder="minilm", view="context", rows="token")
    assert len(raw["first"]) == len(context["joke"]) == 2  # oh, no
    assert len(enriched["first"]) == 6  # oh, no, (, loud, voice, )
    np.testing.assert_array_equal(context["first"], raw["first"])
    assert not np.allclose(context["joke"], raw["joke"])
    assert (len(raw["mute"]), len(enriched["mute"])) == (0, 4)


def test_tokens_of_two_texts_are_not_joined(texts: Path) -> None:
    with pytest.raises(ParamsError, match="minilm gives a row per token: choose view enriched"):
        encoded(texts, encoder="minilm", view="both", rows="token")


@pytest.mark.parametrize("view", ["enriched", "both", "context"])
def test_precomputed_features_have_no_view(texts: Path, view: str) -> None:
    table = texts.with_name("mine.csv")
    table.write_text("clip_id,a\nfirst,1\n")
    where = {"path": str(table), "sha256": sha256(table)}
    assert json.dumps(encoded(texts, "imported", **where)["first"].tolist()) == "[[1.0]]"
    with pytest.raises(ParamsError, match=f"view '{view}', but imported does not read the text"):
        encoded(texts, "imported", view=view, **where)


class RecordingNetwork(Network[Text]):
    """A network that records its inputs and may refuse a text."""

    dim = 2
    provenance: dict[str, str] = {"weights": "none"}  # noqa: RUF012
    supports_context = True

    def __init__(self, refused: str = "") -> None:
        self.seen: list[Text] = []
        self.refused = refused

    def split(self, clip: Text) -> list[Chunk]:
        if clip.text == self.refused:
            raise ClipError("too calm")
        self.seen.append(clip)
        return [Chunk({"length": np.full(2, len(clip.text), "float32")})]

    def forward(self, batch: Any) -> NDArray[Any]:
        return np.asarray(batch["length"])

    def merge(self, clip: Text, results: Any) -> Any:
        return self.features(np.array(results), np.zeros(1))


# --- llm_probabilities ------------------------------------------------------------------------


@pytest.fixture
def answered(tmp_path: Path) -> Path:
    """Texts with the probabilities of a language model, but for one that failed."""
    sure, unsure = {"sad": 0.75, "angry": 0.25}, {"sad": 0.5, "angry": 0.5}
    about = {"provider": "openai", "model": "qwen3"}
    records = [
        RECORDS[0].model_copy(update={"probabilities": sure, **about}),
        RECORDS[1].model_copy(update={"probabilities": unsure, **about}),
        RECORDS[2].model_copy(update={"state": "failed", "reason": "no answer", **about}),
    ]
    write_texts(records, tmp_path / "text.jsonl")
    return tmp_path / "text.jsonl"


def test_probabilities_are_a_row_per_clip_and_none_without_an_answer(answered: Path) -> None:
    rows = encoded(answered, encoder="llm_probabilities")
    assert rows["first"].tolist() == [[0.25, 0.75]]
    assert rows["joke"].tolist() == [[0.5, 0.5]]
    assert rows["grief"].shape == (0, 2)


def test_the_provenance_of_probabilities_names_the_classes_and_the_model(answered: Path) -> None:
    encoded(answered, encoder="llm_probabilities")
    with Store(answered.with_name("out.h5")) as features:
        assert features.provenance["columns"] == ["angry", "sad"]
        assert features.provenance["answered_by"] == ["openai qwen3 1"]


def test_other_probabilities_are_other_rows_without_any_cache(answered: Path) -> None:
    encoded(answered, encoder="llm_probabilities")
    answered.write_text(answered.read_text().replace("0.75", "0.7").replace("0.25", "0.3"))
    rows = encoded(answered, encoder="llm_probabilities")
    np.testing.assert_allclose(rows["first"], [[0.3, 0.7]], rtol=1e-6)


def test_texts_without_probabilities_are_refused_with_the_remedy(texts: Path) -> None:
    with pytest.raises(
        ParamsError,
        match=r"none of the 5 enriched texts .*provider: lexicon\): set it to openai or transf",
    ):
        encoded(texts, encoder="llm_probabilities")
    assert not texts.with_name("out.h5").exists()


def test_probabilities_have_no_view(answered: Path) -> None:
    with pytest.raises(ParamsError, match=r"llm_probabilities does not read the text: leave out"):
        encoded(answered, encoder="llm_probabilities", view="both")
