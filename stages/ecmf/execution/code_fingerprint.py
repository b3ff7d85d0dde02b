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

INFRASTRUCTURE = frozenset(
    {"cli", "config", "errors", "execution", "params", "registry", "yaml_file"}
)
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


ANNOTATIONS = frozenset({"NEEDS", "WEIGHTS_LICENCE"})
"""Constants of a plugin that `ecmf members` prints; like a docstring, they compute nothing."""


@functools.cache
def imports(source: str) -> tuple[tuple[str, str], ...]:
    """List the imports in a module's text: (module, name); the name is empty for `import x`."""
    found: list[tuple[str, str]] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            found.extend((alias.name, "") for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            found.extend((node.module, alias.name) for alias in node.names)
    return tuple(found)


def imported_files(path: Path) -> Iterator[Path]:
    """Yield the files of the project's modules that a file imports."""
    for module, name in imports(path.read_text(encoding="utf-8")):
        if name and (STAGES / module.split(".")[0]).is_dir():
            submodule = file_of(f"{module}.{name}")
            yield submodule if submodule.is_file() else file_of(module)


def import_closure(path: Path, exclude: frozenset[str] = frozenset()) -> set[Path]:
    """Return the files of all modules of the project that a file imports, directly or indirectly.

    Infrastructure, `__init__` files and the modules named in `exclude` are left out.
    """
    seen: set[Path] = set()
    pending = [path]
    while pending:
        for file in imported_files(pending.pop()):
            name = module_of(file)
            if file in seen or file.stem == "__init__" or name in exclude:
                continue
            if name.partition("ecmf.")[2].split(".")[0] not in INFRASTRUCTURE:
                seen.add(file)
                pending.append(file)
    return seen


@functools.cache
def hash_modules(*modules: str) -> str:
    """Hash the code of modules like "ecmf.encoders.image.motion" and of their imports."""
    files = {file_of(module) for module in modules}
    for file in tuple(files):
        files |= import_closure(file, CARRIERS)
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(STAGES).as_posix()}\0{_syntax_tree(file)}\0".encode())
    return digest.hexdigest()


def plugin_modules(family: str, name: str) -> tuple[str, ...]:
    """Return the module of a plugin, or all modules of its family if it loads plugins by name."""
    module = f"ecmf.{family}.{name}"
    if not _loads_by_name(file_of(module)):
        return (module,)
    return tuple(f"ecmf.{family}.{other}" for other in registry.all_names(family))


def _loads_by_name(file: Path) -> bool:
    return any(
        isinstance(node, ast.Attribute)
        and isinstance(node.value, ast.Name)
        and (node.value.id, node.attr) in {("registry", "load"), ("registry", "build")}
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8")))
    )


def _syntax_tree(file: Path) -> str:
    """Dump the syntax tree of a file without its docstrings, descriptions and ANNOTATIONS."""
    tree = ast.parse(file.read_text(encoding="utf-8"))
    for node in ast.walk(tree):
        if isinstance(node, ast.Call):
            node.keywords = [word for word in node.keywords if word.arg != "description"]
        body = getattr(node, "body", None)
        if isinstance(body, list):  # not of a lambda
            node.body = [line for line in body if not _computes_nothing(line)]  # type: ignore[attr-defined]
    return ast.dump(tree)


def _computes_nothing(node: ast.stmt) -> bool:
    if isinstance(node, ast.Assign):
        return any(isinstance(name, ast.Name) and name.id in ANNOTATIONS for name in node.targets)
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def file_of(module: str) -> Path:
    """Return the file of a module of the project, or the `__init__.py` of a package."""
    path = STAGES.joinpath(*module.split("."))
    return path.with_suffix(".py") if path.with_suffix(".py").is_file() else path / "__init__.py"


def module_of(file: Path) -> str:
    """Return the module in a file of the project, e.g. "ecmf.encoders.image.motion"."""
    return ".".join(file.relative_to(STAGES).with_suffix("").parts)
