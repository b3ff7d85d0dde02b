"""Low-rank Multimodal Fusion (arXiv 1806.00064, ACL 2018): tensor fusion without the tensor.

From the paper:
- The linear map of the outer product of all `[1; h_m]` has a weight tensor of rank r, `Σ_i ⊗_m
  w_m^i`, so that `f = Σ_i Π_m (w_m^i [1; h_m]) + b` equals that map without either tensor: the cost
  grows with the number of sources and no longer with its power.

Our reading:
- `h_m` is the pooled and projected source; `f` is as wide as `h_m` and a linear classifier reads
  it.
- The weights of the constant start at one and the others small, so that the model starts near the
  sum of its sources, however many there are.
- A source that is absent has `h_m = 0` and leaves the weights of its constant.

Left out:
- The learned weights of the ranks in the published code, which `w_m^i` can express already.
- The paper's network per modality.
"""

import functools
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from ecmf.config import Section
from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import DropoutRate, Width
from ecmf.fusion.layers.pooling import Projection
from ecmf.fusion.layers.tensor_product import prepend_one


class Options(Section):
    """Width of the sources and of the result, rank of the weight tensor, dropout."""

    width: Width = 64
    rank: int = Field(4, ge=1, description="Rank r of the weight tensor.")
    dropout: DropoutRate = 0.3


class LowRankProduct(nn.Module):
    """Linear map of an outer product, in low rank: (clips, sources, n) -> (clips, out)."""

    def __init__(self, sources: int, width: int, rank: int, out: int) -> None:
        super().__init__()
        factors = torch.randn(sources, rank, 1 + width, out) / (width * rank) ** 0.5
        factors[:, :, 0] = 1
        self.factors = nn.Parameter(factors)  # (sources, rank, 1 + width, out)
        self.bias = nn.Parameter(torch.zeros(out))

    def forward(self, vectors: Tensor) -> Tensor:
        """Map each source by its factors, multiply over the sources, and sum over the ranks."""
        factors = torch.einsum("bmi,mrio->mbro", prepend_one(vectors), self.factors)
        return functools.reduce(torch.mul, factors.unbind(dim=0)).sum(dim=1) + self.bias


class Fusion(base.Fusion):
    """Fuse the sources by a low-rank product."""

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        width = options.width
        self.projection = Projection(self.sources, width, options.dropout)
        self.product = LowRankProduct(len(self.sources), width, options.rank, width)
        self.dropout = Dropout(options.dropout)
        self.classifier = nn.Linear(width, outputs)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        fused = self.product(self.projection(batch))
        return base.Output(self.classifier(self.dropout(fused)))
