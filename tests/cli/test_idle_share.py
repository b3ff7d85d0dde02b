"""`ecmf members fusion` shows what is idle of a fusion whose sources have one row per clip."""

import re

import numpy as np
import pytest
import torch

from ecmf import registry
from ecmf.cli import members
from ecmf.cli.idle_share import DIM, PAIR, idle_share
from ecmf.cli.plugin_catalogue import find_family
from ecmf.data.features import Source
from ecmf.params import BRANCHES, TrainFusion
from ecmf.training.dataset import Dataset
from ecmf.training.idle_parameters import find_idle
from ecmf.training.targets import class_targets


def idle_in_a_training(model, branches):
    """Return the share that a training on other clips of one row each would log."""
    clips, rng = 96, np.random.default_rng(1)
    sources = [
        Source(f"{branch}/own", rng.uniform(size=(clips, DIM)).astype("float32"),
               np.arange(clips + 1), {})
        for branch in branches
    ]  # fmt: skip
    classes = np.eye(6, dtype="float32")[rng.integers(6, size=clips)]
    targets = class_targets(classes, np.ones(clips, "float32"))
    dataset = Dataset(sources, torch.device("cpu"))
    return find_idle(dataset, targets, np.arange(clips), TrainFusion(model=model)).share


@pytest.mark.parametrize("branches", [BRANCHES, PAIR], ids=["all", "pair"])
@pytest.mark.parametrize("model", ["cfn_sr", "concat", "mult", "emma"])
def test_the_share_is_that_of_a_training_on_one_row_per_clip(model, branches):
    expected = pytest.approx(idle_in_a_training(model, branches), abs=0.002)
    assert idle_share(model, branches) == expected


def test_attention_over_two_rows_is_idle_and_clip_vectors_lose_the_deviation():
    assert idle_share("cfn_sr", PAIR) > 0.8  # of the text it weighs one step
    assert idle_share("cfn_sr", BRANCHES) < 0.3  # of three sources a row each
    assert 0.4 < idle_share("concat", BRANCHES) < 0.5  # half of each projection
    assert max(idle_share("emma", BRANCHES), idle_share("emma", PAIR)) < 0.001


def test_the_list_and_the_description_of_a_fusion_show_the_share():
    fusion = find_family("fusion")
    lines = members.list_plugins(fusion).splitlines()
    shown = [line.strip() for line in lines if "idle with one row per clip" in line]
    assert len(shown) == len(registry.names("fusion"))
    for name, line in zip(registry.names("fusion"), shown, strict=True):
        every, pair = map(int, re.findall(r"(\d+) %", line))
        assert every == round(100 * idle_share(name, BRANCHES)), name
        assert 0 <= every < 60 and 0 <= pair <= 100
    assert shown[0] in members.describe(fusion, registry.names("fusion")[0])
    assert "idle" not in members.list_plugins(find_family("text"))
