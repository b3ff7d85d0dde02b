"""Wrap a fusion model, the standardisation of its inputs and its task in one module."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn

from ecmf import registry
from ecmf.data.features import Source
from ecmf.errors import StoreError
from ecmf.fusion.base import Batch, Fusion, Output, SourceShape, Target
from ecmf.params import TrainFusion
from ecmf.training.augmentation import input_dropout
from ecmf.training.dataset import Dataset
from ecmf.training.task import Task


class Model(nn.Module):
    """Standardise each input by the training clips' mean and standard deviation, then fuse.

    Sources that are targets and no inputs of the fusion keep their values. With `drop_inputs`,
    features of the inputs are dropped in training.
    """

    def __init__(self, fusion: Fusion, task: Task, *, drop_inputs: bool) -> None:
        """Start with mean 0 and standard deviation 1."""
        super().__init__()
        self.fusion, self.task, self.drop_inputs = fusion, task, drop_inputs
        self._names = {source.name: number for number, source in enumerate(fusion.sources)}
        for number, source in enumerate(fusion.sources):
            self.register_buffer(f"mean_{number}", torch.zeros(source.dim))
            self.register_buffer(f"deviation_{number}", torch.ones(source.dim))

    def set_scale(self, moments: Sequence[tuple[Tensor, Tensor]]) -> None:
        """Set mean and standard deviation of each input; `moments` has all sources, in order."""
        for source, (mean, deviation) in zip(self.fusion.sources, moments, strict=True):
            if source not in self.fusion.input_sources:
                continue
            number = self._names[source.name]
            self.get_buffer(f"mean_{number}").copy_(mean)
            self.get_buffer(f"deviation_{number}").copy_(deviation)

    def set_source_weights(self, weights: Sequence[float]) -> None:
        """Set the weight of each source, in order; one of weight 0 is hidden from the model."""
        self.fusion.source_weights.copy_(torch.tensor(weights))

    def hide(self, source: str) -> None:
        """Hide one source from the model, as if no clip had it."""
        self.fusion.source_weights[self._names[source]] = 0

    def forward(self, batch: Batch, target: Target | None = None) -> Output:
        """Standardise the rows, drop features of them in training, and fuse them."""
        batch = self.standardise(batch)
        if self.training and self.drop_inputs:
            batch = input_dropout(batch, self.fusion.input_sources)
        output: Output = self.fusion(batch, target)
        return output

    def standardise(self, batch: Batch) -> Batch:
        """Standardise the rows of the inputs, and hide sources of weight 0.

        Padding rows of any source become zeros.
        """
        rows, masks = {}, {}
        for name, values in batch.rows.items():
            number = self._names[name]
            mean = self.get_buffer(f"mean_{number}")
            masks[name] = batch.masks[name] & (self.fusion.source_weights[number] > 0)
            rows[name] = (
                (values.to(mean.dtype) - mean)
                .div_(self.get_buffer(f"deviation_{number}"))
                .mul_(masks[name].unsqueeze(-1))
            )
        return Batch(rows, masks)


def build(task: Task, params: TrainFusion, sources: Sequence[SourceShape], seed: int) -> Model:
    """Build the untrained fusion model `params.model`; the same seed gives the same weights."""
    options = registry.check_options("fusion", params.model, params.chosen_options)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        fusion = registry.load("fusion", params.model).Fusion(sources, len(task.outputs), options)
        return Model(fusion, task, drop_inputs=params.input_dropout)


def target_sources(params: TrainFusion) -> frozenset[str]:
    """Return the names of the sources that any model of `params` has as a target and no input."""
    names: frozenset[str] = frozenset()
    for name in params.members:
        options = registry.check_options("fusion", name, params.of_member(name).chosen_options)
        names |= registry.load("fusion", name).Fusion.target_sources(options)
    return names


def load_model(
    weights: Mapping[str, Tensor],
    params: TrainFusion,
    sources: Sequence[Source],
    task: Task,
    device: torch.device,
) -> Model:
    """Build the model, and load its weights.

    Raises:
        StoreError: they are the weights of another model.
    """
    shapes = Dataset(sources, torch.device("cpu")).shapes
    with torch.device("meta"):  # without memory, which wrong parameters could ask for in terabytes
        expected = build(task, params, shapes, seed=0).state_dict()
    if _shapes(expected) != _shapes(weights):
        raise StoreError(
            f"the weights are not those of {params.model} for these sources: run "
            "`dvc repro -f train_fusion`, or fetch the packed model again"
        )
    model = build(task, params, shapes, seed=0)
    model.load_state_dict(weights)
    return model.to(device).eval()


def _shapes(tensors: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in tensors.items()}
