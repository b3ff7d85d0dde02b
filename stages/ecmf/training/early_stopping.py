"""Stop a training after `patience` epochs without a better validation score."""

import math
from typing import NamedTuple

from ecmf.errors import ParamsError


class Epoch(NamedTuple):
    """One epoch of a training; the score of its task is None without validation clips."""

    epoch: int
    train_loss: float
    validation_score: float | None


class EarlyStopping:
    """Early stopping of one training, with the history of its epochs.

    A training without validation clips may end after a given `last_epoch`.
    """

    def __init__(self, patience: int, last_epoch: int | None = None) -> None:
        self.history: list[Epoch] = []
        self._patience, self._last_epoch = patience, last_epoch
        self._best, self._best_epoch = -math.inf, 0

    def update(self, loss: float, score: float | None) -> bool:
        """Append an epoch, and return whether its score is the best so far.

        Without a score, only the epoch `last_epoch` is.

        Raises:
            ParamsError: the loss is not finite.
        """
        if not math.isfinite(loss):
            raise ParamsError(
                f"the loss of epoch {len(self.history) + 1} is {loss}: the training has diverged. "
                "Lower train_fusion.learning_rate, or set train_fusion.gradient_clip"
            )
        self.history.append(Epoch(len(self.history) + 1, loss, score))
        if score is None:
            return len(self.history) == self._last_epoch
        if score <= self._best:
            return False
        self._best, self._best_epoch = score, len(self.history)
        return True

    @property
    def should_stop(self) -> bool:
        """Return whether to stop: at `last_epoch`, or, with validation scores, early."""
        if len(self.history) == self._last_epoch:
            return True
        return 0 < self._best_epoch <= len(self.history) - self._patience
