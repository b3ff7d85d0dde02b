"""All clips' features as tensors; a batch is cut out of them by position."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecmf.data.features import SMALLEST_DEVIATION, Source
from ecmf.fusion.base import Batch, SourceShape


class Dataset:
    """The sources on one device, ragged, without padding.

    Padding happens per batch, to the longest clip in it. `lengths` (clips,) counts each clip's rows
    over all sources.
    """

    def __init__(self, sources: Sequence[Source], device: torch.device) -> None:
        """Move the features to `device` once."""
        self.shapes = [SourceShape(source.name, source.dim) for source in sources]
        self.device = device
        self._values = [torch.from_numpy(source.values).to(device) for source in sources]
        self._starts = [torch.from_numpy(source.starts).to(device) for source in sources]
        self._lengths = [np.diff(source.starts) for source in sources]
        self.lengths = np.sum(self._lengths, axis=0)

    def batch(self, clips: Tensor) -> Batch:
        """Rows and masks of the clips at these positions, a tensor of the host, in their order.

        What stands in a row that is not real is no promise: `Model` makes it zeros, once it has
        subtracted the mean. The host knows all lengths, so nobody waits for a GPU to tell them.
        """
        at, host = clips.to(self.device), clips.numpy()
        rows, masks = {}, {}
        for shape, values, starts, lengths in zip(
            self.shapes, self._values, self._starts, self._lengths, strict=True
        ):
            first, end = starts.index_select(0, at), starts.index_select(0, at + 1)
            steps = torch.arange(max(1, int(lengths[host].max())), device=self.device)
            position = first[:, None] + steps
            masks[shape.name] = position < end[:, None]
            # Padding reads some real row; an empty source has no row to read.
            rows[shape.name] = (
                values.index_select(0, position.flatten().clamp_(max=len(values) - 1))
                if len(values)
                else values.new_zeros(position.numel(), shape.dim)
            ).view(*position.shape, shape.dim)
        return Batch(rows, masks)

    def moments(self, clips: NDArray[np.int64]) -> list[tuple[Tensor, Tensor]]:
        """Mean and deviation (dim,) of each source over the rows of these clips, or 0 and 1."""
        moments = []
        for shape, values, starts in zip(self.shapes, self._values, self._starts, strict=True):
            chosen = torch.zeros(len(starts) - 1, dtype=torch.bool, device=self.device)
            chosen[torch.from_numpy(clips).to(self.device)] = True
            rows = values[chosen.repeat_interleave(starts.diff())]
            if len(rows):
                mean = rows.mean(dim=0)
                deviation = rows.std(dim=0, correction=0) + SMALLEST_DEVIATION
            else:
                mean, deviation = values.new_zeros(shape.dim), values.new_ones(shape.dim)
            moments.append((mean, deviation))
        return moments
