"""The loss `1 - CCC` of a dimension, split over the clips (Lin 1989)."""

from torch import Tensor


def concordance_loss(predicted: Tensor, truth: Tensor, known: Tensor) -> Tensor:
    """Return `(x - y)² / D` of each clip, zero where not known; its mean over the known is 1 - CCC.

    `D = var x + var y + (mean x - mean y)²` is computed over the known clips of the batch.
    """
    count = known.sum().clamp(min=1)
    predicted_mean, truth_mean = ((values * known).sum() / count for values in (predicted, truth))
    spread = ((predicted - predicted_mean).square() + (truth - truth_mean).square()) * known
    scale = spread.sum() / count + (predicted_mean - truth_mean).square()
    return (predicted - truth).square() * known / scale.clamp(min=1e-6)
