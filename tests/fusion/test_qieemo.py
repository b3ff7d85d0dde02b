"""Qieemo: two streams on one time axis that attend to each other."""

import pytest
import torch
from made_clips import made_batch, made_fusion

from ecmf.fusion.base import SourceShape
from ecmf.fusion.qieemo import streams_of

SAID, FELT = [6, 1, 4, 2, 5, 3, 6, 2], [4, 2, 3, 1, 4, 1, 2, 3]
STREAMS = {"audio/said": SAID, "audio/felt": FELT}


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
def test_the_streams_are_two_audio_sources_or_what_comes_nearest(names, content, emotion):
    chosen = streams_of([SourceShape(name, 3) for name in names.split()])
    assert [source.name for source in chosen] == [content, emotion]


def test_streams_of_any_rate_share_one_time_axis():
    batch = made_batch(STREAMS)
    fusion = made_fusion("qieemo", batch, steps=10)
    content, emotion, said, felt = fusion.aligned(batch)
    assert content.shape == emotion.shape and content.shape[1] == 10
    assert said.all() and felt.all()
    logits = []
    for steps in (1, 3, 7):  # nothing happens in these clips, at any rate
        still = made_batch({"audio/said": [steps] * len(SAID), "audio/felt": FELT})
        still.rows["audio/felt"][:] = batch.rows["audio/felt"]
        still.rows["audio/said"][:] = torch.arange(3.0)
        logits.append(fusion(still).logits)
    assert torch.allclose(logits[0], logits[1], atol=1e-5)
    assert torch.allclose(logits[0], logits[2], atol=1e-5)


@pytest.mark.parametrize("direction", ["to_content", "to_emotion"])
def test_attention_goes_both_ways_and_nowhere_from_a_stream_that_is_absent(direction):
    batch = made_batch({"audio/said": [0, 0, *SAID[2:]], "audio/felt": [4, 0, 0, *FELT[3:]]})
    fusion = made_fusion("qieemo", batch)
    before = fusion(batch).logits
    torch.nn.init.normal_(getattr(fusion, direction).out.weight)
    torch.nn.init.normal_(getattr(fusion, direction).out.bias)
    changed = (fusion(batch).logits != before).any(dim=1)
    assert not changed[:3].any() and changed[3:].all()


def test_a_single_source_is_two_streams_by_two_projections():
    batch = made_batch({"audio/said": SAID})
    content, emotion, said, felt = made_fusion("qieemo", batch).aligned(batch)
    assert torch.equal(said, felt) and not torch.allclose(content, emotion)


def test_a_source_that_is_no_stream_stands_beside_the_result():
    batch = made_batch({**STREAMS, "face/a": [0, 1, 3, 2, 2, 1, 3, 1]})
    fusion = made_fusion("qieemo", batch)
    before = fusion(batch).logits
    batch.rows["face/a"].mul_(-1)
    changed = (fusion(batch).logits != before).any(dim=1)
    assert not changed[0] and changed[1:].all()
