"""Every fusion model fulfils the interface of `fusion/base.py`."""

import numpy as np
import pytest
import torch
from made_clips import class_target, untrained
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn.functional import pad
from torch.nn.modules.module import register_module_forward_hook

from ecmf import registry
from ecmf.data.features import Source
from ecmf.data.splits import Fold
from ecmf.execution import device
from ecmf.fusion.base import Batch
from ecmf.params import TrainFusion
from ecmf.training.dataset import Dataset
from ecmf.training.prediction import predict
from ecmf.training.targets import class_targets
from ecmf.training.trainer import fit

MODELS = [*registry.names("fusion"), registry.EXAMPLE]
SLOW = (
    "aimdit", "cfn_sr", "dualkanba", "egmf", "jmt", "mdat", "misa", "mmim", "mult", "ramer",
    "semmim", "sync_tva",
)  # fmt: skip
"""Models whose steps take several times those of the others."""

QUICK_FIRST = [
    pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in MODELS
]
SMALLER = {"mult": {"layers": 1, "input_dropout": 0.0}}
"""Options of models whose defaults are too large for quick tests."""
DEVICE = torch.device(device.torch_device())
"""ECMF_DEVICE=cuda runs all of these tests on a GPU."""

CLASSES = 4
CLIPS = 16


def make_source(name, dim, rng, most_steps=3, absent=(), fewest_steps=1):
    counts = rng.integers(fewest_steps, most_steps + 1, CLIPS)
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
        make_source("frame/a", 5, rng, most_steps=6),
        make_source("face/b", 7, rng, absent=(3, 9)),
        make_source("audio/c", 3, rng, most_steps=4, absent=(3, 5)),
        make_source("text/d", 4, rng, most_steps=2, absent=(3, 5, 11)),
    ]
    return Dataset(sources, DEVICE)


def build_model(name, dataset, seed=1, **options):
    options = SMALLER.get(name, {}) | options
    return untrained(name, dataset.shapes, options, seed=seed).to(DEVICE).eval()


def all_clips():
    return torch.arange(CLIPS)


def make_target():
    """Classes in turn, and a valence of every second clip."""
    valence = torch.linspace(-2, 2, CLIPS, device=DEVICE)
    valence[::2] = torch.nan
    return class_target(torch.eye(CLASSES, device=DEVICE)[torch.arange(CLIPS) % CLASSES], valence)


@pytest.mark.parametrize("name", MODELS)
def test_one_row_of_finite_logits_per_clip(name, dataset):
    output = build_model(name, dataset)(dataset.batch(all_clips()))
    assert output.logits.shape == (CLIPS, CLASSES)
    assert output.logits.isfinite().all()
    if output.weights is not None:
        assert output.weights.shape == (CLIPS, 4)
    for values in output.dimensions.values():
        assert values.shape == (CLIPS,) and values.isfinite().all()


@pytest.mark.parametrize("name", MODELS)
def test_the_shapes_of_its_weights_are_known_before_they_take_memory(name, dataset):
    with torch.device("meta"):
        expected = untrained(name, dataset.shapes, SMALLER.get(name)).state_dict()
    found = build_model(name, dataset).state_dict()
    assert {key: value.shape for key, value in expected.items()} == {
        key: value.shape for key, value in found.items()
    }


@pytest.mark.parametrize("name", MODELS)
def test_logits_of_a_clip_do_not_depend_on_other_clips_of_the_batch(name, dataset):
    model = build_model(name, dataset)
    together = model(dataset.batch(all_clips())).logits
    alone = torch.cat([model(dataset.batch(clip[None])).logits for clip in all_clips()])
    assert torch.allclose(together, alone, atol=1e-5)


def with_noise_in_the_padding(batch):
    noisy = {key: rows + 100 * ~batch.masks[key][..., None] for key, rows in batch.rows.items()}
    return Batch(noisy, batch.masks)


