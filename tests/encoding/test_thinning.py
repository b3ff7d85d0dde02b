"""Long sequences are thinned by averaging neighbours, before they are cached or stored."""

import logging
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pydantic import ValidationError

from ecmf.data.enriched_text import EnrichedText, write_texts
from ecmf.encoding.store_encoder import encode_audio_store, encode_image_store
from ecmf.encoding.text_views import encode_transcripts
from ecmf.encoding.thinning import Thinning
from ecmf.media import SAMPLE_RATE, Features
from ecmf.params import AudioChoice, ImageChoice, TextChoice
from ecmf.storage.jpeg import encode_jpeg
from ecmf.storage.store import Layout, Rows, Store, no_rows
from ecmf.storage.store_writer import StoreWriter


@pytest.fixture(autouse=True)
def one_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Encode in this process: a worker's imports take longer than these clips."""
    monkeypatch.setenv("ECMF_WORKERS", "1")


def features(rows: int, dtype: str = "float32") -> Features:
    """Rows of 0, 1, 2, ... every 0.1 s."""
    return Features(np.arange(2 * rows).reshape(-1, 2).astype(dtype), np.arange(rows) / 10)


def test_rows_of_each_span_are_averaged_and_a_span_without_a_row_has_none() -> None:
    given = features(8)
    given.times[5:] += 1  # 0 to 0.4, then 1.5 to 1.7
    thinned = Thinning(row_seconds=0.3)(given)
    np.testing.assert_allclose(thinned.values[:, 0], [2, 7, 12])
    np.testing.assert_allclose(thinned.times, [0.1, 0.35, 1.6])


@pytest.mark.parametrize("rows", [1, 31, 32, 33, 100, 1500])
def test_at_most_so_many_rows_are_left_each_the_mean_of_nearly_equally_many(rows: int) -> None:
    given = features(rows)
    thinned = Thinning(max_rows=32)(given)
    assert len(thinned.values) == len(thinned.times) == min(rows, 32)
    parts = [part.mean(axis=0) for part in np.array_split(given.values, min(rows, 32))]
    if rows % 32 == 0 or rows < 32:
        np.testing.assert_allclose(thinned.values, parts, rtol=1e-6)
    gaps = np.diff(thinned.times)
    assert not len(gaps) or gaps.max() - gaps.min() < 0.1 + 1e-9
    assert thinned.times[0] >= 0 and thinned.times[-1] <= given.times[-1]


def test_spans_are_averaged_before_the_number_of_rows_is_limited() -> None:
    both = Thinning(row_seconds=0.2, max_rows=3)(features(12))
    np.testing.assert_allclose(both.values[:, 0], [3, 11, 19])


def test_thinning_keeps_the_type_and_clips_without_rows() -> None:
    assert Thinning(max_rows=2)(features(9, "float16")).values.dtype == "float16"
    empty = Thinning(row_seconds=1, max_rows=2)(Features(np.empty((0, 2), "float32"), np.empty(0)))
    assert empty.values.shape == (0, 2)
    same = features(3)
    assert Thinning()(same) is same


def voices(path: Path) -> Path:
    rng = np.random.default_rng(0)
    layout = Layout(dtype="int16", rate=SAMPLE_RATE)
    with StoreWriter(path, layout, {}) as out:
        for clip_id, seconds in {"long": 4.2, "short": 0.9}.items():
            samples = rng.normal(0, 3000, int(seconds * SAMPLE_RATE)).astype("int16")
            out.append(clip_id, Rows(samples, np.arange(len(samples)) / SAMPLE_RATE))
        out.append("mute", no_rows(layout, "empty", "no audio track"))
    return path


def encoded_voices(tmp_path: Path, **options: Any) -> tuple[dict[str, Rows], dict[str, Any]]:
    choice = AudioChoice(encoder="librosa", window_seconds=0.5, **options)
    out = tmp_path / "out.h5"
    encode_audio_store("audio/mine", choice, voices(tmp_path / "audio.h5"), out, 0)
    with Store(out) as store:
        return dict(store), store.provenance


def test_a_store_has_thinned_rows_and_its_provenance_the_limits(tmp_path: Path) -> None:
    whole, unlimited = encoded_voices(tmp_path)
    thinned, provenance = encoded_voices(tmp_path, row_seconds=1.0, max_rows=2)
    assert [len(whole[name]) for name in ("long", "short", "mute")] == [9, 2, 0]
    assert [len(thinned[name]) for name in ("long", "short", "mute")] == [2, 1, 0]
    assert provenance["options"] == {
        "row_seconds": 1.0, "max_rows": 2, "window_seconds": 0.5,
    }  # fmt: skip
    assert unlimited["options"] == {"window_seconds": 0.5}
    np.testing.assert_allclose(
        thinned["short"].values[0], np.mean(whole["short"].values, axis=0), rtol=1e-5
    )
    assert thinned["mute"].reason == "no audio track"


def test_other_limits_take_no_result_from_the_cache(tmp_path: Path) -> None:
    counts = [len(encoded_voices(tmp_path, max_rows=rows)[0]["long"]) for rows in (3, 4, 3)]
    assert counts == [3, 4, 3]


def test_the_largest_size_of_a_store_is_logged_before_a_clip_is_encoded(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    layout = Layout(jpeg=True)
    jpeg = encode_jpeg(np.zeros((32, 32, 3), "uint8"), 90)
    with StoreWriter(tmp_path / "frames.h5", layout, {}) as out:
        out.append("a", Rows([jpeg] * 5, np.arange(5.0)))
        out.append("b", Rows([jpeg] * 2, np.arange(2.0)))
    write_texts(
        [
            EnrichedText(clip_id=name, raw=raw, enriched="", provider="x", prompt_version="1")
            for name, raw in {"a": "Oh no", "b": ""}.items()
        ],
        tmp_path / "text.jsonl",
    )
    with caplog.at_level(logging.INFO):
        choice = ImageChoice(encoder="example", max_rows=3)
        encode_image_store("frame/x", choice, tmp_path / "frames.h5", tmp_path / "x.h5", 0)
        assert "2 clips, 5 rows x 6 numbers x 4 bytes" in caplog.messages[0]
        assert caplog.messages[0].startswith(
            "frame/x: the features take at most 1.2e-07 GB on disk"
        )
        caplog.clear()
        words = TextChoice(encoder="minilm", rows="token", max_rows=8)
        encode_transcripts("text/x", words, tmp_path / "text.jsonl", tmp_path / "x.h5", 0)
        assert "2 clips, 8 rows x 384 numbers x 4 bytes" in caplog.messages[0]
        caplog.clear()
        encoded_voices(tmp_path, row_seconds=1.0)
        assert "3 clips, 6 rows x" in caplog.messages[0]
        caplog.clear()
        encoded_voices(tmp_path)
        assert caplog.messages[0].endswith("any number of rows: max_rows limits them")


def test_the_rows_of_a_text_have_no_seconds() -> None:
    with pytest.raises(ValidationError, match="rows of a text have no seconds: set max_rows"):
        TextChoice(encoder="hashing", row_seconds=0.25)


@pytest.mark.parametrize("option", [{"row_seconds": 0}, {"max_rows": 0}])
def test_limits_are_positive(option: dict[str, Any]) -> None:
    with pytest.raises(ValidationError, match="greater than"):
        ImageChoice(encoder="motion", **option)
