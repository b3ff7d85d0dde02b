"""Late fusion at decision level: a classifier per source, and a rule that combines them.

The simplest model, which no source can spoil: each classifier is trained by itself, and the fused
loss changes none of them. On few clips it is hard to beat (Kittler et al., "On combining
classifiers", IEEE TPAMI 20(3), 1998). `product` adds the log-probabilities of the present sources,
as if they were independent given the class. `mean` averages their probabilities, which forgives a
source that is surely wrong. `weighted` is the product with a power for each source, fitted to
clips that were not trained on (`training/decision_weights.py`). A classifier is linear on the
source, pooled by attention and projected.
"""

import math
from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ecmf.config import Section
from ecmf.fusion import base
from ecmf.fusion.layers.options import DropoutRate, Width
from ecmf.fusion.layers.pooling import Projection


class Options(Section):
    """Rule, and sizes of the classifiers."""

    combine: Literal["product", "mean", "weighted"] = Field(
        "product", description="Rule that combines the class probabilities of the sources."
    )
    width: Width = 64
    dropout: DropoutRate = 0.3


class Fusion(base.Fusion):
    """Classify each source, and combine the decisions of the present ones."""

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        self.options = options
        self.weighs_sources = options.combine == "weighted"
        self.projection = Projection(self.sources, options.width, options.dropout)
        self.classifiers = nn.ModuleList(nn.Linear(options.width, outputs) for _ in self.sources)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Combine the class probabilities of each clip's sources; uniform without any source."""
        present = batch.presence()
        vectors = self.projection(batch).unbind(dim=1)
        each = [classify(v) for classify, v in zip(self.classifiers, vectors, strict=True)]
        logits = torch.stack(each, dim=1)
        losses = {}
        if target is not None:
            losses["sources"] = (target.loss(logits) * present).sum(dim=1)
        # Detached: each classifier learns from its own loss alone.
        log_probs = logits.detach().log_softmax(dim=-1)
        return base.Output(self._combine(log_probs, present), losses=losses)

    def _combine(self, log_probs: Tensor, present: Tensor) -> Tensor:
        known = present.unsqueeze(-1)
        if self.options.combine == "product":
            return (log_probs * known).sum(dim=1)
        if self.options.combine == "weighted":
            return (log_probs * known * self.source_weights.unsqueeze(-1)).sum(dim=1)
        count = present.sum(dim=1, keepdim=True)
        hidden = log_probs.masked_fill(~known, -torch.inf)
        mean = hidden.logsumexp(dim=1) - count.clamp(min=1).log()
        return torch.where(count > 0, mean, -math.log(self.outputs))
