"""CFN-SR: one branch guides the others, clip by clip, and the originals are kept."""

import pytest
import torch
from made_clips import captured_input, make_batch, make_fusion

from ecmf.fusion.base import Batch
from ecmf.fusion.layers.pooling import masked_mean

STEPS = {"frame/a": [5, 3, 4], "audio/b": [4, 2, 0], "text/c": [1, 2, 1]}


def maps(model, batch):
    return torch.cat(model.attention_weights(model.projection(batch)), dim=1)


def one_clip(batch, clip):
    return Batch(
        {name: rows[clip : clip + 1] for name, rows in batch.rows.items()},
        {name: mask[clip : clip + 1] for name, mask in batch.masks.items()},
    )


def test_the_map_of_a_clip_is_not_summed_over_the_batch():
    batch = make_batch(STEPS)
    model = make_fusion("cfn_sr", batch)
    together = maps(model, batch)
    assert torch.allclose(together.sum(dim=1), torch.ones(3))
    for clip in range(3):
        assert torch.allclose(maps(model, one_clip(batch, clip))[0], together[clip], atol=1e-6)
    assert not torch.allclose(together[0], together[1], atol=1e-3)


@pytest.mark.parametrize(
    ("names", "guides", "guided"),
    [
        (["frame/a", "audio/b", "text/c", "audio/d"], [1, 3], [0, 2]),
        (["frame/a", "face/b", "text/c"], [2], [0, 1]),
        (["frame/a", "frame/b"], [0, 1], [0, 1]),
    ],
)
def test_audio_guides_the_rest_or_the_next_branch_in_line(names, guides, guided):
    model = make_fusion("cfn_sr", make_batch({name: [2, 3] for name in names}))
    assert (model.guides, model.guided) == (guides, guided)


def test_the_audio_changes_the_map_of_the_other_sources():
    batch = make_batch(STEPS)
    model = make_fusion("cfn_sr", batch)
    other = Batch({**batch.rows, "audio/b": -batch.rows["audio/b"]}, batch.masks)
    moved = (maps(model, batch) - maps(model, other)).abs().amax(dim=1)
    assert (moved[:2] > 1e-3).all()
    assert moved[2] == 0, "a clip without audio scores each step by itself alone"


def test_the_classifier_reads_the_guided_sources_with_their_residual_and_the_original_audio():
    batch = make_batch(STEPS)
    model = make_fusion("cfn_sr", batch)
    frame, audio, text = model.projection(batch)
    expected = []
    for (rows, mask), weights in zip(
        (frame, text), model.attention_weights([frame, audio, text]), strict=True
    ):
        weighted = torch.einsum("bt,btd->btd", weights, rows)
        expected.append(masked_mean(rows, mask) + masked_mean(weighted, mask))
    expected.append(masked_mean(*audio))
    inputs = captured_input(model.classifier, model, batch)
    assert torch.allclose(inputs, torch.cat(expected, dim=1), atol=1e-6)
