"""Tensor fusion holds the products of every choice of sources."""

import pytest
import torch
from fusion_batches import made_batch, made_shapes

from ecmf.errors import ParamsError
from ecmf.fusion.tfn import Fusion, Options

SHAPES = made_shapes(5, 4, 3)


@pytest.fixture(autouse=True)
def the_same_chance_every_time():
    torch.manual_seed(0)


def products_of(fusion, batch):
    """The products as a cube: one axis per source, its constant first."""
    return fusion.products(batch).unflatten(1, (3, 3, 3))


def test_the_products_are_those_of_all_choices_of_entries():
    fusion = Fusion(SHAPES, 4, Options(tensor_width=2)).eval()
    cube = products_of(fusion, made_batch(SHAPES))
    first, second, third = cube[:, :, 0, 0], cube[:, 0, :, 0], cube[:, 0, 0, :]
    assert torch.equal(cube[:, 0, 0, 0], torch.ones(8))
    assert torch.allclose(cube, torch.einsum("bi,bj,bk->bijk", first, second, third))
    assert (first[:, 1:] != 0).all() and (third[:, 1:] != 0).all()


def test_an_absent_source_leaves_the_products_of_the_others():
    fusion = Fusion(SHAPES, 4, Options(tensor_width=2)).eval()
    everything = products_of(fusion, made_batch(SHAPES))
    without = products_of(fusion, made_batch(SHAPES, absent=[(clip, 1) for clip in range(8)]))
    assert torch.equal(without[:, :, 0], everything[:, :, 0])
    assert (without[:, :, 1:] == 0).all()


@pytest.mark.parametrize("count", range(1, 13))
def test_however_many_sources_there_are_the_product_keeps_to_its_limit(count):
    shapes = made_shapes(*[3] * count)
    products = Fusion(shapes, 4, Options()).products(made_batch(shapes))
    assert products.shape[1] <= Options().most_products
    wider = 1 + round(products.shape[1] ** (1 / count))
    assert wider**count > Options().most_products or wider == 2 + Options().width


@pytest.mark.parametrize(("count", "width"), [(5, 7), (13, None)])
def test_a_product_over_the_limit_is_refused_with_the_ways_out(count, width):
    ways = "lower tensor_width, choose fewer sources, or take the member lmf"
    with pytest.raises(ParamsError, match=f"{count} sources with tensor_width .*{ways}"):
        Fusion(made_shapes(*[3] * count), 4, Options(tensor_width=width))
