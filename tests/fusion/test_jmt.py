"""JMT: a joint stream beside the sources; cross-attention of every ordered pair of streams."""

import torch
from made_clips import captured_input, class_target, make_batch, make_fusion

from ecmf.fusion.base import Batch
from ecmf.fusion.jmt import concordance_loss

STEPS = {"frame/a": [5, 3, 4], "audio/b": [4, 2, 0], "text/c": [1, 2, 1]}


def test_every_ordered_pair_of_streams_has_a_vector_unless_one_of_them_is_absent():
    batch = make_batch(STEPS)
    model = make_fusion("jmt", batch, width=8, heads=2)
    vectors = captured_input(model.classifier, model, batch).unflatten(1, (-1, 8))
    pairs = [(query, key) for query in range(4) for key in range(4) if query != key]
    assert vectors.shape == (3, len(pairs), 8)
    for pair, vector in zip(pairs, vectors.transpose(0, 1), strict=True):
        present = vector.abs().sum(dim=1) > 0
        assert present.tolist() == [True, True, 1 not in pair], pair


def test_the_joint_stream_depends_on_all_the_others():
    batch = make_batch({"frame/a": [5, 3], "audio/b": [4, 2]})
    model = make_fusion("jmt", batch, width=8, heads=2)
    other = Batch({**batch.rows, "audio/b": -batch.rows["audio/b"]}, batch.masks)
    first, second = (
        captured_input(model.classifier, model, inputs).unflatten(1, (-1, 8))
        for inputs in (batch, other)
    )
    frame_to_joint = 1  # the pairs: frame-audio, frame-joint, audio-frame, ...
    assert not torch.allclose(first[:, frame_to_joint], second[:, frame_to_joint], atol=1e-3)


def test_the_norm_of_an_input_has_no_effect():
    batch = make_batch(STEPS)
    model = make_fusion("jmt", batch)
    louder = Batch({name: 7 * rows for name, rows in batch.rows.items()}, batch.masks)
    assert torch.allclose(model(batch).logits, model(louder).logits, atol=1e-5)


def test_the_mean_valence_loss_is_one_minus_the_concordance():
    predicted = torch.tensor([0.1, -0.4, 0.8, 1.5, 9.0])
    truth = torch.tensor([0.0, -1.0, 1.0, 0.5, 0.0])
    known = torch.tensor([True, True, True, True, False])
    x, y = predicted[:4], truth[:4]
    covariance = ((x - x.mean()) * (y - y.mean())).mean()
    spread = x.var(correction=0) + y.var(correction=0) + (x.mean() - y.mean()).square()
    losses = concordance_loss(predicted, truth, known)
    assert losses[4] == 0
    assert torch.allclose(losses[:4].mean(), 1 - 2 * covariance / spread)


def test_a_clip_without_source_or_valence_has_no_valence_loss():
    batch = make_batch({"frame/a": [2, 3, 0, 1], "audio/b": [1, 0, 0, 2]})
    target = class_target(torch.eye(4), torch.tensor([0.5, torch.nan, 1.0, -1.0]))
    loss = make_fusion("jmt", batch)(batch, target).losses["valence"]
    assert (loss > 0).tolist() == [True, False, False, True]
    without_loss = make_fusion("jmt", batch, valence_loss=0.0)(batch, target)
    assert without_loss.dimensions == {} and not without_loss.losses


def test_gradients_reach_every_parameter_of_the_variant_with_self_attention():
    batch = make_batch(STEPS)
    model = make_fusion("jmt", batch, self_attention=True, valence_loss=0.0)
    model(batch).logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name
