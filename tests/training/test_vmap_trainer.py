"""Folds and seeds trained together with vmap give the same models as trained one at a time."""

import logging
import pickle
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from corpus import SOURCES, make_corpus
from torch import nn

from ecmf import registry
from ecmf.data.features import Source
from ecmf.data.splits import Fold
from ecmf.errors import UserError
from ecmf.execution import device
from ecmf.fusion import base, concat
from ecmf.params import TrainFusion
from ecmf.training import cross_validation, run_trainer, shared_memory, vmap_trainer
from ecmf.training.dataset import Dataset
from ecmf.training.fold_runs import plan_runs
from ecmf.training.prediction import predict
from ecmf.training.targets import class_targets
from ecmf.training.trainer import fit

MODELS = registry.names("fusion")
SLOW = ("aimdit", "dualkanba", "egmf", "jmt", "mdat", "misa", "mult", "semmim")
"""Models whose steps take several times those of the others."""
WHERE = torch.device(device.torch_device())
"""With ECMF_DEVICE=cuda, all tests of this file run on a GPU."""

WITHOUT_RANDOMNESS = {
    "mult": {"input_dropout": 0.0},
    "ramer": {"shuffle": 0.0},
    "semmim": {"epochs": 0},
}
"""Options that turn off the random draws and the pretraining of a model."""

NOT_VMAPPABLE = {"semmim": "it pretrains without labels first"}
"""Models that are trained one run at a time with their default options, and why."""

CLIPS = 140
SEEDS = (0, 1, 2, 3)
ALL_CLIPS = np.arange(CLIPS)
FOLDS = [
    Fold(0, k, np.delete(ALL_CLIPS[: 127 - k], np.s_[k::4]), ALL_CLIPS[k::4], ALL_CLIPS[:0])
    for k in range(4)
]
PARAMS = TrainFusion(
    model="concat",
    options={
        "baseline": {"width": 16, "dropout": 0.0},
        "concat": {"width": 16, "dropout": 0.0},
        "ecmf": {"width": 16, "dropout": 0.0},
    },
    epochs=12,
    patience=3,
    batch_size=16,
    modality_dropout=0.0,
    input_dropout=False,
    mixup=0.4,
)


def random_source(name, dim, steps, truth, rng):
    """Random rows that correlate with the truth; some clips have none.

    No batch has clips of one step alone: the pooling would have no gradient in it, unless other
    runs of the group have longer clips.
    """
    counts = rng.integers(min(2, steps), steps + 1, CLIPS)
    counts[rng.integers(0, CLIPS, 9)] = 0
    starts = np.concatenate([[0], np.cumsum(counts)])
    values = rng.normal(size=(starts[-1], dim)).astype("float32")
    values[:, 0] += np.repeat(truth, counts)
    return Source(name, values, starts, {})


