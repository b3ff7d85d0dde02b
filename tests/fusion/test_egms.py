"""EGMS: views of one text through one encoder, a gate, and an outside scorer."""

import numpy as np
import pytest
import torch
import trainings
from corpus import make_corpus
from made_clips import CLASSES, make_batch, make_fusion, make_target, without
from tables import read_table
from torch.nn import functional

from ecmf.data.features import Source
from ecmf.data.splits import Fold
from ecmf.errors import ParamsError
from ecmf.fusion.base import Batch
from ecmf.params import Sources, TrainFusion
from ecmf.storage.store import Layout, Rows, no_rows
from ecmf.storage.store_writer import StoreWriter
from ecmf.training.augmentation import modality_dropout
from ecmf.training.dataset import Dataset
from ecmf.training.source_reading import read_sources
from ecmf.training.targets import class_targets
from ecmf.training.trainer import fit
from ecmf.training.vmap_trainer import fit_vmap

CLIPS = 6
RAW, ENRICHED, THIRD = "text/minilm_raw", "text/minilm_enriched", "text/third"
FACE, TEACHER = "face/a", "audio/scorer"


def batch_of(*names, steps=4):
    return make_batch({name: [steps] * CLIPS for name in names}, {FACE: 5, TEACHER: CLASSES})


def fusion_of(*names, **options):
    return make_fusion("egms", batch_of(*names), **{"width": 8, "heads": 2, **options})


def test_the_gates_of_the_views_sum_to_one_over_those_a_clip_has():
    names = (FACE, RAW, ENRICHED, THIRD)
    batch = without(batch_of(*names), ENRICHED, slice(2))
    weights = fusion_of(*names)(batch).weights
    assert torch.allclose(weights[:, 1:].sum(dim=1), torch.ones(CLIPS))
    assert (weights[:, 0] == 1).all() and (weights[:2, 2] == 0).all()
    assert (weights[2:, 1:] > 0).all()


def test_the_gate_of_two_views_is_the_sigmoid_of_the_paper():
    model = fusion_of(FACE, RAW, ENRICHED)
    batch = batch_of(FACE, RAW, ENRICHED)
    gate = []
    model.gate.register_forward_hook(lambda _module, _inputs, scores: gate.append(scores))
    weights = model(batch).weights
    assert torch.allclose(weights[:, 1], torch.sigmoid(gate[0][:, 0] - gate[0][:, 1]))


def test_an_absent_view_has_no_effect_on_the_logits():
    names = (FACE, RAW, ENRICHED)
    model = fusion_of(*names)
    batch = batch_of(*names)
    no_raw, no_enriched = without(batch, RAW), without(batch, ENRICHED)
    swapped = Batch({**batch.rows, RAW: batch.rows[RAW] + 1}, no_raw.masks)
    assert torch.equal(model(no_raw).logits, model(swapped).logits)
    assert not torch.allclose(model(no_raw).logits, model(no_enriched).logits)
    assert model(without(no_raw, ENRICHED)).logits.isfinite().all()


def test_gradients_reach_the_gate_and_fewer_than_two_views_have_no_gate():
    model = fusion_of(FACE, RAW, ENRICHED, dropout=0.0)
    model(batch_of(FACE, RAW, ENRICHED)).logits.square().sum().backward()
    for key, parameter in model.named_parameters():
        assert parameter.grad.abs().sum() > 0, key
    for names in [(FACE, RAW), (FACE,), (RAW,)]:
        assert not any("gate" in key for key, _ in fusion_of(*names).named_parameters())


def test_the_teacher_is_distilled_and_no_input():
    names = (FACE, TEACHER, RAW)
    model = fusion_of(*names, teacher=TEACHER)
    batch = without(batch_of(*names, steps=1), TEACHER, slice(2))
    output = model(batch, make_target(CLIPS))
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
    assert not fusion_of(*names)(batch, make_target(CLIPS)).losses


def scored_clips(rng):
    """Make clips of unequal classes, and a scorer that is right in three of four, by its logits."""
    truth = rng.choice(CLASSES, 400, p=[0.7, 0.2, 0.07, 0.03])
    named = np.where(rng.random(400) < 0.75, truth, rng.integers(0, CLASSES, 400))
    logits = 2 * np.eye(CLASSES)[named] + 0.1 * rng.normal(size=(400, CLASSES))
    starts = np.arange(401)
    values = {FACE: rng.normal(3, 2, (400, 5)), TEACHER: logits, RAW: rng.normal(size=(400, 4))}
    sources = [Source(key, rows.astype("float32"), starts, {}) for key, rows in values.items()]
    return Dataset(sources, torch.device("cpu")), truth, torch.tensor(logits, dtype=torch.float32)


