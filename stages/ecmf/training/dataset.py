"""Hold the features of all clips as tensors, and build padded batches."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecmf.data.features import MIN_STD, Source
from ecmf.data.splits import Indices
from ecmf.fusion.base import Batch, SourceShape

ROWS_PER_BLOCK = 4096
"""Rows that are copied at once to compute a mean and a deviation."""


class Dataset:
    """The ragged sources on one device; each batch is padded to its longest clip.

    `lengths` (clips,) is the number of rows of each clip in all sources.
    """

    def __init__(self, sources: Sequence[Source], device: torch.device) -> None:
        """Move the features to `device`."""
        self.shapes = [SourceShape(source.name, source.dim) for source in sources]
        self.device = device
        self._values = [torch.from_numpy(source.values).to(device) for source in sources]
        self._starts = [torch.from_numpy(source.starts).to(device) for source in sources]
        self._lengths = [np.diff(source.starts) for source in sources]
        self.lengths = np.sum(self._lengths, axis=0)

    def single_row_sources(self, clips: Indices) -> list[str]:
        """Name the sources that have one row, and never more, of each of these clips."""
        longest = [int(lengths[clips].max(initial=0)) for lengths in self._lengths]
        return [shape.name for shape, rows in zip(self.shapes, longest, strict=True) if rows == 1]

    def presence(self, clips: Indices) -> NDArray[np.bool_]:
        """Return whether each of these clips has each source, (clips, sources)."""
        return np.stack([lengths[clips] > 0 for lengths in self._lengths], axis=1)

    def batch(self, clips: Tensor) -> Batch:
        """Return the rows and masks of the clips at these positions, in their order.

        Padding rows hold arbitrary values; `Model` zeroes them after standardisation. `clips` is a
        CPU tensor and lengths are on the CPU, so that the CPU never waits for a GPU.
        """
        index, positions = clips.to(self.device), clips.numpy()
        rows, masks = {}, {}
        for shape, values, starts, lengths in zip(
            self.shapes, self._values, self._starts, self._lengths, strict=True
        ):
            first, end = starts.index_select(0, index), starts.index_select(0, index + 1)
            steps = torch.arange(max(1, int(lengths[positions].max())), device=self.device)
            row = first[:, None] + steps
            masks[shape.name] = row < end[:, None]
            # Padding repeats a real row; an empty source has none.
            rows[shape.name] = (
                values.index_select(0, row.flatten().clamp_(max=len(values) - 1))
                if len(values)
                else values.new_zeros(row.numel(), shape.dim)
            ).view(*row.shape, shape.dim)
        return Batch(rows, masks)

    def moments(self, clips: Indices) -> list[tuple[Tensor, Tensor]]:
        """Return mean and standard deviation, (dim,) each, of every source over these clips.

        They are 0 and 1 for a source without a row.
        """
        return [
            _moments(values, starts, clips)
            for values, starts in zip(self._values, self._starts, strict=True)
        ]


def _moments(values: Tensor, starts: Tensor, clips: Indices) -> tuple[Tensor, Tensor]:
    """Merge mean and variance of blocks of rows (Chan et al. 1979), without a copy of all rows."""
    chosen = torch.zeros(len(starts) - 1, dtype=torch.bool, device=values.device)
    chosen[torch.from_numpy(clips).to(values.device)] = True
    rows = chosen.repeat_interleave(starts.diff()).nonzero().flatten()
    count = 0
    mean = values.new_zeros(values.shape[1], dtype=torch.float64)
    squares = torch.zeros_like(mean)  # sum of squared differences from the mean
    for part in torch.split(rows, ROWS_PER_BLOCK) if len(rows) else ():
        variance, average = torch.var_mean(values.index_select(0, part), dim=0, correction=0)
        count += len(part)
        shift = average.double() - mean
        mean += shift * (len(part) / count)
        squares += len(part) * (variance.double() + shift**2 * (1 - len(part) / count))
    if not count:
        return values.new_zeros(values.shape[1]), values.new_ones(values.shape[1])
    deviation = (squares / count).sqrt() + MIN_STD
    return mean.to(values.dtype), deviation.to(values.dtype)
