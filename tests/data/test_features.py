import itertools

import numpy as np
import pytest

from ecmf.data.features import Source, load_sources
from ecmf.errors import StoreError
from ecmf.storage.store import Layout, Rows
from ecmf.storage.store_writer import StoreWriter


@pytest.fixture
def half_store(tmp_path):
    with StoreWriter(tmp_path / "half.h5", Layout((2,), "float16"), {"encoder": "x"}) as out:
        for number in range(3):
            rows = np.full((number, 2), 1000 * number + 0.5, "float16")
            out.append(f"clip_{number}", Rows(rows, np.arange(number) * 1.0))
    return tmp_path / "half.h5"


def test_half_precision_features_are_loaded_in_single_precision(half_store):
    (source,) = load_sources({"audio/half": half_store}, ["clip_0", "clip_1", "clip_2"])
    assert source.values.dtype == np.float32
    assert source.starts.tolist() == [0, 0, 1, 3]
    assert source.present.tolist() == [False, True, True]
    assert source.clip_means()[2].tolist() == [2000, 2000]


def test_the_mean_of_a_clip_has_only_its_own_rows():
    rng = np.random.default_rng(0)
    starts = np.array([0, 0, 3, 3, 3, 4, 9, 9])  # first, last and two in the middle are empty
    values = rng.normal(size=(9, 2)).astype("float32")
    means = Source("audio/x", values, starts, {}).clip_means()
    for clip, (first, end) in enumerate(itertools.pairwise(starts)):
        expected = values[first:end].mean(axis=0) if end > first else np.zeros(2)
        np.testing.assert_allclose(means[clip], expected, rtol=1e-6)
    empty = Source("audio/x", values[:0], np.zeros(4, "int64"), {})
    assert empty.clip_means().tolist() == [[0, 0]] * 3


def test_features_are_read_into_the_given_memory(half_store):
    arrays = []

    def allocate(shape):
        arrays.append(np.zeros(shape, "float32"))
        return arrays[-1]

    (source,) = load_sources({"a/b": half_store}, ["clip_0", "clip_1", "clip_2"], allocate)
    assert source.values is arrays[0] and source.values[:, 0].tolist() == [1000.5, 2000, 2000]


def test_features_of_other_clips_are_refused(half_store):
    with pytest.raises(StoreError, match=r"the 3 clips of .* are not the 2 of the manifest"):
        load_sources({"audio/half": half_store}, ["clip_0", "clip_2"])
