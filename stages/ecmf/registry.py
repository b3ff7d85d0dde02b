"""Plugins by file name: `detector: yunet` in `params.yaml` selects `detectors/yunet.py`.

A family is a package whose modules are its plugins. Each plugin defines `Options`, a `Section` with
its own parameters, and a class with the name of the family's interface. An encoder may instead be
one function with the name of the file (`encoding/feature.py`).
"""

import difflib
import importlib
import pkgutil
import reprlib
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from ecmf.config import Section
from ecmf.errors import ParamsError, PluginError

MAX_SHOWN = 1000
"""Characters of a wrong value in a message."""

EXAMPLE = "example"
"""Plugin to copy: it can be chosen and is tested like the others, but no list names it."""


def names(family: str) -> list[str]:
    """List the plugins of `family` from its folder, without importing any; hide the example."""
    return [name for name in all_names(family) if name != EXAMPLE]


def all_names(family: str) -> list[str]:
    """List the plugins of `family`, with the example if there is one."""
    package = importlib.import_module(f"ecmf.{family}")
    return sorted(
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        if module.name != "base" and not module.ispkg
    )


def check_name(family: str, name: str) -> str:
    """Return `name` if it is a plugin of `family`, without importing it.

    Raises:
        ParamsError: there is no such plugin; the message lists the existing ones.
    """
    if name not in all_names(family):
        plugins = names(family)
        raise ParamsError(
            f"no {name!r} in {family}: choose one of {', '.join(plugins)}."
            f"{did_you_mean(name, plugins)}"
        )
    return name


def load(family: str, name: str) -> ModuleType:
    """Import the plugin `name` of `family`, e.g. `load("encoders.image", "motion")`."""
    check_name(family, name)
    return importlib.import_module(f"ecmf.{family}.{name}")


def interface(family: str, interface_name: str, name: str) -> Any:
    """Return the class of a plugin ("Encoder", "Detector", ...), or the one made of its function.

    Raises:
        PluginError: the module has neither.
    """
    module = load(family, name)
    for holder in (module, getattr(module, name, None)):
        if hasattr(holder, interface_name):
            return getattr(holder, interface_name)
    raise PluginError(
        f"{module.__file__} has no class {interface_name}, nor a function {name!r} that "
        "ecmf.encoding turns into one (@feature, @audio_feature): define one of the two"
    )


def options_model(family: str, name: str) -> type[Section]:
    """Return the `Options` of a plugin; a plugin without has an empty section."""
    module = load(family, name)
    for holder in (module, getattr(module, name, None)):
        model = getattr(holder, "Options", None)
        if isinstance(model, type) and issubclass(model, Section):
            return model
    return Section


def check_options(family: str, name: str, options: Mapping[str, Any]) -> Section:
    """Check `options` against the `Options` of a plugin; raises ParamsError with all errors."""
    model = options_model(family, name)
    try:
        return model.model_validate(dict(options))
    except ValidationError as error:
        raise ParamsError(
            f"options of {family} plugin {name!r}: {validation_errors(error, model)}"
        ) from error


def build(family: str, interface_name: str, name: str, options: Mapping[str, Any]) -> Any:
    """Build the class of a plugin ("Encoder", "Detector", ...) with its checked options."""
    return interface(family, interface_name, name)(check_options(family, name, options))


def did_you_mean(name: str, choices: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" if one of `choices` resembles `name`, else ""."""
    matches = difflib.get_close_matches(name, list(choices), n=1)
    return f" Did you mean {matches[0]!r}?" if matches else ""


def validation_errors(error: ValidationError, model: type[Section]) -> str:
    """Format all errors of a failed validation: the key, the problem, the value."""
    lines = []
    for fault in error.errors():
        key = ".".join(map(str, fault["loc"]))
        suggestion = ""
        if fault["type"] == "extra_forbidden":
            suggestion = did_you_mean(str(fault["loc"][-1]), _keys(model, fault["loc"][:-1]))
        lines.append(f"{key}: {fault['msg']} (got {_shown(fault['input'])}).{suggestion}")
    return "; ".join(lines)


def _shown(value: object) -> str:
    """Format a value of any size in one line."""
    short = reprlib.Repr()
    short.maxstring = short.maxother = short.maxlong = 200
    return short.repr(value)[:MAX_SHOWN]


def _keys(model: type[Section], path: tuple[int | str, ...]) -> Iterable[str]:
    for step in path:
        field = model.model_fields.get(str(step))
        section = field and field.annotation
        if not (isinstance(section, type) and issubclass(section, Section)):
            return []
        model = section
    return model.model_fields
