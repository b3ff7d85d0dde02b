"""Parse the search space of a sweep from `KEY=RANGE` arguments.

    learning_rate=log:1e-4:1e-2       log-uniform
    modality_dropout=0:0.5            uniform
    options.ecmf.width=64,128,256     uniform over these values

Values of an integer parameter are integers.
"""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)
from pydantic import ValidationError

from ecmf import registry
from ecmf.errors import ParamsError
from ecmf.params import TrainFusion
from ecmf.tuning.dotted_params import FIXED, Value, Values, current_values, with_values

Space = dict[str, BaseDistribution]

DEFAULTS = {
    "learning_rate": "log:3e-4:1e-2",
    "weight_decay": "log:1e-3:1",
    "label_smoothing": "0:0.2",
    "modality_dropout": "0:0.5",
    "mixup": "0:0.8",
    "batch_size": "16,32,64",
    "epochs": "20,30,60",
}
MODEL_DEFAULTS = {"width": "32,64,128,256", "dropout": "0.1:0.6"}
WORDS: Values = {"true": True, "false": False, "null": None}
LOG = "log:"
DIGITS = 3
"""Significant digits of a drawn number; more would suggest a false precision."""


def read_space(arguments: Sequence[str], params: TrainFusion) -> Space:
    """Parse every `KEY=RANGE`; without any, return the defaults for the model.

    Raises:
        ParamsError: a key is unknown or fixed, or a range is not valid.
    """
    current = current_values(params)
    if not arguments:
        defaults = DEFAULTS | {
            f"options.{params.model}.{name}": text for name, text in MODEL_DEFAULTS.items()
        }
        arguments = [f"{key}={text}" for key, text in defaults.items() if key in current]
    space: Space = {}
    for argument in arguments:
        key, equals, text = argument.partition("=")
        if not equals:
            raise ParamsError(
                f"--space {argument!r}: write KEY=RANGE, e.g. learning_rate=log:1e-4:1e-2"
            )
        if key in space:
            raise ParamsError(f"--space {key} appears twice: keep one")
        _check_key(key, params, current)
        space[key] = _distribution(key, text, current[key])
        _check_bounds(key, space[key], params)
    return space


def round_values(drawn: Mapping[str, Value], space: Space) -> Values:
    """Round numbers drawn from a range to `DIGITS` significant digits, but not choices."""
    return {
        key: float(f"{value:.{DIGITS}g}")
        if isinstance(value, float) and isinstance(space[key], FloatDistribution)
        else value
        for key, value in drawn.items()
    }


def contains(space: Space, values: Mapping[str, Value]) -> bool:
    """Return whether the space contains these values."""
    return all(_contains(distribution, values[key]) for key, distribution in space.items())


def _contains(distribution: BaseDistribution, value: Value) -> bool:
    if isinstance(distribution, CategoricalDistribution):
        return value in distribution.choices
    if not isinstance(distribution, (IntDistribution, FloatDistribution)) or value is None:
        return False
    return not isinstance(value, str) and distribution.low <= value <= distribution.high


def _check_key(key: str, params: TrainFusion, current: Values) -> None:
    if key in FIXED:
        raise ParamsError(f"--space {key}: it cannot be swept; set it in params.yaml")
    if key not in current:
        raise ParamsError(
            f"--space {key}: train_fusion with model {params.model} has no such value to sweep; "
            f"it has {', '.join(current)}.{registry.did_you_mean(key, current)}"
        )


def _distribution(key: str, text: str, current: Value) -> BaseDistribution:
    if ":" not in text:
        choices = [_value(word.strip(), current) for word in text.split(",")]
        if len(set(choices)) < max(2, len(choices)):
            raise ParamsError(
                f"--space {key}={text}: write a range, low:high, or two or more different values"
            )
        return CategoricalDistribution(choices)
    low, _, high = text.removeprefix(LOG).partition(":")
    kind = int if _is_integer(low, high, current) else float
    try:
        if isinstance(current, (bool, str)):
            raise ValueError(f"{current!r} is not a number")
        if not kind(low) < kind(high) < math.inf:
            raise ValueError(f"{low} is not below {high}")
        if kind is int:
            return IntDistribution(int(low), int(high), log=text.startswith(LOG))
        return FloatDistribution(float(low), float(high), log=text.startswith(LOG))
    except ValueError as error:
        raise ParamsError(
            f"--space {key}={text}: {error}. Write low:high or log:low:high; the current value is "
            f"{current}"
        ) from error


def _is_integer(low: str, high: str, current: Value) -> bool:
    """Return whether a range is of integers, by the current value, or else by its spelling."""
    if current is None:
        return low.isdigit() and high.isdigit()
    return isinstance(current, int)


def _value(word: str, current: Value) -> Value:
    """Parse one value, with the type of the current value if possible."""
    if word in WORDS:
        return WORDS[word]
    for kind in (float,) if isinstance(current, float) else (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _check_bounds(key: str, distribution: BaseDistribution, params: TrainFusion) -> None:
    """Check that each bound is valid; combinations are checked in each trial."""
    if isinstance(distribution, CategoricalDistribution):
        bounds: Sequence[Any] = distribution.choices
    elif isinstance(distribution, (IntDistribution, FloatDistribution)):
        bounds = (distribution.low, distribution.high)
    for value in bounds:
        try:
            with_values(params, {key: value})
        except ParamsError as error:
            cause = error.__cause__
            # An invalid combination of fields has no location.
            if not isinstance(cause, ValidationError) or any(e["loc"] for e in cause.errors()):
                raise ParamsError(f"--space {key}: {error}") from error
