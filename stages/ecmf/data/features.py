"""Load the features of all sources into memory, as ragged arrays in the order of the manifest."""

from collections.abc import Mapping, Sequence
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
        counts = np.diff(self.starts)
        owner = np.repeat(np.arange(len(counts)), counts)
        sums = np.zeros((len(counts), self.dim), "float64")
        np.add.at(sums, owner, self.values)
        return (sums / np.maximum(counts, 1)[:, None]).astype("float32")


def load_sources(paths: Mapping[str, Path], clip_ids: Sequence[str]) -> list[Source]:
    """Read the store of each source; `paths` maps its name to the file.

    Raises:
        StoreError: a store does not hold exactly these clips in this order.
    """
    return [_load(name, path, clip_ids) for name, path in paths.items()]


def standardise_per_speaker(source: Source, speakers: Sequence[str]) -> Source:
    """Standardise the rows of each speaker by that speaker's mean and standard deviation.

    The statistics cover all clips of a speaker, including those to be predicted, but no label.
    Results with it are transductive: report them separately.
    """
    owner = np.repeat(np.asarray(speakers), np.diff(source.starts))
    values = np.empty_like(source.values)
    for speaker in sorted(set(speakers)):
        own = owner == speaker
        rows = source.values[own]
        if len(rows):
            values[own] = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + MIN_STD)
    return Source(source.name, values, source.starts, source.provenance)


def _load(name: str, path: Path, clip_ids: Sequence[str]) -> Source:
    with Store(path) as store:
        if list(store) != list(clip_ids):
            raise StoreError(
                f"the {len(store)} clips of {path} are not the {len(clip_ids)} of the manifest in "
                "its order: run `dvc repro` to write it again"
            )
        values = np.asarray(store.all_values(), "float32")  # float16 from a half-precision network
        return Source(name, values, store.starts, store.provenance)
