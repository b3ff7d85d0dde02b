"""The mechanism of `egms`: views of one text through one encoder, a gate, an outside scorer."""

import numpy as np
import pytest
import torch
import trainings
from corpus import make_corpus
from made_clips import CLASSES, made_batch, made_fusion, made_target, without
from tables import read_table
from torch.nn import functional

from ecmf.errors import ParamsError
from ecmf.fusion.base import Batch
from ecmf.params import Sources, TrainFusion
from ecmf.storage.store import Layout, Rows, no_rows
from ecmf.storage.store_writer import StoreWriter
from ecmf.training.augmentation import with_hidden_sources

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


def test_dropout_of_sources_spares_the_teacher_and_never_leaves_it_alone():
    names = (FACE, TEACHER, RAW)
    batch = without(batch_of(*names), RAW, slice(2))
    torch.manual_seed(0)
    drawn = [
        with_hidden_sources(batch, 0.8, fusion_of(*names, teacher=TEACHER).read).present()
        for _ in range(50)
    ]
    present = torch.stack(drawn)
    assert present[..., 1].all() and present[..., [0, 2]].any(dim=-1).all()
    assert (present[:, 2:, 0] != present[:, 2:, 2]).any()


def told_corpus(folder, without_teacher):
    """A corpus whose text source scores the classes, but for clips of a split that has none."""
    corpus = make_corpus(folder)
    rng = np.random.default_rng(1)
    layout = Layout((3,))
    with StoreWriter(corpus.features / "text/told.h5", layout, {"member": "made"}) as out:
        for clip in corpus.clips:
            scores = rng.normal(size=(1, 3)).astype("float32")
            if clip.split == without_teacher:
                out.append(clip.clip_id, no_rows(layout, "empty", "nobody scored it"))
            else:
                out.append(clip.clip_id, Rows(scores, np.zeros(1)))
    return corpus


@pytest.mark.usefixtures("one_worker")
def test_a_teacher_that_is_absent_at_test_changes_nothing_and_is_no_source(tmp_path, monkeypatch):
    tables = {"frame": (), "face": ("mine",), "audio": ("mine",), "text": ("told",)}
    monkeypatch.setattr(trainings, "SOURCES", Sources(tables))
    params = TrainFusion(
        model="egms",
        options={"egms": {"width": 8, "heads": 2, "teacher": "text/told"}},
        folds=2, seeds=(0,), epochs=2, batch=16, modality_dropout=0.3,
    )  # fmt: skip
    written = {}
    for split in ("nowhere", "test"):
        folder = tmp_path / split
        folder.mkdir()
        corpus = told_corpus(folder, split)
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
        ((FACE, RAW), "face/b", r"teacher 'face/b' is no source.* Did you mean 'face/a'\?"),
        ((FACE, RAW), FACE, "rows of 5 numbers, not one score for each of the 4 classes"),
        ((TEACHER,), TEACHER, "is the only source, and is not read"),
    ],
)
def test_a_teacher_that_cannot_teach_is_refused(names, teacher, message):
    with pytest.raises(ParamsError, match=message):
        fusion_of(*names, teacher=teacher)
