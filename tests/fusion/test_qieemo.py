"""Qieemo: two streams on one time axis that attend to each other."""

import pytest
import torch
from made_clips import make_batch, make_fusion

from ecmf.fusion.base import SourceShape
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
