"""AIMDiT: time folded to a picture; then each source asks the others."""

import torch
from made_clips import made_batch, made_fusion, seen_by

from ecmf.fusion.aimdit import Augmentation
from ecmf.fusion.base import Batch

NAMES = ("frame/a", "audio/b", "text/c")


def test_a_step_reaches_its_neighbours_in_the_picture_and_no_others():
    torch.manual_seed(0)
    augmentation = Augmentation(8, side=4, dropout=0.0)
    rows = torch.randn(1, 16, 8)
    other = rows.clone()
    other[0, 0] += 1
    moved = (augmentation(rows) - augmentation(other)).abs().sum(dim=-1)[0] > 0
    # 5x5 reaches two rows down and two columns along from the corner
    near = [row <= 2 and column <= 2 for row in range(4) for column in range(4)]
    assert moved.tolist() == near


def test_what_the_picture_shows_is_added_to_what_was_there():
    torch.manual_seed(0)
    augmentation = Augmentation(8, side=4, dropout=0.0)
    rows = torch.randn(2, 16, 8)
    assert not torch.allclose(augmentation(rows), augmentation.norm(rows), atol=1e-3)
    for parameter in augmentation.merge.parameters():
        torch.nn.init.zeros_(parameter)
    assert torch.allclose(augmentation(rows), augmentation.norm(rows))


def test_a_sequence_at_twice_the_rate_is_the_same_picture():
    slow = made_batch({"frame/a": [3, 3], "text/b": [1, 2]})
    model = made_fusion("aimdit", slow)
    rows = slow.rows["frame/a"]
    between = (rows[:, :-1] + rows[:, 1:]) / 2
    faster = torch.stack([rows[:, 0], between[:, 0], rows[:, 1], between[:, 1], rows[:, 2]], dim=1)
    fast = Batch(
        {**slow.rows, "frame/a": faster},
        {**slow.masks, "frame/a": torch.ones(2, 5, dtype=torch.bool)},
    )
    model.projection.norm[0] = torch.nn.Identity()  # it alone is not linear in the rows
    assert torch.allclose(model(slow).logits, model(fast).logits, atol=1e-5)


def test_each_source_asks_all_the_others():
    batch = made_batch({name: [3, 2] for name in NAMES})
    model = made_fusion("aimdit", batch)
    other = Batch({**batch.rows, "text/c": -batch.rows["text/c"]}, batch.masks)
    first, second = (
        seen_by(model.classifier, model, one).unflatten(1, (3, -1)) for one in (batch, other)
    )
    assert ((first - second).abs().amax(dim=-1) > 1e-3).all()


def test_a_source_alone_is_not_crossed_with_itself():
    model = made_fusion("aimdit", made_batch({"frame/a": [3, 2]}))
    assert not list(model.cross_modal.parameters())
