"""Keep the labels as they were given."""

from collections.abc import Mapping, Sequence
from typing import ClassVar

from ecmf.config import Section
from ecmf.probabilities import Probabilities
from ecmf.refinement.base import SourceKind, SourceVotes


class Options(Section):
    """No options."""


class Refiner:
    """Return the given labels."""

    source_kinds: ClassVar[frozenset[SourceKind]] = frozenset()

    def __init__(self, options: Options) -> None:
        """Take no options."""

    def __call__(self, votes: Mapping[str, SourceVotes], classes: Sequence[str]) -> Probabilities:
        """Return the given labels, one-hot."""
        return votes["given"].probs
