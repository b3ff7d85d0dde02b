"""Read the valence of clips from the manifest."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from ecmf.data.manifest import Clip, Split
from ecmf.errors import CorpusError
from ecmf.storage.csv_rows import is_number

LEARNED: tuple[Split, ...] = ("train", "val")
"""Splits whose valence the training may see."""


def given_valence(clips: Sequence[Clip]) -> NDArray[np.float32]:
    """Return the valence of each clip, (clips,); NaN where the manifest has none.

    Raises:
        CorpusError: one is no number.
    """
    for clip in clips:
        if clip.valence and not is_number(clip.valence):
            raise CorpusError(
                f"the manifest's valence of clip {clip.clip_id!r} is {clip.valence!r}, which is no "
                "number: correct it, or leave it empty"
            )
    return np.array([float(clip.valence or "nan") for clip in clips], "float32")


def learned_valence(clips: Sequence[Clip]) -> NDArray[np.float32]:
    """Return the valence of the clips of the training and validation split alone."""
    learned = np.array([clip.split in LEARNED for clip in clips])
    return np.where(learned, given_valence(clips), np.float32(np.nan))
