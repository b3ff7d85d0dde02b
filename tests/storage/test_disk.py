"""A disk that is full, has no locks or does not answer is told from a damaged file."""

import errno
import fcntl
import os
import resource
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import h5py
import numpy as np
import pytest

from ecmf.errors import DiskError
from ecmf.storage.disk import disk_error
from ecmf.storage.files import write_csv, write_json, write_text
from ecmf.storage.store import Layout, Rows, Store
from ecmf.storage.store_writer import StoreWriter


@contextmanager
def files_of_at_most(count: int) -> Iterator[None]:
    """Let no file grow beyond `count` bytes, as on a disk with that much space."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    before = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
        signal.signal(signal.SIGXFSZ, before)


def write_store(path: Path) -> None:
    layout = Layout((1000,), columns={"box": (4,)})
    with StoreWriter(path, layout, {"encoder": "test"}) as out:
        for number in range(40):
            values = np.full((number, 1000), number, "float32")
            rows = Rows(values, np.arange(float(number)), {"box": np.ones((number, 4))})
            out.append(f"clip_{number}", rows)


@pytest.mark.parametrize("share", [0, 0.001, 0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99, 0.9999])
def test_a_disk_that_fills_up_at_any_point_leaves_the_old_store_and_no_half_file(
    tmp_path: Path, share: float
) -> None:
    write_store(tmp_path / "whole.h5")
    size = (tmp_path / "whole.h5").stat().st_size
    (tmp_path / "x.h5").write_text("old")
    with files_of_at_most(int(size * share)), pytest.raises(OSError, match="too large") as caught:
        write_store(tmp_path / "x.h5")
    assert "is full, or over quota" in str(disk_error(caught.value))
    assert (tmp_path / "x.h5").read_text() == "old"
    assert sorted(file.name for file in tmp_path.iterdir()) == ["whole.h5", "x.h5"]


def test_a_store_is_written_as_before_after_the_disk_was_full(tmp_path: Path) -> None:
    write_store(tmp_path / "first.h5")
    with files_of_at_most(100_000), pytest.raises(OSError, match="too large"):
        write_store(tmp_path / "second.h5")
    write_store(tmp_path / "second.h5")
    assert (tmp_path / "first.h5").read_bytes() == (tmp_path / "second.h5").read_bytes()


@pytest.mark.parametrize(
    "write",
    [
        lambda path: write_text(path, "x" * 5000),
        lambda path: write_json(path, ["x" * 5000]),
        lambda path: write_csv(path, [["x"] * 5000]),
    ],
)
def test_a_full_disk_leaves_the_old_text_and_no_half_file(tmp_path: Path, write: object) -> None:
    (tmp_path / "x").write_text("old")
    with files_of_at_most(4096), pytest.raises(OSError, match="too large"):
        write(tmp_path / "x")  # type: ignore[operator]
    assert [file.read_text() for file in tmp_path.iterdir()] == ["old"]


def test_a_store_needs_no_lock(tmp_path: Path) -> None:
    write_store(tmp_path / "x.h5")
    with (tmp_path / "x.h5").open("rb+") as other, (tmp_path / ".y.h5.part").open("wb") as part:
        fcntl.flock(other, fcntl.LOCK_EX)
        fcntl.flock(part, fcntl.LOCK_EX)
        with Store(tmp_path / "x.h5") as store:
            assert len(store) == 40
        write_store(tmp_path / "y.h5")


def test_a_lock_that_is_asked_for_and_not_granted_is_no_damage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_store(tmp_path / "x.h5")
    opened = h5py.File
    monkeypatch.setattr(h5py, "File", lambda path, **_: opened(path, locking=True))
    with (tmp_path / "x.h5").open("rb+") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DiskError, match=r"grants no lock .*LOCKING=FALSE") as got:
            Store(tmp_path / "x.h5")
    assert "delete" not in str(got.value)


@pytest.mark.parametrize(
    ("number", "remedy"),
    [
        (errno.ENOSPC, "is full.*free some space"),
        (errno.EDQUOT, "is full.*free some space"),
        (errno.EACCES, "gives no permission.*change the owner"),
        (errno.EROFS, "gives no permission.*ECMF_CACHE"),
        (errno.ENOLCK, "grants no lock.*HDF5_USE_FILE_LOCKING=FALSE"),
        (errno.EIO, "does not answer.*delete nothing: check the disk"),
        (errno.ESTALE, "does not answer.*the mount"),
        (errno.EMFILE, "has too many files open.*ulimit -n"),
    ],
)
def test_each_failure_of_a_disk_has_its_own_remedy(number: int, remedy: str) -> None:
    error = disk_error(OSError(number, os.strerror(number), "data/x.h5"))
    assert isinstance(error, DiskError)
    with pytest.raises(DiskError, match=f"^data/x.h5: the file system {remedy}"):
        raise error


def test_an_absent_file_and_a_damaged_one_are_no_failures_of_the_disk() -> None:
    assert disk_error(FileNotFoundError(errno.ENOENT, "No such file", "x")) is None
    assert disk_error(OSError("file signature not found")) is None
