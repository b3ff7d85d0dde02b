"""MMIM keeps the mutual information of the sources and of the fused vector."""

import numpy as np
import pytest
import torch
from made_clips import make_batch, make_fusion, make_target
from torch.nn import functional

from ecmf.fusion.mmim import Entropy, Gaussian, contrastive_loss


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


def test_the_density_is_that_of_a_gaussian_without_its_constant():
    gaussian = Gaussian(3)
    x, y = torch.randn(2, 5, 3)
    mean, deviation = gaussian.mean(x), torch.exp(gaussian.log_variance(x) / 2)
    expected = torch.distributions.Normal(mean, deviation).log_prob(y).mean(dim=1)
    constant = 0.5 * torch.log(torch.tensor(2 * torch.pi))
    assert torch.allclose(gaussian(x, y), expected + constant, atol=1e-6)


def test_the_learned_density_is_higher_for_dependent_vectors():
    x = torch.randn(256, 3)
    densities = []
    for y in (x.flip(1), torch.randn(256, 3)):
        gaussian = Gaussian(3)
        optimiser = torch.optim.Adam(gaussian.parameters(), lr=1e-2)
        for _ in range(150):
            loss = -gaussian(x, y).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        densities.append(-loss.item())
    assert densities[0] > densities[1] + 0.5


def test_the_entropy_is_that_of_the_published_formula():
    """Two classes of four clips: a quarter of the sum of the log determinants, per entry."""
    entropy = Entropy(12)
    vectors = torch.randn(8, 12)
    classes = torch.eye(2).repeat_interleave(4, dim=0)
    y = np.tanh(vectors.numpy() @ entropy.projection.numpy())
    log_dets = [
        np.linalg.slogdet(np.cov(part.T, bias=True) + 0.01 * np.eye(3))[1]
        for part in (y[:4], y[4:])
    ]
    expected = 0.25 * sum(log_dets) / 3
    assert entropy(vectors, classes).item() == pytest.approx(expected, abs=1e-5)
    # a clip without the source, and a class without clips, change nothing
    more = torch.cat([vectors, torch.randn(1, 12)])
    padded = functional.pad(classes, (0, 1, 0, 1))
    assert entropy(more, padded).item() == pytest.approx(expected, abs=1e-5)
    assert entropy(vectors, torch.zeros(8, 2)) == 0


def test_the_bound_is_density_plus_entropy_and_trains_both_sources():
    batch = make_batch({"audio/a": [3] * 8, "audio/b": [3] * 8})
    fusion = make_fusion("mmim", batch, between_sources=1.0)
    target = make_target(8)
    loss = fusion(batch, target).losses["between_sources"]
    first, second = fusion.projection(batch).unbind(dim=1)
    classes = target.values["class_probs"]
    forth = fusion.densities[0](first, second) + fusion.entropies[1](second, classes)
    back = fusion.densities[1](second, first) + fusion.entropies[0](first, classes)
    assert torch.allclose(loss, -(forth + back) / 2)
    loss.sum().backward()
    assert all(linear.weight.grad.abs().sum() > 0 for linear in fusion.projection.linear)


def test_the_entropy_keeps_what_is_predicted_from_shrinking():
    """Without it, a source is predicted best if all of its vectors are one."""
    batch = make_batch({"audio/a": [3] * 32, "audio/b": [3] * 32}, {"audio/a": 8, "audio/b": 8})
    target = make_target(32)
    spreads = {}
    for with_entropy in (True, False):
        fusion = make_fusion("mmim", batch, width=16, between_sources=1.0)
        if not with_entropy:
            for entropy in fusion.entropies:
                entropy.projection.zero_()
        optimiser = torch.optim.Adam(fusion.parameters(), lr=1e-2)
        for _ in range(40):
            loss = fusion(batch, target).losses["between_sources"].mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        spreads[with_entropy] = fusion.projection(batch).std(dim=0).mean().item()
    assert spreads[True] > 1.5 * spreads[False], spreads


def test_the_contrastive_loss_is_cross_entropy_among_the_clips_that_have_the_source():
    vectors, predicted = torch.randn(2, 5, 3)
    present = torch.tensor([True, False, True, True, False])
    loss = contrastive_loss(vectors, predicted, present)
    cosine = functional.cosine_similarity(
        vectors[present][:, None], predicted[present][None], dim=-1
    )
    assert torch.allclose(
        loss[present], functional.cross_entropy(cosine, torch.arange(3), reduction="none")
    )
    assert (loss[~present] == 0).all()


def test_absent_sources_enter_no_loss():
    steps = {"audio/a": [0, 3, 3, 3, 3], "audio/b": [0, 0, 3, 3, 3], "audio/c": [0, 0, 3, 3, 3]}
    batch = make_batch(steps)
    losses = make_fusion("mmim", batch)(batch, make_target(5)).losses
    assert set(losses) == {"with_fused", "between_sources"}
    assert losses["with_fused"][0] == 0 and (losses["with_fused"][1:] > 0).all()
    assert (losses["between_sources"][:2] == 0).all()
    assert (losses["between_sources"][2:] != 0).all()
