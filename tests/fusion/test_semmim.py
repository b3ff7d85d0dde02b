"""SemMIM: encoders pretrained on clips without labels, and any fusion model behind them."""

import numpy as np
import pytest
import torch
from made_clips import CLASSES, make_batch, make_fusion, make_target, untrained

from ecmf.data.features import Source
from ecmf.errors import ParamsError
from ecmf.fusion.base import Batch
from ecmf.fusion.layers.masked_modelling import choose_masked_steps
from ecmf.params import TrainFusion
from ecmf.training import pretraining
from ecmf.training.dataset import Dataset

DIMS = {"face/a": 8, "audio/b": 6, "text/c": 5}
KINDS = 4
CLIPS = 64


def clips_of_kinds():
    """Make clips of several kinds; every source identifies the kind by its own rows."""
    steps = {"face/a": [1, 2, 3, 4, 5, 6], "audio/b": [4, 3, 2, 1], "text/c": [1]}
    noise = make_batch({name: (counts * CLIPS)[:CLIPS] for name, counts in steps.items()}, DIMS)
    centres = make_batch({name: [max(counts)] * KINDS for name, counts in steps.items()}, DIMS, 1)
    kind = torch.arange(CLIPS) % KINDS
    rows = {
        name: (centres.rows[name][kind] + 0.3 * noise.rows[name]) * mask.unsqueeze(-1)
        for name, mask in noise.masks.items()
    }
    return Batch(rows, noise.masks), kind


def fusion_of(**options):
    return make_fusion("semmim", clips_of_kinds()[0], **{"width": 16, **options})


def pretrain(pretext, batch, steps):
    torch.manual_seed(0)
    pretext.train()
    optimiser = torch.optim.AdamW(pretext.parameters(), lr=3e-3)
    for _ in range(steps):
        optimiser.zero_grad()
        pretext(batch).mean().backward()
        optimiser.step()
        pretext.step()


def compute_loss(pretext, batch):
    torch.manual_seed(7)  # the same steps are hidden
    with torch.no_grad():
        return pretext.eval()(batch)


def test_pretraining_learns_to_predict_masked_steps():
    batch, kind = clips_of_kinds()
    fusion = fusion_of()
    pretext = fusion.pretext()
    pretrain(pretext, batch, 10)  # so that the teacher has a running mean
    before = compute_loss(pretext, batch).mean()
    pretrain(pretext, batch, 60)
    assert compute_loss(pretext, batch).mean() < 0.6 * before
    probs = (pretext.teacher(batch).by_clip[0] / 0.05).softmax(dim=1)
    of_kind = torch.stack([probs[kind == number].mean(dim=0) for number in range(KINDS)])
    apart = torch.cdist(of_kind, of_kind)[~torch.eye(KINDS, dtype=torch.bool)]
    assert (apart > 0.1).all()  # the assignments have not collapsed


def test_pretraining_changes_the_encoders_of_the_model_and_no_other_parameter():
    batch, _ = clips_of_kinds()
    fusion = fusion_of()
    before = {key: value.clone() for key, value in fusion.state_dict().items()}
    pretrain(fusion.pretext(), batch, 2)
    for key, value in fusion.state_dict().items():
        assert torch.equal(value, before[key]) != key.startswith("encoders."), key


def test_the_teacher_is_a_moving_average_without_gradient_and_is_not_saved():
    batch, _ = clips_of_kinds()
    fusion = fusion_of(momentum=0.9)
    saved = set(fusion.state_dict())
    pretext = fusion.pretext()
    start = [value.clone() for value in pretext.teacher.parameters()]
    pretrain(pretext, batch, 1)
    moved = 0
    for first, slow, fast in zip(
        start, pretext.teacher.parameters(), pretext.student.parameters(), strict=True
    ):
        assert torch.allclose(slow, first.lerp(fast, 0.1)) and not slow.requires_grad
        moved += int(not torch.equal(slow, first))
    assert moved
    assert torch.allclose(pretext.centre, 0.1 * pretext.met) and pretext.met.any()
    assert not pretext.train().teacher.training
    assert set(fusion.state_dict()) == saved
    assert not any("teacher" in key or "prototypes" in key for key in saved)


def test_gradients_reach_every_pretrained_parameter():
    batch, _ = clips_of_kinds()
    pretext = fusion_of().pretext().train()
    torch.manual_seed(0)
    pretext(batch).mean().backward()
    # A source of one step has nothing to attend to within itself.
    within = "student.encoders.transformers.2.layers.0.attention"
    for key, parameter in pretext.named_parameters():
        if parameter.requires_grad and not key.startswith((f"{within}.query", f"{within}.key")):
            assert parameter.grad.abs().sum() > 0, key


