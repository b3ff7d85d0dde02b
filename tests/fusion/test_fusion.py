"""Every fusion model keeps the promise of `fusion/base.py`."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import pad
from torch.nn.modules.module import register_module_forward_hook

from ecmf import registry
from ecmf.data.features import Source
from ecmf.data.splits import Fold
from ecmf.execution import device
from ecmf.fusion.base import Batch, Target
from ecmf.params import TrainFusion
from ecmf.training.dataset import Dataset
from ecmf.training.model import build
from ecmf.training.targets import Targets
from ecmf.training.trainer import fit, predict

MEMBERS = registry.names("fusion")
WHERE = torch.device(device.of_torch())
"""A test run with ECMF_DEVICE=cuda asks all of this of a GPU."""

CLASSES = 4
CLIPS = 16


def made_source(name, dim, rng, most_steps=3, absent=()):
    counts = rng.integers(1, most_steps + 1, CLIPS)
    counts[list(absent)] = 0
    starts = np.concatenate([[0], np.cumsum(counts)])
    return Source(name, rng.normal(size=(starts[-1], dim)).astype("float32"), starts, {})


@pytest.fixture(autouse=True)
def exact_convolutions():
    with device.exact_convolutions():
        yield


@pytest.fixture(scope="module")
def dataset():
    rng = np.random.default_rng(0)
    sources = [
        made_source("frame/a", 5, rng, most_steps=6),
        made_source("face/b", 7, rng, absent=(3, 9)),
        made_source("audio/c", 3, rng, most_steps=4, absent=(3, 5)),
        made_source("text/d", 4, rng, most_steps=2, absent=(3, 5, 11)),
    ]
    return Dataset(sources, WHERE)


def model_of(name, dataset, **options):
    return build(name, options, dataset.shapes, CLASSES, seed=1).to(WHERE).eval()


def everyone():
    return torch.arange(CLIPS)


def made_target():
    """Classes in turn, and a valence of every second clip."""
    valence = torch.linspace(-2, 2, CLIPS, device=WHERE)
    valence[::2] = torch.nan
    return Target(torch.eye(CLASSES, device=WHERE)[torch.arange(CLIPS) % CLASSES], valence)


@pytest.mark.parametrize("name", MEMBERS)
def test_one_row_of_finite_logits_per_clip(name, dataset):
    output = model_of(name, dataset)(dataset.batch(everyone()))
    assert output.logits.shape == (CLIPS, CLASSES)
    assert output.logits.isfinite().all()
    if output.weights is not None:
        assert output.weights.shape == (CLIPS, 4)
    if output.valence is not None:
        assert output.valence.shape == (CLIPS,) and output.valence.isfinite().all()


@pytest.mark.parametrize("name", MEMBERS)
def test_what_a_clip_gets_does_not_depend_on_its_batch_mates(name, dataset):
    model = model_of(name, dataset)
    together = model(dataset.batch(everyone())).logits
    alone = torch.cat([model(dataset.batch(clip[None])).logits for clip in everyone()])
    assert torch.allclose(together, alone, atol=1e-5)


def with_noise_in_the_padding(batch):
    noisy = {key: rows + 100 * ~batch.masks[key][..., None] for key, rows in batch.rows.items()}
    return Batch(noisy, batch.masks)


def test_the_model_makes_padding_zeros(dataset):
    model = model_of("concat", dataset)
    model.set_scale(dataset.moments(np.arange(8)))
    batch = dataset.batch(everyone())
    clean, noisy = model.scaled(batch), model.scaled(with_noise_in_the_padding(batch))
    for key, rows in clean.rows.items():
        assert torch.equal(rows, noisy.rows[key])
        assert (rows[~batch.masks[key]] == 0).all() and (rows[batch.masks[key]] != 0).all()


@pytest.mark.parametrize("name", MEMBERS)
def test_what_stands_in_the_padding_changes_nothing_even_if_the_model_left_it(name, dataset):
    fusion = model_of(name, dataset).fusion
    batch = dataset.batch(everyone())
    outputs = []
    for given in (batch, with_noise_in_the_padding(batch)):
        torch.manual_seed(0)  # a loss may draw
        output = fusion(given, made_target())
        said = {"logits": output.logits, "weights": output.weights, "valence": output.valence}
        outputs.append({**said, **output.losses})
    for key, one in outputs[0].items():
        other = outputs[1][key]
        assert one is other is None or torch.allclose(one, other, atol=1e-5), key


@pytest.mark.parametrize("name", MEMBERS)
def test_padded_steps_may_stand_in_any_order_and_number(name, dataset):
    model = model_of(name, dataset)
    batch = dataset.batch(everyone())
    longer = Batch(
        {key: pad(rows, (0, 0, 0, 3)) for key, rows in batch.rows.items()},
        {key: pad(mask, (0, 3)) for key, mask in batch.masks.items()},
    )
    for key, rows in longer.rows.items():
        rows[:, -3:] = torch.tensor([1.0, 2.0, 3.0])[torch.randperm(3)][:, None]
        assert not longer.masks[key][:, -3:].any()
    assert torch.allclose(model(batch).logits, model(longer).logits, atol=1e-5)


@pytest.mark.parametrize("name", MEMBERS)
def test_saved_and_loaded_it_says_the_same(name, dataset, tmp_path):
    model = model_of(name, dataset)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    again = build(name, {}, dataset.shapes, CLASSES, seed=2).to(WHERE).eval()
    again.load_state_dict(load_file(tmp_path / "model.safetensors"))
    first, second = (one(dataset.batch(everyone())).logits for one in (model, again))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("count", [1, 6])
def test_any_number_of_sources_is_fused(name, count):
    rng = np.random.default_rng(1)
    branches = ("text", "frame", "face", "audio", "audio", "text")
    made = [made_source(f"{branches[i]}/{i}", 3 + i, rng, absent=(i,)) for i in range(count)]
    found = Dataset(made, WHERE)
    output = model_of(name, found)(found.batch(everyone()), made_target())
    assert output.logits.shape == (CLIPS, CLASSES) and output.logits.isfinite().all()
    assert all(loss.isfinite().all() for loss in output.losses.values())


@pytest.mark.parametrize("name", MEMBERS)
@pytest.mark.parametrize("hidden", range(16))
def test_any_subset_of_the_sources_may_be_absent(name, hidden, dataset):
    model = model_of(name, dataset)
    batch = dataset.batch(everyone())
    masks = {
        key: mask & torch.tensor(not hidden >> number & 1)
        for number, (key, mask) in enumerate(batch.masks.items())
    }
    output = model(Batch(batch.rows, masks), made_target())
    assert output.logits.isfinite().all()
    for loss in output.losses.values():
        assert loss.shape == (CLIPS,) and loss.isfinite().all()
    if output.weights is not None:
        present = Batch(batch.rows, masks).present()
        assert (output.weights[~present] == 0).all()


@pytest.mark.parametrize("name", MEMBERS)
def test_every_source_that_is_said_to_be_read_changes_what_is_said_and_no_other(name, dataset):
    model = model_of(name, dataset)
    batch = dataset.batch(everyone())
    before = model(batch).logits
    read = {source.name for source in model.fusion.read}
    assert read
    for key, rows in batch.rows.items():
        torch.manual_seed(0)
        other = rows + batch.masks[key].unsqueeze(-1) * torch.randn_like(rows)
        after = model(Batch({**batch.rows, key: other}, batch.masks)).logits
        assert torch.equal(before, after) == (key not in read), key


@pytest.mark.parametrize("name", MEMBERS)
def test_gradients_reach_every_parameter(name, dataset):
    model = model_of(name, dataset).train()
    torch.manual_seed(0)
    batch = dataset.batch(everyone())
    output = model(batch, made_target())
    for name_of_loss, loss in output.losses.items():
        assert loss.shape == (CLIPS,), name_of_loss
    total = output.logits.square().sum() + sum(map(torch.sum, output.losses.values()))
    if output.valence is not None:
        total = total + output.valence.square().sum()
    total.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key


@pytest.mark.parametrize("name", MEMBERS)
def test_it_can_learn_sixteen_clips_by_heart(name, dataset):
    model = build(name, {"dropout": 0.0}, dataset.shapes, CLASSES, seed=1).to(WHERE)
    torch.manual_seed(0)
    truth = torch.arange(CLIPS, device=WHERE) % CLASSES
    known = torch.tensor([clip for clip in range(CLIPS) if clip not in (3,)])
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(200):
        loss = torch.nn.functional.cross_entropy(model(dataset.batch(known)).logits, truth[known])
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (model.eval()(dataset.batch(known)).logits.argmax(1) == truth[known]).all()


@pytest.mark.parametrize("name", MEMBERS)
def test_in_half_precision_it_learns_to_tell_classes_apart(name):
    rng = np.random.default_rng(0)
    truth = np.arange(64) % CLASSES
    sources = []
    for source, dim in {"frame/a": 5, "face/b": 7, "audio/c": 4, "text/d": 6}.items():
        counts = rng.integers(1, 4, len(truth))
        signs = 3 * rng.normal(size=(CLASSES, dim))
        rows = np.repeat(signs[truth], counts, axis=0) + rng.normal(size=(counts.sum(), dim))
        starts = np.concatenate([[0], np.cumsum(counts)])
        sources.append(Source(source, rows.astype("float32"), starts, {}))
    told = Dataset(sources, WHERE)
    targets = Targets(np.eye(CLASSES, dtype="float32")[truth], np.ones(len(truth), "float32"))
    learned, others = np.arange(32), np.arange(32, 64)
    fold = Fold(0, 0, learned, others[:0], others)
    params = TrainFusion(
        model=name,
        options={name: {"dropout": 0.1}},
        epochs=8,
        batch=8,
        learning_rate=0.002,
        modality_dropout=0.0,
        precision="bfloat16",
    )
    computed = set()
    with register_module_forward_hook(
        lambda layer, _, made: computed.add(made.dtype) if isinstance(layer, nn.Linear) else None
    ):
        fitted = fit(told, targets, fold, 0, params)
    assert computed == {torch.bfloat16}
    assert fitted.history[-1].train_loss < 0.5 * fitted.history[0].train_loss
    shares = predict(fitted.model, told, others).probabilities
    assert np.mean(shares.argmax(axis=1) == truth[others]) > 0.9


@pytest.mark.parametrize("name", MEMBERS)
def test_the_same_seed_builds_the_same_model(name, dataset):
    batch = dataset.batch(everyone())
    first, again, other = (
        build(name, {}, dataset.shapes, CLASSES, seed).to(WHERE).eval()(batch).logits
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again) and not torch.equal(first, other)


@pytest.mark.parametrize("switch", ["self_attention", "residual", "weighting", "keep_original"])
def test_every_switch_of_ecmf_changes_what_it_says(switch, dataset):
    batch = dataset.batch(everyone())
    on, off = (
        model_of("ecmf", dataset, **{switch: value})(batch).logits for value in (True, False)
    )
    assert on.shape == off.shape and not torch.allclose(on, off)


def test_the_source_loss_of_ecmf_asks_each_present_source_alone(dataset):
    target = made_target()
    batch = dataset.batch(everyone())
    once, twice = (
        model_of("ecmf", dataset, source_loss=weight)(batch, target).losses["source"]
        for weight in (1.0, 2.0)
    )
    assert torch.allclose(2 * once, twice)
    nobody = ~batch.present().any(dim=1)
    assert (once[nobody] == 0).all() and (once[~nobody] > 0).all()
    assert not model_of("ecmf", dataset, source_loss=0.0)(batch, target).losses
    assert not model_of("ecmf", dataset)(batch).losses


def test_ecmf_weighs_the_present_sources_and_its_weights_sum_to_one(dataset):
    batch = dataset.batch(everyone())
    weights = model_of("ecmf", dataset)(batch).weights
    some = batch.present().any(dim=1)
    assert torch.allclose(weights.sum(dim=1)[some], some[some].float())
    assert (weights >= 0).all()


def test_the_baseline_does_not_normalise_its_weights(dataset):
    weights = model_of("baseline", dataset)(dataset.batch(everyone())).weights
    assert not torch.allclose(weights.sum(dim=1), torch.ones(CLIPS, device=WHERE))


def test_inputs_are_scaled_by_the_training_clips(dataset):
    model = model_of("concat", dataset)
    model.set_scale(dataset.moments(np.arange(8)))
    first, again = dataset.moments(np.arange(8)), dataset.moments(np.arange(16))
    assert not torch.allclose(first[0][0], again[0][0])
    assert torch.equal(model.get_buffer("mean_0"), first[0][0])
