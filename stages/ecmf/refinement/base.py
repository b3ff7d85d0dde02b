"""What every refiner promises."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Literal, Protocol, get_args

import numpy as np
from numpy.typing import NDArray

from ecmf.probabilities import Shares, normalised

Kind = Literal["given", "annotators", "out_of_fold", "llm", "tables", "text_cues", "trusted"]
"""Where an opinion comes from.

`out_of_fold` is a model that, if the clip is labelled, learned from no clip of its group, `tables`
a file of the user's, `trusted` what is known for sure of a few clips.
"""

FUSION = "fusion"
"""Name of the source that is a model of all branches; the other models are named after theirs."""

KINDS: frozenset[Kind] = frozenset(get_args(Kind))


@dataclass(frozen=True)
class Opinion:
    """What one source says of every clip it is asked about, and what made it say so."""

    kind: Kind
    shares: Shares
    provenance: Mapping[str, Any] = field(default_factory=dict)

    @cached_property
    def speaks(self) -> NDArray[np.bool_]:
        """Of which clips the source has an opinion, (clips,)."""
        return np.asarray(self.shares.any(axis=1))

    @cached_property
    def said(self) -> NDArray[np.int64]:
        """The class it finds most likely, (clips,); -1 where it has no opinion."""
        return np.where(self.speaks, self.shares.argmax(axis=1), -1)


class Refiner(Protocol):
    """Opinions on clips in, what to believe of each clip out: (clips, classes).

    The clips are those of the training split and, where pseudo-labels are wanted, unlabelled ones,
    of which `given` says nothing. A row of zeros believes nothing: a given label then stands, and
    an unlabelled clip stays so. What becomes of a clip whose label is not believed is not the
    refiner's to say (see `decisions.py`).
    """

    reads: frozenset[Kind]
    """The kinds of sources it asks for, with its options; others are not worked out."""

    def __call__(self, opinions: Mapping[str, Opinion], classes: Sequence[str]) -> Shares:
        """Weigh the opinions. The source `given` is always there."""
        ...


def voices(opinions: Mapping[str, Opinion]) -> dict[str, Opinion]:
    """Sources that may be counted beside each other: what is trusted is none, all models are one.

    Models learned from the same labels and partly from the same features, so their votes are no
    more independent than one.
    """
    counted = {
        name: one for name, one in opinions.items() if one.kind not in ("trusted", "out_of_fold")
    }
    models = {name: one for name, one in opinions.items() if one.kind == "out_of_fold"}
    return counted | ({"models": Opinion("out_of_fold", joint(models))} if models else {})


def joint(models: Mapping[str, Opinion]) -> Shares:
    """What models say together: the fusion, or where it is silent the mean of the others."""
    mean = normalised(np.asarray(sum(one.shares for one in models.values())))
    if FUSION not in models:
        return mean
    fusion = models[FUSION]
    return np.where(fusion.speaks[:, None], fusion.shares, mean)