def test_the_steps_most_similar_to_the_text_are_masked():
    text, face = torch.eye(4)[2:3].expand(2, 1, 4), torch.eye(4).expand(2, 4, 4)
    all_real = torch.ones(2, 4, dtype=torch.bool)
    audio = torch.eye(4)[1:2].expand(2, 1, 4)
    has_text = torch.tensor([[True], [False]])
    streams = [
        (face, all_real),
        (text * has_text.unsqueeze(-1), has_text),
        (audio, all_real[:, :1]),
    ]
    torch.manual_seed(0)
    hidden = choose_masked_steps(streams, [False, True, False], mask_ratio=0.25)
    assert hidden[0].tolist() == [
        [False, False, True, False],  # like the text
        [False, True, False, False],  # there is none: like the audio
    ]


def test_padding_is_never_masked_and_the_mask_ratio_holds_on_average():
    rows, mask = torch.randn(4000, 5, 3), torch.ones(4000, 5, dtype=torch.bool)
    mask[:, 3:] = False
    single = torch.ones(4000, 1, dtype=torch.bool)
    torch.manual_seed(0)
    steps, whole = choose_masked_steps(
        [(rows, mask), (rows[:, :1], single)], [False, True], mask_ratio=0.4
    )
    assert not steps[~mask].any()
    assert set(steps.sum(dim=1).tolist()) == {1, 2}
    assert abs(float(steps.sum()) / 12000 - 0.4) < 0.02
    assert abs(float(whole.sum()) / 4000 - 0.4) < 0.03


def test_clips_without_any_source_have_zero_loss():
    batch, _ = clips_of_kinds()
    pretext = fusion_of().pretext()
    masks = {name: mask.clone() for name, mask in batch.masks.items()}
    for mask in masks.values():
        mask[:3] = False
    loss = compute_loss(pretext, Batch(batch.rows, masks))
    assert loss.isfinite().all() and (loss[:3] == 0).all() and (loss[3:] > 0).all()
    empty = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    assert (compute_loss(pretext, Batch(batch.rows, empty)) == 0).all()
    pretext.step()
    assert compute_loss(pretext, batch).isfinite().all()


def test_the_output_of_the_inner_model_is_returned():
    batch, _ = clips_of_kinds()
    target = make_target(CLIPS)
    output = fusion_of()(batch, target)
    assert output.weights.shape == (CLIPS, 3) and set(output.losses) == {"source"}
    concat = fusion_of(model="concat")(batch, target)
    assert concat.weights is None and not concat.losses


def test_dropout_applies_to_the_inner_model_unless_its_options_set_another():
    assert fusion_of(dropout=0.0).member.dropout.rate == 0.0
    assert fusion_of(dropout=0.1, options={"dropout": 0.4}).member.dropout.rate == 0.4


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_pretraining_uses_the_precision_of_the_training(precision):
    batch, _ = clips_of_kinds()
    sources = [
        Source(
            name,
            rows[batch.masks[name]].numpy(),
            np.concatenate([[0], batch.masks[name].sum(dim=1).cumsum(dim=0).numpy()]),
            {},
        )
        for name, rows in batch.rows.items()
    ]
    dataset = Dataset(sources, torch.device("cpu"))
    params = TrainFusion(model="semmim", batch_size=16, precision=precision)
    torch.manual_seed(0)
    model = untrained("semmim", dataset.shapes, {"width": 16, "epochs": 15}, CLASSES)
    computed = set()
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.register_forward_hook(lambda _, inputs, output: computed.add(output.dtype))
    losses = pretraining.pretrain(
        model, dataset, np.arange(CLIPS), np.random.default_rng(0), params
    )
    assert computed == {getattr(torch, precision)}
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[1:4])
    assert all(weight.dtype == torch.float32 for weight in model.state_dict().values())


def test_zero_epochs_turn_pretraining_off():
    assert fusion_of(epochs=0).pretext() is None
    assert fusion_of(epochs=3).pretext().epochs == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"model": "semmim"}, "model is 'semmim' itself: choose another file"),
        ({"model": "concta"}, r"no 'concta' in fusion: .* Did you mean 'concat'\?"),
        ({"options": {"headz": 2}}, r"plugin 'ecmf': headz: .* Did you mean 'heads'\?"),
        (
            {"model": "egms", "options": {"teacher": "audio/b"}},
            r"encodes every source before 'egms' reads it, so no source can be its teacher",
        ),
    ],
)
def test_an_inner_model_that_cannot_be_built_is_refused(options, message):
    with pytest.raises(ParamsError, match=message):
        fusion_of(**options)
