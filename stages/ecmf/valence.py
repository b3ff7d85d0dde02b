"""The valence of clips as the manifest has it, and how well models tell it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ecmf.corpora.folder import is_number
from ecmf.errors import CorpusError
from ecmf.manifest import Clip, Split

LEARNED: tuple[Split, ...] = ("train", "val")
"""Splits whose valence the training may see."""

MSE_SHARE = 0.25
"""What MER2023 takes off the WAF for each unit of squared error of valence (arXiv 2304.08981)."""


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


def valence_scores(
    given: NDArray[np.float32], told: NDArray[np.float64], waf: float
) -> dict[str, Any]:
    """Squared error and correlation over the clips whose valence is given and told, for JSON.

    `mer2023_combined` is the metric of MER2023-MULTI, of the `waf` over all clips. The correlation
    is None where either side does not vary. Without any such clip there is nothing to score.
    """
    known = ~np.isnan(given) & ~np.isnan(told)
    if not known.any():
        return {}
    truth, said = given[known].astype("float64"), told[known]
    error = float(np.mean((truth - said) ** 2))
    varies = truth.std() > 0 and said.std() > 0
    return {
        "valence_clips": int(known.sum()),
        "valence_mse": error,
        "valence_r": float(np.corrcoef(truth, said)[0, 1]) if varies else None,
        "mer2023_combined": waf - MSE_SHARE * error,
    }
