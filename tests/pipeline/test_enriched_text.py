"""Cues of the text reach the model: with other cues it predicts something else."""

import csv
import re
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pytest
from corpus import CLASSES, CorpusPaths, make_corpus
from dvc.utils.hydra import apply_overrides
from trainings import PREPARATION

from ecmf.data.enriched_text import EnrichedText, compose, write_texts
from ecmf.params import (
    EncodeText,
    EvaluateFusion,
    Params,
    RefineLabels,
    Sources,
    TrainFusion,
    load_params,
)
from encode_text import encode_text
from evaluate_fusion import evaluate_fusion
from refine_labels import refine_labels
from train_fusion import train_fusion

ROOT = Path(__file__).resolve().parents[2]
README = (ROOT / "README.md").read_text()
TABLE = load_params(ROOT / "params.yaml").encode_text
"""Encoders of text of the default pipeline."""

CUES = {
    "angry": "strongly negative words: hate; exclaimed",
    "happy": "strongly positive words: wonderful",
    "sad": "negative words: alone",
}
OTHER_CUES = {"angry": CUES["happy"], "happy": CUES["sad"], "sad": CUES["angry"]}
TRAINING = TrainFusion.model_validate(
    {"folds": 2, "seeds": (0,), "epochs": 6, "batch_size": 16, "learning_rate": 0.01}
)


def encode(corpus: CorpusPaths, cues: Mapping[str, str], table: EncodeText) -> None:
    """Write texts with the cues of each clip's class, and encode them in every view of a table."""
    records = []
    for number, clip in enumerate(corpus.clips):
        said = f"It is line {number % 5}."
        cue = cues[clip.label or "angry"]
        records.append(
            EnrichedText(
                clip_id=clip.clip_id, raw=said, enriched=compose(said, [cue], []), cues=(cue,),
                provider="lexicon", prompt_version="1",
            )
        )  # fmt: skip
    write_texts(records, corpus.text)
    for name in table.encoders:
        encode_text(name, corpus.text, corpus.features / f"text/{name}.h5", table)


def predict(corpus: CorpusPaths, folder: Path, sources: Sources) -> np.ndarray:
    """Predict with the trained models; return the probabilities (clips, classes)."""
    evaluate_fusion(
        corpus.manifest, folder / "labels.csv", corpus.features, folder / "fusion",
        folder / "evaluation.json", folder / "details.json", folder / "predictions.csv",
        folder / "confusion.csv", folder / "confusion.png", EvaluateFusion(bootstrap=10), sources,
    )  # fmt: skip
    with (folder / "predictions.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return np.array([[float(row[f"probability_{name}"]) for name in CLASSES] for row in rows])


@pytest.mark.parametrize("views", [("raw", "enriched"), ("raw",)])
def test_other_cues_change_the_prediction_if_and_only_if_the_enriched_text_is_a_source(
    views: tuple[str, ...], tmp_path: Path
) -> None:
    entries = {name: entry for name, entry in TABLE.encoders.items() if entry.view in views}
    table = TABLE.model_copy(update={"encoders": entries})
    corpus = make_corpus(tmp_path, speakers=6, each=6, wild=0)
    sources = Sources({"frame": (), "face": ("mine",), "audio": ("mine",), "text": tuple(entries)})
    encode(corpus, CUES, table)
    labels = tmp_path / "labels.csv"
    refine_labels(
        corpus.manifest, corpus.text, corpus.features, labels, tmp_path / "votes.csv",
        tmp_path / "sources.json", RefineLabels.model_validate({"refiner": "keep"}), sources,
    )  # fmt: skip
    train_fusion(
        corpus.manifest, labels, corpus.text, corpus.features, tmp_path / "fusion",
        tmp_path / "training.json", tmp_path / "curves.csv", TRAINING, sources, PREPARATION,
    )  # fmt: skip
    before = predict(corpus, tmp_path, sources)
    encode(corpus, OTHER_CUES, table)
    after = predict(corpus, tmp_path, sources)
    change = np.abs(after - before).max(axis=1)
    if "enriched" in views:
        assert (change > 0.01).mean() > 0.9
    else:
        assert change.max() == 0


def test_the_default_pipeline_has_both_texts() -> None:
    assert {entry.view for entry in TABLE.encoders.values()} == {"raw", "enriched"}


def test_the_text_command_of_the_readme_trains_on_enriched_text(tmp_path: Path) -> None:
    params = after_readme_command(tmp_path / "params.yaml")
    assert params.enrich_text.provider == "openai"
    assert "enriched" in {entry.view for entry in params.encode_text.encoders.values()}
    assert "text" in params.train_fusion.branches


def after_readme_command(params: Path) -> Params:
    """Apply the changes of the command that enriches by a language model to `params`."""
    (command,) = re.findall(r"^\$ dvc exp run (.*enrich_text\.provider.*)$", README, re.MULTILINE)
    params.write_text((ROOT / "params.yaml").read_text())
    apply_overrides(params, re.findall(r"-S '?([^' ]+)", command))
    return load_params(params)
