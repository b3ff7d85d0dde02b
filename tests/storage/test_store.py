import hashlib
import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import pairwise

import h5py
import numpy as np
import pytest

from ecmf.errors import MissingFileError, StoreError
from ecmf.storage.store import Layout, Rows, Store, no_rows
from ecmf.storage.store_writer import BYTES_PER_CHUNK, StoreWriter

LAYOUT = Layout((2,))


def write(path, clips, layout=LAYOUT):
    with StoreWriter(path, layout, {"encoder": "test"}) as out:
        for clip_id, rows in clips.items():
            out.append(clip_id, rows)
    return path


def vectors(count, value=1.0):
    return Rows(np.full((count, 2), value, "float32"), np.arange(count) / 10)


def test_rows_are_read_back_as_written(tmp_path):
    clips = {"seen": vectors(3), "faceless": no_rows(LAYOUT, "empty", "no face found")}
    with Store(write(tmp_path / "face.h5", clips)) as store:
        assert list(store) == ["seen", "faceless"]
        assert np.array_equal(store["seen"].values, np.ones((3, 2)))
        assert np.allclose(store["seen"].times, [0, 0.1, 0.2])
        assert store["faceless"].values.shape == (0, 2)
        assert store.state("seen") == ("whole", "")
        assert store.state("faceless") == ("empty", "no face found")
        assert store.provenance == {"encoder": "test"}


def test_images_of_any_length_are_read_back_one_by_one(tmp_path):
    layout = Layout(jpeg=True, columns={"box": (4,)})
    images = [b"short", b"a longer image", b""]
    rows = Rows(images, np.arange(3.0), {"box": np.arange(12.0).reshape(3, 4)})
    clips = {"none": no_rows(layout, "failed", "unreadable"), "some": rows}
    with Store(write(tmp_path / "frames.h5", clips, layout)) as store:
        assert store["some"].values == images
        assert np.array_equal(store["some"].columns["box"], np.arange(12.0).reshape(3, 4))
        assert store["none"].values == []
        assert store["none"].columns["box"].shape == (0, 4)


def test_evenly_spaced_rows_need_no_times(tmp_path):
    layout = Layout(dtype="int16", rate=4.0)
    rows = Rows(np.arange(6, dtype="int16"), np.empty(0))
    with Store(write(tmp_path / "audio.h5", {"a": rows}, layout)) as store:
        assert store["a"].times.size == 0
        assert len(store["a"]) == 6
    with h5py.File(tmp_path / "audio.h5") as file:
        assert "times" not in file


def test_facts_of_clips_are_read_back_and_missing_ones_are_nan(tmp_path):
    stated = Rows(np.ones((1, 2), "float32"), np.zeros(1), facts={"declared_frames": 7.0})
    with Store(write(tmp_path / "s.h5", {"stated": stated, "missing": vectors(1)})) as store:
        assert store["stated"].facts == {"declared_frames": 7.0}
        assert np.isnan(store["missing"].facts["declared_frames"])


def test_the_same_rows_make_the_same_bytes(tmp_path):
    clips = {f"clip_{i}": vectors(i % 5, i) for i in range(200)}
    first = write(tmp_path / "a.h5", clips).read_bytes()
    assert first == write(tmp_path / "b.h5", clips).read_bytes()


def test_clips_have_the_same_digest_if_their_content_is_the_same(tmp_path):
    with Store(
        write(tmp_path / "s.h5", {"a": vectors(2), "b": vectors(2), "c": vectors(3)})
    ) as store:
        assert store.digest("a") == store.digest("b") != store.digest("c")


def test_the_digest_of_a_clip_is_that_of_its_values_and_times(tmp_path):
    times = np.arange(3.0)
    with Store(write(tmp_path / "v.h5", {"a": Rows(np.ones((3, 2)), times)})) as store:
        content = b"<f4(3, 2)" + np.ones((3, 2), "float32").tobytes() + times.tobytes()
        assert store.digest("a") == hashlib.sha256(content).hexdigest()
    images = {"a": Rows([b"one", b"", b"three"], times)}
    with Store(write(tmp_path / "p.h5", images, Layout(jpeg=True))) as store:
        content = b"|u1(8,)" + b"onethree" + times.tobytes()
        assert store.digest("a") == hashlib.sha256(content).hexdigest()


