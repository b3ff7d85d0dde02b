"""A set of parameters as arguments of DVC: `dvc exp run $(python stages/preset.py mer2025)`.

A preset's table of encoders replaces the one in `params.yaml`; every other value of it replaces its
own; what it does not name stays. Arguments after it win. Without a name the presets are listed.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import yaml

from ecmf import registry
from ecmf.cli.command import Command
from ecmf.errors import MissingFileError, ParamsError

PRESETS = Path(__file__).resolve().parents[1] / "presets"
PARAMS = Path("params.yaml")
TABLE = "encoders"
WORD = re.compile(r"[\w./:@-]+")
"""What neither a shell nor DVC's grammar of overrides (Hydra's) takes for anything else."""


def names() -> list[str]:
    """Presets one can choose from."""
    return sorted(path.stem for path in PRESETS.glob("*.yaml"))


def listing() -> str:
    """One line per preset: its name and what it is for."""
    lines = {
        name: (PRESETS / f"{name}.yaml").read_text("utf-8").splitlines()[0] for name in names()
    }
    return "\n".join(f"{name:<10}{line.lstrip('# ')}" for name, line in lines.items())


def overrides(name: str, params: dict[str, Any]) -> list[str]:
    """Return the changes a preset makes to `params`, each as `-S` takes it, without any blank.

    Raises:
        ParamsError: there is no such preset, or `params` has not what it changes.
    """
    if name not in names():
        raise ParamsError(
            f"no preset {name!r}: choose one of {', '.join(names())}.{registry.hint(name, names())}"
        )
    return list(_changes(yaml.safe_load((PRESETS / f"{name}.yaml").read_text("utf-8")), params, ""))


def _changes(wanted: dict[str, Any], there: Any, path: str) -> Iterator[str]:
    for key, value in wanted.items():
        where = f"{path}{key}"
        if not isinstance(there, dict) or key not in there:
            raise ParamsError(f"{PARAMS} has no {where}: a preset changes what is there")
        if key == TABLE:
            # Additions first: a table that is empty in between is none any more.
            yield from (f"++{where}.{name}={_written(entry)}" for name, entry in value.items())
            yield from (f"~{where}.{name}" for name in there[key] if name not in value)
            # An entry of the same name is merged with by `++`: what it alone has is taken out.
            for name in value.keys() & there[key].keys():
                for option in there[key][name].keys() - value[name].keys():
                    yield f"~{where}.{name}.{option}"
        elif isinstance(value, dict):
            yield from _changes(value, there[key], f"{where}.")
        else:
            yield f"{where}={_written(value)}"


def _written(value: Any) -> str:
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_written(inner)}" for key, inner in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    if value is None or isinstance(value, bool):
        return str(value).lower().replace("none", "null")
    if not WORD.fullmatch(str(value)):
        raise ParamsError(f"a preset cannot hold {value!r}: use letters, digits and . / : @ - _")
    return str(value)


@click.command("preset", cls=Command)
@click.argument("name", required=False)
def command(name: str | None) -> str:
    r"""Print the preset NAME as arguments of `dvc exp run`; without NAME, list the presets.

    \b
    Example:
      dvc exp run $(ecmf preset small)
    """
    if name is None:
        return listing()
    if not PARAMS.is_file():
        raise MissingFileError(f"no {PARAMS} in {Path.cwd()}: run from the project's root")
    changes = overrides(name, yaml.safe_load(PARAMS.read_text("utf-8")))
    return " ".join(f"-S {change}" for change in changes)
