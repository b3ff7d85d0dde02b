"""Clips without labels -> encoders of steps that know what stands in steps they do not see.

A student is shown a clip with steps hidden, a teacher the whole clip; the student is to say what
the teacher says of them. The teacher is a slow average of the student and learns nothing itself.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion.base import Batch, Pretext, SourceShape
from ecmf.fusion.layers.pooling import masked_mean, mean_where
from ecmf.fusion.layers.sequences import (
    StepProjection,
    Streams,
    Transformer,
    TransformerLayer,
    joined,
    with_positions,
)

CENTRE_MOMENTUM = 0.9
"""How slowly the mean that is taken off the teacher's scores moves (arXiv 2104.14294)."""


class Encoders(nn.Module):
    """Every source's steps brought to one width, and mixed within the source by a transformer."""

    def __init__(
        self, sources: Sequence[SourceShape], width: int, heads: int, layers: int, dropout: float
    ) -> None:
        super().__init__()
        self.projection = StepProjection(sources, width, dropout)
        self.transformers = nn.ModuleList(
            Transformer(width, heads, layers, dropout) for _ in sources
        )

    def forward(
        self, batch: Batch, hidden: Sequence[Tensor] | None = None, blanks: Tensor | None = None
    ) -> Streams:
        """Encode; where `hidden` (clips, steps) of a source is true, its row of `blanks` stands."""
        streams = []
        for number, (rows, mask) in enumerate(self.projection(batch)):
            if hidden is not None and blanks is not None:
                rows = torch.where(hidden[number].unsqueeze(-1), blanks[number], rows)
            placed = with_positions(rows) * mask.unsqueeze(-1)
            streams.append((self.transformers[number](placed, mask), mask))
        return streams


class Said(NamedTuple):
    """Per source: encoded steps and their mask, and scores of the prototypes by step and by clip.

    The scores are (clips, steps, prototypes) and (clips, prototypes), cosines.
    """

    streams: Streams
    by_step: list[Tensor]
    by_clip: list[Tensor]


class Assigner(nn.Module):
    """Encode, let every step look at the other sources, and compare it with the prototypes.

    Steps and their mean are compared with the same ones, so that what is learned of the whole
    carries over to its parts.
    """

    def __init__(
        self, encoders: Encoders, width: int, heads: int, dropout: float, prototypes: int
    ) -> None:
        super().__init__()
        self.encoders = encoders
        self.look = TransformerLayer(width, heads, dropout)
        self.prototypes = nn.Parameter(torch.randn(prototypes, width))

    def forward(
        self, batch: Batch, hidden: Sequence[Tensor] | None = None, blanks: Tensor | None = None
    ) -> Said:
        """Score the steps; those `hidden` are seen by no other source."""
        streams = self.encoders(batch, hidden, blanks)
        seen = streams
        if hidden is not None:
            seen = [
                (rows, mask & ~hide) for (rows, mask), hide in zip(streams, hidden, strict=True)
            ]
        said = Said(streams, [], [])
        for number, (rows, mask) in enumerate(streams):
            others = [*seen[:number], *seen[number + 1 :]] or seen
            looked = self.look(rows, mask, joined(others))
            said.by_step.append(self._scores(looked))
            said.by_clip.append(self._scores(masked_mean(looked, mask)))
        return said

    def _scores(self, vectors: Tensor) -> Tensor:
        """Return cosines in full precision, for they are divided by small temperatures."""
        with torch.autocast(vectors.device.type, enabled=False):
            return functional.linear(
                functional.normalize(vectors.float(), dim=-1),
                functional.normalize(self.prototypes, dim=-1),
            )


def steps_to_hide(streams: Streams, texts: Sequence[bool], share: float) -> list[Tensor]:
    """Choose the steps of each source most like the clip's text, (clips, steps) per source.

    The text is the mean of the other text sources a clip has; without any, of all its other
    sources; without those, of the source itself. Of n steps `share * n` are hidden on average,
    rounded up or down by chance: a source of one step is hidden whole, or not at all.
    """
    gists = torch.stack([masked_mean(rows, mask) for rows, mask in streams], dim=1)
    present = torch.stack([mask.any(dim=1) for _, mask in streams], dim=1)
    is_text = torch.tensor(texts, device=gists.device)
    hidden = []
    for number, (rows, mask) in enumerate(streams):
        itself = torch.arange(len(streams), device=gists.device) == number
        guides = present & is_text & ~itself
        for more in (present & ~itself, present):
            guides = torch.where(guides.any(dim=1, keepdim=True), guides, more)
        guide = masked_mean(gists, guides).unsqueeze(1)
        alike = functional.cosine_similarity(rows, guide, dim=-1).masked_fill(~mask, -torch.inf)
        rank = alike.argsort(dim=1, descending=True).argsort(dim=1)
        chance = torch.rand(len(mask), device=mask.device)
        count = (share * mask.sum(dim=1) + chance).floor()
        hidden.append(rank < count.unsqueeze(1))  # padding ranks last, behind any count
    return hidden


class MaskedModelling(Pretext):
    """Practise `encoders`: say of hidden steps, and of the whole, what the teacher says of them.

    The loss of a clip is the cross entropy between the teacher's and the student's assignments to
    the prototypes: mean over the hidden steps plus mean over the sources.
    """

    centre: Tensor
    met: Tensor

    def __init__(
        self,
        student: Assigner,
        texts: Sequence[bool],
        *,
        epochs: int,
        share: float,
        momentum: float,
        temperature: float,
        teacher_temperature: float,
    ) -> None:
        super().__init__()
        self.epochs = epochs
        self.student = student
        self.teacher = copy.deepcopy(student).requires_grad_(False).eval()
        prototypes, width = student.prototypes.shape
        self.blanks = nn.Parameter(0.02 * torch.randn(len(texts), width))
        self.register_buffer("centre", torch.zeros(prototypes))
        self.register_buffer("met", torch.zeros(prototypes))
        self.texts, self.share, self.momentum = tuple(texts), share, momentum
        self.temperature, self.teacher_temperature = temperature, teacher_temperature

    def train(self, mode: bool = True) -> "MaskedModelling":
        """Switch the student; the teacher sees clips as they are, without dropout."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of each clip, (clips,); zero for a clip without any source."""
        with torch.no_grad():
            taught = self.teacher(batch)
            hidden = steps_to_hide(taught.streams, self.texts, self.share)
        said = self.student(batch, hidden, self.blanks)
        present = batch.present()
        self.met = torch.stack(taught.by_clip, dim=1)[present].mean(dim=0).nan_to_num()
        by_step = self._apart(torch.cat(taught.by_step, dim=1), torch.cat(said.by_step, dim=1))
        by_clip = self._apart(torch.stack(taught.by_clip, dim=1), torch.stack(said.by_clip, dim=1))
        return mean_where(by_step, torch.cat(hidden, dim=1)) + mean_where(by_clip, present)

    def _apart(self, taught: Tensor, said: Tensor) -> Tensor:
        """Cross entropy over the prototypes, the last dimension.

        The teacher's mean scores are taken off, or one prototype could win every step.
        """
        wanted = ((taught - self.centre) / self.teacher_temperature).softmax(dim=-1)
        return -(wanted * (said / self.temperature).log_softmax(dim=-1)).sum(dim=-1)

    @torch.no_grad()
    def step(self) -> None:
        """Let the teacher, and the mean of what it says, follow."""
        self.centre = self.centre.lerp(self.met, 1 - CENTRE_MOMENTUM)
        for slow, fast in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.momentum)
