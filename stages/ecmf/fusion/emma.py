"""EMMA (arXiv 2410.02080): one linear layer over the token axis of two kinds of tokens.

From the paper:
- The tokens of the picture, `V`, enter as their encoder gives them; those of the text are projected
  to the width of these, `T' = GELU(W_t T)`.
- A single linear layer over the *token* axis of `[V; T']` gives as many tokens as `V` has.
- It starts as `[I|0]`, so that at first the picture's tokens pass unchanged and the text changes
  them only as far as training finds it useful.

Our reading:
- `V` are the tokens of the visual sources (the first source, where all or none are visual) and `T`
  those of the others. Visual sources narrower than the widest are filled up with zeros.
- A layer over the token axis needs a fixed number of tokens, so each source is resampled to
  `tokens` of them by interpolation.
- The identity is added to the layer's output rather than stored in its weights, which start at
  zero: the same function, but weight decay then pulls towards the identity.
- In the paper a network of two layers brings the tokens to the width of a language model, which
  reads them and the text; here it brings those of each source, mixed or `T'`, to `width`, and
  attention pools them for a linear classifier.

Left out:
- The language model, and everything that serves to train it.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ecmf.config import Section
from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import DropoutRate, Width
from ecmf.fusion.layers.pooling import AttentionPooling
from ecmf.fusion.layers.sequences import resample

VISUAL = ("frame", "face")
"""Branches whose sources form `V`."""


class Options(Section):
    """Number of the tokens, their width after the mixing, and dropout; all are ours."""

    width: Width = 64
    tokens: int = Field(8, ge=1, description="Tokens to which each source is resampled.")
    dropout: DropoutRate = 0.5


class Fusion(base.Fusion):
    """Mix the tokens of the other sources into those of the visual ones."""

    order_aware = True

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        self.tokens = options.tokens
        visual = [source for source in self.sources if source.branch in VISUAL]
        first = visual if 0 < len(visual) < len(self.sources) else self.sources[:1]
        self.first = tuple(source for source in self.sources if source in first)
        self.second = tuple(source for source in self.sources if source not in first)
        self.dim = max(source.dim for source in self.first)
        self.to_first = nn.ModuleList(nn.Linear(source.dim, self.dim) for source in self.second)
        count = len(self.first) * self.tokens
        self.mixing = nn.Linear(len(self.sources) * self.tokens, count)
        nn.init.zeros_(self.mixing.weight)
        nn.init.zeros_(self.mixing.bias)
        width = options.width
        self.projector = nn.Sequential(
            nn.Linear(self.dim, width), nn.GELU(), nn.Linear(width, width), nn.LayerNorm(width)
        )
        self.pooling = AttentionPooling(width, width)
        self.dropout = Dropout(options.dropout)
        self.classifier = nn.Linear(width * len(self.sources), outputs)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Mix the tokens, and pool those of each source."""
        first, second = self.tokenise(batch)
        tokens = self.projector(torch.cat([self.mix(first, second), second], dim=1))
        # An absent visual source has tokens, too: the others are mixed into its zeros.
        some = batch.presence().any(dim=1, keepdim=True).expand(-1, self.tokens)
        sources = torch.split(tokens, self.tokens, dim=1)
        pooled = [self.pooling(part, some) for part in sources]
        return base.Output(self.classifier(self.dropout(torch.cat(pooled, dim=1))))

    def tokenise(self, batch: base.Batch) -> tuple[Tensor, Tensor]:
        """Return `V` and `T'`, each (clips, its sources x tokens, dim); zeros where absent."""
        first = []
        for source in self.first:
            rows, mask = batch.rows[source.name], batch.masks[source.name]
            tokens = resample(rows, mask, self.tokens)
            first.append(functional.pad(tokens, (0, self.dim - source.dim)))
        second = [first[0][:, :0]]  # no tokens if there is no second source
        for source, linear in zip(self.second, self.to_first, strict=True):
            rows, mask = batch.rows[source.name], batch.masks[source.name]
            projected = functional.gelu(linear(rows))
            second.append(resample(projected, mask, self.tokens))
        return torch.cat(first, dim=1), self.dropout(torch.cat(second, dim=1))

    def mix(self, first: Tensor, second: Tensor) -> Tensor:
        """Return the tokens of `first` plus the output of the linear layer over all tokens."""
        both = torch.cat([first, second], dim=1)
        changed: Tensor = self.mixing(both.transpose(1, 2)).transpose(1, 2)
        return first + changed
