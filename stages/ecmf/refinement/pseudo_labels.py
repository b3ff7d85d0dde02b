"""Select unlabelled clips to train on, and their pseudo-labels.

As by teams of MER2024 and MER2025, only confident predictions are selected, with a threshold per
class. Probabilities are first scaled to the class prior of the training split, and a cap keeps each
class near its prior: otherwise self-training amplifies the classes that the model over-predicts.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecmf.errors import ParamsError
from ecmf.params import PseudoLabels
from ecmf.probabilities import Probabilities, apply_prior, prior_factors
from ecmf.refinement.decision_rules import Decision
from ecmf.registry import did_you_mean


@dataclass(frozen=True)
class PseudoLabelSelector:
    """Select pseudo-labels; `prior` is the fraction of each class in the training split.

    Raises:
        ParamsError: a threshold is set for an unknown class.
    """

    params: PseudoLabels
    classes: Sequence[str]
    prior: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Check the names of the thresholds."""
        for name in self.params.thresholds:
            if name not in self.classes:
                raise ParamsError(
                    f"refine_labels.pseudo_labels.thresholds names {name!r}, the classes are "
                    f"{', '.join(self.classes)}.{did_you_mean(name, self.classes)}"
                )

    def __call__(self, posterior: Probabilities) -> dict[int, Decision]:
        """Select from the posteriors (clips, classes); a row of zeros is never selected.

        Returns:
            Pseudo-labels by row, ordered by class and then by falling probability.
        """
        params = self.params
        known = np.flatnonzero(posterior.any(axis=1))
        probs = posterior[known]
        if params.class_prior == "training":
            probs = apply_prior(probs, prior_factors(self.prior, probs))
        selected: dict[int, Decision] = {}
        for index, name in enumerate(self.classes):
            threshold = params.thresholds.get(name, params.threshold)
            rows = np.flatnonzero((probs.argmax(axis=1) == index) & (probs[:, index] >= threshold))
            rows = rows[np.argsort(-probs[rows, index], kind="stable")]
            if params.cap is not None:
                rows = rows[: int(params.cap * self.prior[index] * len(posterior))]
            for row in rows:
                soft = probs[row] if params.soft else np.eye(len(self.classes))[index]
                reason = f"{name} {probs[row, index]:.2f}, at least {threshold:g}"
                selected[int(known[row])] = Decision(
                    tuple(soft.tolist()), params.weight, "added", reason
                )
        return selected
