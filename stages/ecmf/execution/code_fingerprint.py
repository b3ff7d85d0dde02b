"""Hash the code that decides a result: a module, and every module of this project it imports.

Comments, docstrings and formatting decide nothing: changing them recomputes nothing. Every cache,
of results per clip, of trainings and of trials, asks this module which code made a result.
"""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

from ecmf import registry

STAGES = Path(__file__).resolve().parents[2]

INFRASTRUCTURE = frozenset({"cli", "config", "errors", "execution", "params", "registry"})
"""Packages and modules of ecmf that carry a run and decide no value in it."""

CARRIERS = frozenset(
    {
        "ecmf.encoding.batching",
        "ecmf.storage.files",
        "ecmf.storage.store",
        "ecmf.storage.store_writer",
    }
)
"""Modules that apply an encoder or hold what it returns. The one constant that counts there, the
number of chunks per batch, is part of every encoder's key."""


def imported(path: Path) -> Iterator[Path]:
    """Yield the project's modules that a file names in its imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if not (STAGES / node.module.split(".")[0]).is_dir():
                continue
            for alias in node.names:
                below = _file(f"{node.module}.{alias.name}")
                yield below if below.is_file() else _file(node.module)


def closure(path: Path, without: frozenset[str] = frozenset()) -> set[Path]:
    """Return all modules of the project that a file imports, and those they import.

    Infrastructure and packages' `__init__` are left out, and so are the modules named in `without`.
    """
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        for found in imported(waiting.pop()):
            name = _module(found)
            if found in seen or found.stem == "__init__" or name in without:
                continue
            if name.partition("ecmf.")[2].split(".")[0] not in INFRASTRUCTURE:
                seen.add(found)
                waiting.append(found)
    return seen


@functools.cache
def of(*modules: str) -> str:
    """Hash the code of modules like "ecmf.encoders.image.motion" and of all they import."""
    files = {_file(module) for module in modules}
    for file in tuple(files):
        files |= closure(file, CARRIERS)
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(STAGES).as_posix()}\0{_meaning(file)}\0".encode())
    return digest.hexdigest()


def modules_of(family: str, name: str) -> tuple[str, ...]:
    """Return the module of a plugin, and those of its whole family if it loads others by name."""
    module = f"ecmf.{family}.{name}"
    if not _loads_by_name(_file(module)):
        return (module,)
    return tuple(f"ecmf.{family}.{other}" for other in registry.names(family))


def _loads_by_name(file: Path) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in {("registry", "load"), ("registry", "create")}
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    )


def _meaning(file: Path) -> str:
    """Return the syntax tree of a file without its docstrings."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        body = getattr(node, "body", None)
        if isinstance(body, list):  # not of a lambda
            node.body = [line for line in body if not _is_text(line)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_text(node: ast.stmt) -> bool:
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def _file(module: str) -> Path:
    path = STAGES.joinpath(*module.split("."))
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"


def _module(file: Path) -> str:
    return ".".join(file.relative_to(STAGES).with_suffix("").parts)
