"""Masked modelling of unlabelled clips: pretrain step encoders to predict steps that are masked.

A student encodes a clip with some steps masked and predicts the output of a teacher for the whole
clip. The teacher is an exponential moving average of the student and has no gradient.
"""

import copy
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional

from ecmf.fusion.base import Batch, PretextTask
from ecmf.fusion.layers.alignment import Aligner
from ecmf.fusion.layers.pooling import masked_mean, mean_where
from ecmf.fusion.layers.sequences import Streams, TransformerLayer, concatenate
from ecmf.fusion.layers.source_encoders import SourceEncoders

CENTRE_MOMENTUM = 0.9
"""Momentum of the running mean of the teacher's scores, subtracted as in arXiv 2104.14294."""


class Assignments(NamedTuple):
    """Encoded steps of each source, and their cosines with the prototypes.

    Per source, `by_step` is (clips, steps, prototypes) and `by_clip` (clips, prototypes).
    """

    streams: Streams
    by_step: list[Tensor]
    by_clip: list[Tensor]


class Assigner(nn.Module):
    """Encode, let every step attend to the other sources, and compare it with the prototypes.

    Steps and their mean share the prototypes, so that a clip's meaning carries over to its steps.
    """

    def __init__(
        self,
        encoders: SourceEncoders,
        aligner: Aligner,
        width: int,
        heads: int,
        dropout: float,
        prototypes: int,
    ) -> None:
        super().__init__()
        self.encoders, self.aligner = encoders, aligner
        self.look = TransformerLayer(width, heads, dropout)
        self.prototypes = nn.Parameter(torch.randn(prototypes, width))

    def forward(
        self, batch: Batch, hidden: Sequence[Tensor] | None = None, blanks: Tensor | None = None
    ) -> Assignments:
        """Score steps and clips; no other source attends to steps that are `hidden`."""
        streams = self.encoders(batch, hidden, blanks)
        visible = streams
        if hidden is not None:
            visible = [
                (rows, mask & ~hide) for (rows, mask), hide in zip(streams, hidden, strict=True)
            ]
        assigned = Assignments(streams, [], [])
        for number, (rows, mask) in enumerate(streams):
            others = [*visible[:number], *visible[number + 1 :]] or visible
            attended = self.look(rows, mask, concatenate(others))
            assigned.by_step.append(self._scores(attended))
            assigned.by_clip.append(self._scores(masked_mean(attended, mask)))
        return assigned

    def _scores(self, vectors: Tensor) -> Tensor:
        """Return cosines in full precision, as they are divided by small temperatures."""
        with torch.autocast(vectors.device.type, enabled=False):
            return functional.linear(
                functional.normalize(vectors.float(), dim=-1),
                functional.normalize(self.prototypes, dim=-1),
            )


def choose_masked_steps(streams: Streams, guides: Tensor, mask_ratio: float) -> list[Tensor]:
    """Choose the steps of each source most similar to its guide, (clips, steps) per source.

    `streams` and `guides` (clips, sources, width) are in the space of `Aligner`. Of n steps
    `mask_ratio * n` are chosen on average, rounded up or down at random: a source of one step is
    masked whole, or not at all.
    """
    hidden = []
    for (rows, mask), guide in zip(streams, guides.unbind(dim=1), strict=True):
        similarity = functional.cosine_similarity(rows, guide.unsqueeze(1), dim=-1)
        similarity = similarity.masked_fill(~mask, -torch.inf)
        rank = similarity.argsort(dim=1, descending=True).argsort(dim=1)
        uniform = torch.rand(len(mask), device=mask.device)
        count = (mask_ratio * mask.sum(dim=1) + uniform).floor()
        hidden.append(rank < count.unsqueeze(1))  # padding ranks last, beyond any count
    return hidden


class MaskedModelling(PretextTask):
    """Predict the teacher's prototype assignments of masked steps and of whole clips.

    The loss of a clip is the cross entropy between the assignments of teacher and student: the
    mean over the masked steps plus the mean over the sources. The contrastive loss of the steps
    that the student sees is added, so that the sources stay aligned.
    """

    centre: Tensor
    met: Tensor

    def __init__(
        self,
        student: Assigner,
        *,
        epochs: int,
        mask_ratio: float,
        momentum: float,
        temperature: float,
        teacher_temperature: float,
    ) -> None:
        super().__init__()
        self.epochs = epochs
        self.student = student
        self.teacher = copy.deepcopy(student).requires_grad_(False).eval()
        prototypes, width = student.prototypes.shape
        self.blanks = nn.Parameter(0.02 * torch.randn(len(student.aligner.texts), width))
        self.register_buffer("centre", torch.zeros(prototypes))
        self.register_buffer("met", torch.zeros(prototypes))
        self.mask_ratio, self.momentum = mask_ratio, momentum
        self.temperature, self.teacher_temperature = temperature, teacher_temperature

    def train(self, mode: bool = True) -> "MaskedModelling":
        """Switch the student's mode; the teacher stays in evaluation mode, without dropout."""
        super().train(mode)
        self.teacher.eval()
        return self

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of each clip, (clips,); zero for a clip without any source."""
        with torch.no_grad():
            target = self.teacher(batch)
            aligned = self.teacher.aligner(target.streams)
            guides, _ = self.teacher.aligner.guides(aligned)
            hidden = choose_masked_steps(aligned, guides, self.mask_ratio)
        predicted = self.student(batch, hidden, self.blanks)
        seen = [
            (rows, mask & ~hide)
            for (rows, mask), hide in zip(predicted.streams, hidden, strict=True)
        ]
        present = batch.presence()
        self.met = torch.stack(target.by_clip, dim=1)[present].mean(dim=0).nan_to_num()
        by_step = self._cross_entropy(
            torch.cat(target.by_step, dim=1), torch.cat(predicted.by_step, dim=1)
        )
        by_clip = self._cross_entropy(
            torch.stack(target.by_clip, dim=1), torch.stack(predicted.by_clip, dim=1)
        )
        assigned = mean_where(by_step, torch.cat(hidden, dim=1)) + mean_where(by_clip, present)
        return assigned + self.student.aligner.contrast(seen)

    def _cross_entropy(self, target: Tensor, predicted: Tensor) -> Tensor:
        """Return the cross entropy over the prototypes, the last dimension.

        The teacher's mean scores are subtracted, or one prototype could win every step.
        """
        probs = ((target - self.centre) / self.teacher_temperature).softmax(dim=-1)
        return -(probs * (predicted / self.temperature).log_softmax(dim=-1)).sum(dim=-1)

    @torch.no_grad()
    def step(self) -> None:
        """Update the teacher's weights and the mean of its scores by their momentum."""
        self.centre = self.centre.lerp(self.met, 1 - CENTRE_MOMENTUM)
        for slow, fast in zip(self.teacher.parameters(), self.student.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.momentum)
