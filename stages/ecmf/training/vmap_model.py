"""Models of one shape as one program: a stack of weights, and what each run asks and learns.

Every tensor has a first dimension more than in one model: the runs. Batches of unequal length are
filled up with clips that are not real: they have no source and count nothing.
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

from ecmf.fusion.base import Batch, Output, Target
from ecmf.params import TrainFusion
from ecmf.training.augmentation import blended
from ecmf.training.dataset import Dataset
from ecmf.training.model import Model
from ecmf.training.targets import Targets
from ecmf.training.trainer import CLIPS_PER_PREDICTION, Start, loss_of
from ecmf.training.vmap_batches import Step


def stacked(models: Sequence[Model]) -> Model:
    """Return a model every tensor of which has a first dimension more: the runs."""
    module = copy.deepcopy(models[0])
    parameters, buffers = stack_module_state(list(models))
    for name, tensor in _state(module).items():
        tensor.data = ({**parameters, **buffers})[name].detach()
    return module


def _state(module: nn.Module) -> dict[str, Tensor]:
    return {**dict(module.named_parameters()), **dict(module.named_buffers())}


class Lessons:
    """What the runs of a stack are to learn of each clip."""

    def __init__(self, starts: Sequence[Start], targets: Targets, where: torch.device) -> None:
        self._soft = torch.from_numpy(targets.soft).to(where)
        self._valence = torch.from_numpy(targets.of_valence()).to(where)
        self._weight = torch.from_numpy(np.stack([start.weight for start in starts])).to(where)

    def losses(self, module: Model, dataset: Dataset, step: Step, params: TrainFusion) -> Tensor:
        """Return the loss of each run on its batch, (runs,); clips that are not real count 0."""

        def one_run(
            state: dict[str, Tensor],
            rows: dict[str, Tensor],
            masks: dict[str, Tensor],
            target: Target,
            counts: Tensor,
            share: Tensor,
            other: Tensor,
        ) -> Tensor:
            def said(batch: Batch, target: Target) -> Output:
                output: Output = functional_call(module, state, (batch, target))
                return output

            batch = Batch(rows, masks)
            if params.mixup:
                batch, target, counts = blended(batch, target, counts, share, other)
            return loss_of(said, batch, target, counts, module.fusion.read, params)

        rows, masks = _rows(dataset, step.clips, step.real)
        clips = torch.from_numpy(step.clips).to(self._soft.device)
        target = Target(self._soft[clips], self._valence[clips])
        counts = self._weight.gather(1, clips) * step.real
        with _plain_attention():
            losses: Tensor = vmap(one_run, randomness="different")(
                _state(module), rows, masks, target, counts, step.share, step.other
            )
        return losses


@contextmanager
def _plain_attention() -> Iterator[None]:
    """Work attention out as products and a softmax: vmap does not take the fused kernels."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)


@torch.inference_mode()
def logits(module: Model, dataset: Dataset, clips: NDArray[np.int64], real: Tensor) -> Tensor:
    """Ask every model about its own clips: (runs, clips) -> (runs, clips, classes)."""

    def one_run(
        state: dict[str, Tensor], rows: dict[str, Tensor], masks: dict[str, Tensor]
    ) -> Tensor:
        output: Output = functional_call(module, state, (Batch(rows, masks),))
        return output.logits

    module.eval()
    with _plain_attention():
        said: Tensor = vmap(one_run)(_state(module), *_rows(dataset, clips, real))
    return said


def predicted(
    module: Model, dataset: Dataset, clips: NDArray[np.int64], real: Tensor
) -> NDArray[np.int64]:
    """Return the class of each run's own clips, (runs, clips)."""
    together = max(1, CLIPS_PER_PREDICTION // len(clips))
    parts = [np.s_[:, first : first + together] for first in range(0, clips.shape[1], together)]
    said = [logits(module, dataset, clips[part], real[part]).argmax(dim=-1) for part in parts]
    return torch.cat(said, dim=1).cpu().numpy() if said else np.zeros(clips.shape, "int64")


def _rows(
    dataset: Dataset, clips: NDArray[np.int64], real: Tensor
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Rows (runs, clips, steps, dim) and masks of the clips; what is not real has no source."""
    batch = dataset.batch(torch.from_numpy(clips.ravel()))
    rows = {
        name: values.view(*clips.shape, *values.shape[1:]) for name, values in batch.rows.items()
    }
    masks = {
        name: mask.view(*clips.shape, -1) & real[..., None] for name, mask in batch.masks.items()
    }
    return rows, masks


def clip_gradients(module: nn.Module, most: float) -> None:
    """Bring the norm of each run's gradients to at most `most`, 0 for any, as `clip_grad_norm_`."""
    if not most:
        return
    gradients = [each.grad for each in module.parameters() if each.grad is not None]
    squares = torch.stack([grad.reshape(len(grad), -1).square().sum(dim=1) for grad in gradients])
    factor = (most / (squares.sum(dim=0).sqrt() + 1e-6)).clamp(max=1)
    for grad in gradients:
        grad.mul_(factor.view(-1, *[1] * (grad.dim() - 1)))
