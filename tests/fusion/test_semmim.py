"""`semmim`: encoders that practise on clips without labels, and any member behind them."""

import numpy as np
import pytest
import torch
from made_clips import CLASSES, made_batch, made_fusion, made_target

from ecmf.data.features import Source
from ecmf.errors import ParamsError
from ecmf.fusion.base import Batch
from ecmf.fusion.layers.masked_modelling import steps_to_hide
from ecmf.params import TrainFusion
from ecmf.training import pretraining
from ecmf.training.dataset import Dataset
from ecmf.training.model import build

DIMS = {"face/a": 8, "audio/b": 6, "text/c": 5}
KINDS = 4
CLIPS = 64


def clips_of_kinds():
    """Clips of some kinds: what one source shows of the kind, the others show in their own way."""
    steps = {"face/a": [1, 2, 3, 4, 5, 6], "audio/b": [4, 3, 2, 1], "text/c": [1]}
    noise = made_batch({name: (counts * CLIPS)[:CLIPS] for name, counts in steps.items()}, DIMS)
    signs = made_batch({name: [max(counts)] * KINDS for name, counts in steps.items()}, DIMS, 1)
    kind = torch.arange(CLIPS) % KINDS
    rows = {
        name: (signs.rows[name][kind] + 0.3 * noise.rows[name]) * mask.unsqueeze(-1)
        for name, mask in noise.masks.items()
    }
    return Batch(rows, noise.masks), kind


def fusion_of(**options):
    return made_fusion("semmim", clips_of_kinds()[0], **{"width": 16, **options})


def practise(pretext, batch, times):
    torch.manual_seed(0)
    pretext.train()
    optimiser = torch.optim.AdamW(pretext.parameters(), lr=3e-3)
    for _ in range(times):
        optimiser.zero_grad()
        pretext(batch).mean().backward()
        optimiser.step()
        pretext.step()


def loss_of(pretext, batch):
    torch.manual_seed(7)  # the same steps are hidden
    with torch.no_grad():
        return pretext.eval()(batch)


def test_practice_teaches_to_tell_what_is_hidden():
    batch, kind = clips_of_kinds()
    fusion = fusion_of()
    pretext = fusion.pretext()
    practise(pretext, batch, 10)  # the teacher has a mean, and the first surprise is over
    before = loss_of(pretext, batch).mean()
    practise(pretext, batch, 60)
    assert loss_of(pretext, batch).mean() < 0.6 * before
    shares = (pretext.teacher(batch).by_clip[0] / 0.05).softmax(dim=1)
    of_kind = torch.stack([shares[kind == one].mean(dim=0) for one in range(KINDS)])
    apart = torch.cdist(of_kind, of_kind)[~torch.eye(KINDS, dtype=torch.bool)]
    assert (apart > 0.1).all()  # it did not win by saying the same of everything


def test_the_encoders_of_the_model_are_those_that_practise_and_nothing_else_of_it_is():
    batch, _ = clips_of_kinds()
    fusion = fusion_of()
    before = {key: value.clone() for key, value in fusion.state_dict().items()}
    practise(fusion.pretext(), batch, 2)
    for key, value in fusion.state_dict().items():
        assert torch.equal(value, before[key]) != key.startswith("encoders."), key


def test_the_teacher_follows_slowly_learns_nothing_and_is_not_saved():
    batch, _ = clips_of_kinds()
    fusion = fusion_of(momentum=0.9)
    saved = set(fusion.state_dict())
    pretext = fusion.pretext()
    start = [value.clone() for value in pretext.teacher.parameters()]
    practise(pretext, batch, 1)
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


def test_gradients_reach_all_that_practises():
    batch, _ = clips_of_kinds()
    pretext = fusion_of().pretext().train()
    torch.manual_seed(0)
    pretext(batch).mean().backward()
    # A source of one step has nothing to attend to within itself.
    within = "student.encoders.transformers.2.layers.0.attention"
    for key, parameter in pretext.named_parameters():
        if parameter.requires_grad and not key.startswith((f"{within}.query", f"{within}.key")):
            assert parameter.grad.abs().sum() > 0, key


