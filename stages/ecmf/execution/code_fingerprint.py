"""Hash the code that determines a result: a module, and every module of this project it imports.

Comments, docstrings, descriptions of options and formatting are ignored. The hash is part of the
key of every cache: of results per clip, of trainings and of trials.
"""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

from ecmf import registry

STAGES = Path(__file__).resolve().parents[2]

INFRASTRUCTURE = frozenset({"cli", "config", "errors", "execution", "params", "registry"})
"""Packages and modules of ecmf that do not affect values."""

CARRIERS = frozenset(
    {
        "ecmf.encoding.batching",
        "ecmf.storage.files",
        "ecmf.storage.store",
        "ecmf.storage.store_writer",
    }
)
"""Modules that run an encoder or store its features. The only constant of theirs that affects
values, the number of chunks per batch, is part of every encoder's key."""


def imported_files(path: Path) -> Iterator[Path]:
    """Yield the files of the project's modules that a file imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            if not (STAGES / node.module.split(".")[0]).is_dir():
                continue
            for alias in node.names:
                submodule = _file(f"{node.module}.{alias.name}")
                yield submodule if submodule.is_file() else _file(node.module)


def import_closure(path: Path, exclude: frozenset[str] = frozenset()) -> set[Path]:
    """Return the files of all modules of the project that a file imports, directly or indirectly.

    Infrastructure, `__init__` files and the modules named in `exclude` are left out.
    """
    seen: set[Path] = set()
    pending = [path]
    while pending:
        for file in imported_files(pending.pop()):
            name = _module(file)
            if file in seen or file.stem == "__init__" or name in exclude:
                continue
            if name.partition("ecmf.")[2].split(".")[0] not in INFRASTRUCTURE:
                seen.add(file)
                pending.append(file)
    return seen


@functools.cache
def hash_modules(*modules: str) -> str:
    """Hash the code of modules like "ecmf.encoders.image.motion" and of their imports."""
    files = {_file(module) for module in modules}
    for file in tuple(files):
        files |= import_closure(file, CARRIERS)
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(STAGES).as_posix()}\0{_syntax_tree(file)}\0".encode())
    return digest.hexdigest()


def plugin_modules(family: str, name: str) -> tuple[str, ...]:
    """Return the module of a plugin, or all modules of its family if it loads plugins by name."""
    module = f"ecmf.{family}.{name}"
    if not _loads_by_name(_file(module)):
        return (module,)
    return tuple(f"ecmf.{family}.{other}" for other in registry.names(family))


def _loads_by_name(file: Path) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in {("registry", "load"), ("registry", "build")}
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    )


def _syntax_tree(file: Path) -> str:
    """Dump the syntax tree of a file without its docstrings and descriptions."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            node.keywords = [word for word in node.keywords if word.arg != "description"]
        body = getattr(node, "body", None)
        if isinstance(body, list):  # not of a lambda
            node.body = [line for line in body if not _is_docstring(line)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _is_docstring(node: ast.stmt) -> bool:
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
