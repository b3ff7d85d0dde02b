"""RAMer: common and specific codes, and reconstructions from them."""

import pytest
import torch
from made_clips import CLASSES, class_target, make_batch, make_fusion

from ecmf.fusion.ramer import reverse_gradient

STEPS = {
    "face/a": [0, 0, 6, 2, 5, 1, 3, 4],
    "audio/b": [0, 3, 0, 4, 2, 2, 3, 1],
    "text/c": [0, 1, 0, 0, 1, 1, 1, 1],
}
CLIPS = 8
NO_SOURCE, ONE_SOURCE = 0, 2
TARGET = class_target(torch.eye(CLASSES)[torch.arange(CLIPS) % 2])


@pytest.fixture
def batch():
    return make_batch(STEPS)


def codes_of(fusion, batch):
    return fusion.codes.encode(fusion.projection(batch), batch.presence())


def test_a_reversed_gradient_changes_the_sign_and_nothing_else():
    rows = torch.randn(50, requires_grad=True)
    assert torch.equal(reverse_gradient(rows), rows)
    reverse_gradient(rows).square().sum().backward()
    assert torch.equal(rows.grad, -2 * rows)


def test_the_discriminator_learns_to_separate_the_sources_and_the_common_codes_resist(batch):
    """Take a gradient step for one side at a time, and compare the discriminator's loss."""
    for side, sign in (("codes.common", 1), ("discriminator", -1)):
        fusion = make_fusion("ramer", batch)
        present = batch.presence()
        before = fusion._discriminator_loss(codes_of(fusion, batch)[0], present).sum()
        fusion(batch, TARGET).losses["adversarial"].sum().backward()
        with torch.no_grad():
            for parameter in fusion.get_submodule(side).parameters():
                parameter -= 0.01 * parameter.grad
        after = fusion._discriminator_loss(codes_of(fusion, batch)[0], present).sum()
        assert (after - before).sign() == sign, side


def test_an_absent_source_is_reconstructed_from_the_mean_common_code_of_the_others(batch):
    fusion = make_fusion("ramer", batch)
    present = batch.presence()
    common, _ = codes_of(fusion, batch)
    from_others = fusion.codes.reconstruct_from_others(common, present)
    for clip in range(CLIPS):
        for source in range(3):
            others = [n for n in range(3) if n != source and present[clip, n]]
            if not others:
                assert (from_others[clip, source] == 0).all()
                continue
            code = torch.stack([common[clip, n] for n in others]).mean(dim=0)
            both = torch.cat([code, fusion.codes.learned[source]])
            expected = fusion.codes.decoders[source](both)
            assert torch.allclose(from_others[clip, source], expected, atol=1e-5)


def test_the_classifier_reads_the_reconstruction_of_an_absent_source(batch):
    fusion = make_fusion("ramer", batch)
    before = fusion(batch).logits
    fusion.codes.learned.data[2] += 1
    changed = (fusion(batch).logits != before).any(dim=1)
    absent = [ONE_SOURCE, 3]  # the text is absent; without any source nothing is reconstructed
    assert changed.nonzero().flatten().tolist() == absent


def test_the_specific_code_of_a_source_affects_the_clips_that_have_it(batch):
    fusion = make_fusion("ramer", batch)
    before = fusion(batch).logits
    torch.nn.init.normal_(fusion.codes.specific[1][-1].bias)
    changed = (fusion(batch).logits != before).any(dim=1)
    assert torch.equal(changed, batch.presence()[:, 1])


def test_the_contrastive_loss_is_lower_for_a_reconstruction_of_its_own_clip(batch):
    fusion = make_fusion("ramer", batch)
    present = batch.presence()
    vectors = fusion.projection(batch)
    own = fusion._contrastive_loss(vectors, vectors, present)
    other = fusion._contrastive_loss(vectors, vectors.roll(1, dims=0), present)
    assert own[3:].sum() < other[3:].sum()
    assert own[NO_SOURCE] == own[ONE_SOURCE] == 0  # no other source to reconstruct from


def test_clips_are_shuffled_only_among_those_of_their_label(batch):
    fusion = make_fusion("ramer", batch)
    drawn = []
    for scale in (1, -3):  # of the clips of the other label
        for rows in batch.rows.values():
            rows[1::2] *= scale
        torch.manual_seed(0)
        drawn.append(fusion(batch, TARGET).losses["shuffle"])
    assert torch.equal(drawn[0][::2], drawn[1][::2])
    assert not torch.isclose(drawn[0][1::2], drawn[1][1::2]).any()
    redrawn = fusion(batch, TARGET).losses["shuffle"]
    assert not torch.equal(drawn[1][::2], redrawn[::2])


def test_clips_without_any_source_have_no_loss_and_finite_gradients(batch):
    fusion = make_fusion("ramer", batch)
    losses = fusion(batch, TARGET).losses
    assert set(losses) == {"adversarial", "reconstruction", "contrast", "shuffle"}
    for name, loss in losses.items():
        assert loss[NO_SOURCE] == 0 and loss[3:].min() > 0, name
    sum(loss.sum() for loss in losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in fusion.codes.parameters())


def test_a_weight_of_zero_and_a_single_source_leave_losses_out(batch):
    options = {"adversarial": 0.0, "shuffle": 0.0}
    losses = make_fusion("ramer", batch, **options)(batch, TARGET).losses
    assert set(losses) == {"reconstruction", "contrast"}
    single = make_batch({"audio/b": [1, 2, 3, 4] * 2})
    losses = make_fusion("ramer", single)(single, TARGET).losses
    assert set(losses) == {"reconstruction", "shuffle"}
