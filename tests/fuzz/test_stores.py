"""No value of a damaged store is silently another one."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from mutants import mutant

from ecmf.errors import UserError
from ecmf.storage.store import Layout, Rows, Store, no_rows
from ecmf.storage.store_writer import StoreWriter

VECTORS, IMAGES, SOUND = Layout((5,)), Layout(jpeg=True, columns={"box": (4,)}), Layout(
    dtype="int16", rate=16_000.0
)  # fmt: skip


def write(path: Path, layout: Layout) -> bytes:
    """Write a store of twelve clips in every state, and return its bytes."""
    rng = np.random.default_rng(0)
    provenance = {"encoder": "made", "options": {"power": 2}}
    with StoreWriter(path, layout, provenance) as out:
        for number in range(12):
            count = int(rng.integers(1, 6))
            if number % 4 == 3:
                out.append(f"clip_{number}", no_rows(layout, "empty", "no face found"))
                continue
            values: Any = rng.integers(-99, 99, (count, *layout.shape)).astype(layout.dtype)
            if layout.jpeg:
                values = [rng.bytes(int(rng.integers(1, 200))) for _ in range(count)]
            out.append(
                f"clip_{number}",
                Rows(
                    values,
                    np.empty(0) if layout.rate else np.arange(count) / 10,
                    {name: rng.random((count, *shape)) for name, shape in layout.columns.items()},
                    {"frames": float(number)},
                    "flagged" if number % 4 == 1 else "whole",
                    "torn" if number % 4 == 1 else "",
                ),
            )
    return path.read_bytes()


@pytest.fixture(scope="module")
def stores(tmp_path_factory: pytest.TempPathFactory) -> list[tuple[bytes, list[str]]]:
    """Return the bytes and the content of a store of each layout."""
    folder, found = tmp_path_factory.mktemp("stores"), []
    for number, layout in enumerate((VECTORS, IMAGES, SOUND)):
        content = write(folder / f"{number}.h5", layout)
        found.append((content, contents(folder / f"{number}.h5")))
    return found


def contents(path: Path) -> list[str]:
    """Read everything that a store holds, each part as a text that is equal only if it is."""

    def exact(value: Any) -> str:
        if isinstance(value, np.ndarray):
            return f"{value.dtype} {value.shape} {value.tobytes().hex()}"
        if isinstance(value, Mapping):
            return str({name: exact(each) for name, each in value.items()})
        return repr(value)

    with Store(path) as store:
        read = [exact(store.layout), exact(store.provenance), exact(store.starts)]
        for clip_id, rows in store.items():
            read += [clip_id, store.digest(clip_id), exact(rows.values), exact(rows.times)]
            read += [exact(rows.columns), exact(rows.facts), *store.state(clip_id)]
            read += [exact(store.times(clip_id))]
    return read


def test_a_damaged_store_is_refused_or_read_without_a_difference(
    tmp_path: Path, stores: list[tuple[bytes, list[str]]], seed: int
) -> None:
    content, expected = stores[seed % len(stores)]
    path = tmp_path / "damaged.h5"
    path.write_bytes(mutant(content, seed))
    try:
        read = contents(path)
    except UserError as error:
        assert str(path) in str(error)
        assert len(str(error)) < 2000
    else:
        assert read == expected
