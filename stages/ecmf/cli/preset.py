"""Print a preset as arguments of DVC: `dvc exp run $(ecmf preset mer2025)`.

A table of encoders in a preset replaces the whole table in `params.yaml`; any other value replaces
the value of its key, or adds it. Later `-S` arguments override the preset.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml
from pydantic import ValidationError

from ecmf import registry
from ecmf.cli.command import Command
from ecmf.errors import MissingFileError, ParamsError
from ecmf.params import Params

PRESETS = Path(__file__).resolve().parents[1] / "presets"
PARAMS = Path("params.yaml")
TABLE = "encoders"
WORD = re.compile(r"[\w./:@-]+")
"""Values that need no quotes in a shell or in an override of DVC (Hydra's grammar)."""


def names() -> list[str]:
    """List the presets."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def listing() -> str:
    """Return one line per preset: its name and its purpose."""
    lines = {
        name: (PRESETS / f"{name}.yaml").read_text("utf-8").splitlines()[0] for name in names()
    }
    return "\n".join(f"{name:<10}{line.lstrip('# ')}" for name, line in lines.items())


def overrides(name: str, params: dict[str, Any]) -> list[str]:
    """Return the changes of a preset to `params`, as arguments of `-S` without spaces.

    Raises:
        ParamsError: there is no such preset, or the changed parameters are not valid.
    """
    preset = _read(name)
    _validated(name, preset, params)
    return list(_changes(preset, params, ""))


def applied(name: str, params: dict[str, Any]) -> Params:
    """Return the parameters as they are after the changes of a preset; raises as `overrides`."""
    return _validated(name, _read(name), params)


def _read(name: str) -> dict[str, Any]:
    if name not in names():
        raise ParamsError(
            f"no preset {name!r}: choose one of {', '.join(names())}."
            + registry.did_you_mean(name, names())
        )
    preset: dict[str, Any] = yaml.safe_load((PRESETS / f"{name}.yaml").read_text("utf-8"))
    return preset


def _validated(name: str, preset: dict[str, Any], params: dict[str, Any]) -> Params:
    try:
        return Params.model_validate(_merge(preset, params))
    except ValidationError as error:
        raise ParamsError(
            f"{PARAMS} with the preset {name!r} is not valid: "
            + registry.validation_errors(error, Params)
        ) from error


def _merge(preset: dict[str, Any], params: dict[str, Any]) -> dict[str, Any]:
    """Return the parameters as they are after the changes of the preset."""
    return params | {
        key: _merge(value, _table(params, key))
        if isinstance(value, dict) and key != TABLE
        else value
        for key, value in preset.items()
    }


def _changes(preset: dict[str, Any], params: dict[str, Any], path: str) -> Iterator[str]:
    """Yield each change: `++` replaces a value or adds it, so a change may be repeated."""
    for key, value in preset.items():
        dotted = f"{path}{key}"
        if key == TABLE:
            present = _table(params, key)
            # Additions first: DVC drops a table that becomes empty.
            yield from (f"++{dotted}.{name}={_to_override(entry)}" for name, entry in value.items())
            yield from (f"~{dotted}.{name}" for name in present if name not in value)
            # `++` merges with an entry of the same name, so its other options are removed.
            for name in sorted(value.keys() & present.keys()):
                for option in sorted(present[name].keys() - value[name].keys()):
                    yield f"~{dotted}.{name}.{option}"
        elif isinstance(value, dict):
            yield from _changes(value, _table(params, key), f"{dotted}.")
        else:
            yield f"++{dotted}={_to_override(value)}"


def _table(params: dict[str, Any], key: str) -> dict[str, Any]:
    value = params.get(key)
    return value if isinstance(value, dict) else {}


def _to_override(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_to_override(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_to_override, value)) + "]"
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if not WORD.fullmatch(str(value)):
        raise ParamsError(
            f"a preset cannot hold {value!r}: use only letters, digits and . / : @ - _"
        )
    return str(value)


@click.command("preset", cls=Command)
@click.argument("name", required=False)
def command(name: str | None) -> str:
    """Print the preset NAME as arguments of `dvc exp run`; without NAME, list the presets.

    \b
    Example:
      dvc exp run $(ecmf preset small)
    """  # noqa: D301
    if name is None:
        return listing()
    if not PARAMS.is_file():
        raise MissingFileError(f"no {PARAMS} in {Path.cwd()}: run from the project's root")
    changes = overrides(name, yaml.safe_load(PARAMS.read_text("utf-8")))
    return " ".join(f"-S {change}" for change in changes)
