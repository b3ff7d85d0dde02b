"""Where networks run: the device asked for in `ECMF_DEVICE`, and the proof that it was got.

The device is no parameter: it may change a result in nothing but the rounding, so it comes from the
environment.
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

BY_RULE = {"cudnn_conv_algo_search": "HEURISTIC"}
"""How CUDA chooses its way of summing: not by trial, which may end otherwise every time."""

OUT_OF_MEMORY = ("DefaultCPUAllocator: can't allocate memory", "Failed to allocate memory")
"""What torch on the CPU and onnxruntime say."""


def requested() -> str:
    """Return `ECMF_DEVICE` from the environment: "cpu" where unset, "cuda", or one GPU, "cuda:1".

    Raises:
        UserError: it names no device.
    """
    device = os.environ.get("ECMF_DEVICE") or "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UserError(f"ECMF_DEVICE is {device!r}: set it to cpu, cuda or cuda:<number>")
    return device


def of_torch() -> str:
    """Return the requested device once torch has it.

    Raises:
        UserError: a GPU was asked for that torch does not see.
    """
    import torch

    where = requested()
    if where != "cpu" and int(where.partition(":")[2] or 0) >= torch.cuda.device_count():
        raise UserError(
            f"ECMF_DEVICE is {where!r}, but torch {torch.__version__} sees "
            f"{torch.cuda.device_count()} GPUs: check the driver and that this torch is built for "
            "CUDA, or unset ECMF_DEVICE"
        )
    return where


@contextmanager
def exact_convolutions() -> Iterator[None]:
    """Keep torch's convolutions to float32 on a GPU, and to one way of summing, in this block.

    They would else be computed with 10 bits of mantissa (TF32), and summed in a way found by trial.
    """
    import torch

    with torch.backends.cudnn.flags(enabled=True, deterministic=True, allow_tf32=False):
        yield


def threads() -> int:
    """Return how many threads a network computes with: `OMP_NUM_THREADS`, else one per core.

    The cores are those this process may use: a job of an array often has a few of many.

    Worker processes are started with `OMP_NUM_THREADS` at 1 (`workers.py`), so that processes for
    all cores never meet threads for all cores.
    """
    given = os.environ.get("OMP_NUM_THREADS", "").partition(",")[0]
    return int(given) if given.isdecimal() and int(given) else len(os.sched_getaffinity(0))


def preparing_threads() -> int:
    """Return how many threads read and preprocess clips ahead of a network."""
    return min(4, threads())


def to_device(batch: Mapping[str, NDArray[Any]]) -> dict[str, torch.Tensor]:
    """Copy arrays to the requested device; through pinned memory, and not waited for, on a GPU."""
    import torch

    where = requested()
    tensors = {name: torch.from_numpy(array) for name, array in batch.items()}
    if where == "cpu":
        return tensors
    return {
        name: tensor.pin_memory().to(where, non_blocking=True) for name, tensor in tensors.items()
    }


def is_out_of_memory(error: BaseException) -> bool:
    """Tell whether a network failed for want of memory, by torch or by onnxruntime."""
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or any(words in str(error) for words in OUT_OF_MEMORY)
    )


def free_memory() -> None:
    """Give back what torch keeps of the GPU's memory for later."""
    if requested() != "cpu":
        import torch

        torch.cuda.empty_cache()


def onnx_session(path: Path) -> onnxruntime.InferenceSession:
    """Open the network of an ONNX file on the requested device, and log which one it runs on.

    onnxruntime falls back to the CPU with no more than a warning; here that is an error. It also
    reads no thread limit from the environment, so `threads()` is handed on to it.

    Raises:
        MissingFileError: `path` is absent, or is no ONNX network.
        UserError: CUDA was asked for and not got; says what to install.
    """
    import onnxruntime
    from onnxruntime.capi import onnxruntime_pybind11_state as faults

    if not path.is_file():
        raise MissingFileError(f"no ONNX file {path}")
    device = requested()
    providers: list[Any] = [CPU]
    if device != "cpu":
        if CUDA not in onnxruntime.get_available_providers():
            raise _no_cuda(device, onnxruntime)
        onnxruntime.preload_dlls()
        number = int(device.partition(":")[2] or 0)
        # TF32 would compute float32 with 10 bits of mantissa
        providers = [(CUDA, {"device_id": number, "use_tf32": 0, **BY_RULE}), CPU]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads()
    options.log_severity_level = 3  # errors; it warns of every batch a file does not declare
    try:
        session = onnxruntime.InferenceSession(str(path), options, providers=providers)
    except (faults.InvalidProtobuf, faults.InvalidGraph, faults.Fail) as error:
        raise MissingFileError(f"{path} is no ONNX network that can be run: {error}") from error
    found = session.get_providers()
    if device != "cpu" and CUDA not in found:
        raise _no_cuda(device, onnxruntime)
    log.info("%s runs on %s", path.name, found[0])
    return session


def _no_cuda(device: str, runtime: Any) -> UserError:
    return UserError(
        f"ECMF_DEVICE is {device!r}, but onnxruntime runs on "
        f"{', '.join(runtime.get_available_providers())} only: check the driver, and "
        "`pip install --force-reinstall --no-deps "
        f"onnxruntime-gpu=={runtime.__version__}` last of all packages; or unset ECMF_DEVICE"
    )
