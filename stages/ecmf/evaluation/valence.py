"""Score predictions of valence."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

MSE_FACTOR = 0.25
"""Weight of the squared error of valence in the metric of MER2023-MULTI (arXiv 2304.08981)."""


def valence_scores(
    truth: NDArray[np.float32], predicted: NDArray[np.float64], waf: float
) -> dict[str, Any]:
    """Compute squared error and Pearson correlation of valence, (clips,) each, as a JSON object.

    Clips with NaN are left out; if none remain, the result is empty. The correlation is None if
    truth or prediction is constant. `mer2023_combined` is the metric of MER2023-MULTI, with the
    `waf` over all clips.
    """
    known = ~np.isnan(truth) & ~np.isnan(predicted)
    if not known.any():
        return {}
    truth_known, predicted_known = truth[known].astype("float64"), predicted[known]
    error = float(np.mean((truth_known - predicted_known) ** 2))
    varies = truth_known.std() > 0 and predicted_known.std() > 0
    return {
        "valence_clips": int(known.sum()),
        "valence_mse": error,
        "valence_r": float(np.corrcoef(truth_known, predicted_known)[0, 1]) if varies else None,
        "mer2023_combined": waf - MSE_FACTOR * error,
    }
