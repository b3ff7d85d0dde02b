"""AFG (arXiv 2309.07925, ACM MM 2023; MER2023-MULTI): gather by attention, decode two things.

Taken from the paper: attention-guided feature gathering, `Σ_t softmax_t(w^T tanh(W x_t)) x_t`;
emotion and valence decoded together; a loss weighed by learned uncertainties,
`L_ce / s1² + L_mse / (2 s2²) + log(s1 s2)`; three structures combined at the level of posteriors.

Our reading of the structures, which differ in where sources meet: `early` gathers once over all
steps of all sources; `hierarchical` gathers the steps of each source and then the sources; `beside`
gathers the steps of each source and puts the vectors side by side. Each has its own decoder, whose
valence head reads the emotions' probabilities beside the vector; the logits are the logarithm of
the mean of the three posteriors, the valence is the mean of three. `weights` is the attention of
the hierarchical structure over the sources.

The training adds `L_ce` by itself, so the losses here are what is missing to the paper's sum:
"emotion" is `(1/s1² - 1) L_ce + log s1` and "valence" `L_mse / (2 s2²) + log s2`, the latter only
for clips whose valence is known. `L_ce` is that of the combined posterior. What is learned is
`log s²`, which starts at 0. Left out: the choice among encoders and their layers, and folds.
"""

import math
from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ecmf.config import Section
from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.pooling import AttentionPooling
from ecmf.fusion.layers.sequences import StepProjection, Streams, joined


class Options(Section):
    """Width and dropout; both are ours."""

    width: int = Field(64, ge=1)
    dropout: float = Field(0.4, ge=0, lt=1)


class Decoder(nn.Module):
    """A vector -> log-probabilities of the emotions, and the valence they and it speak for."""

    def __init__(self, dim: int, width: int, classes: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(dim, width), nn.GELU(), Dropout(dropout))
        self.emotion = nn.Linear(width, classes)
        self.valence = nn.Linear(width + classes, 1)

    def forward(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """(clips, dim) -> (clips, classes), (clips,)."""
        hidden = self.hidden(vector)
        emotion = self.emotion(hidden).log_softmax(dim=-1)
        valence = self.valence(torch.cat([hidden, emotion.exp()], dim=-1))
        return emotion, valence.squeeze(-1)


class Fusion(base.Fusion):
    """Gather the sources in three ways, and say emotion and valence from each."""

    def __init__(self, sources: Sequence[base.SourceShape], classes: int, options: Options) -> None:
        """Build for these sources."""
        super().__init__(sources, classes)
        width, dropout, count = options.width, options.dropout, len(self.sources)
        self.projection = StepProjection(self.sources, width, dropout)
        self.early = AttentionPooling(width, width)
        self.steps = nn.ModuleList(AttentionPooling(width, width) for _ in self.sources)
        self.over_sources = AttentionPooling(width, width)
        self.steps_beside = nn.ModuleList(AttentionPooling(width, width) for _ in self.sources)
        self.decoders = nn.ModuleList(
            Decoder(dim, width, classes, dropout) for dim in (width, width, width * count)
        )
        self.log_variance = nn.Parameter(torch.zeros(2))

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Combine the posteriors of the three structures."""
        streams = self.projection(batch)
        vectors, weights = self.structures(streams, batch.present())
        decoded = [decode(vector) for decode, vector in zip(self.decoders, vectors, strict=True)]
        posteriors, valences = (torch.stack(part) for part in zip(*decoded, strict=True))
        logits = posteriors.logsumexp(dim=0) - math.log(len(decoded))
        valence = valences.mean(dim=0)
        losses = {} if target is None else self.uncertain(logits, valence, target)
        return base.Output(logits, weights, valence, losses)

    def structures(self, streams: Streams, present: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the vectors of the three, and how much each source counted in the second."""
        each, beside = (
            torch.stack(
                [gather(*stream) for gather, stream in zip(gathering, streams, strict=True)], dim=1
            )
            for gathering in (self.steps, self.steps_beside)
        )
        weights = self.over_sources.weights(each, present)
        hierarchical = torch.einsum("bm,bmd->bd", weights, each)
        return [self.early(*joined(streams)), hierarchical, beside.flatten(1)], weights

    def uncertain(self, logits: Tensor, valence: Tensor, target: base.Target) -> dict[str, Tensor]:
        """Return what the cross entropy lacks to the paper's sum, term by term."""
        of_emotion, of_valence = self.log_variance.unbind()
        cross_entropy = functional.cross_entropy(logits, target.soft, reduction="none")
        known = ~target.valence.isnan()
        error = (valence - target.valence.nan_to_num()).square()
        return {
            "emotion": torch.expm1(-of_emotion) * cross_entropy + of_emotion / 2,
            "valence": known * (torch.exp(-of_valence) * error + of_valence) / 2,
        }
