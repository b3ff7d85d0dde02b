"""Interface of the fusion models: batch and targets in, logits and losses out."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar, NamedTuple, Protocol

import torch
from torch import Tensor, nn


class SourceShape(NamedTuple):
    """A source of features: its name `branch/encoder` and the width `dim` of its rows."""

    name: str
    dim: int

    @property
    def branch(self) -> str:
        """Return the branch of the source: frame, face, audio or text."""
        return self.name.partition("/")[0]


@dataclass(frozen=True)
class Batch:
    """A batch of clips: per source the rows (clips, steps, dim) and their mask (clips, steps).

    The mask is true for real rows. Padding rows are zeros here, but a model must give the same
    output whatever they hold. A source is absent from a clip that has no real row in it.
    """

    rows: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]

    def presence(self) -> Tensor:
        """Return whether each clip has each source: (clips, sources), in the order of `rows`."""
        return torch.stack([mask.any(dim=1) for mask in self.masks.values()], dim=1)

    def select(self, sources: Iterable[SourceShape]) -> "Batch":
        """Return the batch with these sources alone, in this order."""
        names = [source.name for source in sources]
        return Batch(
            {name: self.rows[name] for name in names}, {name: self.masks[name] for name in names}
        )


class TaskLoss(Protocol):
    """The part of a task that a fusion model may use."""

    def loss(self, outputs: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of outputs (clips, …, outputs), of (clips, …)."""
        ...


@dataclass(frozen=True)
class Target:
    """Training targets of a batch, for the further losses of a model.

    `values` are tensors (clips, …) by the names that the task gives them. Single-label
    classification has `class_probs` (clips, classes) and `valence` (clips,), NaN where unknown.
    """

    values: Mapping[str, Tensor]
    task: TaskLoss

    def loss(self, outputs: Tensor) -> Tensor:
        """Return the loss of the task for outputs (clips, …, outputs), of (clips, …)."""
        return self.task.loss(outputs, self.values)

    def map(self, change: Callable[[Tensor], Tensor]) -> "Target":
        """Return the targets with `change` applied to every tensor."""
        return replace(self, values={name: change(part) for name, part in self.values.items()})


@dataclass(frozen=True)
class Output:
    """Predictions of a model for a batch.

    Attributes:
        logits: (clips, outputs); the task maps them to predictions.
        weights: (clips, sources), the weight of each source, if the model has such weights.
        dimensions: Further predictions by the name of their target, (clips,) each, e.g. valence.
        losses: Further terms to minimise, by name, each (clips,). The training weights them clip
            by clip like the loss of the task.
    """

    logits: Tensor
    weights: Tensor | None = None
    dimensions: Mapping[str, Tensor] = field(default_factory=dict)
    losses: Mapping[str, Tensor] = field(default_factory=dict)


class PretextTask(nn.Module):
    """A self-supervised task that pretrains parts of a model for `epochs` epochs, without labels.

    Its parameters include those of the model that it trains. All others are discarded afterwards.
    """

    epochs: int

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of each clip, (clips,)."""
        raise NotImplementedError

    def step(self) -> None:
        """Run after each step of the optimiser, e.g. to update a teacher; does nothing here."""


class Fusion(nn.Module):
    """Predict clips from their sources. An output never depends on other clips of the batch.

    Each module of the family holds a subclass named `Fusion` and its `Options`. Any subset of the
    sources may be absent from a clip, even all of them. The output depends on `input_sources`
    alone. Any other source is a target, e.g. a teacher's scores, and only enters a loss: modality
    dropout never hides it, and its rows are never standardised. `outputs` is the number of logits,
    e.g. of classes. `order_aware` states whether an output depends on the order of the steps of a
    source.

    `source_weights` (sources,) are 1 until they are chosen by clips that were not trained on. A
    source of weight 0 is absent from every batch. If `weighs_sources` is true, the model combines
    decisions on single sources by these weights, which are then fitted; else they are 0 or 1.
    """

    order_aware: ClassVar[bool] = False
    source_weights: Tensor

    def __init__(self, sources: Sequence[SourceShape], outputs: int) -> None:
        super().__init__()
        self.sources = tuple(sources)
        self.input_sources: Sequence[SourceShape] = self.sources
        self.outputs = outputs
        self.weighs_sources = False
        self.register_buffer("source_weights", torch.ones(len(self.sources)))

    @classmethod
    def target_sources(cls, options: Any) -> frozenset[str]:
        """Return the names of the sources that are targets and no inputs, given its `Options`."""
        return frozenset()

    def forward(self, batch: Batch, target: Target | None = None) -> Output:
        """Fuse the sources of each clip.

        `target` is passed in training alone, for the further losses; logits must not depend on it.
        """
        raise NotImplementedError

    def pretext_tasks(self) -> Iterator[PretextTask]:
        """Yield the tasks that pretrain this model; one is trained before the next is built."""
        return iter(())
