"""Pooling: mean, softmax, last step or weighted sum of the real steps alone."""

import pytest
import torch
from made_clips import make_batch

from ecmf.fusion.layers.pooling import (
    AttentionPooling,
    last_step,
    masked_mean,
    masked_softmax,
    mean_where,
)

STEPS = [4, 1, 0, 3]


@pytest.fixture
def sequence():
    """Rows with noise in the padding, and which are real."""
    batch = make_batch({"audio/a": STEPS}, dims={"audio/a": 6})
    rows, mask = batch.rows["audio/a"], batch.masks["audio/a"]
    return torch.where(mask[..., None], rows, 100.0), mask


def test_means_are_of_the_real_steps_and_zero_without_any(sequence):
    rows, mask = sequence
    means = masked_mean(rows, mask)
    numbers = mean_where(rows[..., 0], mask)
    for clip, count in enumerate(STEPS):
        expected = rows[clip, :count].mean(dim=0) if count else torch.zeros(6)
        assert torch.allclose(means[clip], expected)
        assert torch.allclose(numbers[clip], expected[0])


def test_a_masked_softmax_is_zero_where_masked_and_has_finite_gradients(sequence):
    rows, mask = sequence
    scores = rows[..., 0].clone().requires_grad_()
    weights = masked_softmax(scores, mask)
    for clip, count in enumerate(STEPS):
        assert torch.allclose(weights[clip, :count], scores[clip, :count].softmax(dim=0))
        assert (weights[clip, count:] == 0).all()
    weights.square().sum().backward()
    assert scores.grad.isfinite().all() and (scores.grad[~mask] == 0).all()


def test_the_last_step_is_the_last_real_one(sequence):
    rows, mask = sequence
    last = last_step(rows, mask)
    for clip, count in enumerate(STEPS):
        assert torch.equal(last[clip], rows[clip, max(count - 1, 0)])


def test_attention_pools_the_real_steps_alone(sequence):
    rows, mask = sequence
    torch.manual_seed(0)
    pooling = AttentionPooling(6, 5)
    pooled, weights = pooling(rows, mask), pooling.weights(rows, mask)
    assert torch.allclose(weights.sum(dim=1), mask.any(dim=1).float())
    for clip, count in enumerate(STEPS):
        alone = pooling(rows[clip : clip + 1, :count], mask[clip : clip + 1, :count])
        assert torch.allclose(pooled[clip], alone[0] if count else torch.zeros(6), atol=1e-6)


def test_a_single_step_is_returned_unchanged():
    pooling = AttentionPooling(6, 5)
    mask = torch.tensor([[True], [False]])
    rows = torch.randn(2, 1, 6) * mask[..., None]
    pooled = pooling(rows, mask)
    assert torch.equal(pooled, torch.stack([rows[0, 0], torch.zeros(6)]))
