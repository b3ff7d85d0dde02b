"""Outer products of vectors, the operation of tensor fusion.

With the constant 1 in front of each vector, the outer product holds the products of every subset of
the sources, each vector by itself among them.
"""

from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional


def prepend_one(vectors: Tensor) -> Tensor:
    """Prepend the constant 1: (…, width) -> (…, 1 + width)."""
    return functional.pad(vectors, (1, 0), value=1.0)


def outer_product(vectors: Sequence[Tensor]) -> Tensor:
    """Return the flattened outer product: M vectors of (clips, n) -> (clips, n^M).

    The index of the last vector runs fastest; the widths may differ.
    """
    product = vectors[0]
    for vector in vectors[1:]:
        product = torch.einsum("bi,bj->bij", product, vector).flatten(1)
    return product
