"""SemMIM: encoders pretrained on clips without labels, and any fusion model behind them."""

import numpy as np
import pytest
import torch
from made_clips import CLASSES, make_batch, make_fusion, make_target, untrained
from torch.nn import functional

from ecmf.data.features import Source
from ecmf.errors import ParamsError
from ecmf.fusion.base import Batch
from ecmf.fusion.layers.alignment import Aligner
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


def masked_modelling(fusion):
    return list(fusion.pretext_tasks())[-1]


def compute_loss(pretext, batch):
    torch.manual_seed(7)  # the same steps are hidden
    with torch.no_grad():
        return pretext.eval()(batch)


def clips_of_one_meaning_each(count, seed):
    """Make clips whose face and text share a latent, each in a space of its own; audio is noise."""
    generator = torch.Generator().manual_seed(0)
    into = {name: torch.randn(6, dim, generator=generator) for name, dim in DIMS.items()}
    generator.manual_seed(seed)
    latent = torch.randn(count, 6, generator=generator)
    rows, masks = {}, {}
    for name, steps in {"face/a": 4, "audio/b": 3, "text/c": 1}.items():
        noise = torch.randn(count, steps, DIMS[name], generator=generator)
        meaning = (latent @ into[name])[:, None] * (name != "audio/b")
        rows[name] = meaning + 0.5 * noise
        masks[name] = torch.ones(count, steps, dtype=torch.bool)
    return Batch(rows, masks)


def rank_of_own_text(pretext, batch):
    """Return the mean rank of a clip's text among all, by its likeness to the face's steps."""
    with torch.no_grad():
        aligned = pretext.eval().aligner(pretext.encoders(batch))
        guides, _ = pretext.aligner.guides(aligned)
    face = functional.normalize(aligned[0][0].mean(dim=1), dim=-1)
    likeness = face @ functional.normalize(guides[:, 0], dim=-1).T
    return (likeness >= likeness.diagonal()[:, None]).sum(dim=1).float().mean().item()


def test_alignment_ranks_a_clips_own_text_far_above_chance_on_unseen_clips():
    train, unseen = clips_of_one_meaning_each(200, 1), clips_of_one_meaning_each(200, 2)
    tasks = fusion_of(dropout=0.1).pretext_tasks()
    alignment = next(tasks)
    before = rank_of_own_text(alignment, unseen)
    pretrain(alignment, train, 40)
    after = rank_of_own_text(alignment, unseen)
    assert before > 60  # chance is 100
    assert after < 12
    modelling = next(tasks)  # built now: its teacher begins with what was aligned
    assert rank_of_own_text(modelling.teacher, unseen) == after
    pretrain(modelling, train, 5)
    assert rank_of_own_text(modelling.student, unseen) < 12


def test_the_contrastive_loss_is_the_published_one():
    aligner = Aligner([False, True], 4, temperature=0.07)
    batch = make_batch({"face/a": [2, 3, 1, 2], "text/b": [1, 2, 0, 1]}, {"face/a": 4, "text/b": 4})
    streams = [(rows, batch.masks[name]) for name, rows in batch.rows.items()]
    loss = aligner.contrast(streams)
    vectors = []
    for (rows, mask), head in zip(streams, aligner.heads, strict=True):
        means = [
            (head.weight @ own[real].mean(dim=0)) + head.bias
            for own, real in zip(rows, mask, strict=True)
            if real.any()
        ]
        vectors.append(torch.stack(means))
    face, text = (each / each.norm(dim=1, keepdim=True) for each in vectors)
    scores = (face[[0, 1, 3]] @ text.T).exp().pow(1 / 0.07)
    right = scores.diagonal()
    expected = -(right / scores.sum(dim=1)).log() / 2 - (right / scores.sum(dim=0)).log() / 2
    assert torch.allclose(loss[[0, 1, 3]], expected, atol=1e-4) and loss[2] == 0


