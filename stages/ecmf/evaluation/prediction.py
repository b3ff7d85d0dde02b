"""Predict clips with the trained models of a folder, and average predictions."""

import copy
import logging
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from ecmf.data.features import Source
from ecmf.data.splits import Indices
from ecmf.execution import device
from ecmf.training.dataset import Dataset
from ecmf.training.model import load_model
from ecmf.training.model_metadata import ModelMetadata, read_metadata, weights_path
from ecmf.training.prediction import predict
from ecmf.training.task import Prediction, Values, load_task
from ecmf.training.weight_files import read_weights

log = logging.getLogger(__name__)


class Predictor:
    """Predict the clips of `sources` with the models in `folder`.

    `input_sources` are the names of the sources that a model has read so far.

    Raises:
        StoreError: the features are not those that the models were trained on, or weights are
            damaged.
    """

    def __init__(self, folder: Path, sources: Sequence[Source]) -> None:
        self.metadata: ModelMetadata = read_metadata(folder)
        self.metadata.check_sources(sources)
        self.task = load_task(self.metadata.training.task, self.metadata.outputs)
        self.sources = sources
        self.input_sources: set[str] = set()
        self._folder, self._hidden = folder, ""
        self._device = torch.device(device.requested())
        log.info("predicting on %s", self._device)
        self._dataset = Dataset(sources, self._device)
        self._runs = {
            (member.name, run.name): run for member in self.metadata.members for run in member.runs
        }

    def without(self, source: str) -> "Predictor":
        """Return a predictor from which one source is hidden, as if no clip had it."""
        predictor = copy.copy(self)
        predictor._hidden = source
        return predictor

    def predict(self, member: str, run: str, clips: Indices) -> Prediction:
        """Predict the clips at these positions with one trained model, in float64.

        In float32 the last bits of a clip's prediction depend on the number of clips in its batch
        and on the longest of them; here they are rounded away. Without a training clip whose value
        of a dimension was known, the model's prediction of it is meaningless and left out.
        """
        trained = self._runs[member, run]
        path = weights_path(self._folder, member, run)
        weights, _ = read_weights(path, trained.sha256, "run `dvc repro -f train_fusion`")
        training = self.metadata.training.of_member(member)
        model = load_model(weights, training, self.sources, self.task, self._device)
        self.input_sources.update(source.name for source in model.fusion.input_sources)
        if self._hidden:
            model.hide(self._hidden)
        predicted = predict(model.double(), self._dataset, clips).map(_as_float32)
        dimensions = {
            name: v for name, v in predicted.dimensions.items() if trained.targets.get(name)
        }
        return predicted._replace(dimensions=dimensions)


def _as_float32(values: Values) -> Values:
    return values.astype("float32")


class MeanPrediction:
    """A running mean of predictions that ignores NaN."""

    def __init__(self) -> None:
        self._outputs, self._weights = _RunningMean(1), _RunningMean(1)
        self._dimensions: dict[str, _RunningMean] = {}

    def add(self, prediction: Prediction) -> None:
        """Add a prediction (…, clips, columns); all have the same shape."""
        self._outputs.add(prediction.outputs)
        self._weights.add(prediction.weights)
        for name, values in prediction.dimensions.items():
            self._dimensions.setdefault(name, _RunningMean(0)).add(values)

    def value(self) -> Prediction:
        """Return the mean; NaN where no prediction is known."""
        dimensions = {name: mean.value() for name, mean in self._dimensions.items()}
        return Prediction(self._outputs.value(), self._weights.value(), dimensions)


class _RunningMean:
    """A running mean of arrays; an entry counts if none of its `columns` last axes has NaN."""

    def __init__(self, columns: int) -> None:
        self._axes = tuple(range(-columns, 0))
        self._sum: NDArray[np.float64] = np.zeros(())
        self._count: NDArray[np.int64] = np.zeros((), "int64")

    def add(self, values: Values) -> None:
        known = ~np.isnan(values).any(axis=self._axes, keepdims=True)
        self._sum = self._sum + np.where(known, values.astype("float64"), 0)
        self._count = self._count + known

    def value(self) -> NDArray[np.float64]:
        return np.where(self._count, self._sum / np.maximum(self._count, 1), np.nan)
