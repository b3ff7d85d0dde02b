"""Tensor Fusion Network (arXiv 1707.07250, EMNLP 2017): the outer product of all sources.

From the paper:
- Each source becomes a vector `z_m`; the outer product of all `[1; z_m]` holds the interactions of
  every subset of the sources, from single ones up to all of them.
- A network of two hidden layers classifies the product.

Our reading:
- Any number of sources, not three, so the product is kept small by `tensor_width`, the entries of
  `z_m`, and has no more than `most_products` numbers.
- `z_m = tanh(A_m h_m)`, so that a product of many is never larger than its factors.
- `h_m` is the pooled and projected source, `width` is that of `h_m` and of the hidden layers.
- A source that is absent has `z_m = 0` and leaves its constant 1, so the products of the others
  remain.

Left out:
- The paper's own network for each modality, a recurrent one for the words.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from ecmf.config import Section
from ecmf.errors import ParamsError
from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import DropoutRate, Width
from ecmf.fusion.layers.pooling import Projection
from ecmf.fusion.layers.tensor_product import outer_product, prepend_one


class Options(Section):
    """Widths, the limit of the outer product, and dropout; all are ours."""

    width: Width = 64
    tensor_width: int | None = Field(
        None, ge=1, description="Width of `z_m`; null is the largest within width and the limit."
    )
    most_products: int = Field(4096, ge=2, description="Limit of the outer product's entries.")
    dropout: DropoutRate = 0.3


class Fusion(base.Fusion):
    """Classify the outer product of the sources."""

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        width = options.width
        narrow = _tensor_width(len(self.sources), options)
        self.projection = Projection(self.sources, width, options.dropout)
        self.narrowing = nn.ModuleList(nn.Linear(width, narrow) for _ in self.sources)
        self.classifier = nn.Sequential(
            Dropout(options.dropout),
            nn.Linear((1 + narrow) ** len(self.sources), width),
            nn.ReLU(),
            Dropout(options.dropout),
            nn.Linear(width, width),
            nn.ReLU(),
            nn.Linear(width, outputs),
        )

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        return base.Output(self.classifier(self.multiply_sources(batch)))

    def multiply_sources(self, batch: base.Batch) -> Tensor:
        """Return the outer product of each clip: (clips, (1 + tensor_width)^sources)."""
        narrowed = [
            torch.tanh(linear(vector))
            for linear, vector in zip(
                self.narrowing, self.projection(batch).unbind(dim=1), strict=True
            )
        ]
        present = batch.presence().unsqueeze(-1)
        return outer_product(prepend_one(torch.stack(narrowed, dim=1) * present).unbind(dim=1))


def _tensor_width(sources: int, options: Options) -> int:
    """Return the width of `z_m`; raises ParamsError if the product exceeds its limit."""
    limit = options.most_products
    if options.tensor_width is None:
        fitting = (n for n in range(options.width, 0, -1) if (1 + n) ** sources <= limit)
        width = next(fitting, 1)
    else:
        width = options.tensor_width
    if (1 + width) ** sources > limit:
        raise ParamsError(
            f"options of fusion plugin 'tfn': {sources} sources with tensor_width {width} have "
            f"{(1 + width) ** sources} products, and most_products is {limit}: lower tensor_width, "
            "choose fewer sources, or use the plugin lmf, which needs no outer product"
        )
    return width