def test_pretraining_learns_to_predict_masked_steps():
    batch, kind = clips_of_kinds()
    pretext = masked_modelling(fusion_of())
    pretrain(pretext, batch, 10)  # so that the teacher has a running mean
    before = compute_loss(pretext, batch).mean()
    pretrain(pretext, batch, 60)
    assert compute_loss(pretext, batch).mean() < 0.7 * before
    probs = (pretext.teacher(batch).by_clip[0] / 0.05).softmax(dim=1)
    of_kind = torch.stack([probs[kind == number].mean(dim=0) for number in range(KINDS)])
    apart = torch.cdist(of_kind, of_kind)[~torch.eye(KINDS, dtype=torch.bool)]
    assert (apart > 0.1).all()  # the assignments have not collapsed


def test_pretraining_changes_the_encoders_of_the_model_and_no_other_parameter():
    batch, _ = clips_of_kinds()
    fusion = fusion_of()
    before = {key: value.clone() for key, value in fusion.state_dict().items()}
    pretrain(masked_modelling(fusion), batch, 2)
    for key, value in fusion.state_dict().items():
        assert torch.equal(value, before[key]) != key.startswith("encoders."), key


def test_the_teacher_is_a_moving_average_without_gradient_and_is_not_saved():
    batch, _ = clips_of_kinds()
    fusion = fusion_of(momentum=0.9)
    saved = set(fusion.state_dict())
    pretext = masked_modelling(fusion)
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
    pretext = masked_modelling(fusion_of()).train()
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
    guides, guided = Aligner([False, True, False], 4, temperature=0.1).guides(streams)
    assert guided.tolist() == [[True, True, True], [True, False, True]]
    hidden = choose_masked_steps(streams, guides, mask_ratio=0.25)
    assert hidden[0].tolist() == [
        [False, False, True, False],  # like the text
        [False, True, False, False],  # there is none: like the audio
    ]


def test_padding_is_never_masked_and_the_mask_ratio_holds_on_average():
    rows, mask = torch.randn(4000, 5, 3), torch.ones(4000, 5, dtype=torch.bool)
    mask[:, 3:] = False
    single = torch.ones(4000, 1, dtype=torch.bool)
    torch.manual_seed(0)
    guides = torch.randn(4000, 2, 3)
    steps, whole = choose_masked_steps(
        [(rows, mask), (rows[:, :1], single)], guides, mask_ratio=0.4
    )
    assert not steps[~mask].any()
    assert set(steps.sum(dim=1).tolist()) == {1, 2}
    assert abs(float(steps.sum()) / 12000 - 0.4) < 0.02
    assert abs(float(whole.sum()) / 4000 - 0.4) < 0.03


def test_clips_without_any_source_have_zero_loss():
    batch, _ = clips_of_kinds()
    pretext = masked_modelling(fusion_of())
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
    model = untrained(
        "semmim", dataset.shapes, {"width": 16, "epochs": 15, "alignment_epochs": 5}, CLASSES
    )
    computed = set()
    for layer in model.modules():
        if isinstance(layer, torch.nn.Linear):
            layer.register_forward_hook(lambda _, inputs, output: computed.add(output.dtype))
    losses = pretraining.pretrain(
        model, dataset, np.arange(CLIPS), np.random.default_rng(0), params
    )
    assert computed == {getattr(torch, precision)}
    alignment, modelling = losses[:5], losses[5:]
    assert alignment[-1] < 0.7 * alignment[0]
    assert np.mean(modelling[-3:]) < 0.8 * np.mean(modelling[1:4])
    assert all(weight.dtype == torch.float32 for weight in model.state_dict().values())


def test_zero_epochs_turn_pretraining_off():
    assert list(fusion_of(epochs=0).pretext_tasks()) == []
    assert [task.epochs for task in fusion_of(epochs=3).pretext_tasks()] == [20, 3]
    assert [task.epochs for task in fusion_of(alignment_epochs=0).pretext_tasks()] == [5]


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
