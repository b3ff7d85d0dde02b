"""MISA (arXiv 2005.03545, ACM MM 2020): what the sources share, and what each has to itself.

Taken from the paper: one encoder for all sources and one for each give every source a shared and a
private vector, both between 0 and 1; a transformer over the 2M vectors and a classifier read them.
Three losses keep the split honest. Similarity: the shared vectors of two sources have the same mean
and central moments over the batch up to the fifth order (CMD). Difference: private and shared
vectors of a source, and private vectors of two sources, are orthogonal, `|A^T B|²` with centred
rows of unit length. Reconstruction: a decoder returns the source from the sum of its two vectors.
Our reading: `h_m` is the pooled and projected source; pairs are compared over the clips that have
both, and a clip bears the mean of its pairs; the difference is divided by the square of the number
of clips, so that it lies in [0, 1] for any batch; the weights of the losses are ours. Left out:
the adversarial similarity that the paper tried beside CMD, and its text and sequence encoders.
"""

from collections.abc import Sequence
from itertools import combinations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions
from ecmf.fusion.layers.pooling import Projection, masked_mean, mean_where
from ecmf.fusion.layers.sequences import Transformer

MOMENTS = 5
"""Highest order of the central moments that are compared."""

Pairs = list[tuple[Tensor, Tensor]]
"""Per pair its loss (), and which clips have both of it (clips,)."""


class Options(AttentionOptions):
    """Widths of the model, and the weight of each loss."""

    layers: int = Field(1, ge=1)
    similarity: float = Field(0.3, ge=0)
    difference: float = Field(0.3, ge=0)
    reconstruction: float = Field(0.3, ge=0)


class Fusion(base.Fusion):
    """Split every source into a shared and a private vector, and mix them all."""

    def __init__(self, sources: Sequence[base.SourceShape], classes: int, options: Options) -> None:
        """Build for these sources."""
        super().__init__(sources, classes)
        self.options = options
        width = options.width
        self.projection = Projection(self.sources, width, options.dropout)
        self.shared = nn.Linear(width, width)
        self.private = nn.ModuleList(nn.Linear(width, width) for _ in self.sources)
        self.decoders = nn.ModuleList(nn.Linear(width, width) for _ in self.sources)
        self.transformer = Transformer(width, options.heads, options.layers, options.dropout)
        self.classifier = nn.Sequential(
            nn.Linear(2 * len(self.sources) * width, width),
            nn.GELU(),
            Dropout(options.dropout),
            nn.Linear(width, classes),
        )

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        present = batch.present()
        vectors = self.projection(batch)
        shared = torch.sigmoid(self.shared(vectors)) * present.unsqueeze(-1)
        private = torch.sigmoid(_each(self.private, vectors)) * present.unsqueeze(-1)
        mixed = self.transformer(torch.cat([private, shared], dim=1), present.repeat(1, 2))
        logits = self.classifier(mixed.flatten(1))
        if target is None:
            return base.Output(logits)
        return base.Output(logits, losses=self._losses(vectors, shared, private, present))

    def _losses(
        self, vectors: Tensor, shared: Tensor, private: Tensor, present: Tensor
    ) -> dict[str, Tensor]:
        options = self.options
        alike: Pairs = []
        apart: Pairs = [
            (overlap(private[:, one], shared[:, one], present[:, one]), present[:, one])
            for one in range(len(self.sources))
        ]
        for one, other in combinations(range(len(self.sources)), 2):
            both = present[:, one] & present[:, other]
            alike.append((moment_discrepancy(shared[:, one], shared[:, other], both), both))
            apart.append((overlap(private[:, one], private[:, other], both), both))
        wrong = (_each(self.decoders, shared + private) - vectors).square().mean(dim=-1)
        losses = {
            "difference": options.difference * _per_clip(apart),
            "reconstruction": options.reconstruction * mean_where(wrong, present),
        }
        if alike:
            losses["similarity"] = options.similarity * _per_clip(alike)
        return losses


def moment_discrepancy(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    """How far two sets of rows in [0, 1] are apart in distribution: 2 of (clips, width) -> ().

    The sum of the norms of the differences of the means and of the central moments (CMD).
    """
    means = [_mean(rows, mask) for rows in (first, second)]
    total: Tensor = torch.linalg.vector_norm(means[0] - means[1])
    for order in range(2, MOMENTS + 1):
        moments = [
            _mean((rows - mean) ** order, mask)
            for rows, mean in zip((first, second), means, strict=True)
        ]
        total = total + torch.linalg.vector_norm(moments[0] - moments[1])
    return total


def overlap(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    """How much two sets of rows vary together: 2 of (clips, width) -> () in [0, 1]."""
    one, other = (
        functional.normalize(rows - _mean(rows, mask), dim=1, eps=1e-6) * mask.unsqueeze(-1)
        for rows in (first, second)
    )
    overlapping: Tensor = (one.T @ other / mask.sum().clamp(min=1)).square().sum()
    return overlapping


def _each(modules: nn.ModuleList, vectors: Tensor) -> Tensor:
    """Give each source to its own module: (clips, sources, width) in and out."""
    parts = zip(modules, vectors.unbind(dim=1), strict=True)
    return torch.stack([module(vector) for module, vector in parts], dim=1)


def _mean(rows: Tensor, mask: Tensor) -> Tensor:
    return masked_mean(rows[None], mask[None])[0]


def _per_clip(pairs: Pairs) -> Tensor:
    """Return the mean of the losses of the pairs that each clip has; zero where it has none."""
    losses = torch.stack([loss for loss, _ in pairs])
    masks = torch.stack([mask for _, mask in pairs], dim=1)
    return mean_where(losses.expand(masks.shape), masks)
