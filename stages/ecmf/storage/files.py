"""Files on disk: finished or absent, and known by their content."""

import csv
import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ecmf.errors import MissingFileError

BYTES_PER_READ = 1 << 20


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a hidden path to write to; it becomes `path` only once the block has ended well.

    After an error nothing is left; after a kill a hidden `.part` file that the next run overwrites.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f".{path.name}.part")
    try:
        yield part
        with part.open("rb+") as file:
            os.fsync(file.fileno())
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 with Unix line ends, all of it or nothing."""
    with replacing(path) as part:
        part.write_text(text, encoding="utf-8", newline="\n")


def write_table(path: Path, lines: Iterable[Iterable[object]]) -> None:
    """Write the lines as csv in UTF-8 with Unix line ends, all of it or nothing."""
    with replacing(path) as part, part.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(lines)


def sha256(*paths: Path) -> str:
    """Hash the bytes of the files, one after the other, as 64 hexadecimal digits.

    A folder counts as every file in it in the order of their names: name, length and bytes.
    """
    digest = hashlib.sha256()
    for path in paths:
        if not path.is_dir():
            _add(digest, path)
            continue
        names = {file.relative_to(path).as_posix(): file for file in path.rglob("*")}
        for name, file in sorted(names.items()):
            if file.is_file():
                digest.update(f"{name}\0{file.stat().st_size}\0".encode())
                _add(digest, file)
    return digest.hexdigest()


def _add(digest: "hashlib._Hash", path: Path) -> None:
    with path.open("rb", buffering=0) as file:
        while piece := file.read(BYTES_PER_READ):
            digest.update(piece)


def verified(path: str, expected: str, remedy: str) -> Path:
    """Return the file or folder at `path` if its content is the expected one.

    A file outside the pipeline is named in `params.yaml` together with its SHA-256: the parameters
    then say which content made a result, and a changed file is never taken for the old one.

    Raises:
        MissingFileError: it is absent (says `remedy`), or its content is another one (both hashes).
    """
    place = Path(path)
    if not path or not place.exists():
        raise MissingFileError(f"no file {path!r} (seen from {Path.cwd().name}/): {remedy}")
    found = sha256(place)
    if found != expected:
        raise MissingFileError(
            f"{path!r} has sha256 {found}, but the parameters say {expected or 'nothing'}: if this "
            f"is the file you mean, set sha256: {found}"
        )
    return place