@pytest.mark.parametrize("fit_models", [fit, fit_vmap])
def test_training_standardises_the_inputs_and_never_the_teacher(fit_models, caplog):
    dataset, truth, logits = scored_clips(np.random.default_rng(0))
    targets = class_targets(np.eye(CLASSES, dtype="float32")[truth], np.ones(400, "float32"))
    options = {"width": 8, "heads": 2, "teacher": TEACHER}
    params = TrainFusion(model="egms", options={"egms": options}, epochs=1)
    fold = Fold(0, 0, np.arange(300), np.arange(300, 400), np.arange(0))
    if fit_models is fit:
        model = fit(dataset, targets, fold, 0, params).model
    else:
        (model, _) = (each.model for each in fit_vmap(dataset, targets, [fold] * 2, [0, 1], params))
    assert not caplog.records  # it was trained with vmap
    batch = dataset.batch(torch.arange(400))
    scaled = model.eval().standardise(batch)
    assert torch.allclose(scaled.rows[FACE].mean(dim=0), torch.zeros(5), atol=0.2)
    assert torch.equal(scaled.rows[TEACHER].squeeze(1), logits)
    accuracy = (scaled.rows[TEACHER].squeeze(1).argmax(dim=1).numpy() == truth).mean()
    assert accuracy > 0.75
    (output, expected) = (model(batch, make_target(400)), (logits / 10).softmax(dim=1))
    divergence = (expected * (expected.log() - (output.logits / 10).log_softmax(dim=1))).sum(dim=1)
    assert torch.allclose(output.losses["distillation"], 100 * divergence, atol=1e-4)


def test_a_teacher_of_probabilities_is_distilled_like_one_of_their_logarithms():
    names = (FACE, TEACHER, RAW)
    batch = batch_of(*names, steps=1)
    probs = batch.rows[TEACHER].softmax(dim=-1)
    target = make_target(CLIPS)
    losses = [
        fusion_of(*names, teacher=TEACHER, teacher_scores=scale)(
            Batch({**batch.rows, TEACHER: rows}, batch.masks), target
        ).losses["distillation"]
        for scale, rows in {"probabilities": probs, "logits": probs.log()}.items()
    ]
    assert torch.allclose(*losses, atol=1e-4)


def test_standardisation_per_speaker_spares_the_teacher(tmp_path):
    corpus = scored_corpus(tmp_path, "nowhere")
    paths = {name: corpus.features / f"{name}.h5" for name in ("face/mine", "text/scores")}
    read = {}
    for standardise in ("none", "speaker"):
        options = {"egms": {"teacher": "text/scores"}}
        params = TrainFusion(model="egms", options=options, standardise=standardise)
        read[standardise] = read_sources(paths, corpus.clips, params)
    for before, after in zip(*read.values(), strict=True):
        same = before.name == "text/scores"
        assert np.array_equal(before.values, after.values) == same, before.name


def test_modality_dropout_hides_neither_the_teacher_nor_all_other_sources():
    names = (FACE, TEACHER, RAW)
    batch = without(batch_of(*names), RAW, slice(2))
    torch.manual_seed(0)
    drawn = [
        modality_dropout(batch, 0.8, fusion_of(*names, teacher=TEACHER).input_sources).presence()
        for _ in range(50)
    ]
    present = torch.stack(drawn)
    assert present[..., 1].all() and present[..., [0, 2]].any(dim=-1).all()
    assert (present[:, 2:, 0] != present[:, 2:, 2]).any()


def scored_corpus(folder, split_without_scores):
    """Make a corpus with a text source of class scores, absent from one split."""
    corpus = make_corpus(folder)
    rng = np.random.default_rng(1)
    layout = Layout((3,))
    with StoreWriter(corpus.features / "text/scores.h5", layout, {"encoder": "made"}) as out:
        for clip in corpus.clips:
            scores = rng.normal(size=(1, 3)).astype("float32")
            if clip.split == split_without_scores:
                out.append(clip.clip_id, no_rows(layout, "empty", "nobody scored it"))
            else:
                out.append(clip.clip_id, Rows(scores, np.zeros(1)))
    return corpus


@pytest.mark.usefixtures("one_worker")
def test_a_teacher_that_is_absent_in_the_test_split_changes_no_output(tmp_path, monkeypatch):
    tables = {"frame": (), "face": ("mine",), "audio": ("mine",), "text": ("scores",)}
    monkeypatch.setattr(trainings, "SOURCES", Sources(tables))
    params = TrainFusion(
        model="egms",
        options={"egms": {"width": 8, "heads": 2, "teacher": "text/scores"}},
        folds=2, seeds=(0,), epochs=2, batch_size=16, modality_dropout=0.3,
    )  # fmt: skip
    written = {}
    for split in ("nowhere", "test"):
        folder = tmp_path / split
        folder.mkdir()
        corpus = scored_corpus(folder, split)
        trainings.train(corpus, folder, params)
        trainings.evaluate(corpus, folder)
        written[split] = trainings.model_of(folder) | trainings.files_of(folder)
    assert written["nowhere"] == written["test"]
    rows = read_table(tmp_path / "test/predictions.csv")
    weights = [name for name in rows[0] if name.startswith("weight_")]
    assert weights == ["weight_face/mine", "weight_audio/mine"]
    assert [int(row["sources"]) for row in rows] == [1 + (i % 8 != 5) for i in range(len(rows))]


@pytest.mark.parametrize(
    ("names", "teacher", "message"),
    [
        ((FACE, RAW), "face/b", r"teacher 'face/b' is not a source.* Did you mean 'face/a'\?"),
        ((FACE, RAW), FACE, "rows of 5 numbers, not one score for each of the 4 classes"),
        ((TEACHER,), TEACHER, "is the only source and no input"),
    ],
)
def test_an_unusable_teacher_is_refused(names, teacher, message):
    with pytest.raises(ParamsError, match=message):
        fusion_of(*names, teacher=teacher)
