"""Claims of npy and npz files are checked before memory is taken for them."""

import io
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from ecmf.storage.array_files import NpzArrays, read_npy

SMALL = 1 << 22


def header(shape: tuple[int, ...], descr: str = "<f4") -> bytes:
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(
        file, {"descr": descr, "fortran_order": False, "shape": shape}
    )
    return file.getvalue()


def npz(path: Path, content: bytes, compression: int = zipfile.ZIP_STORED) -> Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("values.npy", content)
    return path


@pytest.mark.parametrize(
    "content",
    [
        header((10**12,)),
        header((10**12,)) + bytes(40),
        header((10**6, 10**6), "<U9"),
        header((2**63, 2**63)),
        header((-1, 10)) + bytes(40),
        header((4,)) + bytes(15),
        header((4,)) + bytes(17),
    ],
)
def test_an_array_that_claims_more_or_less_than_it_holds_costs_no_memory(
    tmp_path: Path, content: bytes
) -> None:
    (tmp_path / "x.npy").write_bytes(content)
    archives = [
        npz(tmp_path / f"{kind}.npz", content, kind)
        for kind in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
    ]
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"it claims .* bytes, but holds"):
        read_npy(tmp_path / "x.npy")
    for archive in archives:
        with pytest.raises(ValueError, match=r"it claims .* bytes, but holds"):
            NpzArrays(archive)["values"]
    assert tracemalloc.get_traced_memory()[1] < SMALL
    tracemalloc.stop()


def test_a_bomb_is_refused_before_it_is_unpacked(tmp_path: Path) -> None:
    count = 1 << 27
    with (
        zipfile.ZipFile(tmp_path / "x.npz", "w", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("values.npy", "w") as file,
    ):
        file.write(header((count,)))
        for _ in range(count * 4 >> 20):
            file.write(bytes(1 << 20))
    tracemalloc.start()
    with pytest.raises(ValueError, match=r"claims 5368\d+ bytes .* write it uncompressed"):
        NpzArrays(tmp_path / "x.npz")["values"]
    assert tracemalloc.get_traced_memory()[1] < SMALL
    tracemalloc.stop()


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_arrays_of_numpy_are_read_as_numpy_reads_them(tmp_path: Path, save: object) -> None:
    arrays = {
        "rows": np.arange(12.0).reshape(3, 4),
        "fortran": np.asfortranarray(np.arange(6).reshape(2, 3)),
        "text": np.array(["a", "clip"]),
        "none": np.empty((0, 5), "float32"),
        "one": np.array(7),
    }
    save(tmp_path / "x.npz", **arrays)  # type: ignore[operator]
    read = NpzArrays(tmp_path / "x.npz")
    assert list(read) == list(arrays) and len(read) == 5
    for name, array in arrays.items():
        np.testing.assert_array_equal(read[name], array)
        np.save(tmp_path / "x.npy", array)
        np.testing.assert_array_equal(read_npy(tmp_path / "x.npy"), array)


def test_a_pickle_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", np.array([{}]), allow_pickle=True)
    with pytest.raises(ValueError, match="holds objects, not numbers or text"):
        read_npy(tmp_path / "x.npy")
