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
"""Minimum input channels per group with which a CPU's 1-D bfloat16 convolution is correct."""


@contextmanager
def autocast(kind: str, dtype: torch.dtype) -> Iterator[None]:
    """Compute in `dtype` in this block, as torch.autocast does, except for some CPU convolutions.

    On processors with AMX, oneDNN 3.12 (in torch 2.13) computes some bfloat16 convolutions with an
    error as large as the result. It depends on the weights (an even number of input channels per
    group below 16 that, times the width of the kernel, is a multiple of 32 above 32) or, over two
    or three axes, on the size of the input (a stride of which one column is left). A convolution
    with fewer than 16 input channels per group, or over more than one axis, is therefore computed
    in float32 and rounded to `dtype`. All others, matrix products and attention are correct in
    bfloat16; with the wide convolutions in float32, HuBERT-base would be no faster than in float32.
    float16 is treated alike; no error was found, but no processor with AMX for float16 was tested.

    Args:
        kind: Device type of torch, "cpu" or "cuda".
        dtype: The precision; float32 changes nothing.
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
    """Return the mode that computes the affected convolutions in float32."""
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
                # a network that disables autocast in a block chooses the precision there itself
                or not torch.is_autocast_enabled("cpu")
            ):
                return function(*args, **named)
            named = {name: to_float32(value) for name, value in named.items()}
            with torch.autocast("cpu", enabled=False):
                result = function(*map(to_float32, args), **named)
            return result.to(torch.get_autocast_dtype("cpu"))

    return Float32Convolutions
