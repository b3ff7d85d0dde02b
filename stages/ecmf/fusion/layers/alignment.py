"""Align the sources of a clip in one space by a contrastive loss, so that a text can guide another.

Encoders trained apart have unrelated spaces, in which a clip's own text is no nearer than any
other's. The loss is that of ALBEF (arXiv 2107.07651, 3.2) and CLIP (arXiv 2103.00020).
"""

from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion.base import Batch, PretextTask
from ecmf.fusion.layers.pooling import masked_mean, mean_where
from ecmf.fusion.layers.sequences import Streams
from ecmf.fusion.layers.source_encoders import SourceEncoders


class Aligner(nn.Module):
    """Project the encoded steps of each source to one space, where the sources of a clip are near.

    `texts` states of each source whether it is a text. The guide of a source is the mean of the
    clip's other text sources; without any, of all its other sources; without those, it is itself.
    """

    def __init__(self, texts: Sequence[bool], width: int, temperature: float) -> None:
        super().__init__()
        self.texts, self.temperature = tuple(texts), temperature
        self.heads = nn.ModuleList(nn.Linear(width, width) for _ in texts)

    def forward(self, streams: Streams) -> Streams:
        """Project the steps of each source."""
        return [
            (head(rows).float() * mask.unsqueeze(-1), mask)
            for head, (rows, mask) in zip(self.heads, streams, strict=True)
        ]

    def guides(self, aligned: Streams) -> tuple[Tensor, Tensor]:
        """Return the guide of each source, (clips, sources, width), and where it is another source.

        The second tensor is (clips, sources); it is false where the source itself is absent.
        """
        means, present = _means(aligned)
        is_text = torch.tensor(self.texts, device=means.device)
        guides, others = [], []
        for number in range(len(aligned)):
            itself = torch.arange(len(aligned), device=means.device) == number
            chosen = present & is_text & ~itself
            for fallback in (present & ~itself, present):
                chosen = torch.where(chosen.any(dim=1, keepdim=True), chosen, fallback)
            guides.append(masked_mean(means, chosen))
            others.append(present[:, number] & (present & ~itself).any(dim=1))
        return torch.stack(guides, dim=1), torch.stack(others, dim=1)

    def contrast(self, streams: Streams) -> Tensor:
        """Return the contrastive loss of each clip, (clips,): the mean over its guided sources.

        A source has to be recognised by its guide among those of all clips of the batch, and the
        guide by the source. The loss is zero for a clip without two sources.
        """
        aligned = self(streams)
        guides, guided = self.guides(aligned)
        means, _ = _means(aligned)
        losses = []
        for number in range(len(aligned)):
            known = guided[:, number]
            own, guide = means[:, number], functional.normalize(guides[:, number], dim=-1)
            with torch.autocast(own.device.type, enabled=False):  # for a small temperature
                scores = own @ guide.T / self.temperature
            lowest = torch.finfo(scores.dtype).min
            by_source = scores.masked_fill(~known, lowest).log_softmax(dim=1).diagonal()
            by_guide = scores.T.masked_fill(~known, lowest).log_softmax(dim=1).diagonal()
            losses.append(torch.where(known, -(by_source + by_guide) / 2, 0))
        return mean_where(torch.stack(losses, dim=1), guided)


class Alignment(PretextTask):
    """Train the encoders and the aligner by the contrastive loss alone."""

    def __init__(self, encoders: SourceEncoders, aligner: Aligner, epochs: int) -> None:
        super().__init__()
        self.encoders, self.aligner, self.epochs = encoders, aligner, epochs

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of each clip, (clips,)."""
        return self.aligner.contrast(self.encoders(batch))


def _means(aligned: Streams) -> tuple[Tensor, Tensor]:
    """Return the mean of each source at unit length, (clips, sources, width), and its presence."""
    means = torch.stack([masked_mean(rows, mask) for rows, mask in aligned], dim=1)
    present = torch.stack([mask.any(dim=1) for _, mask in aligned], dim=1)
    return functional.normalize(means, dim=-1), present
