"""`KEY=RANGE` as the command line has it -> what a sweep of `train_fusion` draws its trials from.

    learning_rate=log:1e-4:1e-2       evenly between the logarithms
    modality_dropout=0:0.5            evenly between the two
    options.ecmf.width=64,128,256     one of these

A number is whole where the parameter is one.
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
from ecmf.tuning.dotted_params import FIXED, Value, Values, changed, present

Space = dict[str, BaseDistribution]

DEFAULTS = {
    "learning_rate": "log:3e-4:1e-2",
    "weight_decay": "log:1e-3:1",
    "label_smoothing": "0:0.2",
    "modality_dropout": "0:0.5",
    "mixup": "0:0.8",
    "batch": "16,32,64",
    "epochs": "20,30,60",
}
MEMBER_DEFAULTS = {"width": "32,64,128,256", "dropout": "0.1:0.6"}
WORDS: Values = {"true": True, "false": False, "null": None}
LOG = "log:"
DIGITS = 3
"""Figures of a drawn number that count: more would only look exact, here and in a preset."""


def read_space(given: Sequence[str], params: TrainFusion, written: Mapping[str, Any]) -> Space:
    """Read every `KEY=RANGE`; without any, the defaults for the chosen model.

    `written` is the section as it stands in the file: a preset, which the sweep ends in, can only
    change what stands there.

    Raises:
        ParamsError: a key is unknown, fixed or not written, or a range holds what it may not.
    """
    now = present(params)
    if not given:
        defaults = DEFAULTS | {
            f"options.{params.model}.{name}": text for name, text in MEMBER_DEFAULTS.items()
        }
        given = [f"{key}={text}" for key, text in defaults.items() if _stands(key, written, now)]
    space: Space = {}
    for one in given:
        key, equals, text = one.partition("=")
        if not equals:
            raise ParamsError(f"--space {one!r}: write KEY=RANGE, e.g. learning_rate=log:1e-4:1e-2")
        if key in space:
            raise ParamsError(f"--space {key} stands twice: keep one")
        _known(key, params, now)
        if not _stands(key, written, now):
            raise ParamsError(
                f"params.yaml has no train_fusion.{key}, and a preset changes only what is there: "
                f"write its value there first, {now[key]}"
            )
        space[key] = _distribution(key, text, now[key])
        _edges_are_valid(key, space[key], params)
    return space


def rounded(drawn: Mapping[str, Value], space: Space) -> Values:
    """Cut numbers drawn from a range to the figures that count; choices stay as they were given."""
    return {
        key: float(f"{value:.{DIGITS}g}")
        if isinstance(value, float) and isinstance(space[key], FloatDistribution)
        else value
        for key, value in drawn.items()
    }


def holds(space: Space, values: Mapping[str, Value]) -> bool:
    """Tell whether the space could have drawn these values."""
    return all(_holds(one, values[key]) for key, one in space.items())


def _holds(one: BaseDistribution, value: Value) -> bool:
    if isinstance(one, CategoricalDistribution):
        return value in one.choices
    if not isinstance(one, (IntDistribution, FloatDistribution)) or value is None:
        return False
    return not isinstance(value, str) and one.low <= value <= one.high


def _known(key: str, params: TrainFusion, now: Values) -> None:
    if key in FIXED:
        raise ParamsError(f"--space {key}: a sweep holds it as it is; set it in params.yaml")
    if key not in now:
        raise ParamsError(
            f"--space {key}: train_fusion with model {params.model} has no such value to sweep; "
            f"it has {', '.join(now)}.{registry.hint(key, now)}"
        )


def _stands(key: str, written: Mapping[str, Any], now: Values) -> bool:
    place: Any = written
    for step in key.split("."):
        if not isinstance(place, Mapping) or step not in place:
            return False
        place = place[step]
    return key in now


def _distribution(key: str, text: str, now: Value) -> BaseDistribution:
    if ":" not in text:
        choices = [_value(word.strip(), now) for word in text.split(",")]
        if len(set(choices)) < max(2, len(choices)):
            raise ParamsError(
                f"--space {key}={text}: give a range, low:high, or two or more different values"
            )
        return CategoricalDistribution(choices)
    low, _, high = text.removeprefix(LOG).partition(":")
    kind = int if _whole(low, high, now) else float
    try:
        if isinstance(now, (bool, str)):
            raise ValueError(f"{now!r} is no number")
        if not kind(low) < kind(high) < math.inf:
            raise ValueError(f"{low} is not below {high}")
        if kind is int:
            return IntDistribution(int(low), int(high), log=text.startswith(LOG))
        return FloatDistribution(float(low), float(high), log=text.startswith(LOG))
    except ValueError as error:
        raise ParamsError(
            f"--space {key}={text}: {error}. Write low:high or log:low:high, as the value has "
            f"{now} now"
        ) from error


def _whole(low: str, high: str, now: Value) -> bool:
    """Tell whether a range is of whole numbers: as the parameter is, else as it is written."""
    if now is None:
        return low.isdigit() and high.isdigit()
    return isinstance(now, int)


def _value(word: str, now: Value) -> Value:
    """Read one value: of the kind the parameter has now, where the word allows it."""
    if word in WORDS:
        return WORDS[word]
    for kind in (float,) if isinstance(now, float) else (int, float):
        try:
            return kind(word)
        except ValueError:
            continue
    return word


def _edges_are_valid(key: str, one: BaseDistribution, params: TrainFusion) -> None:
    """Refuse a value that no other one could mend: where two must agree, the trial will tell."""
    if isinstance(one, CategoricalDistribution):
        edges: Sequence[Any] = one.choices
    elif isinstance(one, (IntDistribution, FloatDistribution)):
        edges = (one.low, one.high)
    for value in edges:
        try:
            changed(params, {key: value})
        except ParamsError as error:
            cause = error.__cause__
            if not isinstance(cause, ValidationError) or any(
                fault["loc"] for fault in cause.errors()
            ):
                raise ParamsError(f"--space {key}: {error}") from error
