"""Interface of a task: what is predicted of a clip, its targets, its loss and its scores.

The trainer, the prediction and the ensemble know a task by this interface alone.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Protocol, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from ecmf import registry
from ecmf.data.manifest import Clip
from ecmf.data.splits import Indices
from ecmf.params import EvaluateFusion

Values = NDArray[Any]
"""Floating-point numbers."""


class Prediction(NamedTuple):
    """Predictions of clips.

    Attributes:
        outputs: Prediction for each output of the task, (clips, outputs), e.g. probabilities.
        weights: Weight of each source, (clips, sources), NaN from a model without weights.
        dimensions: Further predictions of the model by name, (clips,) each, e.g. valence.
    """

    outputs: Values
    weights: Values
    dimensions: Mapping[str, Values]

    def map(self, change: Callable[[Values], Values]) -> "Prediction":
        """Return the prediction with `change` applied to every array."""
        dimensions = {name: change(values) for name, values in self.dimensions.items()}
        return Prediction(change(self.outputs), change(self.weights), dimensions)


class Scores(NamedTuple):
    """Scores of predictions, as JSON objects.

    `headline` is what experiments are compared by, the monitored score with its interval first.
    `details` are further scores.
    """

    headline: dict[str, Any]
    details: dict[str, Any]


class Task(Protocol):
    """A task: `outputs` are the names of what is predicted, e.g. the classes.

    A true value is an array with one entry or row per clip, in a form that only the task reads.
    """

    monitor: ClassVar[str]
    """Name of the score that early stopping maximises, and that a sweep maximises."""

    outputs: tuple[str, ...]

    def __init__(self, outputs: Sequence[str]) -> None:
        """Create the task for these outputs."""

    @classmethod
    def of_corpus(cls, manifest: Path, clips: Sequence[Clip]) -> Self:
        """Create the task for the outputs that a corpus has."""
        ...

    def read_targets(self, labels: Path, clips: Sequence[Clip]) -> "Targets":
        """Read the training targets of all clips; those of the test split are never read."""
        ...

    def loss(self, outputs: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """Return the loss of outputs (clips, …, outputs), of (clips, …)."""
        ...

    def smooth(self, values: Mapping[str, Tensor], amount: float) -> Mapping[str, Tensor]:
        """Smooth the targets by `amount` (label smoothing); 0 changes nothing."""
        ...

    def balance(self, targets: "Targets", train: Indices) -> NDArray[np.float32]:
        """Return a weight per clip (clips,) by which rare targets count as much as frequent."""
        ...

    def predict(self, outputs: Tensor) -> Tensor:
        """Map outputs of the network (…, outputs) to predictions, e.g. probabilities."""
        ...

    @property
    def decisions(self) -> Sequence[str]:
        """All decisions that are possible, e.g. the classes; the axes of a confusion matrix."""
        ...

    def decide(self, predicted: Values) -> list[str]:
        """Return the decision for each row of predictions (clips, outputs), e.g. a class."""
        ...

    def true_decisions(self, clips: Sequence[Clip]) -> list[str]:
        """Return the decision that is right for each clip, e.g. its label; "" if unknown."""
        ...

    @property
    def columns(self) -> list[str]:
        """Names of the columns of predictions (clips, outputs) in `metrics/predictions.csv`."""
        ...

    def truth(self, clips: Sequence[Clip]) -> NDArray[Any]:
        """Return the true values of clips by the manifest."""
        ...

    def target_truth(self, targets: "Targets", clips: Indices) -> NDArray[Any]:
        """Return the true values of clips by the training targets."""
        ...

    def score(self, truth: NDArray[Any], predicted: Values) -> float:
        """Compute the score named `monitor`; larger is better."""
        ...

    def scores(
        self, clips: Sequence[Clip], predicted: Prediction, params: EvaluateFusion
    ) -> Scores:
        """Compute all scores of the predictions of these clips."""
        ...


def task_of_corpus(name: str, manifest: Path, clips: Sequence[Clip]) -> Task:
    """Create the task `name` for the outputs that a corpus has."""
    task: Task = registry.load("tasks", name).Task.of_corpus(manifest, clips)
    return task


def load_task(name: str, outputs: Sequence[str]) -> Task:
    """Create the task `name` for these outputs."""
    task: Task = registry.load("tasks", name).Task(outputs)
    return task


@dataclass(frozen=True)
class Targets:
    """Training targets of all clips.

    `values` are arrays (clips, …) by the names that the task gives them, NaN where unknown.
    `weight` (clips,) is the sample weight of each clip; one of weight 0 is not trained on.
    """

    task: Task
    values: Mapping[str, NDArray[np.float32]]
    weight: NDArray[np.float32]

    def hide(self, clips: NDArray[np.bool_]) -> Self:
        """Return the targets without those of `clips`: unknown values of weight 0."""
        values = {
            name: np.where(clips.reshape(-1, *[1] * (array.ndim - 1)), np.float32(np.nan), array)
            for name, array in self.values.items()
        }
        return replace(self, values=values, weight=np.where(clips, np.float32(0), self.weight))

    def known(self, clips: Indices) -> dict[str, int]:
        """Count the clips of `clips` that are trained on and whose value is known, by name."""
        trained = clips[self.weight[clips] > 0]
        return {
            name: int((~np.isnan(array[trained].reshape(len(trained), -1)).any(axis=1)).sum())
            for name, array in self.values.items()
        }
