import numpy as np
import pytest

from ecmf.data.features import load_sources
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


def test_features_of_other_clips_are_refused(half_store):
    with pytest.raises(StoreError, match=r"the 3 clips of .* are not the 2 of the manifest"):
        load_sources({"audio/half": half_store}, ["clip_0", "clip_2"])
