"""What every fusion model promises."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

import torch
from torch import Tensor, nn


class SourceShape(NamedTuple):
    """A source of features: its name `branch/encoder` and the width of its rows."""

    name: str
    dim: int

    @property
    def branch(self) -> str:
        """The branch it belongs to: frame, face, audio or text."""
        return self.name.partition("/")[0]


@dataclass(frozen=True)
class Batch:
    """Some clips: per source the rows (clips, steps, dim), and which are real, (clips, steps).

    Rows that are not real are zeros by the time a member sees them, and even if they were not, a
    member may not let them matter. A clip without a real step in a source does not have that
    source.
    """

    rows: Mapping[str, Tensor]
    masks: Mapping[str, Tensor]

    def present(self) -> Tensor:
        """Which clip has which source, (clips, sources), in the order of `rows`."""
        return torch.stack([mask.any(dim=1) for mask in self.masks.values()], dim=1)

    def only(self, sources: Iterable[SourceShape]) -> "Batch":
        """Return these sources of the clips, in this order."""
        names = [source.name for source in sources]
        return Batch(
            {name: self.rows[name] for name in names}, {name: self.masks[name] for name in names}
        )


class Target(NamedTuple):
    """What clips are to be: a distribution (clips, classes), and a valence (clips,), or NaN."""

    soft: Tensor
    valence: Tensor


@dataclass(frozen=True)
class Output:
    """What a model says of a batch.

    `logits` is (clips, classes); `weights` (clips, sources) says how much each source counted, if
    the model knows; `valence` (clips,) is there if the model tells it; `losses` are further terms
    to minimise, by name, each (clips,): the training weighs them clip by clip like its own.
    """

    logits: Tensor
    weights: Tensor | None = None
    valence: Tensor | None = None
    losses: Mapping[str, Tensor] = field(default_factory=dict)


class Pretext(nn.Module):
    """What a model practises on clips without labels before it is trained, for so many `epochs`.

    Its parameters are those it practises with, the model's own among them; whatever else it holds
    is forgotten afterwards.
    """

    epochs: int

    def forward(self, batch: Batch) -> Tensor:
        """Return the loss of each clip, (clips,)."""
        raise NotImplementedError

    def step(self) -> None:
        """Do what is to be done after each step of the optimiser, nothing by default."""


class Fusion(nn.Module):
    """Sources in, classes out. What a clip gets does not depend on its batch-mates.

    A member is a subclass named `Fusion` with its own `Options`. Any subset of the sources may be
    absent from a clip, even all of them. `read` are the sources that decide what it says; another
    one only teaches it, and is never hidden in training.
    """

    def __init__(self, sources: Sequence[SourceShape], classes: int) -> None:
        super().__init__()
        self.sources = tuple(sources)
        self.read: Sequence[SourceShape] = self.sources
        self.classes = classes

    def forward(self, batch: Batch, target: Target | None = None) -> Output:
        """Fuse the sources of each clip.

        `target` is what the clips are to be, in training alone: for the further losses of a member
        that has some, never for its logits.
        """
        raise NotImplementedError

    def pretext(self) -> Pretext | None:
        """Return what this model practises without labels first, if anything."""
        return None
