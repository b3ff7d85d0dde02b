"""Tensor fusion computes the products of every subset of sources."""

import pytest
import torch
from made_clips import make_batch, make_fusion, without

from ecmf.errors import ParamsError
from ecmf.fusion.tfn import Options

CLIPS = 8


def make_sources(count):
    return make_batch({f"audio/{number}": [3] * CLIPS for number in range(count)})


def products_of(fusion, batch):
    """Return the products as a cube: one axis per source, its constant first."""
    return fusion.multiply_sources(batch).unflatten(1, (3, 3, 3))


def test_the_products_are_those_of_all_combinations_of_entries():
    batch = make_sources(3)
    cube = products_of(make_fusion("tfn", batch, tensor_width=2), batch)
    first, second, third = cube[:, :, 0, 0], cube[:, 0, :, 0], cube[:, 0, 0, :]
    assert torch.equal(cube[:, 0, 0, 0], torch.ones(CLIPS))
    assert torch.allclose(cube, torch.einsum("bi,bj,bk->bijk", first, second, third))
    assert (first[:, 1:] != 0).all() and (third[:, 1:] != 0).all()


def test_an_absent_source_leaves_the_products_of_the_others():
    batch = make_sources(3)
    fusion = make_fusion("tfn", batch, tensor_width=2)
    complete = products_of(fusion, batch)
    rest = products_of(fusion, without(batch, "audio/1"))
    assert torch.equal(rest[:, :, 0], complete[:, :, 0])
    assert (rest[:, :, 1:] == 0).all()


@pytest.mark.parametrize("count", range(1, 13))
def test_the_product_of_any_number_of_sources_stays_within_its_limit(count):
    batch = make_sources(count)
    products = make_fusion("tfn", batch).multiply_sources(batch)
    assert products.shape[1] <= Options().most_products
    wider = 1 + round(products.shape[1] ** (1 / count))
    assert wider**count > Options().most_products or wider == 2 + Options().width


@pytest.mark.parametrize(("count", "width"), [(5, 7), (13, None)])
def test_a_product_over_the_limit_is_refused_with_its_remedies(count, width):
    remedies = "lower tensor_width, choose fewer sources, or use the plugin lmf"
    with pytest.raises(ParamsError, match=f"{count} sources with tensor_width .*{remedies}"):
        make_fusion("tfn", make_sources(count), tensor_width=width)
