"""AIMDiT: time folded to a picture, and attention from each source to the others."""

import torch
from made_clips import captured_input, make_batch, make_fusion

from ecmf.fusion.aimdit import Augmentation
from ecmf.fusion.base import Batch

NAMES = ("frame/a", "audio/b", "text/c")
FOLDED = torch.ones(1, dtype=torch.bool)


def test_a_step_reaches_its_neighbours_in_the_picture_and_no_others():
    torch.manual_seed(0)
    augmentation = Augmentation(8, side=4, dropout=0.0)
    rows = torch.randn(1, 16, 8)
    other = rows.clone()
    other[0, 0] += 1
    moved = (augmentation(rows, FOLDED) - augmentation(other, FOLDED)).abs().sum(dim=-1)[0] > 0
    # 5x5 reaches two rows down and two columns along from the corner
    near = [row <= 2 and column <= 2 for row in range(4) for column in range(4)]
    assert moved.tolist() == near


def test_the_convolutions_are_added_to_their_input():
    torch.manual_seed(0)
    augmentation = Augmentation(8, side=4, dropout=0.0)
    rows = torch.randn(2, 16, 8)
    assert not torch.allclose(augmentation(rows, FOLDED), augmentation.norm(rows), atol=1e-3)
    for parameter in augmentation.merge.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.allclose(augmentation(rows, FOLDED), augmentation.norm(rows))


def test_a_sequence_at_twice_the_rate_is_the_same_picture():
    slow = make_batch({"frame/a": [3, 3], "text/b": [1, 2]})
    model = make_fusion("aimdit", slow)
    rows = slow.rows["frame/a"]
    between = (rows[:, :-1] + rows[:, 1:]) / 2
    faster = torch.stack([rows[:, 0], between[:, 0], rows[:, 1], between[:, 1], rows[:, 2]], dim=1)
    fast = Batch(
        {**slow.rows, "frame/a": faster},
        {**slow.masks, "frame/a": torch.ones(2, 5, dtype=torch.bool)},
    )
    model.projection.norm[0] = torch.nn.Identity()  # it alone is not linear in the rows
    assert torch.allclose(model(slow).logits, model(fast).logits, atol=1e-5)


def test_no_picture_is_folded_out_of_one_row():
    batch = make_batch({"frame/a": [1, 3, 0], "text/b": [1, 1, 2]})
    model = make_fusion("aimdit", batch)
    streams = model._augment(batch)
    assert [mask.sum(dim=1).tolist() for _, mask in streams] == [[1, 16, 0], [1, 1, 16]]
    row = batch.rows["frame/a"][0, 0] @ model.projection.linear[0].weight.T
    row = model.projection.norm[0](row + model.projection.linear[0].bias)
    position = torch.cat([torch.zeros(16), torch.ones(16)])
    assert torch.allclose(streams[0][0][0, 0], model.augmentation[0].norm(row) + position)
    before = model(batch).logits
    for augmentation in model.augmentation:
        torch.nn.init.ones_(augmentation.merge.bias)
    moved = (model(batch).logits - before).abs().amax(dim=1)
    assert moved[0] == 0 and (moved[1:] > 1e-4).all()


def test_each_source_attends_to_all_the_others():
    batch = make_batch({name: [3, 2] for name in NAMES})
    model = make_fusion("aimdit", batch)
    other = Batch({**batch.rows, "text/c": -batch.rows["text/c"]}, batch.masks)
    first, second = (
        captured_input(model.classifier, model, inputs).unflatten(1, (3, -1))
        for inputs in (batch, other)
    )
    assert ((first - second).abs().amax(dim=-1) > 1e-3).all()


def test_a_model_of_one_source_has_no_cross_modal_attention():
    model = make_fusion("aimdit", make_batch({"frame/a": [3, 2]}))
    assert not list(model.cross_modal.parameters())