@pytest.fixture(scope="module")
def data():
    """The features and targets of all clips."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, CLIPS)
    sources = [
        random_source("frame/a", 5, 6, truth, rng),
        random_source("face/b", 7, 3, truth, rng),
        random_source("audio/c", 3, 1, truth, rng),
    ]
    class_probs = np.eye(3, dtype="float32")[truth]
    weight = rng.uniform(0.5, 1.5, CLIPS).astype("float32")
    return Dataset(sources, WHERE), class_targets(class_probs, weight)


@pytest.fixture(scope="module")
def data_of_all_branches(data):
    """The same clips with all branches, of several steps each: every pooling has a gradient."""
    rng = np.random.default_rng(1)
    dims = {"frame/a": 5, "face/b": 7, "audio/c": 3, "text/d": 4}
    truth = data[1].values["class_probs"].argmax(axis=1)
    sources = [random_source(name, dim, 3, truth, rng) for name, dim in dims.items()]
    return Dataset(sources, WHERE), data[1]


def fit_both_ways(data, params, folds=FOLDS):
    """All runs together with vmap, and one at a time."""
    dataset, targets = data
    seeds = SEEDS[: len(folds)]
    together = vmap_trainer.fit_vmap(dataset, targets, folds, seeds, params)
    alone = [
        fit(dataset, targets, fold, seed, params) for fold, seed in zip(folds, seeds, strict=True)
    ]
    return together, alone


def assert_alike(together, alone, dataset):
    for one, other in zip(together, alone, strict=True):
        ours, theirs = np.array(one.history, float), np.array(other.history, float)
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
        probs = [predict(each.model, dataset, ALL_CLIPS).outputs for each in (one, other)]
        np.testing.assert_allclose(*probs, atol=1e-4)
        for (name, mine), yours in zip(
            one.model.state_dict().items(), other.model.state_dict().values(), strict=True
        ):
            # A bias of the keys has no gradient but rounding, which AdamW makes as large as any.
            if not name.endswith("in_proj_bias"):
                torch.testing.assert_close(mine, yours, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("model", ["ecmf", "baseline", "concat"])
def test_vmap_gives_the_same_models_as_one_run_at_a_time(model, data, caplog):
    together, alone = fit_both_ways(data, PARAMS.model_copy(update={"model": model}))
    assert_alike(together, alone, data[0])
    assert len({len(fitted.history) for fitted in alone}) > 1  # they stop at different epochs
    assert not caplog.records  # no fallback to one run at a time


@pytest.mark.parametrize("model", MODELS)
def test_vmap_gives_the_same_models_for_every_fusion(model, data_of_all_branches, caplog):
    width = {"width": 8} if "width" in registry.load("fusion", model).Options.model_fields else {}
    options = {model: {"dropout": 0.0, **width, **WITHOUT_RANDOMNESS.get(model, {})}}
    params = PARAMS.model_copy(update={"model": model, "options": options, "epochs": 2})
    assert_alike(*fit_both_ways(data_of_all_branches, params, FOLDS[:2]), data_of_all_branches[0])
    assert not caplog.records


@pytest.mark.parametrize(
    "change",
    [
        {"mixup": 0.0},
        {"gradient_clip": 0.1},
        {"weight_ema": 0.9},
        {"label_smoothing": 0.2, "class_weights": True},
        {"schedule": "cosine"},
        {"standardise": "none"},
        {"batch_size": 200},
    ],
    ids=str,
)
def test_every_parameter_has_the_same_effect_under_vmap(change, data, caplog):
    params = PARAMS.model_copy(update={"epochs": 4, **change})
    together, alone = fit_both_ways(data, params)
    assert_alike(together, alone, data[0])
    assert not caplog.records


@pytest.mark.parametrize(
    "model",
    [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in MODELS],
)
def test_half_precision_has_the_same_effect_under_vmap_but_for_rounding(
    model, data_of_all_branches, caplog
):
    options = {model: {"dropout": 0.0, **WITHOUT_RANDOMNESS.get(model, {})}}
    change = {"model": model, "options": options, "epochs": 3}
    full = PARAMS.model_copy(update=change)
    half = full.model_copy(update={"precision": "bfloat16"})
    together, alone = fit_both_ways(data_of_all_branches, half, FOLDS[:2])
    for one, other in zip(together, alone, strict=True):
        ours, theirs = (
            np.array([epoch.train_loss for epoch in way.history]) for way in (one, other)
        )
        fall = theirs[0] - theirs[-1]
        assert fall > 0.1 * theirs[0]
        np.testing.assert_allclose(ours, theirs, atol=0.1 * fall)
    assert not caplog.records
    precise = vmap_trainer.fit_vmap(*data_of_all_branches, FOLDS[:2], SEEDS[:2], full)
    assert precise[0].history != together[0].history


def test_runs_without_validation_clips_are_trained_for_all_epochs(data):
    folds = [replace(fold, validation=fold.validation[:0]) for fold in FOLDS]
    together, alone = fit_both_ways(data, PARAMS.model_copy(update={"epochs": 5}), folds)
    assert_alike(together, alone, data[0])
    assert [epoch.validation_score for epoch in together[0].history] == [None] * 5


class Watching(concat.Fusion):
    """Asserts that convolutions on a GPU do not use TF32, with its 10 bits."""

    def forward(self, batch, target=None):
        assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.allow_tf32
        return super().forward(batch, target)


def test_a_gpu_convolves_float32_in_float32_when_it_trains_and_predicts(data, monkeypatch, caplog):
    assert torch.backends.cudnn.allow_tf32
    monkeypatch.setattr(concat, "Fusion", Watching)
    together, _ = fit_both_ways(data, PARAMS.model_copy(update={"epochs": 1}))
    predict(together[0].model, data[0], ALL_CLIPS)
    assert not caplog.records
    assert torch.backends.cudnn.allow_tf32


class Comparing(concat.Fusion):
    """Has a loss that depends on all clips of the batch that have a source."""

    def forward(self, batch, target=None):
        output = super().forward(batch, target)
        some = batch.presence().any(dim=1, keepdim=True)
        mean = (output.logits * some).sum(dim=0) / some.sum()
        return replace(output, losses={"apart": (output.logits - mean).square().sum(dim=1)})


def test_padding_clips_do_not_change_the_loss(data, monkeypatch, caplog):
    monkeypatch.setattr(concat, "Fusion", Comparing)
    dataset, targets = data
    few = replace(targets, weight=np.where(ALL_CLIPS < 62, targets.weight, 0).astype("float32"))
    sizes = [int((few.weight[fold.train] > 0).sum()) for fold in FOLDS]
    assert sizes == [46, 46, 47, 47]  # three batches, some of 15 clips beside some of 16
    assert_alike(*fit_both_ways((dataset, few), PARAMS.model_copy(update={"epochs": 3})), dataset)
    assert not caplog.records


@pytest.mark.parametrize("model", MODELS)
def test_every_model_learns_with_its_dropout_under_vmap_or_logs_why_not(model, data, caplog):
    dataset, targets = data
    params = TrainFusion(model=model, epochs=4, batch_size=16)
    fitted = vmap_trainer.fit_vmap(dataset, targets, FOLDS[:2], SEEDS[:2], params)
    messages = [record.getMessage() for record in caplog.records]
    reason = NOT_VMAPPABLE.get(model)
    assert messages == ([f"{model} is trained one run at a time: {reason}"] if reason else [])
    for result in fitted:
        assert result.history[-1].train_loss < result.history[0].train_loss
    state, other = (result.model.state_dict() for result in fitted)
    assert not all(torch.equal(state[name], other[name]) for name in state)


def test_with_dropout_vmap_learns_as_well_as_one_run_at_a_time(data):
    params = TrainFusion(model="ecmf", options={"ecmf": {"width": 16}}, epochs=15, batch_size=16)
    together, alone = (
        np.mean([max(epoch.validation_score for epoch in one.history) for one in way])
        for way in fit_both_ways(data, params)
    )
    assert min(together, alone) > 0.6 and abs(together - alone) < 0.08


def test_the_runs_of_a_group_draw_their_own_dropout(data):
    dataset, targets = data
    params = PARAMS.model_copy(
        update={"epochs": 1, "mixup": 0.0, "options": {"concat": {"dropout": 0.5}}}
    )
    twins = [replace(FOLDS[0], validation=ALL_CLIPS[:0])] * 2
    one, other = vmap_trainer.fit_vmap(dataset, targets, twins, (0, 0), params)
    assert one.history != other.history
    params = params.model_copy(update={"options": {"concat": {"dropout": 0.0}}})
    one, other = vmap_trainer.fit_vmap(dataset, targets, twins, (0, 0), params)
    assert one.history == other.history


class Tempered(concat.Fusion):
    """Has a scalar parameter."""

    def __init__(self, *args):
        super().__init__(*args)
        self.temperature = nn.Parameter(torch.tensor(1.0))

    def forward(self, batch, target=None):
        output = super().forward(batch, target)
        return replace(output, logits=output.logits * self.temperature)


def test_a_parameter_may_be_a_scalar(data, monkeypatch, caplog):
    monkeypatch.setattr(concat, "Fusion", Tempered)
    assert_alike(
        *fit_both_ways(data, PARAMS.model_copy(update={"epochs": 3, "gradient_clip": 0.1})), data[0]
    )
    assert not caplog.records


class DataDependent(concat.Fusion):
    """Depends on a Python number computed from the data, which vmap does not support."""

    def forward(self, batch, target=None):
        output = super().forward(batch, target)
        assert np.isfinite(output.logits.sum().item())
        return output


class Pretrained(concat.Fusion):
    """Has a pretext task."""

    def pretext_tasks(self):
        yield Pretext(self)


class Pretext(base.PretextTask):
    epochs = 1

    def __init__(self, fusion):
        super().__init__()
        self.classifier = nn.Linear(fusion.projection.linear[0].out_features * 3, 1)
        self.projection = fusion.projection

    def forward(self, batch):
        return self.classifier(self.projection(batch).flatten(1)).square().squeeze(1)


@pytest.mark.parametrize(
    ("fusion", "reason"),
    [(DataDependent, r"vmap failed \(RuntimeError: .*item"), (Pretrained, "pretrains without")],
)
def test_a_model_that_vmap_does_not_support_is_trained_one_run_at_a_time(
    fusion, reason, data, monkeypatch, caplog
):
    monkeypatch.setattr(concat, "Fusion", fusion)
    with caplog.at_level(logging.WARNING):
        together, alone = fit_both_ways(data, PARAMS.model_copy(update={"epochs": 2}))
    (record,) = caplog.records
    assert re.search(reason, record.getMessage())
    for one, other in zip(together, alone, strict=True):
        assert one.history == other.history


def test_only_runs_with_equal_numbers_of_batches_are_grouped_and_not_more_than_fit():
    assert vmap_trainer.group_runs([7, 6, 7, 7, 6, 7, 7], max_size=3) == [[0, 2, 3], [5, 6], [1, 4]]
    assert vmap_trainer.group_runs([7, 7], max_size=1) == [[0], [1]]


def test_runs_with_different_numbers_of_batches_are_refused(data):
    shorter = replace(FOLDS[1], train=FOLDS[1].train[:40])
    with pytest.raises(ValueError, match=r"the runs of a group have \[3, 6\] batches"):
        vmap_trainer.fit_vmap(*data, [FOLDS[0], shorter], (0, 1), PARAMS)


def test_the_size_of_a_group_is_limited_by_its_longest_clips(monkeypatch):
    starts = np.array([0, 10, 10, 14])
    source = Source("face/b", np.zeros((14, 6), "float32"), starts, {})
    monkeypatch.setattr(vmap_trainer, "BYTES_PER_GROUP", 5 * 32 * 10 * 6 * 4)
    assert vmap_trainer.max_group_size([source], batch_size=32) == 5
    assert vmap_trainer.max_group_size([source, source], batch_size=32) == 2
    assert vmap_trainer.max_group_size([source], batch_size=3200) == 1


def test_vmap_is_used_on_a_gpu_and_not_on_a_cpu_unless_the_environment_overrides_it(monkeypatch):
    monkeypatch.delenv("ECMF_VMAP", raising=False)
    for where, default in (("cpu", False), ("cuda:1", True)):
        monkeypatch.setenv("ECMF_DEVICE", where)
        assert vmap_trainer.enabled() == default
        for value in ("0", "1"):
            with monkeypatch.context() as patch:
                patch.setenv("ECMF_VMAP", value)
                assert vmap_trainer.enabled() == (value == "1")
    monkeypatch.setenv("ECMF_VMAP", "yes")
    with pytest.raises(UserError, match="ECMF_VMAP is 'yes': set it to 1 to train"):
        vmap_trainer.enabled()


OF_A_CORPUS = TrainFusion(
    model="concat",
    options={"concat": {"width": 16}},
    folds=3,
    refit=False,
    seeds=(0, 1),
    epochs=2,
    batch_size=16,
)


def train_all(corpus, monkeypatch, folder, *, workers=1, vmap="1"):
    """Names and weights of all runs, in the order in which they come."""
    monkeypatch.setenv("ECMF_CACHE", str(folder))
    monkeypatch.setenv("ECMF_WORKERS", str(workers))
    monkeypatch.setenv("ECMF_VMAP", vmap)
    paths, clips = SOURCES.paths(corpus.features), corpus.clips
    classes = sorted({clip.label for clip in clips if clip.label})
    class_probs = np.array([[clip.label == name for name in classes] for clip in clips], "float32")
    weight = np.array([bool(clip.label) for clip in clips], "float32")
    finished = cross_validation.train_all(
        paths, clips, class_targets(class_probs, weight), OF_A_CORPUS
    )
    return [(trained.run.name, trained.weights.read_bytes()) for trained in finished]


def test_a_group_with_a_missing_run_is_trained_again_to_the_same_bytes(tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path)
    monkeypatch.setattr(vmap_trainer, "BYTES_PER_GROUP", 3 * 16 * (3 * 4 + 3 * 4) * 4)
    trained, fit_vmap = [], run_trainer.fit_vmap
    monkeypatch.setattr(
        run_trainer, "fit_vmap", lambda *args: trained.append(args[3]) or fit_vmap(*args)
    )
    first = train_all(corpus, monkeypatch, tmp_path / "cache")
    planned = [run.name for run in plan_runs(corpus.clips, OF_A_CORPUS)]
    assert [name for name, _ in first] == planned and trained == [[0, 0, 0], [1, 1, 1]]
    (lost,) = (tmp_path / "cache").rglob("seed1-round0-fold1.safetensors")
    lost.unlink()
    assert train_all(corpus, monkeypatch, tmp_path / "cache") == first
    assert trained == [[0, 0, 0], [1, 1, 1], [1, 1, 1]]


def test_trainings_with_and_without_vmap_are_cached_apart(tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path)
    vmapped, alone = (
        train_all(corpus, monkeypatch, tmp_path / "cache", vmap=value) for value in "10"
    )
    assert [name for name, _ in vmapped] == [name for name, _ in alone]
    assert all(one != other for (_, one), (_, other) in zip(vmapped, alone, strict=True))


def test_the_number_of_workers_changes_no_byte_under_vmap(tmp_path, monkeypatch):
    monkeypatch.setenv("ECMF_DEVICE", "cpu")  # a GPU has one process
    corpus = make_corpus(tmp_path)
    monkeypatch.setattr(vmap_trainer, "BYTES_PER_GROUP", 3 * 16 * (3 * 4 + 3 * 4) * 4)
    calls = []
    monkeypatch.setattr(
        cross_validation,
        "share_memory",
        lambda *args: calls.append(args) or shared_memory.share_memory(*args),
    )
    one, two = (
        train_all(corpus, monkeypatch, tmp_path / str(workers), workers=workers)
        for workers in (1, 2)
    )
    assert one == two
    assert len(calls) == 1  # a single process shares nothing


def test_shared_sources_have_the_same_values_in_other_processes_and_leave_no_file(tmp_path):
    rng = np.random.default_rng(0)
    full = random_source("face/b", 4, 3, np.zeros(CLIPS), rng)
    empty = Source("text/d", np.zeros((0, 5), "float32"), np.zeros(CLIPS + 1, "int64"), {"a": 1})
    with shared_memory.share_memory(tmp_path) as memory:
        sources = []
        for source in (full, empty):
            values = memory.allocate(source.values.shape)
            values[:] = source.values
            sources.append(memory.share(replace(source, values=values)))
        pickled = pickle.dumps(sources)
        assert len(pickled) < 2 * full.starts.nbytes + full.values.nbytes
        assert full.values.tobytes() not in pickled
        for source, copy in zip((full, empty), pickle.loads(pickled), strict=True):
            np.testing.assert_array_equal(copy.values, source.values)
            np.testing.assert_array_equal(copy.starts, source.starts)
            assert (copy.name, copy.provenance) == (source.name, source.provenance)
        copy = pickle.loads(pickled)[0]
        copy.values[:] = 0  # copy on write: no other process sees it
        np.testing.assert_array_equal(sources[0].values, full.values)
        assert not list(tmp_path.iterdir())
        path = Path(sources[0].path)
    assert not path.exists()
