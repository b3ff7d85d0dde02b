"""RAMer (arXiv 2502.10435): common and specific codes, and absent modalities reconstructed.

From the paper:
- Each modality has a common code `c_m` and a specific code `s_m`; a discriminator predicts the
  modality from the specific codes and must fail on the common ones.
- `‖h_m - Dec_m(c_m, s_m)‖²` makes the two hold all of `h_m`; InfoNCE ties `h_m` to a
  reconstruction.
- An absent modality is `Dec_m(mean common code of the others, learned specific code)`.
- Clips are shuffled among those of their label.

Our reading:
- A source is a modality. One encoder computes all common codes. One discriminator reads both kinds,
  the common ones through a reversed gradient.
- A linear classifier reads the mean common code and a reconstruction of every source: from its own
  codes where it is present, from the others' where it is absent.
- InfoNCE compares `h_m` with its reconstruction from the others, among the clips of the batch that
  have the source, so that clips that have a source train its learned code.
- In the loss "shuffle" each source comes from another clip, drawn in proportion to the agreement of
  their labels, and the label is the mean of those drawn.
- A model of a single source has neither discriminator nor learned code.
- The weights of the losses are ours.

Left out:
- The personality task, as clips here have no such labels.
- The pass over stacked labels, as a clip has one emotion.
"""

from collections.abc import Sequence
from dataclasses import replace

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ecmf.config import Section
from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.options import DropoutRate, LossWeight, Width
from ecmf.fusion.layers.pooling import Projection, masked_mean, mean_where


class Options(Section):
    """Width, dropout, and the weights of the further losses, ours; 0 leaves a loss out."""

    width: Width = 64
    dropout: DropoutRate = 0.4
    adversarial: LossWeight = Field(0.1, description="Weight of the discriminator's losses.")
    reconstruction: LossWeight = Field(0.1, description="Weight of `‖h_m - Dec_m(c_m, s_m)‖²`.")
    contrast: LossWeight = Field(0.1, description="Weight of InfoNCE.")
    shuffle: LossWeight = Field(0.5, description="Weight of the loss of shuffled clips.")
    temperature: float = Field(0.2, gt=0, description="Temperature of InfoNCE.")


def reverse_gradient(rows: Tensor) -> Tensor:
    """Return the same values, through which gradients change their sign."""
    return 2 * rows.detach() - rows


class Codes(nn.Module):
    """Common and specific codes of `h`, and reconstructions; all are (clips, sources, width)."""

    def __init__(self, count: int, width: int) -> None:
        super().__init__()
        self.common = _two_layers(width, width)
        self.specific = nn.ModuleList(_two_layers(width, width) for _ in range(count))
        self.decoders = nn.ModuleList(_two_layers(2 * width, width) for _ in range(count))
        if count > 1:
            self.learned = nn.Parameter(0.1 * torch.randn(count, width))

    def encode(self, vectors: Tensor, present: Tensor) -> tuple[Tensor, Tensor]:
        """Return common and specific codes; zeros where a source is absent."""
        real = present.unsqueeze(-1)
        specific = [encode(vectors[:, m]) for m, encode in enumerate(self.specific)]
        return self.common(vectors) * real, torch.stack(specific, dim=1) * real

    def decode(self, common: Tensor, specific: Tensor) -> Tensor:
        """Reconstruct every source."""
        both = torch.cat([common, specific], dim=-1)
        return torch.stack([decode(both[:, m]) for m, decode in enumerate(self.decoders)], dim=1)

    def reconstruct_from_others(self, common: Tensor, present: Tensor) -> Tensor:
        """Reconstruct every source as if it were absent; zeros where there is no other source."""
        if len(self.decoders) == 1:
            return torch.zeros_like(common)
        count = _count_others(present)
        others = (common.sum(dim=1, keepdim=True) - common) / count.clamp(min=1)
        return self.decode(others, self.learned.expand_as(common)) * (count > 0)