@pytest.fixture
def many():
    """Clips of all lengths, some longer than a chunk, and more than are written at once."""
    rng = np.random.default_rng(0)
    per_chunk = BYTES_PER_CHUNK // 1024
    counts = [*rng.integers(0, per_chunk // 3, 400), 3 * per_chunk + 1, 0, per_chunk, 1]
    rng.shuffle(counts)
    values = [rng.integers(0, 255, (int(count), 1024), "uint8") for count in counts]
    return {f"clip_{i}": Rows(rows, np.arange(len(rows)) / 8) for i, rows in enumerate(values)}


def assert_read(store, clips, clip_id):
    np.testing.assert_array_equal(store[clip_id].values, clips[clip_id].values)
    np.testing.assert_array_equal(store[clip_id].times, clips[clip_id].times)


def test_clips_are_read_in_any_order(tmp_path, many):
    path = write(tmp_path / "s.h5", many, Layout((1024,), "uint8"))
    shuffled = np.random.default_rng(1).permutation(list(many)).tolist()
    for order in (list(many), list(many)[::-1], shuffled):
        with Store(path) as store:
            for clip_id in order:
                assert_read(store, many, clip_id)


def test_threads_may_read_one_store_at_once(tmp_path, many):
    path = write(tmp_path / "s.h5", many, Layout((1024,), "uint8"))
    shuffled = [*many, *np.random.default_rng(2).permutation(list(many)).tolist()]
    with Store(path) as store, ThreadPoolExecutor(4) as pool:
        list(pool.map(lambda clip_id: assert_read(store, many, clip_id), shuffled))


def test_rows_may_be_changed_after_they_were_written_or_read(tmp_path):
    values = np.ones((3, 2), "float32")
    with StoreWriter(tmp_path / "s.h5", LAYOUT, {}) as out:
        out.append("a", Rows(values, np.arange(3.0)))
        values[:] = 9
    with Store(tmp_path / "s.h5") as store:
        for _ in range(3):
            rows = store["a"]
            assert np.array_equal(rows.values, np.ones((3, 2)))
            rows.values[:] = 9


def test_a_failed_stage_leaves_nothing_behind(tmp_path):
    with pytest.raises(StoreError, match=r"clip 'odd': rows are \(5,\), not \(2,\)"):
        write(tmp_path / "face.h5", {"odd": Rows(np.ones((3, 5)), np.zeros(3))})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_rows_with_nan_or_infinity_are_refused_with_the_clip_id(tmp_path, bad):
    with pytest.raises(StoreError, match="clip 'broken': rows contain NaN or infinity"):
        write(tmp_path / "face.h5", {"broken": vectors(1, bad)})


def test_there_must_be_as_many_times_as_rows(tmp_path):
    with pytest.raises(StoreError, match="clip 'a': 2 rows, but 3 times"):
        write(tmp_path / "face.h5", {"a": Rows(np.ones((2, 2)), np.zeros(3))})


def test_a_flipped_byte_is_refused(tmp_path):
    path = write(tmp_path / "face.h5", {"a": vectors(100, 0.123456)})
    content = bytearray(path.read_bytes())
    content[content.index(np.float32(0.123456).tobytes())] ^= 1
    path.write_bytes(content)
    with Store(path) as store, pytest.raises(StoreError, match="damaged at clip 'a'"):
        store["a"]


@pytest.mark.parametrize("name", ["starts", "states", "digests", "facts/frames"])
def test_a_flipped_byte_of_the_metadata_of_clips_is_refused(tmp_path, name):
    with StoreWriter(tmp_path / "x.h5", Layout((2,)), {}) as out:
        for number in range(5):
            rows = np.full((number + 1, 2), number, "float32")
            out.append(f"clip_{number}", Rows(rows, np.arange(number + 1.0), facts={"frames": 7.0}))
    with h5py.File(tmp_path / "x.h5") as file:
        offset = file[name].id.get_chunk_info(0).byte_offset
    damaged = bytearray((tmp_path / "x.h5").read_bytes())
    damaged[offset] ^= 1
    (tmp_path / "x.h5").write_bytes(damaged)
    with pytest.raises(StoreError, match=r"x\.h5 is not a store, or damaged"):
        Store(tmp_path / "x.h5")


def swap(path, old, new):
    """Replace bytes that HDF5 keeps without a checksum."""
    content = path.read_bytes()
    assert old in content
    path.write_bytes(content.replace(old, new))


@pytest.mark.parametrize(
    ("old", "new"),
    [
        (b"clip_0284", b"clit_0284"),
        (b"clip_0284", b"clip_028\xff"),
        (b'"encoder": "test"', b'"encodes": "test"'),
        (b'{"encoder"', b'z"encoder"'),
        (b"declared_frames", b"declared_grames"),
        (np.float64(0.0625).tobytes(), np.float64(0.125).tobytes()),
    ],
)
def test_a_flipped_bit_of_an_id_a_name_or_the_provenance_is_refused(tmp_path, old, new):
    rows = Rows(np.ones(3, "int16"), np.arange(3) * 16.0, facts={"declared_frames": 7.0})
    write(tmp_path / "x.h5", {"clip_0284": rows}, Layout(dtype="int16", rate=0.0625))
    swap(tmp_path / "x.h5", old, new)
    with pytest.raises(StoreError, match=r"x\.h5 is not a store, or damaged"):
        Store(tmp_path / "x.h5")


def test_a_flipped_bit_of_the_place_of_an_array_is_refused(tmp_path):
    rows = Rows(np.ones((3, 2), "float32"), np.arange(3.0), facts={"frames": 3.0, "width": 2.0})
    clips = {f"clip_{i}": replace(rows, state="flagged", reason="odd") for i in range(5)}
    path = write(tmp_path / "x.h5", clips)
    with h5py.File(path) as file:
        lists = [file[name].id.get_chunk_info(0) for name in ("states", "facts/width")]
    content = path.read_bytes()
    places = [content.index(chunk.byte_offset.to_bytes(8, "little")) for chunk in lists]
    flips = [(place + byte, bit) for place in places for byte in range(4) for bit in range(8)]
    for place, bit in flips:
        damaged = bytearray(content)
        damaged[place] ^= 1 << bit
        (tmp_path / "y.h5").write_bytes(damaged)
        with pytest.raises(StoreError, match=r"y\.h5 is not a store, or damaged"):
            Store(tmp_path / "y.h5")


def test_a_flipped_bit_of_a_reason_is_refused(tmp_path):
    write(tmp_path / "x.h5", {"a": no_rows(LAYOUT, "empty", "no face found")})
    swap(tmp_path / "x.h5", b"no face", b"no fade")
    with (
        Store(tmp_path / "x.h5") as store,
        pytest.raises(StoreError, match=r"x\.h5 is damaged \(the reasons"),
    ):
        store.state("a")


def test_a_store_of_an_earlier_version_is_read(tmp_path):
    write(tmp_path / "x.h5", {"a": no_rows(LAYOUT, "empty", "no face found"), "b": vectors(2)})
    with h5py.File(tmp_path / "x.h5", "a") as file:
        del file.attrs["digest"], file.attrs["reasons_digest"]
    with Store(tmp_path / "x.h5") as store:
        assert store.state("a") == ("empty", "no face found")
        assert len(store["b"]) == 2


def test_a_flipped_byte_costs_no_clip_of_another_chunk(tmp_path, many):
    path = write(tmp_path / "s.h5", many, Layout((1024,), "uint8"))
    content = bytearray(path.read_bytes())
    content[content.index(many["clip_50"].values.tobytes()[:64])] ^= 1
    path.write_bytes(content)
    with Store(path) as store:
        chunks = np.arange(store.starts[-1]) // (BYTES_PER_CHUNK // 1024)
        damaged = chunks[store.starts[50]]
        for clip_id, (first, last) in zip(many, pairwise(store.starts), strict=True):
            if damaged in chunks[first:last]:
                with pytest.raises(StoreError, match=f"damaged at clip '{clip_id}'"):
                    store[clip_id]
            else:
                assert_read(store, many, clip_id)


def test_an_absent_or_foreign_file_is_named(tmp_path):
    with pytest.raises(MissingFileError, match=r"no store .*nothing\.h5"):
        Store(tmp_path / "nothing.h5")
    (tmp_path / "foreign.h5").write_text(json.dumps({}))
    with pytest.raises(StoreError, match=r"foreign\.h5 is not a store, or damaged"):
        Store(tmp_path / "foreign.h5")
