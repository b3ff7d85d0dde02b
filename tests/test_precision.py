from typing import Any

import pytest
import torch
from torch.nn import functional

from ecmf.precision import autocast


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize(
    ("inputs", "weights", "options"),
    [
        ((2, 16, 50), (16, 8, 32), {"groups": 2, "padding": 16}),
        ((2, 8, 40), (8, 8, 8), {}),
        ((2, 8, 40), (8, 8, 3), {"padding": "same"}),
        ((2, 4, 112, 112), (8, 4, 16, 16), {"stride": 16}),
        ((2, 16, 12, 5), (16, 16, 3, 4), {"stride": 2}),
        ((2, 20, 12, 10, 4), (48, 20, 1, 1, 3), {"stride": (1, 4, 2)}),
    ],
    ids=["grouped", "even", "odd", "patches", "one column left", "three axes"],
)
def test_a_convolution_that_may_be_wrong_in_half_precision_is_computed_in_float32(
    inputs: tuple[int, ...], weights: tuple[int, ...], options: dict[str, Any], dtype: torch.dtype
) -> None:
    """With AMX, oneDNN 3.12 gets all of these but "odd" wrong in bfloat16."""
    generator = torch.Generator().manual_seed(0)
    x, w = (torch.randn(shape, generator=generator).to(dtype) for shape in (inputs, weights))
    convolve = getattr(functional, f"conv{len(inputs) - 2}d")
    expected = convolve(x.float(), w.float(), **options)
    with autocast("cpu", dtype):
        by_position, by_name = convolve(x, w, **options), convolve(input=x, weight=w, **options)
        product = x.flatten(1) @ x.flatten(1).T
    assert product.dtype == dtype
    for result in (by_position, by_name):
        assert result.dtype == dtype
        assert torch.equal(result, expected.to(dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_a_wide_convolution_over_time_is_computed_in_half_precision(dtype: torch.dtype) -> None:
    """Such as nearly all of HuBERT and Whisper: they take much of its time, and none is wrong."""
    generator = torch.Generator().manual_seed(0)
    for inputs, weights, options in [
        ((2, 64, 99), (64, 64, 3), {"stride": 2}),
        ((2, 96, 49), (96, 48, 128), {"padding": 64, "groups": 2}),
        ((2, 16, 50), (8, 16, 32), {}),
        ((2, 16, 32), (8, 16, 32), {"stride": 2}),
    ]:
        x, w = (torch.randn(shape, generator=generator).to(dtype) for shape in (inputs, weights))
        w /= w[0].numel() ** 0.5
        with autocast("cpu", dtype):
            result = functional.conv1d(x, w, **options)
        with torch.autocast("cpu", dtype):
            assert torch.equal(result, functional.conv1d(x, w, **options))
        expected = functional.conv1d(x.float(), w.float(), **options)
        torch.testing.assert_close(result.float(), expected, atol=0.01, rtol=0.01)


def test_gradients_pass_through_a_convolution_in_half_precision() -> None:
    layer, x = torch.nn.Conv1d(8, 8, 8), torch.randn(2, 8, 40)
    with autocast("cpu", torch.bfloat16):
        layer(x).float().sum().backward()
    half = layer.weight.grad
    layer.weight.grad = None
    layer(x).sum().backward()
    assert half is not None and layer.weight.grad is not None
    assert torch.equal(half, layer.weight.grad)


def test_a_convolution_outside_of_half_precision_is_left_alone() -> None:
    layer, x = torch.nn.Conv1d(8, 8, 8), torch.randn(2, 8, 40)
    expected = layer(x)
    with autocast("cpu", torch.float32):
        assert torch.equal(layer(x), expected)
    with autocast("cpu", torch.bfloat16), torch.autocast("cpu", enabled=False):
        assert torch.equal(layer(x), expected)
