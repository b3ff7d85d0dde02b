import os
from pathlib import Path

import onnxruntime
import pytest
import torch

from ecmf.errors import MissingFileError, UserError
from ecmf.execution import device


@pytest.mark.parametrize("name", ["cpu", "cuda", "cuda:1"])
def test_the_environment_selects_the_device(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECMF_DEVICE", name)
    assert device.requested() == name


def test_the_default_device_is_the_cpu(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("ECMF_DEVICE", raising=False)
    assert device.requested() == "cpu"


@pytest.mark.parametrize("name", ["gpu", "cuda:", "cuda0", "CUDA"])
def test_an_unknown_device_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ECMF_DEVICE", name)
    with pytest.raises(UserError, match=f"ECMF_DEVICE is '{name}': set it to cpu, cuda"):
        device.requested()


@pytest.mark.skipif(
    device.CUDA in onnxruntime.get_available_providers(), reason="CUDA is available here"
)
def test_a_network_that_should_run_on_cuda_does_not_silently_run_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "network.onnx").write_bytes(b"")
    monkeypatch.setenv("ECMF_DEVICE", "cuda")
    with pytest.raises(UserError, match=r"runs on .* only: check the driver.*onnxruntime-gpu=="):
        device.onnx_session(tmp_path / "network.onnx")


def test_an_absent_or_invalid_onnx_file_is_an_error(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    with pytest.raises(MissingFileError, match="no ONNX file"):
        device.onnx_session(path)
    path.write_bytes(b"no network")
    with pytest.raises(MissingFileError, match="is not a runnable ONNX network"):
        device.onnx_session(path)


@pytest.mark.skipif(torch.cuda.is_available(), reason="CUDA is available here")
def test_a_requested_gpu_that_torch_does_not_see_is_an_error(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("ECMF_DEVICE", "cpu")
    assert device.torch_device() == "cpu"
    monkeypatch.setenv("ECMF_DEVICE", "cuda:1")
    with pytest.raises(UserError, match=r"ECMF_DEVICE is 'cuda:1', but torch .* sees 0 GPUs"):
        device.torch_device()


def test_the_number_of_threads_follows_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    assert device.thread_count() == device.loader_threads() == 3
    monkeypatch.setenv("OMP_NUM_THREADS", "5,2")
    assert device.thread_count() == 5
    monkeypatch.delenv("OMP_NUM_THREADS")
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {3, 4, 7})
    assert device.thread_count() == 3
