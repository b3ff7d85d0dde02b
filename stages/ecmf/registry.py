"""One file, one choice: `detectors/yunet.py` is what `detector: yunet` means.

A family is a package whose modules are its members. Each member holds `Options`, a `Section`
with the member's own parameters, and one class named after the family's promise in `base.py`.
"""

import difflib
import importlib
import pkgutil
from collections.abc import Iterable, Mapping
from types import ModuleType
from typing import Any

from pydantic import ValidationError

from ecmf.config import Section
from ecmf.errors import ParamsError


def names(family: str) -> list[str]:
    """Members one can choose from, read from the folder of `family` without importing any."""
    package = importlib.import_module(f"ecmf.{family}")
    return sorted(
        module.name
        for module in pkgutil.iter_modules(package.__path__)
        if module.name != "base" and not module.ispkg
    )


def known(family: str, name: str) -> str:
    """Return `name` if it is a member of `family`, without importing it.

    Raises:
        ParamsError: there is no such member; the message lists those there are.
    """
    members = names(family)
    if name not in members:
        raise ParamsError(
            f"no {name!r} in {family}: choose one of {', '.join(members)}.{hint(name, members)}"
        )
    return name


def load(family: str, name: str) -> ModuleType:
    """Import the member `name` of `family`, e.g. `load("encoders.image", "motion")`."""
    known(family, name)
    return importlib.import_module(f"ecmf.{family}.{name}")


def options(family: str, name: str, given: Mapping[str, Any]) -> Section:
    """Check `given` against the `Options` of a member; raises ParamsError naming every fault."""
    model: type[Section] = load(family, name).Options
    try:
        return model.model_validate(dict(given))
    except ValidationError as error:
        raise ParamsError(f"options of {family} member {name!r}: {faults(error, model)}") from error


def create(family: str, promise: str, name: str, given: Mapping[str, Any]) -> Any:
    """Build the member's class `promise` ("Encoder", "Detector", ...) with its checked options."""
    return getattr(load(family, name), promise)(options(family, name, given))


def hint(name: str, choices: Iterable[str]) -> str:
    """Return " Did you mean 'x'?" where one of `choices` resembles `name`, else nothing."""
    guess = difflib.get_close_matches(name, list(choices), n=1)
    return f" Did you mean {guess[0]!r}?" if guess else ""


def faults(error: ValidationError, model: type[Section]) -> str:
    """All faults of a failed validation in one text: where, what is wrong, what was got."""
    lines = []
    for fault in error.errors():
        where = ".".join(map(str, fault["loc"]))
        guess = ""
        if fault["type"] == "extra_forbidden":
            guess = hint(str(fault["loc"][-1]), _keys(model, fault["loc"][:-1]))
        lines.append(f"{where}: {fault['msg']} (got {fault['input']!r}).{guess}")
    return "; ".join(lines)


def _keys(model: type[Section], path: tuple[int | str, ...]) -> Iterable[str]:
    for step in path:
        field = model.model_fields.get(str(step))
        if field is None or not isinstance(field.annotation, type):
            return []
        if not issubclass(field.annotation, Section):
            return []
        model = field.annotation
    return model.model_fields
