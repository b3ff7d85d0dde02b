"""Values below `train_fusion` by dotted keys, as a sweep draws them and a preset holds them.

What decides which clips are trained on, which sources are read or which model it is has no such
value: trials that differ in it would be measured with different rulers.
"""

from collections.abc import Mapping
from typing import Any

from pydantic import ValidationError

from ecmf import registry
from ecmf.errors import ParamsError
from ecmf.params import TrainFusion

Value = bool | int | float | str | None
Values = dict[str, Value]
"""Key below `train_fusion` -> value, e.g. `options.ecmf.width` -> 128."""

FIXED = ("model", "branches", "standardise", "folds", "test_folds", "seeds")


def present(params: TrainFusion) -> Values:
    """Return every key that can be swept with its value as it is, those of the model among them."""
    options = registry.options("fusion", params.model, params.options.get(params.model, {}))
    fields = {name: value for name, value in params.model_dump().items() if name not in FIXED}
    fields |= {
        f"options.{params.model}.{name}": value for name, value in options.model_dump().items()
    }
    return {key: value for key, value in fields.items() if isinstance(value, Value)}


def changed(params: TrainFusion, values: Mapping[str, Value]) -> TrainFusion:
    """Return `params` with these values.

    Raises:
        ParamsError: they are not valid, or not together.
    """
    try:
        made = TrainFusion.model_validate(nested(values, params.model_dump()))
    except ValidationError as error:
        raise ParamsError(f"train_fusion: {registry.faults(error, TrainFusion)}") from error
    registry.options("fusion", made.model, made.options.get(made.model, {}))
    return made


def nested(values: Mapping[str, Value], fields: dict[str, Any]) -> dict[str, Any]:
    """Put each value into `fields`, a dictionary within a dictionary per dot of its key."""
    for key, value in values.items():
        *steps, last = key.split(".")
        place = fields
        for step in steps:
            place = place.setdefault(step, {})
        place[last] = value
    return fields
