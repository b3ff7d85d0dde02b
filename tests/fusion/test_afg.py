"""AFG: three structures, two predictions, and a loss weighted by uncertainties."""

import pytest
import torch
from made_clips import class_target, make_batch, make_fusion, make_target
from torch.nn.functional import cross_entropy

STEPS = {
    "face/a": [0, 0, 6, 2, 5, 1, 3, 4],
    "audio/b": [0, 3, 1, 4, 2, 2, 3, 1],
    "text/c": [0, 2, 0, 1, 1, 2, 1, 1],
}
CLIPS = 8
CLASS_PROBS = make_target(CLIPS).values["class_probs"]


@pytest.fixture
def batch():
    return make_batch(STEPS)


def total(fusion, batch, target):
    """Return the loss that the training minimises, per clip."""
    output = fusion(batch, target)
    return cross_entropy(output.logits, target.values["class_probs"], reduction="none") + sum(
        output.losses.values()
    )


def test_the_posteriors_of_the_three_structures_are_averaged(batch):
    fusion = make_fusion("afg", batch)
    vectors, weights = fusion.gather(batch)
    assert len(vectors) == 3
    decoded = [decode(vector) for decode, vector in zip(fusion.decoders, vectors, strict=True)]
    posterior = sum(emotion.exp() for emotion, _ in decoded) / 3
    output = fusion(batch)
    assert torch.allclose(output.logits.softmax(dim=1), posterior, atol=1e-6)
    assert torch.allclose(
        output.dimensions["valence"], sum(valence for _, valence in decoded) / 3, atol=1e-6
    )
    assert torch.allclose(weights.sum(dim=1), batch.presence().any(dim=1).float())


def test_cross_entropy_and_further_losses_sum_to_the_formula_of_the_paper(batch):
    fusion = make_fusion("afg", batch)
    s1, s2 = 0.7, 1.9
    fusion.log_variance.data = 2 * torch.tensor([[s1, s2]]).log()
    target = class_target(CLASS_PROBS, torch.linspace(-3, 3, CLIPS))
    output = fusion(batch)
    emotion = cross_entropy(output.logits, CLASS_PROBS, reduction="none")
    valence = (output.dimensions["valence"] - target.values["valence"]) ** 2
    expected = emotion / s1**2 + valence / (2 * s2**2) + torch.tensor(s1 * s2).log()
    actual = total(fusion, batch, target)
    assert torch.allclose(actual, expected, atol=1e-5)
    weight = fusion.decoders[0].emotion.weight
    first, second = (torch.autograd.grad(loss.sum(), weight)[0] for loss in (expected, actual))
    assert torch.allclose(first, second, atol=1e-5)


def test_the_uncertainties_are_stationary_where_they_equal_the_errors(batch):
    fusion = make_fusion("afg", batch)
    target = class_target(CLASS_PROBS, torch.linspace(-3, 3, CLIPS))
    output = fusion(batch)
    squares = torch.stack(
        [
            2 * cross_entropy(output.logits, CLASS_PROBS),
            (output.dimensions["valence"] - target.values["valence"]).square().mean(),
        ]
    )
    for step, sign in ((0.0, 0), (0.5, 1), (-0.5, -1)):
        fusion.log_variance.data = squares.detach().log()[None] + step
        (gradient,) = torch.autograd.grad(total(fusion, batch, target).mean(), fusion.log_variance)
        assert torch.equal(gradient.sign() * (gradient.abs() > 1e-5), torch.full((1, 2), sign))


def test_an_unknown_valence_enters_no_loss_and_no_gradient(batch):
    fusion = make_fusion("afg", batch)
    valence = torch.linspace(-3, 3, CLIPS)
    valence[::2] = torch.nan
    losses = fusion(batch, class_target(CLASS_PROBS, valence)).losses
    assert (losses["valence"][::2] == 0).all() and (losses["valence"][1::2] > 0).all()
    total(fusion, batch, make_target(CLIPS)).sum().backward()
    for name, parameter in fusion.named_parameters():
        assert parameter.grad.isfinite().all(), name
        assert not name.endswith("valence.weight") or (parameter.grad == 0).all(), name


def test_separate_structures_are_three_systems_whose_posteriors_are_averaged(batch):
    fusion = make_fusion("afg", batch, separate=True)
    target = class_target(CLASS_PROBS, torch.linspace(-3, 3, CLIPS))
    deviations = torch.tensor([[0.7, 1.9], [1.1, 0.6], [0.4, 2.3]])
    fusion.log_variance.data = 2 * deviations.log()
    vectors, _ = fusion.gather(batch)
    decoded = [decode(vector) for decode, vector in zip(fusion.decoders, vectors, strict=True)]
    output = fusion(batch, target)
    mean = sum(emotion.exp() for emotion, _ in decoded) / 3
    assert torch.allclose(output.logits.softmax(dim=1), mean, atol=1e-6)
    names = ("early", "over_sources", "steps_beside")
    parts = [
        (fusion.projections[k], fusion.decoders[k], getattr(fusion, names[k])) for k in range(3)
    ]
    actual = torch.autograd.grad(
        total(fusion, batch, target).sum(),
        [p for part in parts for m in part for p in m.parameters()],
    )
    expected = []
    for (emotion, valence), (s1, s2), part in zip(decoded, deviations, parts, strict=True):
        error = (valence - target.values["valence"]) ** 2
        loss = cross_entropy(emotion, CLASS_PROBS, reduction="none") / s1**2 + error / (2 * s2**2)
        own = [p for module in part for p in module.parameters()]
        expected += torch.autograd.grad(loss.sum(), own, retain_graph=True)
    for first, second in zip(actual, expected, strict=True):
        assert torch.allclose(first, second, atol=1e-4)


def test_one_separate_system_is_trained_as_if_the_others_were_not_there(batch):
    fusion = make_fusion("afg", batch, separate=True)
    target = class_target(CLASS_PROBS, torch.linspace(-3, 3, CLIPS))
    weight = fusion.projections[0].linear[0].weight
    (before,) = torch.autograd.grad(total(fusion, batch, target).sum(), weight)
    for parameter in [*fusion.decoders[1].parameters(), *fusion.projections[2].parameters()]:
        torch.nn.init.normal_(parameter)
    (after,) = torch.autograd.grad(total(fusion, batch, target).sum(), weight)
    assert before.any() and torch.equal(before, after)


def test_without_a_target_it_has_no_loss(batch):
    assert not make_fusion("afg", batch)(batch).losses
