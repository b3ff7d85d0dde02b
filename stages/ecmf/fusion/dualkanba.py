"""DualKanbaFormer (arXiv 2408.15379): sparse attention, state space and learned curves per source.

From the paper:
- One such former per modality, in parallel.
- Sparse attention driven by an aspect, which reads all blocks coarsely and selected blocks finely.
- Mamba's selective state space for long distances.
- Kolmogorov-Arnold networks in place of the feed-forward, whose functions are splines with
  `curves: spline`; Dynamic Tanh in place of layer normalisation.
- A gate between the modalities, `g ⊙ t + (1 - g) ⊙ v`.

Our reading:
- Within a block the three follow one another, each with a residual around it.
- The aspect of a clip is the mean of the steps of its text sources: what is said, and cues where
  the text is enriched. It is added to every query of every source. Without a text, or with `aspect`
  off, each step is its own query.
- A third branch of the attention reads the steps nearby, as in its model, native sparse attention
  (arXiv 2502.11089); a softmax per query and head mixes the branches.
- The state space has one decay rate per head, so that it runs without a loop.
- A block's learned curves are one layer. By default their basis functions are Gaussians, which
  approximate the splines at half the cost.
- A source is the mean of its steps.
- For any number of sources the gate is a softmax over the present ones, feature by feature, which
  for two is the paper's sigmoid. A model of one source has no gate.
- Widths, heads, blocks, window and dropout are ours.

Left out:
- The pretrained encoders of words and pictures, which precede the fusion here.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.kolmogorov_arnold import DynamicTanh, KolmogorovArnold
from ecmf.fusion.layers.options import AttentionOptions, Layers
from ecmf.fusion.layers.pooling import masked_mean, masked_softmax
from ecmf.fusion.layers.sequences import StepProjection, concatenate
from ecmf.fusion.layers.sparse_attention import SparseAttention
from ecmf.fusion.layers.state_space import SelectiveStateSpace

FEWEST_SPLINES = 4
"""Cubic splines that differ from zero within one interval."""


class Options(AttentionOptions):
    """Sizes of the formers; all are ours."""

    layers: Layers = 1
    block_size: int = Field(4, ge=1, description="Steps of a block of the sparse attention.")
    top_blocks: int = Field(2, ge=1, description="Blocks that each query reads step by step.")
    window: int = Field(2, ge=0, description="Farthest steps nearby that a query reads; 0: none.")
    aspect: bool = Field(True, description="Add the mean of the clip's text to every query.")
    state_size: int = Field(8, ge=1, description="Size of the state of each feature.")
    curves: Literal["gaussian", "spline"] = Field(
        "gaussian", description="Basis functions of the learned curves."
    )
    basis_functions: int = Field(8, ge=2, description="Basis functions of each learned curve.")

    @model_validator(mode="after")
    def _splines_have_an_interval(self) -> "Options":
        if self.curves == "spline" and self.basis_functions < FEWEST_SPLINES:
            raise ValueError(
                f"basis_functions is {self.basis_functions}, but cubic splines over one interval "
                f"are {FEWEST_SPLINES}: choose {FEWEST_SPLINES} or more, or curves: gaussian"
            )
        return self


class Fusion(base.Fusion):
    """Encode each source by a former, and mix the sources by a gate per feature."""

    order_aware = True

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        width, count = options.width, len(self.sources)
        self.projection = StepProjection(self.sources, width, options.dropout)
        text = [number for number, source in enumerate(self.sources) if source.branch == "text"]
        self.aspect_sources = text if options.aspect else []
        self.formers = nn.ModuleList(
            Former(options, driven=bool(self.aspect_sources)) for _ in self.sources
        )
        if count > 1:
            self.gate = nn.Linear(width * count, width * count)
        self.dropout = Dropout(options.dropout)
        self.classifier = nn.Linear(width, outputs)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        streams = self.projection(batch)
        aspect = None
        if self.aspect_sources:
            aspect = masked_mean(*concatenate([streams[number] for number in self.aspect_sources]))
        vectors = [
            masked_mean(former(rows, mask, aspect), mask)
            for (rows, mask), former in zip(streams, self.formers, strict=True)
        ]
        vector = torch.stack(vectors, dim=1)
        gate = self._gate(vector, batch.presence())
        fused = (gate * vector).sum(dim=1)
        return base.Output(self.classifier(self.dropout(fused)), gate.mean(dim=-1))

    def _gate(self, vector: Tensor, present: Tensor) -> Tensor:
        """Return the gate, (clips, sources, width); it sums to one over the present sources."""
        if len(self.sources) == 1:
            return present.unsqueeze(-1).expand_as(vector).to(vector.dtype)
        scores = self.gate(vector.flatten(1)).view_as(vector).transpose(1, 2)
        return masked_softmax(scores, present.unsqueeze(1)).transpose(1, 2)


class Layer(nn.Module):
    """Block of a former: attention, state space, learned curves; pre-norm, with residuals."""

    def __init__(self, options: Options, driven: bool) -> None:
        super().__init__()
        width = options.width
        self.attention_norm = DynamicTanh(width)
        self.attention = SparseAttention(
            width, options.heads, options.block_size, options.top_blocks, options.window, driven
        )
        self.state_norm = DynamicTanh(width)
        self.state_space = SelectiveStateSpace(width, options.heads, options.state_size)
        self.curve_norm = DynamicTanh(width)
        self.curves = KolmogorovArnold(
            width, width, options.basis_functions, options.curves == "spline"
        )
        self.dropout = Dropout(options.dropout)

    def forward(self, rows: Tensor, mask: Tensor, aspect: Tensor | None) -> Tensor:
        """Transform (clips, steps, width) with mask (clips, steps), by an aspect (clips, width)."""
        rows = rows + self.dropout(self.attention(self.attention_norm(rows), mask, aspect))
        rows = rows + self.dropout(self.state_space(self.state_norm(rows), mask))
        rows = rows + self.dropout(self.curves(self.curve_norm(rows)))
        return rows * mask.unsqueeze(-1)


class Former(nn.Module):
    """Blocks of one source and a final normalisation."""

    def __init__(self, options: Options, driven: bool) -> None:
        super().__init__()
        self.layers = nn.ModuleList(Layer(options, driven) for _ in range(options.layers))
        self.norm = DynamicTanh(options.width)

    def forward(self, rows: Tensor, mask: Tensor, aspect: Tensor | None) -> Tensor:
        """Transform (clips, steps, width) with mask (clips, steps), by an aspect (clips, width)."""
        for layer in self.layers:
            rows = layer(rows, mask, aspect)
        normalised: Tensor = self.norm(rows)
        return normalised
