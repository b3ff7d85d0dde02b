"""Check the files that the clips of a corpus name, before any is read."""

import os
import stat
import unicodedata
from collections.abc import Callable
from functools import cache
from pathlib import Path

LFS_POINTER = b"version https://git-lfs.github.com/spec/"
"""Start of the text that git-lfs leaves in place of a file that was not fetched."""


class CorpusFiles:
    """The files of a corpus folder; links out of it are allowed with `follow_links`."""

    def __init__(self, folder: Path, follow_links: bool) -> None:
        self._folder = folder
        self._root = folder.resolve()
        self._follow_links = follow_links
        # Cached, since many files share a folder: resolving links is most of the work on MER2025.
        self._is_inside: Callable[[Path], bool] = cache(
            lambda parent: parent.resolve().is_relative_to(self._root)
        )

    def find(self, relative: str) -> str:
        """Return the name under which a file exists, maybe in another Unicode normal form.

        macOS writes the letter é as two characters where a table may have one.
        """
        if not relative or relative.isascii() or os.path.lexists(self._folder / relative):
            return relative
        found = self._folder
        for part in Path(relative).parts:
            if not os.path.lexists(found / part) and found.is_dir():
                wanted = unicodedata.normalize("NFC", part)
                same = [
                    path.name
                    for path in found.iterdir()
                    if unicodedata.normalize("NFC", path.name) == wanted
                ]
                part = same[0] if len(same) == 1 else part
            found /= part
        return found.relative_to(self._folder).as_posix() if found.exists() else relative

    def error(self, relative: Path) -> str:
        """Return why a file cannot be used, or ""."""
        if not str(relative).isprintable():
            return "has an unprintable character: rename the file"
        if relative.is_absolute():
            return f"is absolute: write it relative to {self._folder}"
        path = self._folder / relative
        try:
            if _is_regular_file(path) and self._is_inside(path.parent):
                return ""
            target = path.resolve()
            if not self._follow_links and not target.is_relative_to(self._root):
                return (
                    f"leads out of {self._folder} to {target}: copy the file into the folder, or "
                    "index with --follow-links if you trust the links"
                )
            if not target.exists():
                return f"is not in {self._folder}: add the file, or remove the clip"
            if not target.is_file():
                return "is not a regular file: name the file itself"
        except (OSError, RuntimeError) as error:  # a loop of links, a folder without permission
            return f"cannot be reached ({error}): repair the link or its permissions"
        return ""

    def path(self, relative: str) -> Path:
        """Return the path of a file for the manifest; a link out of the folder is resolved."""
        # resolve() would follow a linked corpus.
        path = Path(os.path.abspath(self._folder)) / relative  # noqa: PTH100
        if self._follow_links and not (_is_regular_file(path) and self._is_inside(path.parent)):
            target = path.resolve()
            return path if target.is_relative_to(self._root) else target
        return path


def is_lfs_pointer(path: Path) -> bool:
    """Return whether git-lfs left its pointer in place of the regular file."""
    with path.open("rb", buffering=0) as file:
        return file.read(len(LFS_POINTER)) == LFS_POINTER


def _is_regular_file(path: Path) -> bool:
    """Return whether `path` is a regular file, not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False
