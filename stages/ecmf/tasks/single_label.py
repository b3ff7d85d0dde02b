"""Single-label classification: one class per clip, trained on class probabilities.

The loss is the cross entropy against soft labels, the monitored score the weighted F1 (WAF), the
metric of MER2025. A known valence is a further target, for models that predict one (afg, jmt).
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecmf.data.label_table import read_labels
from ecmf.data.manifest import Clip, classes_of
from ecmf.data.prediction_table import PROBABILITY
from ecmf.data.splits import Indices
from ecmf.data.valence import manifest_valence, training_valence
from ecmf.metrics import Labels, compute_metrics, group_numbers, valence_scores, weighted_f1
from ecmf.params import EvaluateFusion
from ecmf.training.task import Prediction, Scores, Targets, Values

VALENCE = "valence"


class Task:
    """Predict the probabilities of the classes, in the order of `outputs`."""

    monitor: ClassVar[str] = "waf"

    def __init__(self, outputs: Sequence[str]) -> None:
        self.outputs = tuple(outputs)

    @classmethod
    def of_corpus(cls, manifest: Path, clips: Sequence[Clip]) -> Self:
        """Create the task for the classes of a corpus."""
        return cls(classes_of(manifest, clips))

    def read_targets(self, labels: Path, clips: Sequence[Clip]) -> Targets:
        """Read the refined label and weight of every clip, and the valence of train and val."""
        refined = read_labels(labels, [clip.clip_id for clip in clips], self.outputs)
        values = {
            "class_probs": np.array([label.soft for label in refined], "float32"),
            VALENCE: training_valence(clips),
        }
        return Targets(self, values, np.array([label.weight for label in refined], "float32"))

    def loss(self, outputs: Tensor, values: Mapping[str, Tensor]) -> Tensor:
        """Return the cross entropy of logits (clips, …, classes), of (clips, …)."""
        probs = values["class_probs"]
        probs = probs[(slice(None), *[None] * (outputs.dim() - 2))]
        return -(probs * outputs.log_softmax(dim=-1)).sum(dim=-1)

    def smooth(self, values: Mapping[str, Tensor], amount: float) -> Mapping[str, Tensor]:
        """Mix the class probabilities with the uniform distribution."""
        probs = values["class_probs"]
        uniform = torch.full_like(probs, 1 / probs.shape[-1])
        return {**values, "class_probs": probs.lerp(uniform, amount)}

    def balance(self, targets: Targets, train: Indices) -> NDArray[np.float32]:
        """Return a weight per clip that gives every class the same total."""
        probs = targets.values["class_probs"]
        mass = (probs[train] * targets.weight[train, None]).sum(axis=0)
        per_class = np.where(mass > 0, mass.sum() / np.maximum(mass, 1e-9) / (mass > 0).sum(), 0)
        return np.asarray(probs @ per_class, "float32")

    def predict(self, outputs: Tensor) -> Tensor:
        """Map logits to probabilities."""
        return outputs.softmax(dim=-1)

    @property
    def decisions(self) -> Sequence[str]:
        """The classes."""
        return self.outputs

    def decide(self, predicted: Values) -> list[str]:
        """Return the most probable class of each row."""
        return [self.outputs[number] for number in predicted.argmax(axis=1)]

    def true_decisions(self, clips: Sequence[Clip]) -> list[str]:
        """Return the label of each clip."""
        return [clip.label for clip in clips]

    @property
    def columns(self) -> list[str]:
        """Names of the columns of probabilities."""
        return [f"{PROBABILITY}{name}" for name in self.outputs]

    def truth(self, clips: Sequence[Clip]) -> Labels:
        """Return the class of each clip by the manifest; all clips must have a label."""
        return np.array([self.outputs.index(clip.label) for clip in clips], "int64")

    def target_truth(self, targets: Targets, clips: Indices) -> Labels:
        """Return the most probable class of clips by the training targets."""
        return np.asarray(targets.values["class_probs"][clips].argmax(axis=1))

    def score(self, truth: Labels, predicted: Values) -> float:
        """Compute the WAF."""
        return weighted_f1(truth, predicted.argmax(axis=1))

    def scores(
        self, clips: Sequence[Clip], predicted: Prediction, params: EvaluateFusion
    ) -> Scores:
        """Compute all metrics of the classes, and those of a predicted valence."""
        groups = [clip.group for clip in clips]
        headline = compute_metrics(
            self.truth(clips),
            predicted.outputs.argmax(axis=1),
            groups,
            self.outputs,
            params.bootstrap,
            params.seed,
        )
        details: dict[str, Any] = {"groups": int(group_numbers(groups).max(initial=-1)) + 1}
        if VALENCE in predicted.dimensions:
            valence = predicted.dimensions[VALENCE]
            details |= valence_scores(manifest_valence(clips), valence, headline["waf"])
        return Scores(headline, details)
