"""Vectors of several sources -> their products: what tensor fusion is built of.

With a one in front of every vector the outer product holds the product of every choice of sources,
each vector by itself among them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def with_one(vectors: Tensor) -> Tensor:
    """Put the constant 1 in front: (…, width) -> (…, 1 + width)."""
    return functional.pad(vectors, (1, 0), value=1.0)


def outer_product(vectors: Sequence[Tensor]) -> Tensor:
    """Multiply one entry of each vector, in every way: M of (clips, n) -> (clips, n^M).

    The entry of the last vector runs fastest; the widths may differ.
    """
    product = vectors[0]
    for vector in vectors[1:]:
        product = torch.einsum("bi,bj->bij", product, vector).flatten(1)
    return product
