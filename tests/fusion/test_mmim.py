"""MMIM keeps the mutual information of the sources and of the fused vector."""

import pytest
import torch
from made_clips import make_batch, make_fusion, make_target
from torch.nn import functional

from ecmf.fusion.mmim import Gaussian, contrastive_loss


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


def test_the_bound_trains_the_predicting_source_and_not_the_predicted_one():
    batch = make_batch({"audio/a": [3] * 8, "audio/b": [3] * 8})
    fusion = make_fusion("mmim", batch)
    with torch.no_grad():  # source 1 predicts nothing, it is only predicted
        backwards = fusion.densities[fusion.pairs.index((1, 0))]
        for parameter in backwards.parameters():
            parameter.zero_()
    fusion(batch, make_target(8)).losses["between_sources"].sum().backward()
    predicting, predicted = (linear.weight.grad.abs().sum() for linear in fusion.projection.linear)
    assert predicting > 0 and predicted == 0


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
