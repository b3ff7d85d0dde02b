"""AFG (arXiv 2309.07925, ACM MM 2023; MER2023-MULTI): attention-guided feature gathering.

From the paper:
- Attention-guided feature gathering, `Σ_t softmax_t(w^T tanh(W x_t)) x_t`.
- Joint decoding of emotion and valence.
- A loss weighted by learned uncertainties, `L_ce / s1² + L_mse / (2 s2²) + log(s1 s2)`.
- Three structures combined by their posteriors.

Our reading:
- The structures differ in where sources meet: `early` gathers once over all steps of all sources;
  `hierarchical` gathers the steps of each source and then the sources; `beside` gathers the steps
  of each source and concatenates the vectors.
- Each structure has its own decoder, whose valence head reads the emotions' probabilities and the
  vector. The logits are the logarithm of the mean of the three posteriors, the valence is the mean
  of three. `weights` is the attention of the hierarchical structure over the sources.
- The training adds `L_ce` itself, so the losses here are the remaining terms of the paper's sum:
  "emotion" is `(1/s1² - 1) L_ce + log s1` and "valence" `L_mse / (2 s2²) + log s2`, the latter only
  for clips whose valence is known. `L_ce` is that of the combined posterior. The learned parameters
  are `log s²`, which start at 0.

Left out:
- The choice among encoders and their layers, and folds.
"""

import math
from collections.abc import Sequence

import torch
from torch import Tensor, nn

from ecmf.config import Section
from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import DropoutRate, Width
from ecmf.fusion.layers.pooling import AttentionPooling
from ecmf.fusion.layers.sequences import StepProjection, Streams, concatenate


class Options(Section):
    """Width and dropout; both are ours."""

    width: Width = 64
    dropout: DropoutRate = 0.4


class Decoder(nn.Module):
    """Decode a vector to log-probabilities of the emotions, and from both to the valence."""

    def __init__(self, dim: int, width: int, outputs: int, dropout: float) -> None:
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(dim, width), nn.GELU(), Dropout(dropout))
        self.emotion = nn.Linear(width, outputs)
        self.valence = nn.Linear(width + outputs, 1)

    def forward(self, vector: Tensor) -> tuple[Tensor, Tensor]:
        """Map (clips, dim) to log-probabilities (clips, classes) and valence (clips,)."""
        hidden = self.hidden(vector)
        emotion = self.emotion(hidden).log_softmax(dim=-1)
        valence = self.valence(torch.cat([hidden, emotion.exp()], dim=-1))
        return emotion, valence.squeeze(-1)


class Fusion(base.Fusion):
    """Gather the sources in three structures, and decode emotion and valence from each."""

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        width, dropout, count = options.width, options.dropout, len(self.sources)
        self.projection = StepProjection(self.sources, width, dropout)
        self.early = AttentionPooling(width, width)
        self.steps = nn.ModuleList(AttentionPooling(width, width) for _ in self.sources)
        self.over_sources = AttentionPooling(width, width)
        self.steps_beside = nn.ModuleList(AttentionPooling(width, width) for _ in self.sources)
        self.decoders = nn.ModuleList(
            Decoder(dim, width, outputs, dropout) for dim in (width, width, width * count)
        )
        self.log_variance = nn.Parameter(torch.zeros(2))

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Average the posteriors and the valences of the three structures."""
        streams = self.projection(batch)
        vectors, weights = self.gather(streams, batch.presence())
        decoded = [decode(vector) for decode, vector in zip(self.decoders, vectors, strict=True)]
        posteriors, valences = (torch.stack(part) for part in zip(*decoded, strict=True))
        logits = posteriors.logsumexp(dim=0) - math.log(len(decoded))
        valence = valences.mean(dim=0)
        losses = {} if target is None else self._losses(logits, valence, target)
        return base.Output(logits, weights, {"valence": valence}, losses)

    def gather(self, streams: Streams, present: Tensor) -> tuple[list[Tensor], Tensor]:
        """Return the vectors of the three structures, and the source weights of `hierarchical`."""
        each, beside = (
            torch.stack(
                [pool(*stream) for pool, stream in zip(pooling, streams, strict=True)], dim=1
            )
            for pooling in (self.steps, self.steps_beside)
        )
        weights = self.over_sources.weights(each, present)
        hierarchical = torch.einsum("bm,bmd->bd", weights, each)
        return [self.early(*concatenate(streams)), hierarchical, beside.flatten(1)], weights

    def _losses(self, logits: Tensor, valence: Tensor, target: base.Target) -> dict[str, Tensor]:
        """Return the terms that complete the cross entropy to the paper's loss."""
        log_var_1, log_var_2 = self.log_variance.unbind()  # log s1², log s2²
        cross_entropy = target.loss(logits)
        known = ~target.values["valence"].isnan()
        error = (valence - target.values["valence"].nan_to_num()).square()
        return {
            "emotion": torch.expm1(-log_var_1) * cross_entropy + log_var_1 / 2,
            "valence": known * (torch.exp(-log_var_2) * error + log_var_2) / 2,
        }
