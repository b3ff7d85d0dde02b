"""Folds and seeds trained as one program become what they become one by one."""

import logging
import math
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
from ecmf.fusion.layers import dropout
from ecmf.params import TrainFusion
from ecmf.training import cross_validation, shared_memory, vmap_trainer
from ecmf.training.dataset import Dataset
from ecmf.training.targets import Targets
from ecmf.training.trainer import fit, predict

MEMBERS = registry.names("fusion")
WHERE = torch.device(device.of_torch())
"""A test run with ECMF_DEVICE=cuda asks all of this of a GPU."""

WITHOUT_CHANCE = {"ramer": {"shuffle": 0.0}, "semmim": {"epochs": 0}}
"""What must be off for a member to draw nothing and to practise nothing."""

NOT_STACKED = {"semmim": "practises without labels first"}
"""Members that are trained run by run with their own options, and why; all others are stacked."""

CLIPS = 140
SEEDS = (0, 1, 2, 3)
EVERYONE = np.arange(CLIPS)
FOLDS = [
    Fold(0, k, np.delete(EVERYONE[: 127 - k], np.s_[k::4]), EVERYONE[k::4], EVERYONE[:0])
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
    batch=16,
    modality_dropout=0.0,
    mixup=0.4,
)


def made_source(name, dim, steps, truth, rng):
    """Rows that tell a little of the truth; some clips have none.

    No batch is of clips with one step alone: nothing would be weighed in it, and so nothing learned
    of how to weigh, unless other runs of the stack have longer clips.
    """
    counts = rng.integers(min(2, steps), steps + 1, CLIPS)
    counts[rng.integers(0, CLIPS, 9)] = 0
    starts = np.concatenate([[0], np.cumsum(counts)])
    values = rng.normal(size=(starts[-1], dim)).astype("float32")
    values[:, 0] += np.repeat(truth, counts)
    return Source(name, values, starts, {})


@pytest.fixture(scope="module")
def made():
    """The features of all clips, and what they are to be."""
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, CLIPS)
    sources = [
        made_source("frame/a", 5, 6, truth, rng),
        made_source("face/b", 7, 3, truth, rng),
        made_source("audio/c", 3, 1, truth, rng),
    ]
    soft = np.eye(3, dtype="float32")[truth]
    weight = rng.uniform(0.5, 1.5, CLIPS).astype("float32")
    return Dataset(sources, WHERE), Targets(soft, weight)


@pytest.fixture(scope="module")
def made_for_any(made):
    """The same clips with all branches, none of which has one step alone, with nothing to weigh."""
    rng = np.random.default_rng(1)
    dims = {"frame/a": 5, "face/b": 7, "audio/c": 3, "text/d": 4}
    truth = made[1].soft.argmax(axis=1)
    sources = [made_source(name, dim, 3, truth, rng) for name, dim in dims.items()]
    return Dataset(sources, WHERE), made[1]


@pytest.fixture
def without_dropout(monkeypatch):
    """All that `dropout` and `modality_dropout` leave."""
    monkeypatch.setattr(dropout, "LEAST_SHARE", 0.0)
    monkeypatch.setattr(dropout, "NUMBERS_READ", math.inf)


exact = pytest.mark.usefixtures("without_dropout")


def both_ways(made, params, folds=FOLDS):
    """All runs as one program, and one by one."""
    dataset, targets = made
    seeds = SEEDS[: len(folds)]
    together = vmap_trainer.fit_stack(dataset, targets, folds, seeds, params)
    alone = [
        fit(dataset, targets, fold, seed, params) for fold, seed in zip(folds, seeds, strict=True)
    ]
    return together, alone


