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
- By default the structures share their projection of the sources, and the loss is that of the
  combined posterior. With `separate` they are three systems: each has a projection, uncertainties
  and the whole loss to itself, and only their predictions meet.
- The training adds the loss `L_ce` of the combined posterior itself, so the losses here are the
  remaining terms: "emotion" is `(1/s1² - 1) L_ce + log s1` and "valence" `L_mse / (2 s2²) + log
  s2`, the latter only for clips whose valence is known. The combined posterior of
  `separate` systems is detached, and the losses are the sums of their own. The learned parameters
  are `log s²`, which start at 0.

Left out:
- The choice among encoders and their layers, and folds.
"""

import math
from collections.abc import Iterable, Sequence

import torch
from pydantic import Field
from torch import Tensor, nn

from ecmf.config import Section
from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import DropoutRate, Width
from ecmf.fusion.layers.pooling import AttentionPooling
from ecmf.fusion.layers.sequences import StepProjection, Streams, concatenate


class Options(Section):
    """Width, dropout, and whether the structures are systems of their own; all are ours."""

    width: Width = 64
    dropout: DropoutRate = 0.4
    separate: bool = Field(
        False, description="Train the three structures as three systems, joined by posteriors."
    )


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
        self.separate = options.separate
        systems = 3 if options.separate else 1
        self.projections = nn.ModuleList(
            StepProjection(self.sources, width, dropout) for _ in range(systems)
        )
        self.early = AttentionPooling(width, width)
        self.steps = nn.ModuleList(AttentionPooling(width, width) for _ in self.sources)
        self.over_sources = AttentionPooling(width, width)
        self.steps_beside = nn.ModuleList(AttentionPooling(width, width) for _ in self.sources)
        self.decoders = nn.ModuleList(
            Decoder(dim, width, outputs, dropout) for dim in (width, width, width * count)
        )
        self.log_variance = nn.Parameter(torch.zeros(systems, 2))

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Average the posteriors and the valences of the three structures."""
        vectors, weights = self.gather(batch)
        decoded = [decode(vector) for decode, vector in zip(self.decoders, vectors, strict=True)]
        posteriors, valences = (torch.stack(part) for part in zip(*decoded, strict=True))
        combined = posteriors.detach() if self.separate else posteriors
        logits = combined.logsumexp(dim=0) - math.log(len(decoded))
        valence = valences.mean(dim=0)
        if target is None:
            return base.Output(logits, weights, {"valence": valence})
        losses = (
            self._losses(posteriors, valences, target)
            if self.separate
            else self._losses(logits[None], valence[None], target)
        )
        return base.Output(logits, weights, {"valence": valence}, losses)

    def gather(self, batch: base.Batch) -> tuple[list[Tensor], Tensor]:
        """Return the vectors of the three structures, and the source weights of `hierarchical`."""
        streams = [projection(batch) for projection in self.projections]
        early, hierarchical, beside = streams if self.separate else 3 * streams
        each = _pool(self.steps, hierarchical)
        weights = self.over_sources.weights(each, batch.presence())
        vectors = [
            self.early(*concatenate(early)),
            torch.einsum("bm,bmd->bd", weights, each),
            _pool(self.steps_beside, beside).flatten(1),
        ]
        return vectors, weights

    def _losses(self, logits: Tensor, valences: Tensor, target: base.Target) -> dict[str, Tensor]:
        """Return what completes the cross entropy to the paper's loss, summed over the systems.

        `logits` are (systems, clips, classes), `valences` (systems, clips). The cross entropy of
        separate systems is whole here, as the training's own has no gradient.
        """
        log_var_1, log_var_2 = self.log_variance.unsqueeze(1).unbind(dim=2)  # (systems, 1) each
        cross_entropy = torch.stack([target.loss(each) for each in logits])
        factor = torch.exp(-log_var_1) if self.separate else torch.expm1(-log_var_1)
        known = ~target.values["valence"].isnan()
        error = (valences - target.values["valence"].nan_to_num()).square()
        return {
            "emotion": (factor * cross_entropy + log_var_1 / 2).sum(dim=0),
            "valence": known * (torch.exp(-log_var_2) * error + log_var_2).sum(dim=0) / 2,
        }


def _pool(pooling: Iterable[nn.Module], streams: Streams) -> Tensor:
    """Gather the steps of each source: (clips, sources, width)."""
    return torch.stack(
        [pool(*stream) for pool, stream in zip(pooling, streams, strict=True)], dim=1
    )
