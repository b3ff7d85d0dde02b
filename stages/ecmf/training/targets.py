"""Hold training targets on a device, and build those of a classification."""

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from ecmf.fusion.base import Target
from ecmf.training.task import Targets, load_task


class TargetTensors:
    """The targets of all clips on one device, with smoothed values."""

    def __init__(self, targets: Targets, device: torch.device, smoothing: float) -> None:
        self.task = targets.task
        values = {name: torch.from_numpy(a).to(device) for name, a in targets.values.items()}
        self._values = self.task.smooth(values, smoothing)

    def batch(self, clips: Tensor) -> Target:
        """Return the targets of the clips at these positions, (…) on the CPU."""
        return Target({name: tensor[clips] for name, tensor in self._values.items()}, self.task)


def class_targets(
    class_probs: NDArray[np.float32],
    weight: NDArray[np.float32],
    valence: NDArray[np.float32] | None = None,
    classes: Sequence[str] | None = None,
) -> Targets:
    """Return the targets of single-label classification.

    Args:
        class_probs: Probability of each class, (clips, classes).
        weight: Sample weights, (clips,).
        valence: Valence of each clip, (clips,), NaN where unknown.
        classes: Names of the classes; by default their numbers.
    """
    names = classes or [str(number) for number in range(class_probs.shape[1])]
    if valence is None:
        valence = np.full(len(weight), np.nan, "float32")
    values = {"class_probs": class_probs, "valence": valence}
    return Targets(load_task("single_label", names), values, weight)
