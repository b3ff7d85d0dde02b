import pytest
import torch
from made_clips import captured_input, make_batch

from ecmf.fusion.base import Batch, SourceShape
from ecmf.params import TrainFusion
from ecmf.training.augmentation import MIN_INPUT_DROPOUT, input_dropout, input_dropout_rate
from ecmf.training.model import build
from ecmf.training.task import load_task


def test_a_feature_is_dropped_in_every_step_of_its_clip_and_not_in_other_clips():
    torch.manual_seed(0)
    shape = SourceShape("face/network", 50)
    batch = Batch({shape.name: torch.ones(200, 6, 50)}, {shape.name: torch.ones(200, 6).bool()})
    zero = input_dropout(batch, [shape]).rows[shape.name] == 0
    assert (zero == zero[:, :1]).all()
    assert zero.double().mean().item() == pytest.approx(input_dropout_rate(50), abs=0.02)
    assert len(set(map(tuple, zero[:, 0].tolist()))) > 100, "each clip draws its own"


def test_the_rate_of_input_dropout_grows_with_the_width():
    rates = [input_dropout_rate(dim) for dim in (3, 35, 192, 678)]
    assert rates[:2] == [MIN_INPUT_DROPOUT, MIN_INPUT_DROPOUT]
    assert rates[2:] == pytest.approx([0.59, 0.78], abs=0.01)


@pytest.mark.parametrize("name", ["baseline", "ecmf", "mult"])
@pytest.mark.parametrize("drop", [True, False])
def test_features_are_dropped_whatever_the_model_and_only_where_training_is_asked_to(name, drop):
    batch = make_batch({"face/a": [3] * 8, "audio/b": [2] * 8}, {"face/a": 50, "audio/b": 40})
    shapes = [SourceShape(source, rows.shape[-1]) for source, rows in batch.rows.items()]
    task = load_task("single_label", ["happy", "sad"])
    model = build(task, TrainFusion(model=name, input_dropout=drop), shapes, seed=0)
    for mode, expected in ((True, drop), (False, False)):
        model.train(mode)
        rows = captured_input(model.fusion, model, batch).rows
        assert all((values == 0).any() for values in rows.values()) == expected


def test_a_source_that_is_a_target_keeps_all_its_numbers():
    batch = make_batch({"face/a": [1] * 8, "audio/teacher": [1] * 8}, {"face/a": 50})
    dropped = input_dropout(batch, [SourceShape("face/a", 50)])
    assert torch.equal(dropped.rows["audio/teacher"], batch.rows["audio/teacher"])
    assert (dropped.rows["face/a"] == 0).any()
