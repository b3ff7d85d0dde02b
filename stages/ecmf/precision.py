"""Compute in half precision where a processor does so correctly."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch
    from torch.overrides import TorchFunctionMode

MIN_CHANNELS = 16
"""Input channels per group from which a convolution over one axis is right in bfloat16."""


@contextmanager
def autocast(kind: str, dtype: torch.dtype) -> Iterator[None]:
    """Compute in `dtype` in this block, as torch.autocast does, except for some CPU convolutions.

    On processors with AMX, oneDNN 3.12 (in torch 2.13) gives wrong bfloat16 convolutions: the error
    is as large as the result. Some are wrong by their weights (an even number of input channels per
    group below 16 that, times the width of the kernel, is a multiple of 32 beyond 32), some over
    two or three axes by the size of their input (a stride of which one column is left). So a
    convolution with fewer than 16 input channels per group, or over more than one axis, is computed
    in float32 and its result rounded to `dtype`. All others, matrix products and attention are
    right in bfloat16 and stay in it: without the wide convolutions HuBERT-base would be no faster
    than in float32. float16 was right where it was tried, on no processor with AMX for float16; it
    is treated alike.

    Args:
        kind: A type of device of torch, "cpu" or "cuda".
        dtype: The precision; float32 leaves everything as it is.
    """
    import torch

    half = dtype != torch.float32
    with torch.autocast(kind, dtype, enabled=half):
        if half and kind == "cpu":
            with _float32_convolutions()():
                yield
        else:
            yield


@functools.cache
def _float32_convolutions() -> type[TorchFunctionMode]:
    """Return the mode that computes in float32 the convolutions a CPU may have wrong."""
    import torch
    from torch.overrides import TorchFunctionMode

    convolutions = {torch.conv1d, torch.conv2d, torch.conv3d}

    def is_right_in_half(weight: torch.Tensor) -> bool:
        _, channels_per_group, *axes = weight.shape
        return channels_per_group >= MIN_CHANNELS and len(axes) == 1

    def to_float32(value: Any) -> Any:
        return value.float() if isinstance(value, torch.Tensor) else value

    class Float32Convolutions(TorchFunctionMode):
        def __torch_function__(
            self, function: Any, types: Any, args: Any = (), kwargs: Any = None
        ) -> Any:
            named = kwargs or {}
            if (
                function not in convolutions
                or is_right_in_half(named["weight"] if "weight" in named else args[1])
                # a network that turns autocast off in a part of it chooses the precision there
                or not torch.is_autocast_enabled("cpu")
            ):
                return function(*args, **named)
            named = {name: to_float32(value) for name, value in named.items()}
            with torch.autocast("cpu", enabled=False):
                result = function(*map(to_float32, args), **named)
            return result.to(torch.get_autocast_dtype("cpu"))

    return Float32Convolutions
