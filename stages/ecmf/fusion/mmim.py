"""MMIM (arXiv 2109.00412, EMNLP 2021): maximise mutual information of sources and fused vector.

From the paper:
- A network over all sources gives the fused vector and the class; two losses raise mutual
  information.
- Between two sources the bound of Barber and Agakov, `I(x; y) ≥ E[log q(y|x)] + H(y)`, with a
  Gaussian q whose mean and variance two networks predict from x.
- The entropy `H(y)` is that of a mixture of one Gaussian per class, `Σ_c w_c ½ log det Σ_c`. Its
  covariances are those of `tanh(P y)` in the batch, with P a fixed random projection to a quarter
  of the width.
- Between the fused vector and each source contrastive predictive coding: a network predicts `h_m`
  from the fused vector, and the prediction must be nearer to the clip's own `h_m` (cosine) than
  the predictions of other clips of the batch are.

Our reading:
- `h_m` is the pooled and projected source.
- Every ordered pair of sources, where the paper predicts from the text alone; a source has one P.
- The paper has two classes of weight ½, positive and negative. Here `w_c` is the share of class c
  in the batch, a clip counts for a class by its probability, and 0.01 is added to the variances,
  as a class may have fewer clips in a batch than dimensions.
- The bound is a mean over the entries of `y`, and over those of `P y`.
- An absent source enters no loss, neither as the clip's own nor as that of another clip.
- The weights of the losses are ours.

Left out:
- The memory of the batch before, which enlarges the sample of the covariances.
- The two stages of each epoch: q and the rest of the model maximise the same bound.
"""

import math
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

NARROWER = 4
"""Ratio of the width of a source to that of the vector whose entropy is computed."""

RIDGE = 0.01
"""Added to the variances, so that the covariance of few clips has a determinant."""


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


class Entropy(nn.Module):
    """Entropy of a vector as a mixture of one Gaussian per class, per entry, without constant."""

    projection: Tensor

    def __init__(self, width: int) -> None:
        super().__init__()
        narrow = max(1, width // NARROWER)
        self.register_buffer("projection", torch.randn(width, narrow) / math.sqrt(width))

    def forward(self, vectors: Tensor, class_probs: Tensor) -> Tensor:
        """Return the entropy, a number, of (clips, width); clips without any class do not count."""
        with torch.autocast(vectors.device.type, enabled=False):
            y = torch.tanh(vectors.float() @ self.projection)
            mass = class_probs.sum(dim=0)
            share = class_probs / mass.clamp(min=1e-6)
            centred = y.unsqueeze(1) - share.T @ y  # (clips, classes, entries)
            covariance = torch.einsum("nc,nci,ncj->cij", share, centred, centred)
            ridge = RIDGE * torch.eye(y.shape[1], device=y.device)
            log_det = torch.linalg.slogdet(covariance + ridge).logabsdet
            weights = mass / mass.sum().clamp(min=1e-6)
            entropy: Tensor = 0.5 * (weights * log_det).sum() / y.shape[1]
        return entropy


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
        self.entropies = nn.ModuleList(Entropy(width) for _ in (self.sources if self.pairs else ()))
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
        class_probs = target.values["class_probs"]
        return base.Output(
            logits, losses=self._losses(vectors, fused, batch.presence(), class_probs)
        )

    def _losses(
        self, vectors: Tensor, fused: Tensor, present: Tensor, class_probs: Tensor
    ) -> dict[str, Tensor]:
        contrasts = [
            contrastive_loss(vectors[:, m], predict(fused), present[:, m])
            for m, predict in enumerate(self.predictions)
        ]
        masks = list(present.unbind(dim=1))
        losses = {"with_fused": self.options.with_fused * _mean_per_clip(contrasts, masks)}
        if self.pairs:
            entropies = [
                entropy(vectors[:, m], class_probs * masks[m].unsqueeze(1))
                for m, entropy in enumerate(self.entropies)
            ]
            bounds, both = [], []
            for (x, y), density in zip(self.pairs, self.densities, strict=True):
                bounds.append(density(vectors[:, x], vectors[:, y]) + entropies[y])
                both.append(masks[x] & masks[y])
            bound = _mean_per_clip(bounds, both)
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
