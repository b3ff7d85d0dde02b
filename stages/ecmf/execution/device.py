"""Select the device of all networks by `ECMF_DEVICE`, and check that it is available.

The device comes from the environment, not from `params.yaml`, because it changes only rounding.
"""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from numpy.typing import NDArray

from ecmf.errors import MissingFileError, UserError

if TYPE_CHECKING:
    import onnxruntime
    import torch

log = logging.getLogger(__name__)

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"

DETERMINISTIC = {"cudnn_conv_algo_search": "HEURISTIC"}
"""Select convolution algorithms by rule; selection by timing differs between runs."""

OUT_OF_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "Failed to allocate memory")
"""Messages of torch on the CPU and of onnxruntime."""


def requested() -> str:
    """Return `ECMF_DEVICE` from the environment: "cpu" (default), "cuda", or a GPU, "cuda:1".

    Raises:
        UserError: `ECMF_DEVICE` is not a device.
    """
    device = os.environ.get("ECMF_DEVICE") or "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UserError(f"ECMF_DEVICE is {device!r}: set it to cpu, cuda or cuda:<number>")
    return device


def torch_device() -> str:
    """Return the requested device, checked to be available to torch.

    Raises:
        UserError: torch does not see the requested GPU.
    """
    import torch

    device = requested()
    if device != "cpu" and int(device.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise UserError(
            f"ECMF_DEVICE is {device!r}, but torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} GPUs: check the driver and that this torch is built for "
            "CUDA, or unset ECMF_DEVICE"
        )
    return device


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Run torch's convolutions on a GPU in full float32, with deterministic algorithms.

    The default is a mantissa of 10 bits (TF32) and an algorithm selected by timing.
    """
    import torch

    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


def thread_count() -> int:
    """Return the number of threads of a network: `OMP_NUM_THREADS`, else one per core.

    Only cores that this process may use count: a job on a shared machine often has a few of many.
    Worker processes start with `OMP_NUM_THREADS` at 1, so that a process per core has one thread.
    """
    setting = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(setting) if setting.isdecimal() and int(setting) else len(os.sched_getaffinity(0))


def loader_threads() -> int:
    """Return the number of threads that load and preprocess clips ahead of a network."""
    return min(4, thread_count())


def to_device(batch: Mapping[str, NDArray[Any]]) -> dict[str, torch.Tensor]:
    """Copy arrays to the requested device; to a GPU asynchronously, through pinned memory."""
    import torch

    device = requested()
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    if device == "cpu":
        return tensors
    return {
        name: tensor.pin_memory().to(device, non_blocking=True) for name, tensor in tensors.items()
    }


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception of torch or onnxruntime means that memory ran out."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(message in str(error) for message in OUT_OF_MEMORY)
    )


def free_memory() -> None:
    """Release the GPU memory that torch caches."""
    if requested() != "cpu":
        import torch

        torch.cuda.empty_cache()


def onnx_session(path: Path) -> onnxruntime.InferenceSession:
    """Open an ONNX file on the requested device, and log the execution provider.

    onnxruntime falls back to the CPU with only a warning; here that is an error. It reads no thread
    limit from the environment, so `thread_count()` is set.

    Raises:
        MissingFileError: `path` is absent, or is not an ONNX network.
        UserError: CUDA was requested but is not available; names the package to install.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as errors

    if not path.is_file():
        raise MissingFileError(f"no ONNX file {path}")
    device = requested()
    providers: list[Any] = [CPU]
    if device != "cpu":
        require_cuda(device, onnxruntime)
        onnxruntime.preload_dlls()
        number = int(device.partition(":")[2] or 0)
        # TF32 would compute float32 with 10 bits of mantissa
        providers = [(CUDA, {"device_id": number, "use_tf32": 0, **DETERMINISTIC}), CPU]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = thread_count()
    options.log_severity_level = 3  # errors; it warns of each batch size a file does not declare
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except (errors.InvalidProtobuf, errors.InvalidGraph, errors.Fail) as error:
        raise MissingFileError(f"{path} is not a runnable ONNX network: {error}") from error
    available = session.get_providers()
    if device != "cpu" and CUDA not in available:
        raise _no_cuda(device, onnxruntime)
    log.info("%s runs on %s", path.name, available[0])
    return session


def require_cuda(device: str, runtime: Any) -> None:
    """Raise UserError if onnxruntime cannot use CUDA; names the package to install."""
    if CUDA not in runtime.get_available_providers():
        raise _no_cuda(device, runtime)


def _no_cuda(device: str, runtime: Any) -> UserError:
    return UserError(
        f"ECMF_DEVICE is {device!r}, but onnxruntime runs on "
        f"{', '.join(runtime.get_available_providers())} only: check the driver, and "
        "`pip install --force-reinstall --no-deps "
        f"onnxruntime-gpu=={runtime.__version__}` last of all packages; or unset ECMF_DEVICE"
    )
