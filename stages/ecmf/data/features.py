"""The features of all sources, ragged and in memory, in the order of the manifest."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecmf.errors import StoreError
from ecmf.media import Vectors
from ecmf.storage.store import Store

SMALLEST_DEVIATION = 1e-6
"""Keeps a constant column constant instead of dividing by zero."""


@dataclass(frozen=True)
class Source:
    """One encoder's features of every clip.

    `values` is (rows, dim); clip i owns rows starts[i] to starts[i + 1], perhaps none. `provenance`
    says which encoder made them.
    """

    name: str
    values: Vectors
    starts: NDArray[np.int64]
    provenance: Mapping[str, Any]

    @property
    def dim(self) -> int:
        """Width of a row."""
        return int(self.values.shape[1])

    @property
    def present(self) -> NDArray[np.bool_]:
        """Which clips have a row, (clips,)."""
        return np.diff(self.starts) > 0

    def clip_means(self) -> Vectors:
        """Mean of each clip's rows, (clips, dim); zeros where `present` is false."""
        counts = np.diff(self.starts)
        owner = np.repeat(np.arange(len(counts)), counts)
        sums = np.zeros((len(counts), self.dim), "float64")
        np.add.at(sums, owner, self.values)
        return (sums / np.maximum(counts, 1)[:, None]).astype("float32")


def load_sources(paths: Mapping[str, Path], clip_ids: Sequence[str]) -> list[Source]:
    """Read the store of each source, name -> path.

    Raises:
        StoreError: a store does not hold exactly these clips in this order.
    """
    return [_load(name, path, clip_ids) for name, path in paths.items()]


def per_speaker(source: Source, speakers: Sequence[str]) -> Source:
    """Standardise the rows of each speaker by that speaker's own mean and deviation.

    It looks at all clips of a speaker, also at those to be predicted, though at no label: results
    belong to another setting than without it, and are reported apart.
    """
    owner = np.repeat(np.asarray(speakers), np.diff(source.starts))
    values = np.empty_like(source.values)
    for speaker in sorted(set(speakers)):
        own = owner == speaker
        rows = source.values[own]
        if len(rows):
            values[own] = (rows - rows.mean(axis=0)) / (rows.std(axis=0) + SMALLEST_DEVIATION)
    return Source(source.name, values, source.starts, source.provenance)


def _load(name: str, path: Path, clip_ids: Sequence[str]) -> Source:
    with Store(path) as store:
        if list(store) != list(clip_ids):
            raise StoreError(
                f"{path} holds {len(store)} clips that are not the {len(clip_ids)} of the manifest "
                "in its order: `dvc repro` makes it anew"
            )
        values = np.asarray(store.all_values(), "float32")  # a network in half precision gives half
        return Source(name, values, store.starts, store.provenance)
