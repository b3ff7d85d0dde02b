"""A model whose sources have one row per clip names the parts that learn nothing from it."""

import logging

import numpy as np
import pytest
import torch

from ecmf.data.features import Source
from ecmf.params import TrainFusion
from ecmf.training.dataset import Dataset
from ecmf.training.idle_parameters import find_idle, warn_of_idle_parameters
from ecmf.training.targets import class_targets

CLIPS = 48


def made(**steps):
    """Random sources `audio` and `text` of so many rows per clip; the last clip has none."""
    rng = np.random.default_rng(0)
    sources = []
    for branch, count in steps.items():
        starts = np.minimum(np.arange(CLIPS + 1), CLIPS - 1) * count
        values = rng.normal(size=(starts[-1], 6)).astype("float32")
        sources.append(Source(f"{branch}/a", values, starts, {}))
    classes = np.eye(4, dtype="float32")[np.arange(CLIPS) % 4]
    return Dataset(sources, torch.device("cpu")), class_targets(classes, np.ones(CLIPS, "float32"))


def idle(model, **steps):
    dataset, targets = made(**steps)
    return find_idle(dataset, targets, np.arange(CLIPS), TrainFusion(model=model))


def test_attention_to_one_step_is_idle():
    found = idle("mult", audio=1, text=1)
    assert found.sources == ["audio/a", "text/a"]
    assert 0.1 < found.share < 0.2  # queries and keys, of four maps and a wide feed-forward
    assert all(part.endswith(("query", "key", "convolutions")) for part in found.parts)
    assert idle("cfn_sr", audio=1, text=1).share > 0.9  # its attention weighs one step


def test_the_share_counts_only_what_a_second_row_would_train():
    assert idle("mult", audio=1, text=5).share < idle("mult", audio=1, text=1).share
    pooling = idle("ecmf", audio=1, text=1).parts.keys()
    assert pooling == {"projection.pooling.hidden", "projection.pooling.score"}


@pytest.mark.parametrize("model", ["mult", "ecmf", "cfn_sr", "afg"])
def test_nothing_is_idle_where_every_source_is_a_sequence(model):
    assert idle(model, audio=3, text=5).share == 0


def test_the_share_and_the_parts_are_logged_once_with_a_remedy(caplog):
    dataset, targets = made(audio=1, text=4)
    with caplog.at_level(logging.WARNING):
        params = TrainFusion(model="cfn_sr")
        warn_of_idle_parameters(dataset, targets, np.arange(CLIPS), params)
    (message,) = caplog.messages
    assert message.startswith("cfn_sr: ") and "since audio/a have one row per clip" in message
    assert "rows: step or token, window_seconds" in message


def test_a_model_without_an_idle_part_logs_nothing(caplog):
    dataset, targets = made(audio=3, text=4)
    with caplog.at_level(logging.WARNING):
        warn_of_idle_parameters(dataset, targets, np.arange(CLIPS), TrainFusion(model="mult"))
    assert not caplog.messages
