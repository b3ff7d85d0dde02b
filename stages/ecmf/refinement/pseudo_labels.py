"""What models believe of unlabelled clips -> which of them are learned from, and as what.

As the teams of MER2024 and MER2025 do it: only where the models are sure, with a bar of its own for
each class; probabilities are moved to the classes' shares of the training split first, and no class
may take much more than its share, for what a model prefers it would else prefer ever more.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ecmf.errors import ParamsError
from ecmf.params import PseudoLabels
from ecmf.probabilities import Shares, factors_to, scaled
from ecmf.refinement.decision_rules import Decision
from ecmf.registry import hint


@dataclass(frozen=True)
class Selector:
    """Chooses among unlabelled clips; `prior` is each class's share of the training split."""

    params: PseudoLabels
    classes: Sequence[str]
    prior: NDArray[np.float64]

    def __post_init__(self) -> None:
        """Refuse a threshold for a class that is none."""
        for name in self.params.thresholds:
            if name not in self.classes:
                raise ParamsError(
                    f"refine_labels.pseudo_labels.thresholds names {name!r}, the classes are "
                    f"{', '.join(self.classes)}.{hint(name, self.classes)}"
                )

    def __call__(self, believed: Shares) -> dict[int, Decision]:
        """Choose from (clips, classes), rows of zeros where nothing is believed.

        Returns:
            Row -> what it is taken for, the surest first within a class.
        """
        params = self.params
        known = np.flatnonzero(believed.any(axis=1))
        shares = believed[known]
        if params.prior == "training":
            shares = scaled(shares, factors_to(self.prior, shares))
        chosen: dict[int, Decision] = {}
        for number, name in enumerate(self.classes):
            bar = params.thresholds.get(name, params.threshold)
            mine = np.flatnonzero((shares.argmax(axis=1) == number) & (shares[:, number] >= bar))
            mine = mine[np.argsort(-shares[mine, number], kind="stable")]
            if params.cap is not None:
                mine = mine[: int(params.cap * self.prior[number] * len(believed))]
            for row in mine:
                soft = shares[row] if params.soft else np.eye(len(self.classes))[number]
                why = f"{name} {shares[row, number]:.2f}, at least {bar:g}"
                chosen[int(known[row])] = Decision(
                    tuple(soft.tolist()), params.weight, "added", why
                )
        return chosen