def test_the_model_sets_padding_to_zero(dataset):
    model = build_model("concat", dataset)
    model.set_scale(dataset.moments(np.arange(8)))
    batch = dataset.batch(all_clips())
    clean, noisy = model.standardise(batch), model.standardise(with_noise_in_the_padding(batch))
    for key, rows in clean.rows.items():
        assert torch.equal(rows, noisy.rows[key])
        assert (rows[~batch.masks[key]] == 0).all() and (rows[batch.masks[key]] != 0).all()


@pytest.mark.parametrize("name", MODELS)
def test_padding_values_change_no_output_even_if_they_are_not_zero(name, dataset):
    fusion = build_model(name, dataset).fusion
    batch = dataset.batch(all_clips())
    outputs = []
    for inputs in (batch, with_noise_in_the_padding(batch)):
        torch.manual_seed(0)  # a loss may draw random numbers
        output = fusion(inputs, make_target())
        tensors = {"logits": output.logits, "weights": output.weights, **output.dimensions}
        outputs.append({**tensors, **output.losses})
    for key, clean in outputs[0].items():
        noisy = outputs[1][key]
        assert clean is noisy is None or torch.allclose(clean, noisy, atol=1e-5), key


@pytest.mark.parametrize("name", MODELS)
def test_any_number_of_padded_steps_changes_no_logits(name, dataset):
    model = build_model(name, dataset)
    batch = dataset.batch(all_clips())
    longer = Batch(
        {key: pad(rows, (0, 0, 0, 3)) for key, rows in batch.rows.items()},
        {key: pad(mask, (0, 3)) for key, mask in batch.masks.items()},
    )
    for key, rows in longer.rows.items():
        rows[:, -3:] = torch.tensor([1.0, 2.0, 3.0])[torch.randperm(3)][:, None]
        assert not longer.masks[key][:, -3:].any()
    assert torch.allclose(model(batch).logits, model(longer).logits, atol=1e-5)


@pytest.mark.parametrize("name", MODELS)
def test_a_saved_and_loaded_model_gives_the_same_logits(name, dataset, tmp_path):
    model = build_model(name, dataset)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    loaded = build_model(name, dataset, seed=2)
    loaded.load_state_dict(load_file(tmp_path / "model.safetensors"))
    first, second = (m(dataset.batch(all_clips())).logits for m in (model, loaded))
    assert torch.equal(first, second)


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("count", [1, 6])
def test_any_number_of_sources_is_fused(name, count):
    rng = np.random.default_rng(1)
    branches = ("text", "frame", "face", "audio", "audio", "text")
    sources = [make_source(f"{branches[i]}/{i}", 3 + i, rng, absent=(i,)) for i in range(count)]
    dataset = Dataset(sources, DEVICE)
    output = build_model(name, dataset)(dataset.batch(all_clips()), make_target())
    assert output.logits.shape == (CLIPS, CLASSES) and output.logits.isfinite().all()
    assert all(loss.isfinite().all() for loss in output.losses.values())


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("hidden", range(16))
def test_any_subset_of_the_sources_may_be_absent(name, hidden, dataset):
    model = build_model(name, dataset)
    batch = dataset.batch(all_clips())
    masks = {
        key: mask & torch.tensor(not hidden >> number & 1)
        for number, (key, mask) in enumerate(batch.masks.items())
    }
    output = model(Batch(batch.rows, masks), make_target())
    assert output.logits.isfinite().all()
    for loss in output.losses.values():
        assert loss.shape == (CLIPS,) and loss.isfinite().all()
    if output.weights is not None:
        present = Batch(batch.rows, masks).presence()
        assert (output.weights[~present] == 0).all()


@pytest.mark.parametrize("name", MODELS)
def test_every_input_source_changes_the_logits_and_no_other_source_does(name, dataset):
    model = build_model(name, dataset)
    batch = dataset.batch(all_clips())
    before = model(batch).logits
    inputs = {source.name for source in model.fusion.input_sources}
    assert inputs
    for key, rows in batch.rows.items():
        torch.manual_seed(0)
        other = rows + batch.masks[key].unsqueeze(-1) * torch.randn_like(rows)
        after = model(Batch({**batch.rows, key: other}, batch.masks)).logits
        assert torch.equal(before, after) == (key not in inputs), key


