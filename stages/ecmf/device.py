"""Where networks run: the device asked for in `ECMF_DEVICE`, and the proof that it was got.

The device is no parameter: it may not change a result, so it comes from the environment.
"""

from __future__ import annotations

import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ecmf.errors import MissingFileError, UserError

if TYPE_CHECKING:
    import onnxruntime

log = logging.getLogger(__name__)

CUDA = "CUDAExecutionProvider"
CPU = "CPUExecutionProvider"


def requested() -> str:
    """Return `ECMF_DEVICE` from the environment: "cpu" where unset, "cuda", or one GPU, "cuda:1".

    Raises:
        UserError: it names no device.
    """
    device = os.environ.get("ECMF_DEVICE") or "cpu"
    if not re.fullmatch(r"cpu|cuda(:\d+)?", device):
        raise UserError(f"ECMF_DEVICE is {device!r}: set it to cpu, cuda or cuda:<number>")
    return device


def onnx_session(path: Path) -> onnxruntime.InferenceSession:
    """Open the network of an ONNX file on the requested device, and log which one it runs on.

    onnxruntime falls back to the CPU with no more than a warning; here that is an error. It also
    reads no thread limit from the environment, so `OMP_NUM_THREADS` is handed on to it.

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
        providers = [(CUDA, {"device_id": int(device.partition(":")[2] or 0)}), CPU]
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = int(os.environ.get("OMP_NUM_THREADS") or 0)
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
