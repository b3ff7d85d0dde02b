"""MMIM keeps what the sources know of each other and of the result."""

import pytest
import torch
from made_clips import made_batch, made_fusion, made_target
from torch.nn import functional

from ecmf.fusion.mmim import Gaussian, contrast


@pytest.fixture(autouse=True)
def the_same_chance_every_time():
    torch.manual_seed(0)


def test_the_density_is_that_of_a_gaussian_without_its_constant():
    gaussian = Gaussian(3)
    given, told = torch.randn(2, 5, 3)
    mean, deviation = gaussian.mean(given), torch.exp(gaussian.log_variance(given) / 2)
    expected = torch.distributions.Normal(mean, deviation).log_prob(told).mean(dim=1)
    constant = 0.5 * torch.log(torch.tensor(2 * torch.pi))
    assert torch.allclose(gaussian(given, told), expected + constant, atol=1e-6)


def test_the_density_learns_how_much_one_vector_says_of_another():
    given = torch.randn(256, 3)
    reached = []
    for told in (given.flip(1), torch.randn(256, 3)):
        gaussian = Gaussian(3)
        optimiser = torch.optim.Adam(gaussian.parameters(), lr=1e-2)
        for _ in range(150):
            loss = -gaussian(given, told).mean()
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
        reached.append(-loss.item())
    assert reached[0] > reached[1] + 0.5


def test_a_source_learns_to_tell_the_others_and_not_to_be_told():
    batch = made_batch({"audio/a": [3] * 8, "audio/b": [3] * 8})
    fusion = made_fusion("mmim", batch)
    with torch.no_grad():  # nothing is read from source 1, it is only told
        backwards = fusion.densities[fusion.pairs.index((1, 0))]
        for parameter in backwards.parameters():
            parameter.zero_()
    fusion(batch, made_target(8)).losses["between_sources"].sum().backward()
    teller, told = (linear.weight.grad.abs().sum() for linear in fusion.projection.linear)
    assert teller > 0 and told == 0


def test_the_contrast_is_cross_entropy_among_the_clips_that_have_the_source():
    vectors, predicted = torch.randn(2, 5, 3)
    present = torch.tensor([True, False, True, True, False])
    loss = contrast(vectors, predicted, present)
    cosine = functional.cosine_similarity(
        vectors[present][:, None], predicted[present][None], dim=-1
    )
    assert torch.allclose(
        loss[present], functional.cross_entropy(cosine, torch.arange(3), reduction="none")
    )
    assert (loss[~present] == 0).all()


def test_only_what_a_clip_has_enters_its_losses():
    steps = {"audio/a": [0, 3, 3, 3, 3], "audio/b": [0, 0, 3, 3, 3], "audio/c": [0, 0, 3, 3, 3]}
    batch = made_batch(steps)
    losses = made_fusion("mmim", batch)(batch, made_target(5)).losses
    assert set(losses) == {"with_fused", "between_sources"}
    assert losses["with_fused"][0] == 0 and (losses["with_fused"][1:] > 0).all()
    assert (losses["between_sources"][:2] == 0).all()
    assert (losses["between_sources"][2:] != 0).all()
