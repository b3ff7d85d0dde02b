"""Read and replace values of `train_fusion` by dotted keys.

Parameters that select the clips, the sources or the model are excluded: scores of trials that
differ in them would not be comparable.
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

FIXED = ("task", "model", "branches", "standardise", "folds", "outer_folds", "seeds")


def current_values(params: TrainFusion) -> Values:
    """Return the current values of all keys that can be swept, including the model's options."""
    options = registry.check_options("fusion", params.model, params.chosen_options)
    fields = {name: value for name, value in params.model_dump().items() if name not in FIXED}
    fields |= {
        f"options.{params.model}.{name}": value for name, value in options.model_dump().items()
    }
    return {key: value for key, value in fields.items() if isinstance(value, Value)}


def with_values(params: TrainFusion, values: Mapping[str, Value]) -> TrainFusion:
    """Return `params` with these values.

    Raises:
        ParamsError: a value, or their combination, is not valid.
    """
    try:
        changed = TrainFusion.model_validate(nest(values, params.model_dump()))
    except ValidationError as error:
        raise ParamsError(
            f"train_fusion: {registry.validation_errors(error, TrainFusion)}"
        ) from error
    registry.check_options("fusion", changed.model, changed.chosen_options)
    return changed


def nest(values: Mapping[str, Value], fields: dict[str, Any]) -> dict[str, Any]:
    """Set each value in the nested dictionaries of `fields`, one level per dot of its key."""
    for key, value in values.items():
        *parents, name = key.split(".")
        section = fields
        for parent in parents:
            section = section.setdefault(parent, {})
        section[name] = value
    return fields