def assert_alike(together, alone, dataset):
    for one, other in zip(together, alone, strict=True):
        ours, theirs = np.array(one.history, float), np.array(other.history, float)
        assert ours.shape == theirs.shape
        np.testing.assert_allclose(ours, theirs, atol=1e-4)
        said = [predict(each.model, dataset, EVERYONE).probabilities for each in (one, other)]
        np.testing.assert_allclose(*said, atol=1e-4)
        for (name, mine), yours in zip(
            one.model.state_dict().items(), other.model.state_dict().values(), strict=True
        ):
            # A bias of the keys has no gradient but rounding, which AdamW makes as large as any.
            if not name.endswith("in_proj_bias"):
                torch.testing.assert_close(mine, yours, atol=1e-4, rtol=1e-4)


@exact
@pytest.mark.parametrize("model", ["ecmf", "baseline", "concat"])
def test_a_stack_becomes_what_its_runs_become_one_by_one(model, made, caplog):
    together, alone = both_ways(made, PARAMS.model_copy(update={"model": model}))
    assert_alike(together, alone, made[0])
    assert len({len(fitted.history) for fitted in alone}) > 1  # they stop at different epochs
    assert not caplog.records  # none was trained run by run


@exact
@pytest.mark.parametrize("model", MEMBERS)
def test_any_member_becomes_in_a_stack_what_it_becomes_alone(model, made_for_any, caplog):
    width = {"width": 8} if "width" in registry.load("fusion", model).Options.model_fields else {}
    options = {model: {"dropout": 0.0, **width, **WITHOUT_CHANCE.get(model, {})}}
    params = PARAMS.model_copy(update={"model": model, "options": options, "epochs": 2})
    assert_alike(*both_ways(made_for_any, params, FOLDS[:2]), made_for_any[0])
    assert not caplog.records


@exact
@pytest.mark.parametrize(
    "change",
    [
        {"mixup": 0.0},
        {"gradient_clip": 0.1},
        {"average": 0.9},
        {"label_smoothing": 0.2, "class_weights": True},
        {"schedule": "cosine"},
        {"standardise": "none"},
        {"batch": 200},
    ],
    ids=str,
)
def test_every_parameter_means_the_same_in_a_stack(change, made, caplog):
    params = PARAMS.model_copy(update={"epochs": 4, **change})
    together, alone = both_ways(made, params)
    assert_alike(together, alone, made[0])
    assert not caplog.records


@exact
@pytest.mark.parametrize("model", MEMBERS)
def test_half_precision_means_the_same_but_for_its_rounding(model, made_for_any, caplog):
    options = {model: {"dropout": 0.0, **WITHOUT_CHANCE.get(model, {})}}
    change = {"model": model, "options": options, "epochs": 3}
    full = PARAMS.model_copy(update=change)
    half = full.model_copy(update={"precision": "bfloat16"})
    together, alone = both_ways(made_for_any, half, FOLDS[:2])
    for one, other in zip(together, alone, strict=True):
        ours, theirs = (
            np.array([epoch.train_loss for epoch in way.history]) for way in (one, other)
        )
        fall = theirs[0] - theirs[-1]
        assert fall > 0.1 * theirs[0]
        np.testing.assert_allclose(ours, theirs, atol=0.1 * fall)
    assert not caplog.records
    precise = vmap_trainer.fit_stack(*made_for_any, FOLDS[:2], SEEDS[:2], full)
    assert precise[0].history != together[0].history


@exact
def test_runs_that_nothing_judges_go_through_all_epochs(made):
    folds = [replace(fold, validation=fold.validation[:0]) for fold in FOLDS]
    together, alone = both_ways(made, PARAMS.model_copy(update={"epochs": 5}), folds)
    assert_alike(together, alone, made[0])
    assert [epoch.validation_waf for epoch in together[0].history] == [None] * 5


class Watching(concat.Fusion):
    """Sees whether convolutions of a GPU would be computed with 10 bits."""

    def forward(self, batch, target=None):
        assert torch.backends.cudnn.deterministic and not torch.backends.cudnn.allow_tf32
        return super().forward(batch, target)


