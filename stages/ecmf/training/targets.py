"""Read the training targets of all clips from `data/labels.csv` and the manifest."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecmf.data.label_table import read_labels
from ecmf.data.manifest import Clip
from ecmf.data.splits import Indices
from ecmf.data.valence import training_valence


@dataclass(frozen=True)
class Targets:
    """Soft labels (clips, classes), sample weights (clips,) and valence (clips,) of all clips.

    A clip of weight 0 is not trained on. An unknown valence is NaN.
    """

    class_probs: NDArray[np.float32]
    weight: NDArray[np.float32]
    valence: NDArray[np.float32] | None = None

    def valence_or_nan(self) -> NDArray[np.float32]:
        """Return the valence of each clip, (clips,); NaN where unknown."""
        if self.valence is None:
            return np.full(len(self.weight), np.nan, "float32")
        return self.valence

    def valence_clips(self, clips: Indices) -> int:
        """Count the clips of `clips` that are trained on and whose valence is known."""
        known = ~np.isnan(self.valence_or_nan()[clips])
        return int((known & (self.weight[clips] > 0)).sum())


def read_targets(labels: Path, clips: Sequence[Clip], classes: Sequence[str]) -> Targets:
    """Read label and weight of every clip, and the valence of only the train and val splits."""
    refined = read_labels(labels, [clip.clip_id for clip in clips], classes)
    return Targets(
        np.array([label.soft for label in refined], "float32"),
        np.array([label.weight for label in refined], "float32"),
        training_valence(clips),
    )
