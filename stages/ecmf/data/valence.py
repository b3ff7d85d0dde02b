"""Read the valence of clips from the manifest."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecmf.data.manifest import Clip, Split
from ecmf.errors import CorpusError
from ecmf.storage.csv_cells import is_number

TRAINING_SPLITS: tuple[Split, ...] = ("train", "val")
"""Splits whose valence training may use."""


def manifest_valence(clips: Sequence[Clip]) -> NDArray[np.float32]:
    """Return the valence of each clip, (clips,); NaN where the manifest has none.

    Raises:
        CorpusError: a value is not a number.
    """
    for clip in clips:
        if clip.valence and not is_number(clip.valence):
            raise CorpusError(
                f"the manifest's valence of clip {clip.clip_id!r} is {clip.valence!r}, "
                "which is not a number: correct it, or leave it empty"
            )
    return np.array([float(clip.valence or "nan") for clip in clips], "float32")


def training_valence(clips: Sequence[Clip]) -> NDArray[np.float32]:
    """Return the valence of each training or validation clip, (clips,); NaN for all others."""
    visible = np.array([clip.split in TRAINING_SPLITS for clip in clips])
    return np.where(visible, manifest_valence(clips), np.float32(np.nan))