@exact
def test_a_gpu_convolves_float32_in_float32_when_it_trains_and_predicts(made, monkeypatch, caplog):
    assert torch.backends.cudnn.allow_tf32
    monkeypatch.setattr(concat, "Fusion", Watching)
    together, _ = both_ways(made, PARAMS.model_copy(update={"epochs": 1}))
    predict(together[0].model, made[0], EVERYONE)
    assert not caplog.records
    assert torch.backends.cudnn.allow_tf32


class Comparing(concat.Fusion):
    """Has a loss that looks at all clips of a batch that have a source."""

    def forward(self, batch, target=None):
        output = super().forward(batch, target)
        some = batch.present().any(dim=1, keepdim=True)
        mean = (output.logits * some).sum(dim=0) / some.sum()
        return replace(output, losses={"apart": (output.logits - mean).square().sum(dim=1)})


@exact
def test_clips_that_fill_a_batch_up_count_nothing(made, monkeypatch, caplog):
    monkeypatch.setattr(concat, "Fusion", Comparing)
    dataset, targets = made
    few = replace(targets, weight=np.where(EVERYONE < 62, targets.weight, 0).astype("float32"))
    sizes = [int((few.weight[fold.train] > 0).sum()) for fold in FOLDS]
    assert sizes == [46, 46, 47, 47]  # three batches, some of 15 clips beside some of 16
    assert_alike(*both_ways((dataset, few), PARAMS.model_copy(update={"epochs": 3})), dataset)
    assert not caplog.records


@pytest.mark.parametrize("model", MEMBERS)
def test_every_member_learns_with_all_its_dropout_in_a_stack_or_says_why_not(model, made, caplog):
    dataset, targets = made
    params = TrainFusion(model=model, epochs=4, batch=16)
    fitted = vmap_trainer.fit_stack(dataset, targets, FOLDS[:2], SEEDS[:2], params)
    said = [record.getMessage() for record in caplog.records]
    reason = NOT_STACKED.get(model)
    assert said == ([f"{model}: trained run by run, for it {reason}"] if reason else [])
    for one in fitted:
        assert one.history[-1].train_loss < one.history[0].train_loss
    state, other = (one.model.state_dict() for one in fitted)
    assert not all(torch.equal(state[name], other[name]) for name in state)


def test_with_dropout_a_stack_learns_as_well_as_its_runs_do(made):
    params = TrainFusion(model="ecmf", options={"ecmf": {"width": 16}}, epochs=15, batch=16)
    together, alone = (
        np.mean([max(epoch.validation_waf for epoch in one.history) for one in way])
        for way in both_ways(made, params)
    )
    assert min(together, alone) > 0.6 and abs(together - alone) < 0.08


@exact
def test_the_runs_of_a_stack_draw_their_own_dropout(made):
    dataset, targets = made
    params = PARAMS.model_copy(
        update={"epochs": 1, "mixup": 0.0, "options": {"concat": {"dropout": 0.5}}}
    )
    twins = [replace(FOLDS[0], validation=EVERYONE[:0])] * 2
    one, other = vmap_trainer.fit_stack(dataset, targets, twins, (0, 0), params)
    assert one.history != other.history
    params = params.model_copy(update={"options": {"concat": {"dropout": 0.0}}})
    one, other = vmap_trainer.fit_stack(dataset, targets, twins, (0, 0), params)
    assert one.history == other.history


class Tempered(concat.Fusion):
    """Has a parameter that is a single number."""

    def __init__(self, *given):
        super().__init__(*given)
        self.temperature = nn.Parameter(torch.tensor(1.0))

    def forward(self, batch, target=None):
        output = super().forward(batch, target)
        return replace(output, logits=output.logits * self.temperature)


@exact
def test_a_parameter_may_be_a_single_number(made, monkeypatch, caplog):
    monkeypatch.setattr(concat, "Fusion", Tempered)
    assert_alike(
        *both_ways(made, PARAMS.model_copy(update={"epochs": 3, "gradient_clip": 0.1})), made[0]
    )
    assert not caplog.records


