"""RAMer (arXiv 2502.10435): common and specific codes, and absent modalities reconstructed.

Taken from the paper: each modality has a common code `c_m` and a specific code `s_m`; a
discriminator is to tell the modality from the specific codes and must not from the common ones;
`‖h_m - Dec_m(c_m, s_m)‖²` makes the two hold all of `h_m`; InfoNCE ties `h_m` to a reconstruction;
an absent modality is `Dec_m(mean common code of the others, learned specific code)`; clips are
shuffled among those of their label.

Our reading: a source is a modality. One encoder makes all common codes. One discriminator reads
both kinds, the common ones through a reversed gradient. A linear classifier reads the mean common
code and a reconstruction of every source: from its own codes where it is present, from the others'
where it is not. InfoNCE compares `h_m` with what would stand for it if it were absent, among the
clips of the batch that have it, so that clips that have a source train its learned code. In the
loss "shuffle" each source is that of another clip, drawn as often as their labels agree, and the
label is the mean of those drawn. A single source has no other to be told from or made of: it has
neither discriminator nor learned code. The weights of the losses are ours. Left out: the
personality task, for clips here have no such labels, and the pass over stacked labels, for a clip
has one emotion.
"""

from collections.abc import Sequence

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional

from ecmf.config import Section
from ecmf.fusion import base
from ecmf.fusion.layers.dropout import Dropout
from ecmf.fusion.layers.pooling import Projection, masked_mean, mean_where


class Options(Section):
    """Width, dropout, and the weights of the further losses; 0 leaves one out.

    `temperature` divides the similarities of the contrast.
    """

    width: int = Field(64, ge=1)
    dropout: float = Field(0.4, ge=0, lt=1)
    adversarial: float = Field(0.1, ge=0)
    reconstruction: float = Field(0.1, ge=0)
    contrast: float = Field(0.1, ge=0)
    shuffle: float = Field(0.5, ge=0)
    temperature: float = Field(0.2, gt=0)


def reversed_gradient(rows: Tensor) -> Tensor:
    """Return the same numbers; what is learned through them is learned the other way round."""
    return 2 * rows.detach() - rows


class Codes(nn.Module):
    """`h` -> its common codes, its specific codes, and what stands for it where it is absent.

    All (clips, sources, width).
    """

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

    def imagine(self, common: Tensor, present: Tensor) -> Tensor:
        """Reconstruct every source from the others; zeros where there is no other."""
        if len(self.decoders) == 1:
            return torch.zeros_like(common)
        others = (common.sum(dim=1, keepdim=True) - common) / _others(present).clamp(min=1)
        some = _others(present) > 0
        return self.decode(others, self.learned.expand_as(common)) * some


class Fusion(base.Fusion):
    """Say what the sources share and what each has of its own, and fill in those absent."""

    def __init__(self, sources: Sequence[base.SourceShape], classes: int, options: Options) -> None:
        """Build for these sources."""
        super().__init__(sources, classes)
        width, count = options.width, len(self.sources)
        self.options = options
        self.projection = Projection(self.sources, width, options.dropout)
        self.codes = Codes(count, width)
        if count > 1 and options.adversarial:
            self.discriminator = _two_layers(width, width, count)
        self.dropout = Dropout(options.dropout)
        self.classifier = nn.Linear(width * (1 + count), classes)

    def forward(self, batch: base.Batch, target: base.Target | None = None) -> base.Output:
        """Fuse the sources of each clip as they are reconstructed."""
        present = batch.present()
        vectors = self.projection(batch)
        common, specific = self.codes.encode(vectors, present)
        imagined = self.codes.imagine(common, present)
        rebuilt = self.codes.decode(common, specific)
        filled = torch.where(present.unsqueeze(-1), rebuilt, imagined)
        shared = masked_mean(common, present)
        logits = self._classify(shared, filled)
        if target is None:
            return base.Output(logits)
        losses = {}
        if self.options.reconstruction:
            losses["reconstruction"] = self.options.reconstruction * mean_where(
                (vectors - rebuilt).square().mean(dim=-1), present
            )
        if self.options.adversarial and len(self.sources) > 1:
            losses["adversarial"] = self.options.adversarial * (
                self._guess(reversed_gradient(common), present) + self._guess(specific, present)
            )
        if self.options.contrast and len(self.sources) > 1:
            losses["contrast"] = self.options.contrast * self._contrast(vectors, imagined, present)
        if self.options.shuffle:
            losses["shuffle"] = self.options.shuffle * self._shuffled(
                common, filled, present, target.soft
            )
        return base.Output(logits, losses=losses)

    def _classify(self, shared: Tensor, filled: Tensor) -> Tensor:
        logits: Tensor = self.classifier(
            self.dropout(torch.cat([shared, filled.flatten(1)], dim=1))
        )
        return logits

    def _guess(self, codes: Tensor, present: Tensor) -> Tensor:
        """Cross entropy of the discriminator's guess which source a code is of, (clips,)."""
        told = self.discriminator(codes).log_softmax(dim=-1).diagonal(dim1=1, dim2=2)
        return -mean_where(told, present)

    def _contrast(self, vectors: Tensor, imagined: Tensor, present: Tensor) -> Tensor:
        """InfoNCE of `h_m` with its own reconstruction from the others among those of the batch."""
        real, made = (functional.normalize(part, dim=-1, eps=1e-6) for part in (vectors, imagined))
        similar = torch.einsum("imd,jmd->mij", real, made) / self.options.temperature
        valid = present & (_others(present) > 0).squeeze(-1)
        hidden = ~valid.T.unsqueeze(1)
        among = similar.masked_fill(hidden, torch.finfo(similar.dtype).min).log_softmax(dim=-1)
        return -mean_where(among.diagonal(dim1=1, dim2=2).T, valid)

    def _shuffled(self, common: Tensor, filled: Tensor, present: Tensor, soft: Tensor) -> Tensor:
        """Cross entropy of clips made of the sources of several clips of one label, (clips,)."""
        clips, count = present.shape
        least = torch.finfo(soft.dtype).tiny
        agreement = (soft @ soft.T).clamp(min=least).log().unsqueeze(1)
        # The largest of log p + Gumbel noise is drawn with probability p (arXiv 1611.01144).
        uniform = torch.rand(clips, count, clips, device=soft.device).clamp(min=least)
        chance = -(-uniform.log()).log()
        hidden = ~(present.T & present.unsqueeze(-1))  # a source of a clip that has it, for another
        drawn = (agreement + chance).masked_fill(hidden, -torch.inf).argmax(dim=-1)
        source = torch.arange(count, device=soft.device)
        real = present.unsqueeze(-1)
        mixed = torch.where(real, filled[drawn, source], filled)
        shared = masked_mean(common[drawn, source], present)
        wanted = masked_mean(soft[drawn], present)
        return functional.cross_entropy(self._classify(shared, mixed), wanted, reduction="none")


def _two_layers(inputs: int, width: int, outputs: int | None = None) -> nn.Sequential:
    return nn.Sequential(nn.Linear(inputs, width), nn.GELU(), nn.Linear(width, outputs or width))


def _others(present: Tensor) -> Tensor:
    """How many other sources the clip has, (clips, sources, 1)."""
    return (present.sum(dim=1, keepdim=True) - present.long()).unsqueeze(-1)