class Fusion(base.Fusion):
    """Encode common and specific codes of the sources, and reconstruct the absent ones."""

    def __init__(self, sources: Sequence[base.SourceShape], outputs: int, options: Options) -> None:
        super().__init__(sources, outputs)
        width, count = options.width, len(self.sources)
        self.options = options
        self.projection = Projection(self.sources, width, options.dropout)
        self.codes = Codes(count, width)
        if count > 1 and options.adversarial:
            self.discriminator = _two_layers(width, width, count)
        self.dropout = Dropout(options.dropout)
        self.classifier = nn.Linear(width * (1 + count), outputs)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the reconstructed sources of each clip."""
        present = batch.presence()
        vectors = self.projection(batch)
        common, specific = self.codes.encode(vectors, present)
        from_others = self.codes.reconstruct_from_others(common, present)
        from_own = self.codes.decode(common, specific)
        filled = torch.where(present.unsqueeze(-1), from_own, from_others)
        shared = masked_mean(common, present)
        logits = self._classify(shared, filled)
        if target is None:
            return base.Output(logits)
        options, losses = self.options, {}
        if options.reconstruction:
            error = (vectors - from_own).square().mean(dim=-1)
            losses["reconstruction"] = options.reconstruction * mean_where(error, present)
        if options.adversarial and len(self.sources) > 1:
            losses["adversarial"] = options.adversarial * (
                self._discriminator_loss(reverse_gradient(common), present)
                + self._discriminator_loss(specific, present)
            )
        if options.contrast and len(self.sources) > 1:
            info_nce = self._contrastive_loss(vectors, from_others, present)
            losses["contrast"] = options.contrast * info_nce
        if options.shuffle:
            cross_entropy = self._shuffle_loss(common, filled, present, target)
            losses["shuffle"] = options.shuffle * cross_entropy
        return base.Output(logits, losses=losses)

    def _classify(self, shared: Tensor, filled: Tensor) -> Tensor:
        logits: Tensor = self.classifier(
            self.dropout(torch.cat([shared, filled.flatten(1)], dim=1))
        )
        return logits

    def _discriminator_loss(self, codes: Tensor, present: Tensor) -> Tensor:
        """Return the cross entropy of the source that the discriminator predicts, (clips,)."""
        log_probs = self.discriminator(codes).log_softmax(dim=-1).diagonal(dim1=1, dim2=2)
        return -mean_where(log_probs, present)

    def _contrastive_loss(self, vectors: Tensor, from_others: Tensor, present: Tensor) -> Tensor:
        """Return InfoNCE of `h_m` and its reconstruction against those of other clips, (clips,)."""
        h, rebuilt = (
            functional.normalize(part, dim=-1, eps=1e-6) for part in (vectors, from_others)
        )
        similarity = torch.einsum("imd,jmd->mij", h, rebuilt) / self.options.temperature
        valid = present & (_count_others(present) > 0).squeeze(-1)
        hidden = ~valid.T.unsqueeze(1)
        lowest = torch.finfo(similarity.dtype).min
        log_probs = similarity.masked_fill(hidden, lowest).log_softmax(dim=-1)
        return -mean_where(log_probs.diagonal(dim1=1, dim2=2).T, valid)

    def _shuffle_loss(
        self, common: Tensor, filled: Tensor, present: Tensor, target: base.Target
    ) -> Tensor:
        """Return the loss of clips with sources of other clips of their label, (clips,)."""
        probs = target.values["class_probs"]
        clips, count = present.shape
        tiny = torch.finfo(probs.dtype).tiny
        agreement = (probs @ probs.T).clamp(min=tiny).log().unsqueeze(1)
        # The largest of log p + Gumbel noise is drawn with probability p (arXiv 1611.01144).
        uniform = torch.rand(clips, count, clips, device=probs.device).clamp(min=tiny)
        gumbel = -(-uniform.log()).log()
        hidden = ~(present.T & present.unsqueeze(-1))  # both clips must have the source
        drawn = (agreement + gumbel).masked_fill(hidden, -torch.inf).argmax(dim=-1)
        source = torch.arange(count, device=probs.device)
        real = present.unsqueeze(-1)
        mixed = torch.where(real, filled[drawn, source], filled)
        shared = masked_mean(common[drawn, source], present)
        mixed_probs = masked_mean(probs[drawn], present)
        mixed_target = replace(target, values={**target.values, "class_probs": mixed_probs})
        return mixed_target.loss(self._classify(shared, mixed))


def _two_layers(inputs: int, width: int, outputs: int | None = None) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, outputs or width))


def _count_others(present: Tensor) -> Tensor:
    """Count the other sources of each clip, (clips, sources, 1)."""
    return (present.sum(dim=1, keepdim=True) - present.long()).unsqueeze(-1)
