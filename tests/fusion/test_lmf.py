"""Low-rank fusion equals tensor fusion with a low-rank weight, without the tensor."""

import pytest
import torch
from made_clips import make_batch, make_fusion

from ecmf.fusion.layers.tensor_product import outer_product, prepend_one
from ecmf.fusion.lmf import LowRankProduct


@pytest.fixture(autouse=True)
def fixed_seed():
    torch.manual_seed(0)


def make_product(sources):
    """Make a product whose factors are all random, those of the constants too."""
    product = LowRankProduct(sources, width=2, rank=3, out=4).double()
    with torch.no_grad():
        for parameter in product.parameters():
            parameter.copy_(torch.randn_like(parameter))
    return product


def test_the_low_rank_product_equals_the_full_tensor_times_its_weights():
    product = make_product(sources=3)
    vectors = torch.randn(5, 3, 2, dtype=torch.float64)
    weights = torch.einsum("rio,rjo,rko->ijko", *product.factors).flatten(0, 2)
    tensor = outer_product(prepend_one(vectors).unbind(dim=1))
    assert tensor.shape == (5, 27)
    assert torch.allclose(product(vectors), tensor @ weights + product.bias)


def test_before_training_a_source_of_zeros_has_no_effect():
    three, two = (LowRankProduct(count, width=2, rank=3, out=4) for count in (3, 2))
    with torch.no_grad():
        two.factors.copy_(three.factors[:2])
    vectors = torch.randn(5, 3, 2)
    vectors[:, 2] = 0
    assert torch.allclose(three(vectors), two(vectors[:, :2]))


def test_sources_are_multiplied_and_not_just_added():
    product = make_product(sources=2)
    one, other = torch.randn(2, 5, 2, 2, dtype=torch.float64)
    mixed = [
        product(torch.stack([left[:, 0], right[:, 1]], dim=1))
        for left in (one, other)
        for right in (one, other)
    ]
    assert not torch.allclose(mixed[0] - mixed[1], mixed[2] - mixed[3])


def test_forty_sources_are_fused_where_no_tensor_would_fit():
    batch = make_batch({f"audio/{number}": [3] * 8 for number in range(40)})
    logits = make_fusion("lmf", batch)(batch).logits
    assert logits.shape == (8, 4) and logits.isfinite().all()
    assert not torch.allclose(logits[0], logits[1])
