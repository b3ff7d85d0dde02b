"""CFN-SR: one branch guides the others, clip by clip, and the originals are kept."""

import math

import pytest
import torch
from made_clips import captured_input, make_batch, make_fusion

from ecmf.errors import ParamsError
from ecmf.fusion.base import Batch
from ecmf.fusion.layers.pooling import masked_mean
from ecmf.fusion.layers.sequences import add_positions

STEPS = {"frame/a": [5, 3, 4], "audio/b": [4, 2, 0], "text/c": [1, 2, 1]}


def maps(model, batch):
    return torch.cat(model.attention_weights(model.project(batch)), dim=1)


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


def normalise(rows, norm):
    centred = rows - rows.mean(dim=-1, keepdim=True)
    return centred / (rows.var(dim=-1, correction=0, keepdim=True) + 1e-5).sqrt() * norm.weight + (
        norm.bias
    )


def published_transformer(transformer, rows, heads):
    """Compute the published encoder of one clip, (steps, width), by its formulas, causal mask in.

    Only the positions are those of ours.
    """
    steps, width = rows.shape
    x = add_positions(math.sqrt(width) * rows)
    future = torch.full((steps, steps), -math.inf).triu(1)
    for layer in transformer.layers:
        normed, attention = normalise(x, layer.norm), layer.attention
        query, key, value = (
            linear(normed).view(steps, heads, -1).transpose(0, 1)
            for linear in (attention.query, attention.key, attention.value)
        )
        scores = query @ key.transpose(1, 2) / math.sqrt(width / heads) + future
        mixed = (scores.softmax(dim=-1) @ value).transpose(0, 1).reshape(steps, width)
        x = x + attention.out(mixed)
        hidden = layer.wide(normalise(x, layer.feed_norm)).clamp(min=0)
        assert hidden.shape[1] == 4 * width
        x = x + layer.narrow(hidden)
    return normalise(x, transformer.norm)


def test_the_guide_is_that_of_the_published_transformer():
    batch = make_batch(STEPS)
    model = make_fusion("cfn_sr", batch)
    rows, mask = model.project(batch)[1]
    read = model.transformer(rows, mask)
    for clip, steps in enumerate(STEPS["audio/b"][:2]):
        expected = published_transformer(model.transformer, rows[clip, :steps], heads=8)
        assert torch.allclose(read[clip, :steps], expected, atol=1e-5)
    assert not read[~mask].any()


def test_no_step_of_the_guide_reads_a_later_one():
    batch = make_batch({"audio/b": [5], "face/a": [3]})
    model = make_fusion("cfn_sr", batch)
    rows, mask = model.project(batch)[0]
    before = model.transformer(rows, mask)
    other = rows.clone()
    other[:, 3] += 1
    after = model.transformer(other, mask)
    assert torch.equal(before[:, :3], after[:, :3])
    assert (before[:, 3:] != after[:, 3:]).any(dim=-1).all()


def test_a_frame_of_maps_is_guided_by_position_and_the_classifier_reads_the_published_vector():
    """Two frames of six positions of five channels; the audio of one clip has three steps."""
    batch = make_batch({"face/maps": [2, 1], "audio/b": [3, 2]}, {"face/maps": 30})
    model = make_fusion("cfn_sr", batch, positions={"face/maps": 6}, steps=3)
    inputs = captured_input(model.classifier, model, batch)
    audio, audio_mask = model.project(batch)[1]
    for clip, frames in enumerate([2, 1]):
        maps = batch.rows["face/maps"][clip, :frames].reshape(frames, 6, 5)
        x = normalise(model.projection.linear[0](maps), model.projection.norm[0])
        own = audio[clip][audio_mask[clip]]
        y = published_transformer(model.transformer, own, heads=8)[-1]
        scores = torch.tanh(model.position(x) + model.guide(y)) @ model.score.weight[0]
        alpha = scores.exp() / scores.exp().sum(dim=1, keepdim=True)  # of each frame
        video = (alpha.unsqueeze(-1) * x + x).mean(dim=(0, 1))
        assert torch.allclose(inputs[clip, : len(video)], video, atol=1e-5)
        if len(own) == 3:
            assert torch.allclose(inputs[clip, len(video) :], own.flatten(), atol=1e-5)


@pytest.mark.parametrize(
    ("positions", "message"),
    [
        ({"audio/b": 3}, "'audio/b' is no guided source: choose one of face/maps"),
        ({"face/maps": 4}, "rows of 'face/maps' have 30 numbers, which are not 4 positions"),
    ],
)
def test_maps_that_do_not_fit_are_refused(positions, message):
    batch = make_batch({"face/maps": [2, 1], "audio/b": [3, 2]}, {"face/maps": 30})
    with pytest.raises(ParamsError, match=message):
        make_fusion("cfn_sr", batch, positions=positions)


def test_every_parameter_of_the_model_of_maps_gets_a_gradient():
    batch = make_batch(
        {"face/maps": [2, 3], "audio/b": [3, 2], "text/c": [2, 1]}, {"face/maps": 30}
    )
    model = make_fusion("cfn_sr", batch, positions={"face/maps": 6})
    model(batch).logits.square().sum().backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, name


def test_rows_that_are_no_maps_share_one_softmax_and_the_audio_is_read_step_by_step():
    batch = make_batch(STEPS)
    model = make_fusion("cfn_sr", batch)
    frame, audio, text = model.project(batch)
    expected = []
    for (rows, mask), weights in zip(
        (frame, text), model.attention_weights([frame, audio, text]), strict=True
    ):
        weighted = torch.einsum("bt,btd->btd", weights, rows)
        expected.append(masked_mean(rows, mask) + masked_mean(weighted, mask))
    rows, mask = audio
    resampled = torch.zeros(3, 4, rows.shape[2])
    for clip, steps in enumerate(mask.sum(dim=1).tolist()):
        for step in range(4 * bool(steps)):
            place = step / 3 * (steps - 1)
            low, high = math.floor(place), math.ceil(place)
            resampled[clip, step] = torch.lerp(rows[clip, low], rows[clip, high], place - low)
    expected.append(resampled.flatten(1))
    inputs = captured_input(model.classifier, model, batch)
    assert torch.allclose(inputs, torch.cat(expected, dim=1), atol=1e-6)
