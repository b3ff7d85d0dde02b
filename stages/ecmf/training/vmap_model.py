"""Compute losses and predictions of several models of one shape at once, with torch.func.vmap.

Every tensor has an additional first dimension, the runs. Batches are padded to equal length with
clips without sources and of weight 0.
"""

import copy
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from ecmf.data.splits import Indices
from ecmf.fusion.base import Batch, Output, Target
from ecmf.params import TrainFusion
from ecmf.training.augmentation import apply_mixup
from ecmf.training.dataset import Dataset
from ecmf.training.model import Model
from ecmf.training.prediction import CLIPS_PER_PREDICTION
from ecmf.training.targets import TargetTensors
from ecmf.training.task import Targets
from ecmf.training.trainer import TrainState, compute_loss
from ecmf.training.vmap_batches import VmapStep

Tensors = dict[str, Tensor]


def stack_models(models: Sequence[Model]) -> Model:
    """Return one model whose tensors are those of `models`, stacked in a new first dimension."""
    module = copy.deepcopy(models[0])
    parameters, buffers = stack_module_state(list(models))
    for name, tensor in _state(module).items():
        tensor.data = ({**parameters, **buffers})[name].detach()
    return module


def _state(module: nn.Module) -> Tensors:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


class VmapLoss:
    """The losses of all runs, with their targets and sample weights on the device."""

    def __init__(
        self, states: Sequence[TrainState], dataset: Dataset, targets: Targets, params: TrainFusion
    ) -> None:
        self._dataset, self._params, device = dataset, params, dataset.device
        self._targets = TargetTensors(targets, device, params.label_smoothing)
        self._weight = torch.from_numpy(np.stack([state.weight for state in states])).to(device)

    def __call__(self, module: Model, step: VmapStep) -> Tensor:
        """Return the loss of each run on its batch, (runs,); padding clips have weight 0."""
        params = self._params

        def one_run(
            state: Tensors,
            rows: Tensors,
            masks: Tensors,
            values: Tensors,
            weight: Tensor,
            fraction: Tensor,
            partner: Tensor,
        ) -> Tensor:
            def predict(batch: Batch, target: Target) -> Output:
                output: Output = functional_call(module, state, (batch, target))
                return output

            batch, target = Batch(rows, masks), Target(values, self._targets.task)
            if params.mixup:
                batch, target, weight = apply_mixup(batch, target, weight, fraction, partner)
            return compute_loss(predict, batch, target, weight, module.fusion.input_sources, params)

        rows, masks = _rows(self._dataset, step.clips, step.real)
        clips = torch.from_numpy(step.clips).to(self._weight.device)
        weight = self._weight.gather(1, clips) * step.real
        with _plain_attention():
            losses: Tensor = vmap(one_run, randomness="different")(
                _state(module),
                rows,
                masks,
                dict(self._targets.batch(clips).values),
                weight,
                step.fraction,
                step.partner,
            )
        return losses


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Compute attention by matrix products and softmax; vmap does not support fused kernels."""
    enabled = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(enabled)


@torch.inference_mode()
def predict_logits(module: Model, dataset: Dataset, clips: Indices, real: Tensor) -> Tensor:
    """Return the logits of each run's clips, (runs, clips, classes)."""

    def one_run(state: Tensors, rows: Tensors, masks: Tensors) -> Tensor:
        output: Output = functional_call(module, state, (Batch(rows, masks),))
        return output.logits

    module.eval()
    with _plain_attention():
        output: Tensor = vmap(one_run)(_state(module), *_rows(dataset, clips, real))
    return output


def predict_outputs(
    module: Model, dataset: Dataset, clips: Indices, real: Tensor
) -> NDArray[np.float32]:
    """Return the predictions for each run's clips, (runs, clips, outputs)."""
    size = max(1, CLIPS_PER_PREDICTION // len(clips))
    parts = [np.s_[:, first : first + size] for first in range(0, clips.shape[1], size)]
    predicted = [
        module.task.predict(predict_logits(module, dataset, clips[part], real[part]))
        for part in parts
    ]
    if not predicted:
        return np.empty((*clips.shape, module.fusion.outputs), "float32")
    return torch.cat(predicted, dim=1).cpu().numpy()


def _rows(dataset: Dataset, clips: Indices, real: Tensor) -> tuple[Tensors, Tensors]:
    """Return rows (runs, clips, steps, dim) and masks of the clips; padding is masked."""
    batch = dataset.batch(torch.from_numpy(clips.ravel()))
    rows = {
        name: values.view(*clips.shape, *values.shape[1:]) for name, values in batch.rows.items()
    }
    masks = {
        name: mask.view(*clips.shape, -1) & real[..., None] for name, mask in batch.masks.items()
    }
    return rows, masks


def clip_gradients(module: nn.Module, max_norm: float) -> None:
    """Clip each run's gradient norm to `max_norm`, like `clip_grad_norm_`."""
    gradients = [each.grad for each in module.parameters() if each.grad is not None]
    squares = torch.stack([grad.reshape(len(grad), -1).square().sum(dim=1) for grad in gradients])
    factor = (max_norm / (squares.sum(dim=0).sqrt() + 1e-6)).clamp(max=1)
    for grad in gradients:
        grad.mul_(factor.view(-1, *[1] * (grad.dim() - 1)))
