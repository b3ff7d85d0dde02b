"""A weighted vote of all sources.

Multi-source labelling is one of ECMF's contributions (arXiv 2508.05991, abstract); which sources,
how they are weighed and what becomes of a disagreement is not stated there, and is ours.
"""

from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

import numpy as np
from pydantic import Field

from ecmf.refiners.base import Decision, Kind, Opinion
from ecmf.section import Section


class Options(Section):
    """How much the sources of a kind count, and what becomes of a clip they disagree on.

    The weight of a kind is that of each annotator, and is shared out among the classifiers, which
    all learned from the same labels. `disagreement` `relabel` gives the clip the class with most
    votes; `soften` gives it the shares of all classes.
    """

    given: float = Field(1.0, ge=0)
    annotators: float = Field(1.0, ge=0)
    out_of_fold: float = Field(1.0, ge=0)
    text_cues: float = Field(0.25, ge=0)
    disagreement: Literal["relabel", "soften"] = "relabel"


class Refiner:
    """Add up what the sources say; the given label wins a tie."""

    reads: ClassVar[frozenset[Kind]] = frozenset({"annotators", "out_of_fold", "text_cues"})

    def __init__(self, options: Options) -> None:
        """Take the weights."""
        self._options = options

    def __call__(self, opinions: Mapping[str, Opinion], classes: Sequence[str]) -> list[Decision]:
        """Decide on every clip."""
        given = opinions["given"].shares
        votes = np.zeros_like(given)
        classifiers = sum(opinion.kind == "out_of_fold" for opinion in opinions.values())
        for opinion in opinions.values():
            weight = getattr(self._options, opinion.kind)
            votes += opinion.shares * (
                weight / classifiers if opinion.kind == "out_of_fold" else weight
            )
        total = votes.sum(axis=1, keepdims=True)
        shares = np.divide(votes, total, out=given.copy(), where=total > 0)  # nobody: as given
        return [self._decide(*rows) for rows in zip(given, shares, strict=True)]

    def _decide(self, given: np.ndarray, shares: np.ndarray) -> Decision:
        own, winner = int(given.argmax()), int(shares.argmax())
        if shares[own] >= shares[winner]:
            winner = own
        soft = np.eye(len(shares))[winner] if self._options.disagreement == "relabel" else shares
        return Decision(tuple(soft.tolist()), 1.0, "kept" if winner == own else "relabelled")
