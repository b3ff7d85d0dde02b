"""The mechanism of `egms`: views of one text through one encoder, a gate, an outside scorer."""

import pytest
import torch
from made_clips import CLASSES, made_batch, made_fusion, made_target, without
from torch.nn import functional

from ecmf.errors import ParamsError
from ecmf.fusion.base import Batch

CLIPS = 6
RAW, ENRICHED, TOLD = "text/minilm_raw", "text/minilm_enriched", "text/told"
FACE, TEACHER = "face/a", "audio/scorer"


def batch_of(*names, steps=4):
    return made_batch({name: [steps] * CLIPS for name in names}, {FACE: 5, TEACHER: CLASSES})


def fusion_of(*names, **options):
    return made_fusion("egms", batch_of(*names), **{"width": 8, "heads": 2, **options})


def test_the_gates_of_the_views_sum_to_one_over_those_a_clip_has():
    names = (FACE, RAW, ENRICHED, TOLD)
    batch = without(batch_of(*names), ENRICHED, slice(2))
    weights = fusion_of(*names)(batch).weights
    assert torch.allclose(weights[:, 1:].sum(dim=1), torch.ones(CLIPS))
    assert (weights[:, 0] == 1).all() and (weights[:2, 2] == 0).all()
    assert (weights[2:, 1:] > 0).all()


def test_of_two_views_the_gate_is_the_sigmoid_of_the_paper():
    model = fusion_of(FACE, RAW, ENRICHED)
    batch = batch_of(FACE, RAW, ENRICHED)
    heard = []
    model.gate.register_forward_hook(lambda module, given, scores: heard.append(scores))
    weights = model(batch).weights
    assert torch.allclose(weights[:, 1], torch.sigmoid(heard[0][:, 0] - heard[0][:, 1]))


def test_a_view_without_words_leaves_what_the_other_says():
    names = (FACE, RAW, ENRICHED)
    model = fusion_of(*names)
    batch = batch_of(*names)
    one, other = without(batch, RAW), without(batch, ENRICHED)
    swapped = Batch({**batch.rows, RAW: batch.rows[RAW] + 1}, one.masks)
    assert torch.equal(model(one).logits, model(swapped).logits)
    assert not torch.allclose(model(one).logits, model(other).logits)
    assert model(without(one, ENRICHED)).logits.isfinite().all()


def test_gradients_reach_the_gate_and_there_is_none_where_there_is_nothing_to_mix():
    model = fusion_of(FACE, RAW, ENRICHED, dropout=0.0)
    model(batch_of(FACE, RAW, ENRICHED)).logits.square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, key
    for names in [(FACE, RAW), (FACE,), (RAW,)]:
        assert not any("gate" in key for key, _ in fusion_of(*names).named_parameters())


def test_the_outside_scorer_is_learned_from_and_never_read():
    names = (FACE, TEACHER, RAW)
    model = fusion_of(*names, teacher=TEACHER)
    batch = without(batch_of(*names, steps=1), TEACHER, slice(2))
    output = model(batch, made_target(CLIPS))
    other = Batch({**batch.rows, TEACHER: batch.rows[TEACHER] + torch.arange(CLASSES)}, batch.masks)
    assert torch.equal(output.logits, model(other).logits)
    assert (output.weights[:, 1] == 0).all()
    scores = batch.rows[TEACHER].squeeze(1)
    expected = 100 * functional.kl_div(
        (output.logits / 10).log_softmax(1), (scores / 10).softmax(1), reduction="none"
    ).sum(1)
    loss = output.losses["distillation"]
    assert torch.allclose(loss[2:], expected[2:], atol=1e-4) and (loss[:2] == 0).all()
    assert (loss[2:] > 0).all() and not model(batch).losses
    assert not fusion_of(*names)(batch, made_target(CLIPS)).losses


@pytest.mark.parametrize(
    ("names", "teacher", "message"),
    [
        ((FACE, RAW), "face/b", r"teacher 'face/b' is no source.* Did you mean 'face/a'\?"),
        ((FACE, RAW), FACE, "rows of 5 numbers, not one score for each of the 4 classes"),
        ((TEACHER,), TEACHER, "is the only source, and is not read"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused(names, teacher, message):
    with pytest.raises(ParamsError, match=message):
        fusion_of(*names, teacher=teacher)
