"""Epochs one after another -> the history of a training, and when it is over."""

import math
from typing import NamedTuple

from ecmf.errors import ParamsError


class Epoch(NamedTuple):
    """One line of the training's history; without a validation fold there is no WAF."""

    epoch: int
    train_loss: float
    validation_waf: float | None


class Course:
    """How one training has gone so far, and whether it is over: `patience` epochs without gain."""

    def __init__(self, patience: int) -> None:
        self.history: list[Epoch] = []
        self._patience = patience
        self._best, self._best_epoch = -1.0, 0

    def add(self, loss: float, score: float | None) -> bool:
        """Note an epoch, and tell whether it is the best so far; no score is never the best.

        Raises:
            ParamsError: the loss is no number any more, so nothing can come of the training.
        """
        if not math.isfinite(loss):
            raise ParamsError(
                f"the loss of epoch {len(self.history) + 1} is {loss}: the training has diverged. "
                "Lower train_fusion.learning_rate, or set train_fusion.gradient_clip"
            )
        self.history.append(Epoch(len(self.history) + 1, loss, score))
        if score is None or score <= self._best:
            return False
        self._best, self._best_epoch = score, len(self.history)
        return True

    @property
    def over(self) -> bool:
        """Whether to stop now; what nothing judges is never over."""
        return 0 < self._best_epoch <= len(self.history) - self._patience
