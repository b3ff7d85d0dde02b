"""Write files atomically, find the inputs of a run, and identify files by their hash."""

import csv
import errno
import hashlib
import json
import os
import stat
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from ecmf.errors import MissingFileError
from ecmf.storage.csv_cells import neutralise

READ_BYTES = 1 << 20

EXPERIMENTS = Path(".dvc/tmp/exps")
"""Folder of a project in which DVC makes the copies that queued experiments run in."""


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Yield a temporary path to write to; rename it to `path` if the block ends without an error.

    An error leaves nothing; a kill leaves a hidden `.part` file that the next run overwrites.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        with suppress(OSError):  # the error of writing is the one to report
            part.unlink(missing_ok=True)


def write_bytes(path: Path, content: bytes) -> None:
    """Write `content` atomically."""
    with atomic_write(path) as part:
        part.write_bytes(content)


def write_text(path: Path, text: str) -> None:
    """Write `text` atomically as UTF-8 with Unix line ends."""
    with atomic_write(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_json(path: Path, content: object, indent: int = 2) -> None:
    """Write `content` atomically as JSON with a final line end."""
    write_text(path, json.dumps(content, indent=indent, ensure_ascii=False) + "\n")


def write_csv(path: Path, lines: Iterable[Iterable[object]]) -> None:
    """Write the lines atomically as csv in UTF-8 with Unix line ends.

    Cells that a spreadsheet would run are neutralised; `csv_rows.read_written` restores them.
    """
    with atomic_write(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        csv.writer(_UnixLines(file)).writerows(map(neutralise, line) for line in lines)


class _UnixLines:
    """Write each row of csv with a Unix line end.

    csv quotes only those line ends in a field that also end its rows. With a Unix `lineterminator`,
    a lone carriage return would be written without quotes, and read back as the end of the row.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, row: str) -> int:
        return self._file.write(row.removesuffix("\r\n") + "\n")


def project_folder() -> Path:
    """Return the outermost parent folder with a `.dvc`, or the working folder without one.

    A queued experiment runs in a copy below `.dvc/tmp` of the project, which is deleted after it.
    """
    here = Path.cwd()
    projects = [folder for folder in (here, *here.parents) if (folder / ".dvc").is_dir()]
    return projects[-1] if projects else here


def locate(path: Path) -> Path:
    """Find an input file that git ignores; return where to open it.

    A queued experiment runs in a copy of the project without the files that git ignores. There, a
    relative path that does not exist is looked up in the project itself. Messages and outputs name
    `path`, so that they are the same in both. An absent file is returned as `path`.
    """
    if not path.is_absolute() and not path.exists():
        here = Path.cwd()
        for project in here.parents:
            if here.is_relative_to(project / EXPERIMENTS) and (project / path).exists():
                return project / path
    return path


def walk(folder: Path) -> Iterator[Path]:
    """Yield every file below `folder`, also below folders that are links; each folder once."""
    seen = set()
    for place, folders, names in os.walk(folder, followlinks=True):
        real = os.path.realpath(place)
        if real in seen:  # a link to a folder above it would never end
            folders.clear()
            continue
        seen.add(real)
        yield from (Path(place) / name for name in names)


def sha256(*paths: Path) -> str:
    """Return one SHA-256 of all files in turn, as 64 hexadecimal digits.

    A folder is hashed file by file, sorted by name: name, length and bytes of each.
    """
    digest = hashlib.sha256()
    for path in paths:
        mode = path.stat().st_mode
        if not stat.S_ISDIR(mode):
            if not stat.S_ISREG(mode):  # a device has no end, a pipe waits for a writer
                raise OSError(errno.EINVAL, "not a regular file", str(path))
            _update(digest, path)
            continue
        names = {file.relative_to(path).as_posix(): file for file in path.rglob("*")}
        for name, file in sorted(names.items()):
            if file.is_file():
                digest.update(f"{name}\0{file.stat().st_size}\0".encode())
                _update(digest, file)
    return digest.hexdigest()


def _update(digest: "hashlib._Hash", path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while block := file.read(READ_BYTES):
            digest.update(block)


def verify_sha256(path: str, expected: str, remedy: str) -> Path:
    """Return the file or folder at `path` if its SHA-256 is `expected`.

    `params.yaml` names an external file together with its SHA-256, so that the parameters determine
    its content, and a changed file is never used by mistake.

    Raises:
        MissingFileError: the file is absent (the message ends in `remedy`), or its hash differs.
    """
    file = locate(Path(path))
    if not path or not file.exists():
        raise MissingFileError(f"no file {path!r} (relative to {Path.cwd().name}/): {remedy}")
    actual = sha256(file)
    if actual != expected:
        raise MissingFileError(
            f"{path!r} has sha256 {actual}, expected {expected or 'none'}: if this is the right "
            f"file, set sha256: {actual}"
        )
    return file
