"""A batch is the clips' own rows; what is padding reaches no model as anything but zeros."""

import numpy as np
import torch
from made_clips import untrained

from ecmf.data.features import Source
from ecmf.training import dataset as dataset_module
from ecmf.training.dataset import Dataset

STARTS = {"face/a": [0, 3, 3, 4, 6], "audio/b": [0, 1, 2, 3, 4], "text/c": [0, 0, 0, 0, 0]}


def made():
    rng = np.random.default_rng(0)
    sources = [
        Source(name, rng.normal(5, 2, (starts[-1], 4)).astype("float32"), np.array(starts), {})
        for name, starts in STARTS.items()
    ]
    return sources, Dataset(sources, torch.device("cpu"))


def model_for(dataset):
    model = untrained("concat", dataset.shapes, classes=3)
    model.set_scale(dataset.moments(np.arange(4)))
    return model


def test_a_batch_holds_the_rows_of_its_clips_in_their_order():
    sources, dataset = made()
    clips = np.array([3, 1, 0, 0])
    batch = dataset.batch(torch.from_numpy(clips))
    for source in sources:
        lengths = np.diff(source.starts)[clips]
        assert batch.masks[source.name].sum(dim=1).tolist() == lengths.tolist()
        assert batch.rows[source.name].shape == (4, max(1, *lengths), 4)
        for place, clip in enumerate(clips):
            own = source.values[source.starts[clip] : source.starts[clip + 1]]
            real = batch.rows[source.name][place][batch.masks[source.name][place]]
            np.testing.assert_array_equal(real, own)


def test_a_row_that_is_not_real_reaches_the_model_as_zeros():
    _, dataset = made()
    model = model_for(dataset)
    batch = dataset.batch(torch.tensor([0, 1, 2]))
    scaled = model.standardise(batch)
    for name, mask in batch.masks.items():
        assert not scaled.rows[name][~mask].any()
    assert not batch.masks["face/a"].all() and batch.rows["face/a"][~batch.masks["face/a"]].any()


def test_scaling_leaves_the_batch_as_it_is():
    _, dataset = made()
    batch = dataset.batch(torch.tensor([0, 1, 2]))
    before = {name: rows.clone() for name, rows in batch.rows.items()}
    model_for(dataset).standardise(batch)
    assert all(torch.equal(rows, before[name]) for name, rows in batch.rows.items())


def test_scaled_rows_have_mean_0_and_deviation_1():
    _, dataset = made()
    scaled = model_for(dataset).standardise(dataset.batch(torch.arange(4)))
    rows = scaled.rows["face/a"][scaled.masks["face/a"]]
    torch.testing.assert_close(rows.mean(dim=0), torch.zeros(4), atol=1e-5, rtol=0)
    torch.testing.assert_close(rows.std(dim=0, correction=0), torch.ones(4), atol=1e-4, rtol=0)


def test_moments_in_blocks_are_those_of_all_rows(monkeypatch):
    monkeypatch.setattr(dataset_module, "ROWS_PER_BLOCK", 7)
    rng = np.random.default_rng(1)
    starts = np.concatenate([[0], np.cumsum(rng.integers(0, 6, 40))])
    values = rng.normal(1000, 3, (starts[-1], 5)).astype("float32")
    dataset = Dataset([Source("audio/b", values, starts, {})], torch.device("cpu"))
    clips = np.array([38, 3, 4, 20, 21, 39, 0])
    ((mean, deviation),) = dataset.moments(clips)
    rows = np.concatenate([values[starts[clip] : starts[clip + 1]] for clip in clips])
    np.testing.assert_allclose(mean, rows.mean(axis=0, dtype="float64"), rtol=1e-6)
    np.testing.assert_allclose(deviation, rows.std(axis=0, dtype="float64"), rtol=1e-5)
