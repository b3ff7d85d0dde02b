"""Models with multi-head attention refuse a width that their heads do not divide."""

import pytest

from ecmf import registry
from ecmf.errors import ParamsError

MODELS = [
    name
    for name in registry.names("fusion")
    if {"width", "heads"} <= set(registry.load("fusion", name).Options.model_fields)
]


@pytest.mark.parametrize("name", MODELS)
def test_heads_that_do_not_divide_the_width_are_refused_by_model_name(name):
    with pytest.raises(ParamsError, match=f"{name!r}.*width 10 is no multiple of heads 4"):
        registry.check_options("fusion", name, {"width": 10, "heads": 4})
