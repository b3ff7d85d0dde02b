"""Qieemo: two streams on one time axis that attend to each other."""

import pytest
import torch
from made_clips import make_batch, make_fusion

from ecmf.errors import ParamsError
from ecmf.fusion.base import Batch, SourceShape
from ecmf.fusion.layers.sequences import add_positions
from ecmf.fusion.qieemo import choose_streams

CONTENT, EMOTION = [6, 1, 4, 2, 5, 3, 6, 2], [4, 2, 3, 1, 4, 1, 2, 3]
STREAMS = {"audio/content": CONTENT, "audio/emotion": EMOTION}


@pytest.mark.parametrize(
    ("names", "content", "emotion"),
    [
        ("face/a audio/b audio/c audio/d", "audio/b", "audio/c"),
        ("face/a audio/b text/c", "text/c", "audio/b"),
        ("frame/a face/b audio/c", "frame/a", "audio/c"),
        ("frame/a text/b", "frame/a", "text/b"),
        ("audio/a", "audio/a", "audio/a"),
        ("text/a", "text/a", "text/a"),
    ],
)
def test_the_streams_are_two_audio_sources_or_their_substitutes(names, content, emotion):
    chosen = choose_streams([SourceShape(name, 3) for name in names.split()])
    assert [source.name for source in chosen] == [content, emotion]


@pytest.mark.parametrize(
    ("names", "content", "emotion"),
    [
        ("audio/states audio/ctc text/c", "audio/ctc", "audio/states"),
        ("face/a audio/ctc audio/states", "audio/ctc", "audio/states"),
        ("face/a audio/ctc", "audio/ctc", "face/a"),
        ("audio/ctc", "audio/ctc", "audio/ctc"),
    ],
)
def test_the_content_stream_is_the_source_that_the_options_name(names, content, emotion):
    chosen = choose_streams([SourceShape(name, 3) for name in names.split()], "audio/ctc")
    assert [source.name for source in chosen] == [content, emotion]


def test_a_content_that_is_no_source_is_refused():
    with pytest.raises(ParamsError, match=r"content 'audio/ct' is not .* Did you mean 'audio/ctc'"):
        make_fusion("qieemo", make_batch({"audio/ctc": [2, 1]}), content="audio/ct")


def test_a_text_that_stands_in_for_the_content_is_logged_once(caplog):
    caplog.set_level("INFO")
    batch = make_batch({"audio/alone": [2, 1], "text/spoken": [1, 1]})
    for _ in range(2):
        make_fusion("qieemo", batch)
    (record,) = caplog.records
    assert "text/spoken stands in for the content of audio/alone" in record.getMessage()
    caplog.clear()
    make_fusion("qieemo", make_batch(STREAMS))
    assert not caplog.records


def test_streams_of_one_rate_keep_their_own_time_axis():
    batch = make_batch({"audio/content": [5, 3, 0], "audio/emotion": [5, 2, 4]})
    fusion = make_fusion("qieemo", batch, steps=None)
    streams = fusion.align(batch)
    for (placed, mask), (name, rows), linear, norm in zip(
        streams, batch.rows.items(), fusion.projection.linear, fusion.projection.norm, strict=True
    ):
        assert torch.equal(mask[:, : rows.shape[1]], batch.masks[name])
        steps = mask.sum(dim=1).tolist()
        for clip, count in enumerate(steps):
            expected = add_positions(norm(linear(rows[clip, :count])))
            assert torch.allclose(placed[clip, :count], expected, atol=1e-6)
            assert not placed[clip, count:].any()


@pytest.mark.parametrize(
    ("steps", "emotion_steps"), [(None, 40), (20, 40), (20, 20)], ids=["own", "even", "half rate"]
)
def test_what_happens_at_one_time_is_at_one_step_of_both_streams(steps, emotion_steps):
    batch = make_batch({"audio/content": [40], "audio/emotion": [emotion_steps]})
    fusion = make_fusion("qieemo", batch, steps=steps)
    before = fusion.align(batch)
    for share in (0.1, 0.5, 0.9):  # of the clip: there the clip differs for a tenth of its length
        rows = {}
        for name, values in batch.rows.items():
            count = values.shape[1]
            middle, half = round(share * (count - 1)), count // 20
            rows[name] = values.clone()
            rows[name][:, middle - half : middle + half + 1] += 5
        after = fusion.align(Batch(rows, batch.masks))
        centres = []
        for (old, _), (new, mask) in zip(before, after, strict=True):
            moved = (old != new).any(dim=-1)[0].nonzero().float()
            centres.append(moved.mean().item() / (mask.shape[1] - 1))
        assert centres[0] == pytest.approx(centres[1], abs=0.06)
        assert centres[0] == pytest.approx(share, abs=0.06)


def test_streams_of_any_rate_share_one_time_axis():
    batch = make_batch(STREAMS)
    fusion = make_fusion("qieemo", batch, steps=10)
    (content, content_mask), (emotion, emotion_mask) = fusion.align(batch)
    assert content.shape == emotion.shape and content.shape[1] == 10
    assert content_mask.all() and emotion_mask.all()
    logits = []
    for steps in (1, 3, 7):  # all steps of these clips are alike, at any rate
        still = make_batch({"audio/content": [steps] * len(CONTENT), "audio/emotion": EMOTION})
        still.rows["audio/emotion"][:] = batch.rows["audio/emotion"]
        still.rows["audio/content"][:] = torch.arange(3.0)
        logits.append(fusion(still).logits)
    assert torch.allclose(logits[0], logits[1], atol=1e-5)
    assert torch.allclose(logits[0], logits[2], atol=1e-5)


@pytest.mark.parametrize("direction", ["to_content", "to_emotion"])
def test_attention_goes_both_ways_and_is_zero_where_a_stream_is_absent(direction):
    batch = make_batch(
        {"audio/content": [0, 0, *CONTENT[2:]], "audio/emotion": [4, 0, 0, *EMOTION[3:]]}
    )
    fusion = make_fusion("qieemo", batch)
    before = fusion(batch).logits
    torch.nn.init.normal_(getattr(fusion, direction).out.weight)
    torch.nn.init.normal_(getattr(fusion, direction).out.bias)
    changed = (fusion(batch).logits != before).any(dim=1)
    assert not changed[:3].any() and changed[3:].all()


def test_a_single_source_is_two_streams_by_two_projections():
    batch = make_batch({"audio/content": CONTENT})
    (content, content_mask), (emotion, emotion_mask) = make_fusion("qieemo", batch).align(batch)
    assert torch.equal(content_mask, emotion_mask) and not torch.allclose(content, emotion)


def test_a_source_that_is_no_stream_is_appended_to_the_result():
    batch = make_batch({**STREAMS, "face/a": [0, 1, 3, 2, 2, 1, 3, 1]})
    fusion = make_fusion("qieemo", batch)
    before = fusion(batch).logits
    batch.rows["face/a"].mul_(-1)
    changed = (fusion(batch).logits != before).any(dim=1)
    assert not changed[0] and changed[1:].all()
