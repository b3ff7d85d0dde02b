"""Load the features of all sources into memory, as ragged arrays in the order of the manifest."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecmf.errors import StoreError
from ecmf.media import Vectors
from ecmf.storage.store import Store

MIN_STD = 1e-6
"""Keeps a constant column constant instead of dividing by zero."""


Allocate = Callable[[tuple[int, int]], Vectors]
"""Allocates the values of a source, (rows, dim), as float32."""


@dataclass(frozen=True)
class Source:
    """One encoder's features of every clip.

    `values` is (rows, dim); clip i owns rows starts[i] to starts[i + 1], possibly none.
    `provenance` identifies the encoder.
    """

    name: str
    values: Vectors
    starts: NDArray[np.int64]
    provenance: Mapping[str, Any]

    @property
    def dim(self) -> int:
        """Number of columns."""
        return int(self.values.shape[1])

    @property
    def present(self) -> NDArray[np.bool_]:
        """Return whether each clip has a row, (clips,)."""
        return np.diff(self.starts) > 0

    def clip_means(self) -> Vectors:
        """Return the mean of each clip's rows, (clips, dim); zeros where `present` is false."""
        present, counts = self.present, np.diff(self.starts)
        means = np.zeros((len(counts), self.dim), "float32")
        if present.any():  # the rows of a present clip end where those of the next one begin
            sums = np.add.reduceat(self.values, self.starts[:-1][present], axis=0, dtype="float64")
            means[present] = sums / counts[present, None]
        return means


def in_this_process(shape: tuple[int, int]) -> Vectors:
    """Allocate the values of a source in the memory of this process alone."""
    return np.empty(shape, "float32")


def load_sources(
    paths: Mapping[str, Path], clip_ids: Sequence[str], allocate: Allocate = in_this_process
) -> list[Source]:
    """Read the store of each source; `paths` maps its name to the file.

    The values are read into the array that `allocate` returns for their shape, without a copy.

    Raises:
        StoreError: a store does not hold exactly these clips in this order.
    """
    return [_load(name, path, clip_ids, allocate) for name, path in paths.items()]


def standardise_per_speaker(source: Source, speakers: Sequence[str]) -> None:
    """Standardise the rows of each speaker, in place, by that speaker's mean and deviation.

    The statistics cover all clips of a speaker, including those to be predicted, but no label.
    Results with it are transductive: report them separately.
    """
    owner = np.repeat(np.asarray(speakers), np.diff(source.starts))
    for speaker in sorted(set(speakers)):
        own = owner == speaker
        rows = source.values[own]
        if len(rows):
            source.values[own] = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + MIN_STD)


def _load(name: str, path: Path, clip_ids: Sequence[str], allocate: Allocate) -> Source:
    with Store(path) as store:
        if list(store) != list(clip_ids):
            raise StoreError(
                f"the {len(store)} clips of {path} are not the {len(clip_ids)} of the manifest in "
                "its order: run `dvc repro` to write it again"
            )
        values = allocate((int(store.starts[-1]), *store.layout.shape))  # type: ignore[arg-type]
        store.read_values(values)  # which may be float16, from a half-precision network
        return Source(name, values, store.starts, store.provenance)