@pytest.mark.parametrize("name", MODELS)
def test_gradients_reach_every_parameter(name, dataset):
    model = build_model(name, dataset).train()
    torch.manual_seed(0)
    batch = dataset.batch(all_clips())
    output = model(batch, make_target())
    for name_of_loss, loss in output.losses.items():
        assert loss.shape == (CLIPS,), name_of_loss
    total = output.logits.square().sum() + sum(map(torch.sum, output.losses.values()))
    for values in output.dimensions.values():
        total = total + values.square().sum()
    total.backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad is not None and parameter.grad.abs().sum() > 0, key


@pytest.fixture(scope="module")
def sequences():
    rng = np.random.default_rng(0)
    widths = {"frame/a": 5, "face/b": 7, "audio/c": 3, "text/d": 4}
    sources = [make_source(name, dim, rng, 6, fewest_steps=3) for name, dim in widths.items()]
    return Dataset(sources, DEVICE)


def shuffled(batch, name):
    """Shuffle the real steps of every clip of one source."""
    rows = batch.rows[name].clone()
    torch.manual_seed(0)
    for clip, steps in enumerate(batch.masks[name].sum(dim=1).tolist()):
        rows[clip, :steps] = rows[clip, torch.randperm(steps)]
    return Batch({**batch.rows, name: rows}, batch.masks)


@pytest.mark.parametrize("name", MODELS)
def test_the_order_of_steps_matters_to_an_order_aware_model_alone(name, sequences):
    model = build_model(name, sequences)
    batch = sequences.batch(all_clips())
    logits = model(batch).logits
    moved = [
        (model(shuffled(batch, source.name)).logits - logits).abs().max().item()
        for source in model.fusion.input_sources
    ]
    scale = logits.abs().max().item()
    if model.fusion.order_aware:
        assert max(moved) > 1e-3 * scale
    else:
        assert max(moved) < 1e-5 * max(scale, 1)


@pytest.mark.parametrize("name", MODELS)
def test_every_parameter_gets_a_gradient_from_sequences(name, sequences):
    model = build_model(name, sequences).train()
    target = make_target()
    torch.manual_seed(0)
    output = model(sequences.batch(all_clips()), target)
    (target.loss(output.logits).sum() + sum(map(torch.sum, output.losses.values()))).backward()
    idle = [k for k, p in model.named_parameters() if p.grad is None or not p.grad.any()]
    assert idle == []


def with_dropout(name, rate):
    """Return the options that set the dropout of a model, if it has any."""
    fields = registry.load("fusion", name).Options.model_fields
    dropout = {"dropout": rate} if "dropout" in fields else {}
    return SMALLER.get(name, {}) | dropout


@pytest.mark.parametrize("name", QUICK_FIRST)
def test_a_model_can_overfit_sixteen_clips(name, dataset):
    model = untrained(name, dataset.shapes, with_dropout(name, 0.0)).to(DEVICE)
    torch.manual_seed(0)
    truth = torch.arange(CLIPS, device=DEVICE) % CLASSES
    known = torch.tensor([clip for clip in range(CLIPS) if clip not in (3,)])
    target = class_target(torch.eye(CLASSES, device=DEVICE)[truth[known]])
    optimiser = torch.optim.Adam(model.parameters(), lr=3e-3)
    for _ in range(200):
        output = model(dataset.batch(known), target)
        loss = target.loss(output.logits).mean() + sum(map(torch.mean, output.losses.values()))
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    assert (model.eval()(dataset.batch(known)).logits.argmax(1) == truth[known]).all()


