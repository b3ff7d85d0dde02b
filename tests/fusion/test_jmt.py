"""JMT: a joint stream beside the sources; cross-attention of every ordered pair of streams."""

import math

import pytest
import torch
from made_clips import captured_input, class_target, make_batch, make_fusion, without

from ecmf.fusion.base import Batch
from ecmf.fusion.layers.concordance import concordance_loss

STEPS = {"frame/a": [5, 3, 4], "audio/b": [4, 2, 0], "text/c": [1, 2, 1]}


def test_every_ordered_pair_of_streams_has_a_vector_unless_one_of_them_is_absent():
    batch = make_batch(STEPS)
    model = make_fusion("jmt", batch, width=8, heads=2)
    vectors = captured_input(model.classifier, model, batch).view(
        len(batch.masks["audio/b"]), -1, 8
    )
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
        captured_input(model.classifier, model, inputs).view(len(batch.masks["audio/b"]), -1, 8)
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


@pytest.mark.parametrize("published", [False, True])
@pytest.mark.parametrize("self_attention", [False, True])
def test_gradients_reach_every_parameter_of_every_variant(published, self_attention):
    batch = make_batch(STEPS)
    options = {"published": published, "self_attention": self_attention, "valence_loss": 0.0}
    model = make_fusion("jmt", batch, **options)
    model(batch).logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, name


def attend(attention, query, rows, heads=2):
    """Attend from (queries, width) to (steps, width) by the formula of multi-head attention."""
    queries, keys, values = (
        linear(part).view(len(part), heads, -1).transpose(0, 1)
        for linear, part in (
            (attention.query, query),
            (attention.key, rows),
            (attention.value, rows),
        )
    )
    scores = queries @ keys.transpose(1, 2) / math.sqrt(queries.shape[-1])
    mixed = scores.softmax(dim=-1) @ values
    return attention.out(mixed.transpose(0, 1).reshape(len(query), -1))


def normalise(rows, norm):
    centred = rows - rows.mean(dim=-1, keepdim=True)
    scale = (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
    return centred / scale * norm.weight + norm.bias


def encode(encoder, rows):
    """Encode (steps, width) by the published layers: post-norm, ReLU, without positions."""
    for layer in encoder.layers:
        rows = normalise(rows + attend(layer.attention, rows, rows), layer.norm)
        first, _, second = layer.feed_forward
        rows = normalise(rows + second(first(rows).clamp(min=0)), layer.feed_norm)
    return rows


@pytest.mark.parametrize("self_attention", [False, True])
def test_the_published_variant_computes_the_published_values_of_each_step(self_attention):
    batch = make_batch({"face/a": [4], "audio/b": [4]})
    options = {"published": True, "self_attention": self_attention, "steps": 4, "layers": 2}
    model = make_fusion("jmt", batch, width=8, heads=2, **options)
    streams = [
        normalise(linear(rows[0] / rows[0].norm(dim=-1, keepdim=True)), norm)
        for rows, linear, norm in zip(
            batch.rows.values(), model.projection.linear, model.projection.norm, strict=True
        )
    ]
    streams.append(model.joint(torch.cat(streams, dim=-1)))
    encoded = [encode(encoder, rows) for encoder, rows in zip(model.encoders, streams, strict=True)]
    pairs = [
        attend(model.attention[query], encoded[query], encoded[key])
        for query in range(3)
        for key in range(3)
        if query != key
    ]
    if self_attention:
        at_step = [
            encode(model.mixer.encoder, torch.stack([pair[step] for pair in pairs]))
            for step in range(4)
        ]
        read = torch.stack([attend(model.mixer.attention, rows, rows)[-1] for rows in at_step])
    else:
        read = model.mixer.linear(torch.cat(pairs, dim=-1))
        assert read.shape == (4, 16)
    values = model.classifier(read)  # a value per step
    assert values.std(dim=0).min() > 0
    output = model(batch)
    assert torch.allclose(output.logits[0], values.mean(dim=0), atol=1e-5)
    valence = model.valence(read).mean()
    assert torch.allclose(output.dimensions["valence"][0], valence, atol=1e-5)


@pytest.mark.parametrize("self_attention", [False, True])
def test_the_published_variant_of_a_clip_without_a_source_is_that_clips_alone(self_attention):
    batch = without(make_batch({"face/a": [3, 2], "audio/b": [2, 4]}), "audio/b", slice(1))
    model = make_fusion("jmt", batch, published=True, self_attention=self_attention)
    other = Batch(
        {**batch.rows, "face/a": batch.rows["face/a"] + torch.tensor([[[0.0]], [[1.0]]])},
        batch.masks,
    )
    first, second = model(batch).logits, model(other).logits
    assert torch.allclose(first[0], second[0], atol=1e-6) and first.isfinite().all()
    hidden = {"face/a": batch.rows["face/a"], "audio/b": batch.rows["audio/b"] + 1}
    assert torch.allclose(first[0], model(Batch(hidden, batch.masks)).logits[0], atol=1e-6)
