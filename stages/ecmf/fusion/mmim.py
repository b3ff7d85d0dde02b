"""MMIM (arXiv 2109.00412, EMNLP 2021): maximise mutual information of sources and fused vector.

From the paper:
- A network over all sources gives the fused vector and the class; two losses raise mutual
  information.
- Between two sources the bound of Barber and Agakov, `I(x; y) ≥ E[log q(y|x)] + H(y)`, with a
  Gaussian q whose mean and variance two networks predict from x.
- Between the fused vector and each source contrastive predictive coding: a network predicts `h_m`
  from the fused vector, and the prediction must be nearer to the clip's own `h_m` (cosine) than the
  predictions of other clips of the batch are.

Our reading:
- `h_m` is the pooled and projected source.
- Every ordered pair of sources, where the paper predicts from the text alone.
- `y` is detached, so that `H(y)` is a constant and the bound has the right gradient without it.
- The bound is a mean over the entries of `y`.
- An absent source enters no loss, neither as the clip's own nor as that of another clip.
- The weights of the losses are ours.

Left out:
- The entropy `H(y)` by Gaussian mixtures of two classes with a memory of past batches, and with it
  the two stages of each epoch, since q and the rest of the model now maximise the same bound.
"""

from collections.abc import Sequence
from itertools import permutations

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ecmf.config import Section
from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import DropoutRate, LossWeight, Width
from ecmf.fusion.layers.pooling import Projection, mean_where


class Options(Section):
    """Width and dropout, and the weight of each loss; all are ours."""

    width: Width = 64
    dropout: DropoutRate = 0.3
    between_sources: LossWeight = Field(0.1, description="Weight of the bound between sources.")
    with_fused: LossWeight = Field(0.1, description="Weight of the contrastive predictive coding.")


class Gaussian(nn.Module):
    """Conditional density of a vector: the mean of `log q(y|x)` per entry, without constant."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mean = _network(width)
        self.log_variance = nn.Sequential(_network(width), nn.Tanh())

    def forward(self, x: Tensor, y: Tensor) -> Tensor:
        """Return the density (clips,) of y given x, each (clips, width)."""
        log_variance = self.log_variance(x)
        square = (y - self.mean(x)).square()
        density: Tensor = -0.5 * (square * torch.exp(-log_variance) + log_variance).mean(dim=1)
        return density


class Fusion(base.Fusion):
    """Fuse by a network that is trained to keep mutual information with every source."""

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        self.options = options
        width = options.width
        self.pairs = list(permutations(range(len(self.sources)), 2))
        self.projection = Projection(self.sources, width, options.dropout)
        self.fuse = nn.Sequential(
            nn.Linear(len(self.sources) * width, width),
            nn.GELU(),
            Dropout(options.dropout),
            nn.Linear(width, width),
            nn.GELU(),
        )
        self.densities = nn.ModuleList(Gaussian(width) for _ in self.pairs)
        self.predictions = nn.ModuleList(nn.Linear(width, width) for _ in self.sources)
        self.dropout = Dropout(options.dropout)
        self.classifier = nn.Linear(width, outputs)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        vectors = self.projection(batch)
        fused = self.fuse(vectors.flatten(1))
        logits = self.classifier(self.dropout(fused))
        if target is None:
            return base.Output(logits)
        return base.Output(logits, losses=self._losses(vectors, fused, batch.presence()))

    def _losses(self, vectors: Tensor, fused: Tensor, present: Tensor) -> dict[str, Tensor]:
        contrasts = [
            contrastive_loss(vectors[:, m], predict(fused), present[:, m])
            for m, predict in enumerate(self.predictions)
        ]
        masks = list(present.unbind(dim=1))
        losses = {"with_fused": self.options.with_fused * _mean_per_clip(contrasts, masks)}
        if self.pairs:
            densities, both = [], []
            for (x, y), density in zip(self.pairs, self.densities, strict=True):
                densities.append(density(vectors[:, x], vectors[:, y].detach()))
                both.append(masks[x] & masks[y])
            bound = _mean_per_clip(densities, both)
            losses["between_sources"] = -self.options.between_sources * bound
        return losses


def contrastive_loss(vectors: Tensor, predicted: Tensor, present: Tensor) -> Tensor:
    """Contrast each clip's prediction with those of other clips: (clips,), zero if absent.

    `-log softmax` of the cosine of vector and prediction, among the clips that have the source.
    """
    cosine = functional.normalize(vectors, dim=1) @ functional.normalize(predicted, dim=1).T
    among = cosine.masked_fill(~present, torch.finfo(cosine.dtype).min).logsumexp(dim=1)
    return torch.where(present, among - cosine.diagonal(), 0.0)


def _network(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))


def _mean_per_clip(values: list[Tensor], masks: list[Tensor]) -> Tensor:
    """Average the unmasked values of each clip; values and masks are (clips,)."""
    return mean_where(torch.stack(values, dim=1), torch.stack(masks, dim=1))
