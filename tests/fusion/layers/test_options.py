"""Members built of attention refuse a width their heads cannot share."""

import pytest

from ecmf import registry
from ecmf.errors import ParamsError

MEMBERS = [
    name
    for name in registry.names("fusion")
    if {"width", "heads"} <= set(registry.load("fusion", name).Options.model_fields)
]


@pytest.mark.parametrize("name", MEMBERS)
def test_heads_that_do_not_share_the_width_are_refused_by_name(name):
    with pytest.raises(ParamsError, match=f"{name!r}.*width 10 is no multiple of heads 4"):
        registry.options("fusion", name, {"width": 10, "heads": 4})
