"""A fusion model together with the scale of its inputs: what is trained, saved and loaded."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from ecmf import registry
from ecmf.fusion.base import Batch, Fusion, Output, Pretext, SourceShape, Target


class Model(nn.Module):
    """Rows minus mean over deviation of the training clips, then the fusion."""

    def __init__(self, fusion: Fusion) -> None:
        """Start with mean 0 and deviation 1."""
        super().__init__()
        self.fusion = fusion
        self._names = {source.name: number for number, source in enumerate(fusion.sources)}
        for number, source in enumerate(fusion.sources):
            self.register_buffer(f"mean_{number}", torch.zeros(source.dim))
            self.register_buffer(f"deviation_{number}", torch.ones(source.dim))

    def set_scale(self, moments: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Take mean and deviation of each source, in the order of the sources."""
        for number, (mean, deviation) in enumerate(moments):
            self.get_buffer(f"mean_{number}").copy_(mean)
            self.get_buffer(f"deviation_{number}").copy_(deviation)

    def forward(self, batch: Batch, target: Target | None = None) -> Output:
        """Scale the rows and fuse them."""
        output: Output = self.fusion(self.scaled(batch), target)
        return output

    def pretext(self) -> Pretext | None:
        """Return what the fusion practises without labels first, if anything, on scaled rows."""
        pretext: Pretext | None = self.fusion.pretext()
        return pretext

    def scaled(self, batch: Batch) -> Batch:
        """Subtract the mean and divide by the deviation; rows that are not real become zeros."""
        rows = {}
        for name, values in batch.rows.items():
            number = self._names[name]
            rows[name] = (
                (values - self.get_buffer(f"mean_{number}"))
                .div_(self.get_buffer(f"deviation_{number}"))
                .mul_(batch.masks[name].unsqueeze(-1))
            )
        return Batch(rows, batch.masks)


def build(
    member: str, options: Mapping[str, Any], sources: Sequence[SourceShape], classes: int, seed: int
) -> Model:
    """Make an untrained model; the same seed gives the same weights."""
    checked = registry.options("fusion", member, options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return Model(registry.load("fusion", member).Fusion(sources, classes, checked))
