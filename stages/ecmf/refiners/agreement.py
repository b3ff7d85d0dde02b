"""Believe another label, or a label for an unlabelled clip, only where named sources agree on it.

As the runner-up of MER2025 labelled its unlabelled clips: where the baseline and a large model say
the same.
"""

from collections.abc import Mapping, Sequence

import numpy as np
from pydantic import Field

from ecmf.config import Section
from ecmf.errors import ParamsError
from ecmf.probabilities import Shares
from ecmf.refinement.base import FUSION, KINDS, Kind, Opinion
from ecmf.registry import hint


class Options(Section):
    """Names of sources as the votes list them, e.g. `fusion`, `llm`, `audio/librosa`."""

    sources: tuple[str, ...] = Field(("fusion", "llm"), min_length=1)


class Refiner:
    """All named sources must speak of a clip and say the same class, else nothing is believed."""

    def __init__(self, options: Options) -> None:
        """Take the names; without that of a model, none is asked."""
        self._names = options.sources
        models = any(name == FUSION or "/" in name for name in self._names)
        self.reads: frozenset[Kind] = KINDS if models else KINDS - {"out_of_fold"}

    def __call__(self, opinions: Mapping[str, Opinion], classes: Sequence[str]) -> Shares:
        """Give the agreed class, else nothing.

        Raises:
            ParamsError: a named source is not there.
        """
        for name in self._names:
            if name not in opinions:
                raise ParamsError(
                    f"refine_labels.options.agreement.sources names {name!r}, but the sources are "
                    f"{', '.join(opinions)}.{hint(name, opinions)}"
                )
        said = np.array([opinions[name].said for name in self._names])
        agreed = (said == said[0]).all(axis=0) & (said[0] >= 0)
        return np.asarray(np.eye(len(classes))[said[0]] * agreed[:, None])
