"""RAMer: common and specific codes, and what is reconstructed from them."""

import pytest
import torch
from made_clips import CLASSES, made_batch, made_fusion

from ecmf.fusion.base import Target
from ecmf.fusion.ramer import reversed_gradient

STEPS = {
    "face/a": [0, 0, 6, 2, 5, 1, 3, 4],
    "audio/b": [0, 3, 0, 4, 2, 2, 3, 1],
    "text/c": [0, 1, 0, 0, 1, 1, 1, 1],
}
CLIPS = 8
NOBODY, ALONE = 0, 2
TARGET = Target(torch.eye(CLASSES)[torch.arange(CLIPS) % 2], torch.full((CLIPS,), torch.nan))


@pytest.fixture
def batch():
    return made_batch(STEPS)


def codes_of(fusion, batch):
    return fusion.codes.encode(fusion.projection(batch), batch.present())


def test_a_reversed_gradient_changes_the_sign_and_nothing_else():
    rows = torch.randn(50, requires_grad=True)
    assert torch.equal(reversed_gradient(rows), rows)
    reversed_gradient(rows).square().sum().backward()
    assert torch.equal(rows.grad, -2 * rows)


def test_the_discriminator_learns_to_tell_the_sources_and_the_common_codes_to_hide_them(batch):
    """A small step down the loss, of one side at a time, and how well common codes are guessed."""
    for side, wanted in (("codes.common", 1), ("discriminator", -1)):
        fusion = made_fusion("ramer", batch)
        present = batch.present()
        before = fusion._guess(codes_of(fusion, batch)[0], present).sum()
        fusion(batch, TARGET).losses["adversarial"].sum().backward()
        with torch.no_grad():
            for parameter in fusion.get_submodule(side).parameters():
                parameter -= 0.01 * parameter.grad
        after = fusion._guess(codes_of(fusion, batch)[0], present).sum()
        assert (after - before).sign() == wanted, side


def test_an_absent_source_is_made_of_the_mean_common_code_of_the_others(batch):
    fusion = made_fusion("ramer", batch)
    present = batch.present()
    common, _ = codes_of(fusion, batch)
    imagined = fusion.codes.imagine(common, present)
    for clip in range(CLIPS):
        for source in range(3):
            others = [n for n in range(3) if n != source and present[clip, n]]
            if not others:
                assert (imagined[clip, source] == 0).all()
                continue
            code = torch.stack([common[clip, n] for n in others]).mean(dim=0)
            both = torch.cat([code, fusion.codes.learned[source]])
            expected = fusion.codes.decoders[source](both)
            assert torch.allclose(imagined[clip, source], expected, atol=1e-5)


def test_the_classifier_reads_what_is_imagined_in_the_place_of_an_absent_source(batch):
    fusion = made_fusion("ramer", batch)
    before = fusion(batch).logits
    fusion.codes.learned.data[2] += 1
    changed = (fusion(batch).logits != before).any(dim=1)
    absent = [ALONE, 3]  # the text is; of nothing, nothing is imagined
    assert changed.nonzero().flatten().tolist() == absent


def test_what_is_specific_to_a_source_reaches_the_classifier_of_the_clips_that_have_it(batch):
    fusion = made_fusion("ramer", batch)
    before = fusion(batch).logits
    torch.nn.init.normal_(fusion.codes.specific[1][-1].bias)
    changed = (fusion(batch).logits != before).any(dim=1)
    assert torch.equal(changed, batch.present()[:, 1])


def test_the_contrast_wants_a_reconstruction_to_be_nearer_to_its_own_clip_than_to_others(batch):
    fusion = made_fusion("ramer", batch)
    present = batch.present()
    vectors = fusion.projection(batch)
    own = fusion._contrast(vectors, vectors, present)
    other = fusion._contrast(vectors, vectors.roll(1, dims=0), present)
    assert own[3:].sum() < other[3:].sum()
    assert own[NOBODY] == own[ALONE] == 0  # no other source to reconstruct from


def test_clips_are_shuffled_among_those_of_their_label_alone(batch):
    fusion = made_fusion("ramer", batch)
    drawn = []
    for scale in (1, -3):  # of the clips of the other label
        for rows in batch.rows.values():
            rows[1::2] *= scale
        torch.manual_seed(0)
        drawn.append(fusion(batch, TARGET).losses["shuffle"])
    assert torch.equal(drawn[0][::2], drawn[1][::2])
    assert not torch.isclose(drawn[0][1::2], drawn[1][1::2]).any()
    again = fusion(batch, TARGET).losses["shuffle"]  # drawn anew
    assert not torch.equal(drawn[1][::2], again[::2])


def test_clips_without_any_source_enter_no_loss_and_spoil_no_gradient(batch):
    fusion = made_fusion("ramer", batch)
    losses = fusion(batch, TARGET).losses
    assert set(losses) == {"adversarial", "reconstruction", "contrast", "shuffle"}
    for name, loss in losses.items():
        assert loss[NOBODY] == 0 and loss[3:].min() > 0, name
    sum(loss.sum() for loss in losses.values()).backward()
    assert all(parameter.grad.isfinite().all() for parameter in fusion.codes.parameters())


def test_a_weight_of_zero_leaves_a_loss_out_and_one_source_has_nothing_to_be_told_from(batch):
    options = {"adversarial": 0.0, "shuffle": 0.0}
    losses = made_fusion("ramer", batch, **options)(batch, TARGET).losses
    assert set(losses) == {"reconstruction", "contrast"}
    single = made_batch({"audio/b": [1, 2, 3, 4] * 2})
    losses = made_fusion("ramer", single)(single, TARGET).losses
    assert set(losses) == {"reconstruction", "shuffle"}
