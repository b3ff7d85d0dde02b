"""EMMA: tokens mixed by one linear layer that starts as the identity."""

import pytest
import torch
from made_clips import make_batch, make_fusion, make_target

STEPS = {
    "frame/a": [6, 1, 4, 2, 5, 3, 6, 2],
    "face/b": [3, 0, 0, 1, 2, 3, 1, 2],
    "text/c": [1, 2, 0, 0, 2, 1, 1, 2],
    "audio/d": [4, 2, 3, 1, 4, 1, 2, 3],
}
CLIPS = 8


@pytest.fixture
def batch():
    return make_batch(STEPS)


def test_the_mixing_layer_starts_as_the_identity(batch):
    fusion = make_fusion("emma", batch, tokens=8)
    first, second = fusion.tokenise(batch)
    assert first.shape == second.shape == (CLIPS, 2 * 8, 4)
    assert second.abs().sum() > 0
    assert torch.equal(fusion.mix(first, second), first)


def test_the_visual_tokens_are_the_rows_of_their_encoders_and_the_text_is_brought_to_them(batch):
    """Frames are 3 wide and faces 4: a column of zeros joins the frames, no weight does."""
    fusion = make_fusion("emma", batch, tokens=6)
    first, second = fusion.tokenise(batch)
    full = STEPS["frame/a"].index(6)  # six steps, six tokens
    rows = batch.rows["frame/a"][full]
    assert torch.allclose(first[full, :6], torch.cat([rows, torch.zeros(6, 1)], dim=1))
    one_face = STEPS["face/b"].index(1)
    assert torch.equal(first[one_face, 6:], batch.rows["face/b"][one_face, :1].expand(6, 4))
    one_word = STEPS["text/c"].index(1)
    linear = fusion.to_first[0]
    word = batch.rows["text/c"][one_word, :1] @ linear.weight.T + linear.bias
    assert torch.allclose(second[one_word, :6], torch.nn.functional.gelu(word).expand(6, 4))


def test_mixing_is_the_published_layer_whose_weights_are_the_identity_plus_what_was_learned(batch):
    fusion = make_fusion("emma", batch)
    torch.nn.init.normal_(fusion.mixing.weight)
    torch.nn.init.normal_(fusion.mixing.bias)
    first, second = fusion.tokenise(batch)
    published = torch.eye(16, 32) + fusion.mixing.weight
    expected = torch.einsum("oi,bid->bod", published, torch.cat([first, second], dim=1))
    expected = expected + fusion.mixing.bias[:, None]
    assert torch.allclose(fusion.mix(first, second), expected, atol=1e-5)


def test_one_step_of_training_lets_the_text_change_the_visual_tokens(batch):
    fusion = make_fusion("emma", batch)
    optimiser = torch.optim.SGD(fusion.parameters(), lr=0.1)
    torch.nn.functional.cross_entropy(
        fusion(batch).logits, make_target(CLIPS).values["class_probs"]
    ).backward()
    optimiser.step()
    first, second = fusion.tokenise(batch)
    assert not torch.allclose(fusion.mix(first, second), fusion.mix(first, 2 * second), atol=1e-7)


def test_the_layer_mixes_tokens_and_treats_every_feature_of_a_token_alike(batch):
    fusion = make_fusion("emma", batch)
    torch.nn.init.normal_(fusion.mixing.weight)
    first, second = fusion.tokenise(batch)
    order = torch.randperm(first.shape[-1])
    mixed = fusion.mix(first, second)
    assert not torch.allclose(mixed, first)
    assert torch.allclose(fusion.mix(first[..., order], second[..., order]), mixed[..., order])


@pytest.mark.parametrize(
    ("names", "first"),
    [
        (("frame/a", "face/b", "text/c", "audio/d"), ["frame/a", "face/b"]),
        (("text/c", "face/b"), ["face/b"]),
        (("audio/d", "text/c"), ["audio/d"]),
        (("frame/a", "face/b"), ["frame/a"]),
        (("text/c",), ["text/c"]),
    ],
)
def test_the_visual_tokens_are_mixed_or_those_of_the_first_source(names, first):
    fusion = make_fusion("emma", make_batch({name: STEPS[name] for name in names}))
    assert [source.name for source in fusion.first] == first
    assert {source.name for source in fusion.second} == set(names) - set(first)
