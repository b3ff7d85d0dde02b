"""`encode_text` gives the view of a text that was asked for, and encodes no text twice."""

import json
import logging
import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from ecmf.data.enriched_text import EnrichedText, Line, write_texts
from ecmf.encoding import store_encoder
from ecmf.encoding.network import Network, Piece
from ecmf.encoding.text_views import encode_transcripts
from ecmf.errors import ClipError, ErrorBudgetError, ParamsError
from ecmf.execution.shard import Shard
from ecmf.media import Text
from ecmf.params import TextChoice
from ecmf.storage.files import sha256
from ecmf.storage.store import Store

JOKE = (Line(speaker="Ann", text="I have won!"), Line(text="Sure."))
GRIEF = (Line(speaker="Ann", text="He is dead."),)


def record(clip_id: str, raw: str, enriched: str, context: tuple[Line, ...] = ()) -> EnrichedText:
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
    texts: Path, member: str = "hashing", budget: float = 0, **options: Any
) -> dict[str, NDArray[Any]]:
    out = texts.with_name("out.h5")
    choice = TextChoice(member=member, **options)
    encode_transcripts("text/mine", choice, texts, out, budget=budget)
    with Store(out) as features:
        return {clip_id: np.asarray(features[clip_id].values) for clip_id in features}


def worked_out(caplog: pytest.LogCaptureFixture) -> list[int]:
    """How many texts the encoder was shown, per call of the engine since this was last asked."""
    counts = [int(count) for count in re.findall(r"(\d+) to work out", caplog.text)]
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


def test_half_a_row_is_no_row_and_it_is_said_why(texts: Path) -> None:
    assert len(encoded(texts, view="both")["mute"]) == 0
    with Store(texts.with_name("out.h5")) as features:
        assert features.state("mute") == ("empty", "nothing to encode")


def test_every_view_encodes_a_text_once(texts: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        encoded(texts, member="minilm", view="both")
        assert worked_out(caplog) == [1, 4]  # one transcript of all, four enriched texts
        encoded(texts, member="minilm", view="enriched")
        encoded(texts, member="minilm", view="raw")
        assert worked_out(caplog) == [0, 0]
        encoded(texts, member="minilm", view="context")
        assert worked_out(caplog) == [2]  # behind a joke and behind grief; `first` is known as raw
        encoded(texts, member="minilm", view="context")
        assert worked_out(caplog) == [0]


def test_in_context_a_line_depends_on_what_was_said_before_it(texts: Path) -> None:
    raw = encoded(texts, member="minilm", view="raw")
    said = encoded(texts, member="minilm", view="context")
    np.testing.assert_array_equal(said["first"], raw["first"])
    np.testing.assert_array_equal(said["grief"], said["again"])
    assert said["joke"].shape == raw["joke"].shape
    assert float(np.vdot(said["joke"], said["grief"])) < 0.999  # vectors of length 1
    assert float(np.vdot(said["joke"], said["first"])) < 0.999
    assert len(said["mute"]) == 0


def test_the_encoder_is_told_who_said_the_lines_before(
    texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Listening()
    monkeypatch.setattr(store_encoder, "_encoder", lambda *_: network)
    monkeypatch.setattr(store_encoder.code_fingerprint, "of", lambda *modules: "code")
    encoded(texts, member="hashing", view="context")
    assert Text("joke", "Oh no", ("Ann: I have won!", "Sure.")) in network.seen
    assert [text.before for text in network.seen if text.clip_id == "first"] == [()]


def test_a_text_that_is_refused_in_one_view_fails_its_clip(
    texts: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    network = Listening(refused="Oh no (calm)")
    monkeypatch.setattr(store_encoder, "_encoder", lambda *_: network)
    monkeypatch.setattr(store_encoder.code_fingerprint, "of", lambda *modules: "code")
    with pytest.raises(ErrorBudgetError, match=r"1 of 5 clips failed(.*\n.*)*joke: too calm"):
        encoded(texts, view="both")
    found = encoded(texts, view="both", budget=0.2)
    assert [len(found[clip_id]) for clip_id in ("first", "joke", "grief")] == [1, 0, 1]


def test_a_shard_fills_its_share_of_both_views_and_writes_nothing(
    texts: Path, caplog: pytest.LogCaptureFixture
) -> None:
    out, choice = texts.with_name("out.h5"), TextChoice(member="hashing", view="both")
    with caplog.at_level(logging.INFO):
        for share in ("1/2", "2/2"):
            encode_transcripts("text/mine", choice, texts, out, 0, Shard.of(share))
        assert not out.exists()
        worked_out(caplog)
        encode_transcripts("text/mine", choice, texts, out, 0)
        assert worked_out(caplog) == [0, 0]


def test_an_encoder_that_reads_each_line_by_itself_gives_no_context(texts: Path) -> None:
    with pytest.raises(ParamsError, match="'context', but hashing reads each line by itself"):
        encoded(texts, view="context")


@pytest.mark.parametrize("view", ["enriched", "both", "context"])
def test_features_made_elsewhere_have_no_view(texts: Path, view: str) -> None:
    table = texts.with_name("mine.csv")
    table.write_text("clip_id,a\nfirst,1\n")
    where = {"path": str(table), "sha256": sha256(table)}
    assert json.dumps(encoded(texts, "imported", **where)["first"].tolist()) == "[[1.0]]"
    with pytest.raises(ParamsError, match=f"view '{view}', but imported reads no text"):
        encoded(texts, "imported", view=view, **where)


class Listening(Network[Text]):
    """A network that keeps what it was shown, and may refuse a text."""

    dim = 2
    provenance: dict[str, str] = {"weights": "none"}  # noqa: RUF012
    reads_before = True

    def __init__(self, refused: str = "") -> None:
        self.seen: list[Text] = []
        self.refused = refused

    def pieces(self, clip: Text) -> list[Piece]:
        if clip.text == self.refused:
            raise ClipError("too calm")
        self.seen.append(clip)
        return [Piece({"length": np.full(2, len(clip.text), "float32")})]

    def forward(self, batch: Any) -> NDArray[Any]:
        return np.asarray(batch["length"])

    def join(self, clip: Text, results: Any) -> Any:
        return self.features(np.array(results), np.zeros(1))
