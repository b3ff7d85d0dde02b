"""EGMS (arXiv 2408.03149, Findings of ACL 2024): views of one text, one encoder, and a gate.

From the paper:
- One shared encoder reads the text with the other modality, and the cues with it.
- A gate per clip, one number, mixes the two: `g = σ(W2 ReLU(W1 [mean t ; mean c]))`.
- An outside scorer may be distilled, by the divergence of two softened distributions; its scores
  are divided by a temperature of 10 and never standardised.

Our reading:
- Every source of the text branch is a view, such as the raw transcript and the enriched one.
- The encoder is a transformer over the steps of a view and of all other sources.
- With any number of views the gate is a softmax over those a clip has, which for two is the paper's
  sigmoid. Where the clip has none, its passes are identical and weighted alike.
- With one view or none there is no gate.
- The gate mixes, per pass, the mean of the view and the mean of every other source, concatenated,
  so that `weights` is 1 for every other source.
- The outside scorer is a source, `teacher`, with a row per clip or step of one score per class. It
  is a target and no input.
- Widths, layers, dropout and the weight of the distillation are ours; the weight is multiplied by
  the square of the temperature (arXiv 1503.02531).

Left out:
- Entities and their pictures.
- The pretrained language model.
- Writing a summary.
"""

from collections.abc import Sequence
from typing import Literal

import torch
from pydantic import Field
from torch import Tensor, nn

from ecmf import registry
from ecmf.errors import ParamsError
from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions, Layers
from ecmf.fusion.layers.pooling import masked_mean, masked_softmax
from ecmf.fusion.layers.sequences import (
    StepProjection,
    Streams,
    Transformer,
    add_positions,
    concatenate,
)

MIN_PROB = 1e-6
"""Lowest probability of a teacher: its logarithm stays finite."""


class Options(AttentionOptions):
    """Sizes of the encoder, and the distillation of an outside scorer."""

    layers: Layers = 1
    teacher: str | None = Field(None, description="Source to distil, `branch/encoder`; or null.")
    teacher_scores: Literal["logits", "probabilities"] = Field(
        "logits", description="Scale of the teacher's rows."
    )
    distillation: float = Field(1.0, gt=0, description="Weight of the distillation loss.")
    temperature: float = Field(10.0, gt=0, description="Temperature of the distillation.")


class Fusion(base.Fusion):
    """Encode each view of the text with all other sources, and mix the results by a gate."""

    order_aware = True

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        """Build the layers.

        Raises:
            ParamsError: The teacher is no source, lacks a score per class, or is the only source.
        """
        super().__init__(sources, outputs)
        width = options.width
        self.options = options
        self.input_sources = _without_teacher(self.sources, outputs, options.teacher)
        self.views = [source.name for source in self.input_sources if source.branch == "text"]
        self.others = [source.name for source in self.input_sources if source.branch != "text"]
        self.projection = StepProjection(self.input_sources, width, options.dropout)
        self.encoder = Transformer(width, options.heads, options.layers, options.dropout)
        views = len(self.views)
        if views > 1:
            self.gate = nn.Sequential(
                nn.Linear(width * views, width), nn.ReLU(), nn.Linear(width, views)
            )
        self.dropout = Dropout(options.dropout)
        self.classifier = nn.Linear(width * (len(self.others) + (views > 0)), outputs)

    @classmethod
    def target_sources(cls, options: Options) -> frozenset[str]:
        """Return the name of the teacher, if there is one."""
        return frozenset() if options.teacher is None else frozenset({options.teacher})

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        projected = self.projection(batch.select(self.input_sources))
        streams = {
            source.name: (add_positions(rows) * mask.unsqueeze(-1), mask)
            for source, (rows, mask) in zip(self.input_sources, projected, strict=True)
        }
        others = [streams[name] for name in self.others]
        inputs = [[streams[view], *others] for view in self.views] or [others]
        passes = torch.stack([self._encode(sequence) for sequence in inputs], dim=1)
        gate = self._gate(passes[:, :, 0], batch)
        fused = torch.einsum("bv,bvpd->bpd", gate, passes)
        logits = self.classifier(self.dropout(fused.flatten(1)))
        losses = {} if target is None else self._distillation(logits, batch)
        return base.Output(logits, self._weights(gate, batch), losses=losses)

    def _encode(self, streams: Streams) -> Tensor:
        """Encode the streams as one sequence; return the mean of each, (clips, streams, width)."""
        masks = [mask for _, mask in streams]
        parts = self.encoder(*concatenate(streams)).split([mask.shape[1] for mask in masks], dim=1)
        return torch.stack([masked_mean(*part) for part in zip(parts, masks, strict=True)], dim=1)

    def _gate(self, means: Tensor, batch: base.Batch) -> Tensor:
        """Return the gate (clips, passes) from the means of the views, (clips, views, width)."""
        if len(self.views) < 2:
            return means.new_ones(len(means), 1)
        present = torch.stack([batch.masks[view].any(dim=1) for view in self.views], dim=1)
        scores: Tensor = self.gate(means.flatten(1))
        return masked_softmax(scores, present | ~present.any(dim=1, keepdim=True))

    def _weights(self, gate: Tensor, batch: base.Batch) -> Tensor:
        """Return the weights: its gate for a view, 1 for another source, 0 for the teacher."""
        one, zero = torch.ones_like(gate[:, 0]), torch.zeros_like(gate[:, 0])
        by_name = dict(zip(self.views, gate.unbind(dim=1), strict=False))
        by_name |= dict.fromkeys(self.others, one)
        weights = torch.stack([by_name.get(name, zero) for name in batch.masks], dim=1)
        return weights * batch.presence()

    def _distillation(self, logits: Tensor, batch: base.Batch) -> dict[str, Tensor]:
        """Return the divergence from the teacher's softened distribution, if there is a teacher."""
        teacher, temperature = self.options.teacher, self.options.temperature
        if teacher is None:
            return {}
        mask = batch.masks[teacher]
        scores = masked_mean(batch.rows[teacher], mask)
        if self.options.teacher_scores == "probabilities":
            scores = scores.clamp(min=MIN_PROB).log()
        ours = (logits / temperature).log_softmax(dim=1)
        theirs = (scores / temperature).log_softmax(dim=1)
        divergence = (theirs.exp() * (theirs - ours)).sum(dim=1)  # vmap has no kl_div
        weight = self.options.distillation * temperature**2
        return {"distillation": weight * divergence * mask.any(dim=1)}


def _without_teacher(
    sources: Sequence[base.SourceShape], classes: int, teacher: str | None
) -> list[base.SourceShape]:
    """Return the input sources; raises ParamsError if the teacher is unusable."""
    dims = {source.name: source.dim for source in sources}
    if teacher is None:
        return list(sources)
    where = f"options of fusion plugin 'egms': teacher {teacher!r}"
    if teacher not in dims:
        raise ParamsError(
            f"{where} is not a source: choose one of {', '.join(dims)}."
            + registry.did_you_mean(teacher, dims)
        )
    if dims[teacher] != classes:
        raise ParamsError(
            f"{where} has rows of {dims[teacher]} numbers, not one score for each of the "
            f"{classes} classes: import a source of class scores, or set teacher: null"
        )
    if len(dims) == 1:
        raise ParamsError(f"{where} is the only source and no input: add another encoder")
    return [source for source in sources if source.name != teacher]
