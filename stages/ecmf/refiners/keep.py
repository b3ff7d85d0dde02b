"""Keep the labels of the manifest."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from ecmf.config import Section
from ecmf.probabilities import Probabilities
from ecmf.refinement.base import SourceKind, SourceVotes


class Options(Section):
    """No options."""


class Refiner:
    """Return the labels of the manifest."""

    source_kinds: ClassVar[frozenset[SourceKind]] = frozenset()

    def __init__(self, options: Options) -> None:
        """Ignore the options."""

    def __call__(self, votes: Mapping[str, SourceVotes], classes: Sequence[str]) -> Probabilities:
        """Return the labels, one-hot."""
        return votes["given"].probs
