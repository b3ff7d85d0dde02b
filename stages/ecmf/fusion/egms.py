"""EGMS (arXiv 2408.03149, Findings of ACL 2024): views of one text, one encoder, and a gate.

Taken from the paper: one shared encoder reads the text beside the other modality, and the cues
beside it; a gate per clip, one number, mixes the two, `g = σ(W2 ReLU(W1 [mean t ; mean c]))`; an
outside scorer may be distilled, by the divergence of two distributions at a temperature of 10.

Our reading: every source of the text branch is a view, such as the raw transcript and the enriched
one. The encoder is a transformer over the steps of a view and of all other sources. With any number
of views the gate is a softmax over those a clip has, which of two is the paper's sigmoid; where the
clip has none, its passes differ in nothing and count alike. With one view or none there is no gate.
What is mixed is, per pass, the mean of the view and the mean of every other source, side by side,
so that `weights` say 1 of every other source. Widths, layers and dropout are ours; so is the weight
of the distillation, which is multiplied by the square of the temperature (arXiv 1503.02531).

The outside scorer is a source too, `teacher`, with a row of scores per class; it is learned from
and never read, and the dropout of sources spares it. Like all rows they arrive scaled, so they are
taken as scores and not as shares.

Left out: entities and their pictures, the pretrained language model, and writing a summary.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ecmf import registry
from ecmf.errors import ParamsError
from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import AttentionOptions
from ecmf.fusion.layers.pooling import masked_mean, masked_softmax
from ecmf.fusion.layers.sequences import (
    StepProjection,
    Streams,
    Transformer,
    joined,
    with_positions,
)


class Options(AttentionOptions):
    """Widths; `teacher` is the source to distil, `branch/encoder`, by the weight `distillation`."""

    layers: int = Field(1, ge=1)
    teacher: str | None = None
    distillation: float = Field(1.0, gt=0)
    temperature: float = Field(10.0, gt=0)


class Fusion(base.Fusion):
    """Read every view of the text beside all else, and mix what comes of it."""

    def __init__(self, sources: Sequence[base.SourceShape], classes: int, options: Options) -> None:
        """Build for these sources.

        Raises:
            ParamsError: the teacher is no source, has not one score per class, or is all there is.
        """
        super().__init__(sources, classes)
        width = options.width
        self.options = options
        self.read = _without_teacher(self.sources, classes, options.teacher)
        self.views = [source.name for source in self.read if source.branch == "text"]
        self.others = [source.name for source in self.read if source.branch != "text"]
        self.projection = StepProjection(self.read, width, options.dropout)
        self.encoder = Transformer(width, options.heads, options.layers, options.dropout)
        views = len(self.views)
        if views > 1:
            self.gate = nn.Sequential(
                nn.Linear(width * views, width), nn.ReLU(), nn.Linear(width, views)
            )
        self.dropout = Dropout(options.dropout)
        self.classifier = nn.Linear(width * (len(self.others) + (views > 0)), classes)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip."""
        projected = self.projection(batch.only(self.read))
        streams = {
            source.name: (with_positions(rows) * mask.unsqueeze(-1), mask)
            for source, (rows, mask) in zip(self.read, projected, strict=True)
        }
        others = [streams[name] for name in self.others]
        each = [[streams[view], *others] for view in self.views] or [others]
        passes = torch.stack([self._encode(one) for one in each], dim=1)
        gate = self._gate(passes[:, :, 0], batch)
        fused = torch.einsum("bv,bvpd->bpd", gate, passes)
        logits = self.classifier(self.dropout(fused.flatten(1)))
        losses = {} if target is None else self._distillation(logits, batch)
        return base.Output(logits, self._weights(gate, batch), losses=losses)

    def _encode(self, streams: Streams) -> Tensor:
        """Read the streams as one sequence; the mean of each, (clips, streams, width)."""
        masks = [mask for _, mask in streams]
        parts = self.encoder(*joined(streams)).split([mask.shape[1] for mask in masks], dim=1)
        return torch.stack([masked_mean(*part) for part in zip(parts, masks, strict=True)], dim=1)

    def _gate(self, means: Tensor, batch: base.Batch) -> Tensor:
        """Weigh the passes, (clips, passes), by the means of their views (clips, views, width)."""
        if len(self.views) < 2:
            return means.new_ones(len(means), 1)
        present = torch.stack([batch.masks[view].any(dim=1) for view in self.views], dim=1)
        scores: Tensor = self.gate(means.flatten(1))
        return masked_softmax(scores, present | ~present.any(dim=1, keepdim=True))

    def _weights(self, gate: Tensor, batch: base.Batch) -> Tensor:
        """A view counts by its gate, any other source in full, the teacher not at all."""
        full, none = torch.ones_like(gate[:, 0]), torch.zeros_like(gate[:, 0])
        counts = dict(zip(self.views, gate.unbind(dim=1), strict=False))
        counts |= dict.fromkeys(self.others, full)
        weights = torch.stack([counts.get(name, none) for name in batch.masks], dim=1)
        return weights * batch.present()

    def _distillation(self, logits: Tensor, batch: base.Batch) -> dict[str, Tensor]:
        """How far the classes are from the teacher's, both softened, where there is a teacher."""
        teacher, heat = self.options.teacher, self.options.temperature
        if teacher is None:
            return {}
        mask = batch.masks[teacher]
        scores = masked_mean(batch.rows[teacher], mask)
        divergence = functional.kl_div(
            (logits / heat).log_softmax(dim=1),
            (scores / heat).log_softmax(dim=1),
            reduction="none",
            log_target=True,
        ).sum(dim=1)
        weight = self.options.distillation * heat**2
        return {"distillation": weight * divergence * mask.any(dim=1)}


def _without_teacher(
    sources: Sequence[base.SourceShape], classes: int, teacher: str | None
) -> list[base.SourceShape]:
    """Return what is read; raises ParamsError where the teacher cannot teach."""
    dims = {source.name: source.dim for source in sources}
    if teacher is None:
        return list(sources)
    where = f"options of fusion member 'egms': teacher {teacher!r}"
    if teacher not in dims:
        raise ParamsError(
            f"{where} is no source: choose one of {', '.join(dims)}.{registry.hint(teacher, dims)}"
        )
    if dims[teacher] != classes:
        raise ParamsError(
            f"{where} has rows of {dims[teacher]} numbers, not one score for each of the "
            f"{classes} classes: import a source that has, or leave the teacher out"
        )
    if len(dims) == 1:
        raise ParamsError(f"{where} is the only source, and is not read: add another encoder")
    return [source for source in sources if source.name != teacher]
