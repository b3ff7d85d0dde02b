"""MMIM (arXiv 2109.00412, EMNLP 2021): keep what the sources know of each other, and of the result.

Taken from the paper: a network over all sources gives the fused vector and the class, and two
losses raise mutual information. Between two sources the bound of Barber and Agakov,
`I(x; y) ≥ E[log q(y|x)] + H(y)`, with a Gaussian q whose mean and variance two networks read from
x. Between the fused vector and each source contrastive predictive coding: a network predicts `h_m`
from the fused vector, and the prediction must be nearer to the clip's own `h_m` (cosine) than the
predictions of its batch-mates are. Our reading: `h_m` is the pooled and projected source; every
ordered pair of sources, where the paper predicts from the text alone; `y` is held fixed, so that
`H(y)` is a constant and the bound has the right gradient without it; the bound is a mean over the
entries of `y`; a source that is absent enters no loss, neither as its own nor as a batch-mate. The
weights of the losses are ours. Left out: the entropy `H(y)` by Gaussian mixtures of two classes
with a memory of past batches, and with it the two stages of each epoch, since q and the rest of
the model now climb the same bound.
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
from ecmf.fusion.layers.pooling import Projection, mean_where


class Options(Section):
    """Width and dropout, and the weight of each loss."""

    width: int = Field(64, ge=1)
    dropout: float = Field(0.3, ge=0, lt=1)
    between_sources: float = Field(0.1, ge=0)
    with_fused: float = Field(0.1, ge=0)


class Gaussian(nn.Module):
    """Density of one vector given another: `log q(y|x)` per entry, without its constant."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.mean = _network(width)
        self.log_variance = nn.Sequential(_network(width), nn.Tanh())

    def forward(self, given: Tensor, told: Tensor) -> Tensor:
        """Two of (clips, width) -> (clips,)."""
        log_variance = self.log_variance(given)
        square = (told - self.mean(given)).square()
        density: Tensor = -0.5 * (square * torch.exp(-log_variance) + log_variance).mean(dim=1)
        return density


class Fusion(base.Fusion):
    """Fuse by a network that must not lose what the sources have in common with the result."""

    def __init__(self, sources: Sequence[base.SourceShape], classes: int, options: Options) -> None:
        """Build for these sources."""
        super().__init__(sources, classes)
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
        self.classifier = nn.Linear(width, classes)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        vectors = self.projection(batch)
        fused = self.fuse(vectors.flatten(1))
        logits = self.classifier(self.dropout(fused))
        if target is None:
            return base.Output(logits)
        return base.Output(logits, losses=self._losses(vectors, fused, batch.present()))

    def _losses(self, vectors: Tensor, fused: Tensor, present: Tensor) -> dict[str, Tensor]:
        contrasts = [
            contrast(vectors[:, number], predict(fused), present[:, number])
            for number, predict in enumerate(self.predictions)
        ]
        has = list(present.unbind(dim=1))
        losses = {"with_fused": self.options.with_fused * _mean(contrasts, has)}
        if self.pairs:
            densities, both = [], []
            for (given, told), density in zip(self.pairs, self.densities, strict=True):
                densities.append(density(vectors[:, given], vectors[:, told].detach()))
                both.append(has[given] & has[told])
            losses["between_sources"] = -self.options.between_sources * _mean(densities, both)
        return losses


def contrast(vectors: Tensor, predicted: Tensor, present: Tensor) -> Tensor:
    """Tell each clip's own prediction from those of its batch-mates: (clips,), zero if absent.

    `-log softmax` of the cosine of vector and prediction, among the clips that have the source.
    """
    cosine = functional.normalize(vectors, dim=1) @ functional.normalize(predicted, dim=1).T
    among = cosine.masked_fill(~present, torch.finfo(cosine.dtype).min).logsumexp(dim=1)
    return torch.where(present, among - cosine.diagonal(), 0.0)


def _network(width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width))


def _mean(values: list[Tensor], masks: list[Tensor]) -> Tensor:
    """Mean of what each clip has: each of (clips,) -> (clips,)."""
    return mean_where(torch.stack(values, dim=1), torch.stack(masks, dim=1))