@pytest.mark.parametrize("name", QUICK_FIRST)
def test_in_half_precision_a_model_learns_to_separate_the_classes(name):
    rng = np.random.default_rng(0)
    truth = np.arange(64) % CLASSES
    sources = []
    for source, dim in {"frame/a": 5, "face/b": 7, "audio/c": 4, "text/d": 6}.items():
        counts = rng.integers(1, 4, len(truth))
        centres = 3 * rng.normal(size=(CLASSES, dim))
        rows = np.repeat(centres[truth], counts, axis=0) + rng.normal(size=(counts.sum(), dim))
        starts = np.concatenate([[0], np.cumsum(counts)])
        sources.append(Source(source, rows.astype("float32"), starts, {}))
    dataset = Dataset(sources, DEVICE)
    targets = class_targets(np.eye(CLASSES, dtype="float32")[truth], np.ones(len(truth), "float32"))
    learned, others = np.arange(32), np.arange(32, 64)
    fold = Fold(0, 0, learned, others[:0], others)
    params = TrainFusion(
        model=name,
        options={name: with_dropout(name, 0.1)},
        epochs=8,
        batch_size=8,
        learning_rate=0.002,
        modality_dropout=0.0,
        precision="bfloat16",
    )
    computed = set()
    with register_module_forward_hook(
        lambda layer, _, out: computed.add(out.dtype) if isinstance(layer, nn.Linear) else None
    ):
        fitted = fit(dataset, targets, fold, 0, params)
    assert computed == {torch.bfloat16}
    assert fitted.history[-1].train_loss < 0.5 * fitted.history[0].train_loss
    shares = predict(fitted.model, dataset, others).outputs
    assert np.mean(shares.argmax(axis=1) == truth[others]) > 0.9


@pytest.mark.parametrize("name", MODELS)
def test_the_same_seed_builds_the_same_model(name, dataset):
    batch = dataset.batch(all_clips())
    first, same_seed, other_seed = (
        build_model(name, dataset, seed=seed)(batch).logits for seed in (1, 1, 2)
    )
    assert torch.equal(first, same_seed) and not torch.equal(first, other_seed)


@pytest.mark.parametrize("switch", ["self_attention", "residual", "weighting", "keep_original"])
def test_every_switch_of_ecmf_changes_its_logits(switch, dataset):
    batch = dataset.batch(all_clips())
    on, off = (
        build_model("ecmf", dataset, **{switch: value})(batch).logits for value in (True, False)
    )
    assert on.shape == off.shape and not torch.allclose(on, off)


def test_the_source_loss_of_ecmf_scales_with_its_weight_and_needs_a_source(
    dataset,
):
    target = make_target()
    batch = dataset.batch(all_clips())
    once, twice = (
        build_model("ecmf", dataset, source_loss=weight)(batch, target).losses["source"]
        for weight in (1.0, 2.0)
    )
    assert torch.allclose(2 * once, twice)
    empty = ~batch.presence().any(dim=1)
    assert (once[empty] == 0).all() and (once[~empty] > 0).all()
    assert not build_model("ecmf", dataset, source_loss=0.0)(batch, target).losses
    assert not build_model("ecmf", dataset)(batch).losses


def test_the_weights_of_ecmf_over_the_present_sources_sum_to_one(dataset):
    batch = dataset.batch(all_clips())
    weights = build_model("ecmf", dataset)(batch).weights
    some = batch.presence().any(dim=1)
    assert torch.allclose(weights.sum(dim=1)[some], some[some].float())
    assert (weights >= 0).all()


def test_the_baseline_does_not_normalise_its_weights(dataset):
    weights = build_model("baseline", dataset)(dataset.batch(all_clips())).weights
    assert not torch.allclose(weights.sum(dim=1), torch.ones(CLIPS, device=DEVICE))


def test_inputs_are_scaled_by_the_training_clips(dataset):
    model = build_model("concat", dataset)
    model.set_scale(dataset.moments(np.arange(8)))
    first, other = dataset.moments(np.arange(8)), dataset.moments(np.arange(16))
    assert not torch.allclose(first[0][0], other[0][0])
    assert torch.equal(model.get_buffer("mean_0"), first[0][0])
