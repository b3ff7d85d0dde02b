"""Write the weights of a training as safetensors, and read them if their SHA-256 is the expected.

A flipped bit in weights is a valid number, so only a digest shows it.
"""

from collections.abc import Mapping
from pathlib import Path

from safetensors import safe_open
from safetensors.torch import save
from torch import Tensor

from ecmf.errors import StoreError
from ecmf.storage.files import sha256, write_bytes


def write_weights(
    path: Path, weights: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None
) -> str:
    """Write the file atomically, and return its SHA-256."""
    # Not `save_file`: its errors, e.g. of a full disk, are no OSError.
    write_bytes(path, save(dict(weights), None if metadata is None else dict(metadata)))
    return sha256(path)


def read_weights(
    path: Path, expected: str, remedy: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Return the tensors and the metadata of the file.

    Raises:
        StoreError: the file is absent, or its SHA-256 is not the expected; ends in `remedy`.
    """
    if not path.is_file() or sha256(path) != expected:
        raise StoreError(f"the weights {path} are absent or damaged: {remedy}")
    with safe_open(path, "pt") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        return tensors, file.metadata() or {}
