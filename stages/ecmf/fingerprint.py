"""What a module and all it imports of this project decide, as one hash.

Comments, docstrings and formatting decide nothing: mending them makes no result anew.
"""

import ast
import functools
import hashlib
from collections.abc import Iterator
from pathlib import Path

STAGES = Path(__file__).resolve().parents[1]

INFRASTRUCTURE = frozenset(
    {
        "cache", "cluster", "device", "errors", "files", "fingerprint", "packs", "params",
        "plugins", "section", "shard", "stage", "workers",
    }
)  # fmt: skip
"""Modules that carry a run and decide no value in it."""

ENGINE = frozenset({"batching", "engine", "store", "store_writer"})
"""What applies a recipe to clips, and holds what comes of it: its one constant that counts is part
of every recipe, and no number is worked out here.
"""


def imported(path: Path) -> Iterator[Path]:
    """Yield the project's modules that a file names in its imports."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("ecmf"):
            for alias in node.names:
                below = _file(f"{node.module}.{alias.name}")
                yield below if below.is_file() else _file(str(node.module))


def closure(path: Path, without: frozenset[str] = INFRASTRUCTURE) -> set[Path]:
    """All modules of the project a file imports, and those they import, less those `without`."""
    seen: set[Path] = set()
    waiting = [path]
    while waiting:
        for found in imported(waiting.pop()):
            if found not in seen and found.stem not in without and found.stem != "__init__":
                seen.add(found)
                waiting.append(found)
    return seen


@functools.cache
def of(*modules: str) -> str:
    """Hash the code of modules like "ecmf.encoders.image.motion" and of all they import."""
    files = {_file(module) for module in modules}
    for file in tuple(files):
        files |= closure(file, INFRASTRUCTURE | ENGINE)
    digest = hashlib.sha256()
    for file in sorted(files):
        digest.update(f"{file.relative_to(STAGES).as_posix()}\0{_meaning(file)}\0".encode())
    return digest.hexdigest()


def _meaning(file: Path) -> str:
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
