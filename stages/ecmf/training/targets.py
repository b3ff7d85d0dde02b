"""`data/labels.csv` and the manifest -> what the training is told of every clip."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecmf.data.label_table import read_labels
from ecmf.data.manifest import Clip
from ecmf.data.valence import learned_valence


@dataclass(frozen=True)
class Targets:
    """What the clips are to be: a distribution (clips, classes), and how much each counts (clips,).

    A clip of weight 0 is not learned from. `valence` (clips,) is NaN where it is not known.
    """

    soft: NDArray[np.float32]
    weight: NDArray[np.float32]
    valence: NDArray[np.float32] | None = None

    def of_valence(self) -> NDArray[np.float32]:
        """Return the valence of each clip, (clips,)."""
        if self.valence is None:
            return np.full(len(self.weight), np.nan, "float32")
        return self.valence

    def valence_clips(self, clips: NDArray[np.int64]) -> int:
        """Count those of the clips that are learned from and whose valence is known."""
        known = ~np.isnan(self.of_valence()[clips])
        return int((known & (self.weight[clips] > 0)).sum())


def read_targets(labels: Path, clips: Sequence[Clip], classes: Sequence[str]) -> Targets:
    """Return the refined label and weight of every clip, and the valence of those it may see."""
    refined = read_labels(labels, [clip.clip_id for clip in clips], classes)
    return Targets(
        np.array([label.soft for label in refined], "float32"),
        np.array([label.weight for label in refined], "float32"),
        learned_valence(clips),
    )
