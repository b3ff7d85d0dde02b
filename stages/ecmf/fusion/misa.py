"""MISA (arXiv 2005.03545, ACM MM 2020): modality-invariant and modality-specific vectors.

From the paper:
- One encoder for all sources and one for each give every source a shared and a private vector, both
  between 0 and 1; a transformer over the 2M vectors and a classifier read them.
- Similarity loss: the shared vectors of two sources have the same mean and central moments over the
  batch up to the fifth order (CMD).
- Difference loss: private and shared vectors of a source, and private vectors of two sources, are
  orthogonal, `|A^T B|²` with centred rows of unit length.
- Reconstruction loss: a decoder returns the source from the sum of its two vectors.

Our reading:
- `h_m` is the pooled and projected source.
- Pairs are compared over the clips that have both; the loss of a clip is the mean of its pairs.
- The difference is divided by the square of the number of clips, so that it lies in [0, 1] for any
  batch.
- The weights of the losses are ours.

Left out:
- The adversarial similarity that the paper tried instead of CMD.
- The paper's text and sequence encoders.
"""

from collections.abc import Sequence
from itertools import combinations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions, Layers, LossWeight
from ecmf.fusion.layers.pooling import Projection, masked_mean, mean_where
from ecmf.fusion.layers.sequences import Transformer

MOMENTS = 5
"""Highest order of the central moments that are compared."""

Pairs = list[tuple[Tensor, Tensor]]
"""Loss () of each pair of vectors, and the mask (clips,) of the clips that have both."""


class Options(AttentionOptions):
    """Sizes of the model, and the weight of each loss; all are ours."""

    layers: Layers = 1
    similarity: LossWeight = Field(0.3, description="Weight of the similarity loss (CMD).")
    difference: LossWeight = Field(0.3, description="Weight of the difference loss `|A^T B|²`.")
    reconstruction: LossWeight = Field(0.3, description="Weight of the reconstruction loss.")


class Fusion(base.Fusion):
    """Split every source into a shared and a private vector, and fuse them by a transformer."""

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
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
            nn.Linear(width, outputs),
        )

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        present = batch.presence()
        vectors = self.projection(batch)
        shared = torch.sigmoid(self.shared(vectors)) * present.unsqueeze(-1)
        private = torch.sigmoid(_apply_each(self.private, vectors)) * present.unsqueeze(-1)
        mixed = self.transformer(torch.cat([private, shared], dim=1), present.repeat(1, 2))
        logits = self.classifier(mixed.flatten(1))
        if target is None:
            return base.Output(logits)
        return base.Output(logits, losses=self._losses(vectors, shared, private, present))

    def _losses(
        self, vectors: Tensor, shared: Tensor, private: Tensor, present: Tensor
    ) -> dict[str, Tensor]:
        options = self.options
        similarity: Pairs = []
        difference: Pairs = [
            (orthogonality_loss(private[:, m], shared[:, m], present[:, m]), present[:, m])
            for m in range(len(self.sources))
        ]
        for m, n in combinations(range(len(self.sources)), 2):
            both = present[:, m] & present[:, n]
            similarity.append((central_moment_discrepancy(shared[:, m], shared[:, n], both), both))
            difference.append((orthogonality_loss(private[:, m], private[:, n], both), both))
        error = (_apply_each(self.decoders, shared + private) - vectors).square().mean(dim=-1)
        losses = {
            "difference": options.difference * _mean_per_clip(difference),
            "reconstruction": options.reconstruction * mean_where(error, present),
        }
        if similarity:
            losses["similarity"] = options.similarity * _mean_per_clip(similarity)
        return losses


def central_moment_discrepancy(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    """Return the CMD of two sets of rows in [0, 1], each (clips, width), as a scalar.

    It is the sum of the norms of the differences of the means and of the central moments.
    """
    means = [_mean_row(rows, mask) for rows in (first, second)]
    total: Tensor = torch.linalg.vector_norm(means[0] - means[1])
    for order in range(2, MOMENTS + 1):
        moments = [
            _mean_row((rows - mean) ** order, mask)
            for rows, mean in zip((first, second), means, strict=True)
        ]
        total = total + torch.linalg.vector_norm(moments[0] - moments[1])
    return total


def orthogonality_loss(first: Tensor, second: Tensor, mask: Tensor) -> Tensor:
    """Return `|A^T B|²` of two sets of rows, each (clips, width), as a scalar in [0, 1]."""
    a, b = (
        functional.normalize(rows - _mean_row(rows, mask), dim=1, eps=1e-6) * mask.unsqueeze(-1)
        for rows in (first, second)
    )
    loss: Tensor = (a.T @ b / mask.sum().clamp(min=1)).square().sum()
    return loss


def _apply_each(modules: nn.ModuleList, vectors: Tensor) -> Tensor:
    """Apply its own module to each source: (clips, sources, width) in and out."""
    parts = zip(modules, vectors.unbind(dim=1), strict=True)
    return torch.stack([module(vector) for module, vector in parts], dim=1)


def _mean_row(rows: Tensor, mask: Tensor) -> Tensor:
    return masked_mean(rows[None], mask[None])[0]


def _mean_per_clip(pairs: Pairs) -> Tensor:
    """Average the losses of the pairs of which each clip has both; zero where it has none."""
    losses = torch.stack([loss for loss, _ in pairs])
    masks = torch.stack([mask for _, mask in pairs], dim=1)
    return mean_where(losses.expand(masks.shape), masks)
