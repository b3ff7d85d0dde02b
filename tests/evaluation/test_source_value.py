"""A source that the models rely on is told from one that is noise."""

from dataclasses import replace

import numpy as np
import pytest
from corpus import CLASSES, SOURCES, make_corpus
from trainings import PARAMS, evaluate, train

from ecmf.cli import scores
from ecmf.params import Sources
from ecmf.storage.store import Layout, Rows, Store
from ecmf.storage.store_writer import StoreWriter

WITH_NOISE = Sources({**SOURCES, "audio": ("mine", "noise")})


def add_noise(corpus):
    """Write a source of noise beside those of the corpus."""
    rng = np.random.default_rng(1)
    path = corpus.features / "audio/noise.h5"
    with StoreWriter(path, Layout((4,)), {"encoder": "noise"}) as out:
        for clip in corpus.clips:
            out.append(clip.clip_id, Rows(rng.normal(size=(1, 4)), np.zeros(1)))
    with Store(path) as store:
        assert len(store) == len(corpus.clips)


@pytest.mark.parametrize("test_split", [True, False])
def test_noise_is_named_and_a_source_that_counts_is_not(test_split, tmp_path, monkeypatch):
    monkeypatch.setenv("ECMF_WORKERS", "1")
    monkeypatch.setattr("trainings.SOURCES", WITH_NOISE)
    corpus = make_corpus(tmp_path, test_split=test_split)
    add_noise(corpus)
    params = PARAMS.model_copy(update={"seeds": (0,), "epochs": 15, "refit": True})
    train(corpus, tmp_path, params)
    report = evaluate(corpus, tmp_path)
    found = report["sources"]
    assert set(found) == {"face/mine", "audio/mine", "audio/noise"}
    for name in ("face/mine", "audio/mine"):
        assert found[name]["low"] > 0.1 and found[name]["low"] <= found[name]["difference"]
    assert found["audio/noise"]["low"] <= 0 and abs(found["audio/noise"]["difference"]) < 0.1
    printed = scores.table({split: report[split] for split in ("test", "val")}, report)
    (line,) = (line for line in printed.splitlines() if line.startswith("not shown to help"))
    assert "audio/noise" in line and "/mine" not in line


def test_without_validation_clips_no_source_is_judged(tmp_path, monkeypatch):
    monkeypatch.setenv("ECMF_WORKERS", "1")
    corpus = make_corpus(tmp_path, change=lambda clip: replace(clip, split=split_of(clip)))
    assert {clip.label for clip in corpus.clips} == {*CLASSES, ""}
    train(corpus, tmp_path, PARAMS.model_copy(update={"folds": 0, "seeds": (0,), "epochs": 2}))
    assert evaluate(corpus, tmp_path)["sources"] == {}


def split_of(clip):
    """Return the split of a clip in a corpus without validation split."""
    return "train" if clip.split == "val" else clip.split
