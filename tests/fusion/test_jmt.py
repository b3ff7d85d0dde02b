"""JMT: a joint stream beside the sources; every ordered pair of streams meets."""

import torch
from made_clips import made_batch, made_fusion, seen_by

from ecmf.fusion.base import Batch, Target
from ecmf.fusion.jmt import concordance_loss

STEPS = {"frame/a": [5, 3, 4], "audio/b": [4, 2, 0], "text/c": [1, 2, 1]}


def test_every_ordered_pair_of_streams_answers_unless_one_of_them_is_absent():
    batch = made_batch(STEPS)
    model = made_fusion("jmt", batch, width=8, heads=2)
    answers = seen_by(model.classifier, model, batch).unflatten(1, (-1, 8))
    pairs = [(asking, asked) for asking in range(4) for asked in range(4) if asking != asked]
    assert answers.shape == (3, len(pairs), 8)
    for (asking, asked), given in zip(pairs, answers.transpose(0, 1), strict=True):
        there = given.abs().sum(dim=1) > 0
        assert there.tolist() == [True, True, 1 not in (asking, asked)], (asking, asked)


def test_the_joint_stream_holds_all_the_others():
    batch = made_batch({"frame/a": [5, 3], "audio/b": [4, 2]})
    model = made_fusion("jmt", batch, width=8, heads=2)
    other = Batch({**batch.rows, "audio/b": -batch.rows["audio/b"]}, batch.masks)
    first, second = (
        seen_by(model.classifier, model, one).unflatten(1, (-1, 8)) for one in (batch, other)
    )
    frame_asks_joint = 1  # the pairs: frame-audio, frame-joint, audio-frame, ...
    assert not torch.allclose(first[:, frame_asks_joint], second[:, frame_asks_joint], atol=1e-3)


def test_only_the_direction_of_an_input_counts():
    batch = made_batch(STEPS)
    model = made_fusion("jmt", batch)
    louder = Batch({name: 7 * rows for name, rows in batch.rows.items()}, batch.masks)
    assert torch.allclose(model(batch).logits, model(louder).logits, atol=1e-5)


def test_the_losses_of_valence_are_on_average_one_minus_the_concordance():
    told = torch.tensor([0.1, -0.4, 0.8, 1.5, 9.0])
    truth = torch.tensor([0.0, -1.0, 1.0, 0.5, 0.0])
    known = torch.tensor([True, True, True, True, False])
    x, y = told[:4], truth[:4]
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    spread = x.var(correction=0) + y.var(correction=0) + (x.mean() - y.mean()).square()
    losses = concordance_loss(told, truth, known)
    assert losses[4] == 0
    assert torch.allclose(losses[:4].mean(), 1 - 2 * covariance / spread)


def test_a_clip_that_has_no_source_or_no_valence_is_not_asked_for_it():
    batch = made_batch({"frame/a": [2, 3, 0, 1], "audio/b": [1, 0, 0, 2]})
    target = Target(torch.eye(4), torch.tensor([0.5, torch.nan, 1.0, -1.0]))
    loss = made_fusion("jmt", batch)(batch, target).losses["valence"]
    assert (loss > 0).tolist() == [True, False, False, True]
    unasked = made_fusion("jmt", batch, valence_loss=0.0)(batch, target)
    assert unasked.valence is None and not unasked.losses


def test_self_attention_over_the_answers_learns_in_all_its_parts():
    batch = made_batch(STEPS)
    model = made_fusion("jmt", batch, self_attention=True, valence_loss=0.0)
    model(batch).logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