def test_the_steps_most_like_the_text_are_hidden():
    text, face = torch.eye(4)[2:3].expand(2, 1, 4), torch.eye(4).expand(2, 4, 4)
    here = torch.ones(2, 4, dtype=torch.bool)
    sound = torch.eye(4)[1:2].expand(2, 1, 4)
    has_text = torch.tensor([[True], [False]])
    streams = [(face, here), (text * has_text.unsqueeze(-1), has_text), (sound, here[:, :1])]
    torch.manual_seed(0)
    hidden = steps_to_hide(streams, [False, True, False], share=0.25)
    assert hidden[0].tolist() == [
        [False, False, True, False],  # like the text
        [False, True, False, False],  # there is none: like the sound
    ]


def test_padding_is_never_hidden_and_the_share_is_kept_on_average():
    rows, mask = torch.randn(4000, 5, 3), torch.ones(4000, 5, dtype=torch.bool)
    mask[:, 3:] = False
    one = torch.ones(4000, 1, dtype=torch.bool)
    torch.manual_seed(0)
    steps, whole = steps_to_hide([(rows, mask), (rows[:, :1], one)], [False, True], share=0.4)
    assert not steps[~mask].any()
    assert set(steps.sum(dim=1).tolist()) == {1, 2}
    assert abs(float(steps.sum()) / 12000 - 0.4) < 0.02
    assert abs(float(whole.sum()) / 4000 - 0.4) < 0.03


def test_clips_without_any_source_cost_nothing_and_break_nothing():
    batch, _ = clips_of_kinds()
    pretext = fusion_of().pretext()
    masks = {name: mask.clone() for name, mask in batch.masks.items()}
    for mask in masks.values():
        mask[:3] = False
    loss = loss_of(pretext, Batch(batch.rows, masks))
    assert loss.isfinite().all() and (loss[:3] == 0).all() and (loss[3:] > 0).all()
    nobody = {name: torch.zeros_like(mask) for name, mask in masks.items()}
    assert (loss_of(pretext, Batch(batch.rows, nobody)) == 0).all()
    pretext.step()
    assert loss_of(pretext, batch).isfinite().all()


def test_what_the_member_behind_says_is_passed_on():
    batch, _ = clips_of_kinds()
    target = made_target(CLIPS)
    output = fusion_of()(batch, target)
    assert output.weights.shape == (CLIPS, 3) and set(output.losses) == {"source"}
    concat = fusion_of(member="concat")(batch, target)
    assert concat.weights is None and not concat.losses


def test_dropout_reaches_the_member_unless_its_options_say_otherwise():
    assert fusion_of(dropout=0.0).member.dropout.share == 0.0
    assert fusion_of(dropout=0.1, options={"dropout": 0.4}).member.dropout.share == 0.4


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_practice_keeps_to_the_precision_of_the_training(precision):
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
    params = TrainFusion(model="semmim", batch=16, precision=precision)
    torch.manual_seed(0)
    model = build("semmim", {"width": 16, "epochs": 15}, dataset.shapes, CLASSES, seed=1)
    computed = set()
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.register_forward_hook(lambda _, given, made: computed.add(made.dtype))
    losses = pretraining.practise(
        model, dataset, np.arange(CLIPS), np.random.default_rng(0), params
    )
    assert computed == {getattr(torch, precision)}
    assert np.mean(losses[-3:]) < 0.8 * np.mean(losses[1:4])
    assert all(weight.dtype == torch.float32 for weight in model.state_dict().values())


def test_no_epochs_are_no_practice():
    assert fusion_of(epochs=0).pretext() is None
    assert fusion_of(epochs=3).pretext().epochs == 3


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"member": "semmim"}, "member 'semmim' would practise for itself"),
        ({"member": "concta"}, r"no 'concta' in fusion: .* Did you mean 'concat'\?"),
        ({"options": {"headz": 2}}, r"member 'ecmf': headz: .* Did you mean 'heads'\?"),
        (
            {"member": "egms", "options": {"teacher": "audio/b"}},
            r"encodes every source before 'egms' gets it, so none can be its teacher",
        ),
    ],
)
def test_a_member_that_cannot_be_built_is_refused(options, message):
    with pytest.raises(ParamsError, match=message):
        fusion_of(**options)
