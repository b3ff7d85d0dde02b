"""Score predictions of valence."""

from typing import Any

import numpy as np
from numpy.typing import NDArray

MSE_SHARE = 0.25
"""What MER2023 takes off the WAF for each unit of squared error of valence (arXiv 2304.08981)."""


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
