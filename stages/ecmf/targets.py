"""`data/labels.csv` and the manifest -> what the training is told of every clip."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from ecmf.labels import read_labels
from ecmf.manifest import Clip
from ecmf.training import Targets
from ecmf.valence import learned_valence


def read_targets(labels: Path, clips: Sequence[Clip], classes: Sequence[str]) -> Targets:
    """Return the refined label and weight of every clip, and the valence of those it may see."""
    refined = read_labels(labels, [clip.clip_id for clip in clips], classes)
    return Targets(
        np.array([label.soft for label in refined], "float32"),
        np.array([label.weight for label in refined], "float32"),
        learned_valence(clips),
    )