class Counting(concat.Fusion):
    """Looks at a number, which is another one for every model of a stack."""

    def forward(self, batch, target=None):
        output = super().forward(batch, target)
        assert np.isfinite(output.logits.sum().item())
        return output


class Practising(concat.Fusion):
    """Practises without labels first."""

    def pretext(self):
        return Pretext(self)


class Pretext(base.Pretext):
    epochs = 1

    def __init__(self, fusion):
        super().__init__()
        self.classifier = nn.Linear(fusion.projection.linear[0].out_features * 3, 1)
        self.projection = fusion.projection

    def forward(self, batch):
        return self.classifier(self.projection(batch).flatten(1)).square().squeeze(1)


@pytest.mark.parametrize(
    ("member", "reason"),
    [(Counting, r"cannot be stacked \(RuntimeError: .*item"), (Practising, "practises without")],
)
def test_a_member_that_cannot_be_stacked_is_trained_run_by_run(
    member, reason, made, monkeypatch, caplog
):
    monkeypatch.setattr(concat, "Fusion", member)
    with caplog.at_level(logging.WARNING):
        together, alone = both_ways(made, PARAMS.model_copy(update={"epochs": 2}))
    (record,) = caplog.records
    assert re.search(reason, record.getMessage())
    for one, other in zip(together, alone, strict=True):
        assert one.history == other.history


def test_only_runs_of_as_many_batches_are_stacked_and_not_more_than_fit():
    assert vmap_trainer.stacks([7, 6, 7, 7, 6, 7, 7], most=3) == [[0, 2, 3], [5, 6], [1, 4]]
    assert vmap_trainer.stacks([7, 7], most=1) == [[0], [1]]


def test_runs_of_another_number_of_batches_are_refused(made):
    shorter = replace(FOLDS[1], train=FOLDS[1].train[:40])
    with pytest.raises(ValueError, match=r"runs of one stack have \[3, 6\] batches"):
        vmap_trainer.fit_stack(*made, [FOLDS[0], shorter], (0, 1), PARAMS)


def test_as_many_runs_are_stacked_as_their_longest_clips_leave_room_for(monkeypatch):
    starts = np.array([0, 10, 10, 14])
    source = Source("face/b", np.zeros((14, 6), "float32"), starts, {})
    monkeypatch.setattr(vmap_trainer, "BYTES_PER_STACK", 5 * 32 * 10 * 6 * 4)
    assert vmap_trainer.most_runs([source], batch=32) == 5
    assert vmap_trainer.most_runs([source, source], batch=32) == 2
    assert vmap_trainer.most_runs([source], batch=3200) == 1


def test_a_gpu_stacks_and_a_cpu_does_not_unless_told_otherwise(monkeypatch):
    monkeypatch.delenv("ECMF_STACK", raising=False)
    for where, usual in (("cpu", False), ("cuda:1", True)):
        monkeypatch.setenv("ECMF_DEVICE", where)
        assert vmap_trainer.wanted() == usual
        for given in ("0", "1"):
            with monkeypatch.context() as patch:
                patch.setenv("ECMF_STACK", given)
                assert vmap_trainer.wanted() == (given == "1")
    monkeypatch.setenv("ECMF_STACK", "yes")
    with pytest.raises(UserError, match="ECMF_STACK is 'yes': set it to 1 to train"):
        vmap_trainer.wanted()


OF_A_CORPUS = TrainFusion(
    model="concat", options={"concat": {"width": 16}}, folds=3, seeds=(0, 1), epochs=2, batch=16
)


