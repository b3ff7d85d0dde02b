"""Predict clips with one trained model."""

import numpy as np
import torch

from ecmf.data.splits import Indices
from ecmf.execution import device
from ecmf.fusion.base import Output
from ecmf.training.dataset import Dataset
from ecmf.training.model import Model
from ecmf.training.task import Prediction

CLIPS_PER_PREDICTION = 512

THREADS = 1
"""Threads of one training or prediction on any machine: their number affects the last bits of a
sum. Each core runs one training (`cross_validation`)."""


@device.exact_convolutions()
@torch.inference_mode()
def predict(model: Model, dataset: Dataset, clips: Indices) -> Prediction:
    """Predict the clips at these positions, in the precision of the model."""
    torch.set_num_threads(THREADS)
    model.eval()
    parts = [
        _to_prediction(model, model(dataset.batch(part)))
        for part in torch.split(torch.from_numpy(clips), CLIPS_PER_PREDICTION)
    ]
    return Prediction(
        np.concatenate([part.outputs for part in parts]),
        np.concatenate([part.weights for part in parts]),
        {
            name: np.concatenate([part.dimensions[name] for part in parts])
            for name in parts[0].dimensions
        },
    )


def _to_prediction(model: Model, output: Output) -> Prediction:
    weights = output.weights
    if weights is None:
        weights = torch.full((len(output.logits), len(model.fusion.sources)), torch.nan)
    return Prediction(
        model.task.predict(output.logits).cpu().numpy(),
        weights.cpu().numpy(),
        {name: values.cpu().numpy() for name, values in output.dimensions.items()},
    )
