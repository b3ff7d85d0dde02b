"""Change or add a label only if all named sources agree.

The runner-up of MER2025 labelled unlabelled clips by agreement of the baseline and a large model.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from ecmf.config import Section
from ecmf.errors import ParamsError
from ecmf.probabilities import Probabilities
from ecmf.refinement.base import FUSION, SOURCE_KINDS, SourceKind, SourceVotes
from ecmf.registry import did_you_mean


class Options(Section):
    """Sources that must agree."""

    sources: tuple[str, ...] = Field(
        ("fusion", "llm"), min_length=1, description="Names of sources as in sources.json."
    )


class Refiner:
    """Return the agreed class; without a vote of each named source a clip has no posterior."""

    def __init__(self, options: Options) -> None:
        """Set the names; models are trained only if a model is named."""
        self._names = options.sources
        models = any(name == FUSION or "/" in name for name in self._names)
        self.source_kinds: frozenset[SourceKind] = (
            SOURCE_KINDS if models else SOURCE_KINDS - {"out_of_fold"}
        )

    def __call__(self, votes: Mapping[str, SourceVotes], classes: Sequence[str]) -> Probabilities:
        """Return one-hot rows where the sources agree, else zeros.

        Raises:
            ParamsError: a named source is missing.
        """
        for name in self._names:
            if name not in votes:
                raise ParamsError(
                    f"refine_labels.options.agreement.sources names {name!r}, but the sources are "
                    f"{', '.join(votes)}.{did_you_mean(name, votes)}"
                )
        top = np.array([votes[name].top_class for name in self._names])
        agreed = (top == top[0]).all(axis=0) & (top[0] >= 0)
        return np.asarray(np.eye(len(classes))[top[0]] * agreed[:, None])