def train_all(corpus, monkeypatch, folder, *, workers=1, stack="1"):
    """Names and weights of all runs, in the order in which they come."""
    monkeypatch.setenv("ECMF_CACHE", str(folder))
    monkeypatch.setenv("ECMF_WORKERS", str(workers))
    monkeypatch.setenv("ECMF_STACK", stack)
    paths, clips = SOURCES.paths(corpus.features), corpus.clips
    classes = sorted({clip.label for clip in clips if clip.label})
    soft = np.array([[clip.label == name for name in classes] for clip in clips], "float32")
    weight = np.array([bool(clip.label) for clip in clips], "float32")
    finished = cross_validation.train_all(paths, clips, Targets(soft, weight), OF_A_CORPUS)
    return [(one.run.name, one.weights.read_bytes()) for one in finished]


def test_a_stack_that_lacks_one_run_is_trained_again_and_becomes_the_same(tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path)
    monkeypatch.setattr(vmap_trainer, "BYTES_PER_STACK", 3 * 16 * (3 * 4 + 3 * 4) * 4)
    trained, fit_stack = [], cross_validation.fit_stack
    monkeypatch.setattr(
        cross_validation, "fit_stack", lambda *given: trained.append(given[3]) or fit_stack(*given)
    )
    first = train_all(corpus, monkeypatch, tmp_path / "cache")
    planned = [run.name for run in cross_validation.plan(corpus.clips, OF_A_CORPUS)]
    assert [name for name, _ in first] == planned and trained == [[0, 0, 0], [1, 1, 1]]
    (lost,) = (tmp_path / "cache").rglob("seed1-round0-fold1.safetensors")
    lost.unlink()
    assert train_all(corpus, monkeypatch, tmp_path / "cache") == first
    assert trained == [[0, 0, 0], [1, 1, 1], [1, 1, 1]]


def test_the_way_of_training_has_its_own_place_in_the_cache(tmp_path, monkeypatch):
    corpus = make_corpus(tmp_path)
    stacked, alone = (
        train_all(corpus, monkeypatch, tmp_path / "cache", stack=stack) for stack in "10"
    )
    assert [name for name, _ in stacked] == [name for name, _ in alone]
    assert all(one != other for (_, one), (_, other) in zip(stacked, alone, strict=True))


def test_workers_change_no_byte_of_a_stack(tmp_path, monkeypatch):
    monkeypatch.setenv("ECMF_DEVICE", "cpu")  # a GPU has one process
    corpus = make_corpus(tmp_path)
    monkeypatch.setattr(vmap_trainer, "BYTES_PER_STACK", 3 * 16 * (3 * 4 + 3 * 4) * 4)
    given = []
    monkeypatch.setattr(
        cross_validation, "shared", lambda *to: given.append(to) or shared_memory.shared(*to)
    )
    one, two = (
        train_all(corpus, monkeypatch, tmp_path / str(workers), workers=workers)
        for workers in (1, 2)
    )
    assert one == two
    assert len(given) == 1  # a single process has no file of features


def test_shared_sources_are_the_same_numbers_in_other_processes_and_leave_no_file(tmp_path):
    rng = np.random.default_rng(0)
    full = made_source("face/b", 4, 3, np.zeros(CLIPS), rng)
    empty = Source("text/d", np.zeros((0, 5), "float32"), np.zeros(CLIPS + 1, "int64"), {"a": 1})
    with shared_memory.shared([full, empty], tmp_path) as given:
        pickled = pickle.dumps(given)
        assert len(pickled) < 2 * full.starts.nbytes + full.values.nbytes
        assert full.values.tobytes() not in pickled
        for source, again in zip((full, empty), pickle.loads(pickled), strict=True):
            np.testing.assert_array_equal(again.values, source.values)
            np.testing.assert_array_equal(again.starts, source.starts)
            assert (again.name, again.provenance) == (source.name, source.provenance)
        again = pickle.loads(pickled)[0]
        again.values[:] = 0  # copied on write: nobody else sees it
        np.testing.assert_array_equal(given[0].values, full.values)
        assert not list(tmp_path.iterdir())
        place = Path(given[0].place)
    assert not place.exists()
