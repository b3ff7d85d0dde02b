"""Find the media files that an annotation names, in the corpus folder and nowhere else.

A labelling tool writes where a file was on the annotator's machine: an absolute path, a URL, a path
from the annotation. None of them is followed out of the folder.
"""

import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import NamedTuple
from urllib.parse import parse_qs, unquote, urlsplit

from ecmf.data.corpus_files import CorpusFiles

VIDEO = frozenset((".mp4", ".m4v", ".mov", ".mkv", ".webm", ".avi", ".mpg", ".mpeg", ".wmv"))
AUDIO = frozenset((".wav", ".flac", ".mp3", ".m4a", ".aac", ".ogg", ".oga", ".opus", ".aiff"))

MEDIA = "media"
"""Subfolder of the corpus that is searched too; with `--follow-links` it may be a link."""

URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:")
"""Start of a URL; a scheme has two letters or more, a drive of Windows one."""

MAX_PARTS = 16
"""Parts of a path, from its end, that are searched for."""


class Media(NamedTuple):
    """The video and the sound of a recording, relative to the corpus folder; "" for neither."""

    video: str = ""
    audio: str = ""


class MediaSearch:
    """Search files beside an annotation, in the corpus folder and in its subfolder `media`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files = CorpusFiles(folder, follow_links=True)  # `collect_clips` checks the links

    def find(self, named: str, beside: Path) -> str:
        """Return the path of a named file relative to the corpus folder.

        The longest end of the named path that exists is taken: of `file:///C:/rec/a/b.wav` it is
        `rec/a/b.wav`, `a/b.wav` or `b.wav`. `beside` is the annotation's folder, relative to the
        corpus. A file that is not found is returned as its mere name.
        """
        path = _path_of(named)
        if not path.isprintable():
            return named
        if path and not path.startswith("/"):
            relative = os.path.normpath(beside / path).replace("\\", "/")
            if not relative.startswith("..") and (found := self._existing(relative)):
                return found
        parts = [part for part in path.split("/") if part not in ("", ".")]
        if ".." in parts:
            parts = parts[len(parts) - parts[::-1].index("..") :]
        parts = parts[-MAX_PARTS:]
        for first in range(len(parts)):
            for place in (beside, Path(), Path(MEDIA)):
                if found := self._existing(place.joinpath(*parts[first:]).as_posix()):
                    return found
        return parts[-1] if parts else named

    def beside(self, annotation: Path) -> Media:
        """Return the media files that have the name of an annotation but for the suffix."""
        for place in (annotation.parent, Path(), Path(MEDIA)):
            folder = self._folder / place
            if folder.is_dir():
                same = sorted(path for path in folder.iterdir() if path.stem == annotation.stem)
                if media := classify((place / path.name).as_posix() for path in same):
                    return media
        return Media()

    def _existing(self, relative: str) -> str:
        found = self._files.find(relative)
        try:
            return found if (self._folder / found).is_file() else ""
        except OSError:  # the name is too long
            return ""


def classify(paths: Iterator[str]) -> Media | None:
    """Return the first video and the first sound of `paths`, or None if neither is among them."""
    by_kind = {"video": "", "audio": ""}
    for path in paths:
        kind = kind_of(path)
        if kind and not by_kind[kind]:
            by_kind[kind] = path
    return Media(**by_kind) if any(by_kind.values()) else None


def kind_of(named: str) -> str:
    """Return "video", "audio" or "" by the suffix of a path or a URL."""
    suffix = PurePosixPath(_path_of(named)).suffix.lower()
    return "video" if suffix in VIDEO else "audio" if suffix in AUDIO else ""


def _path_of(named: str) -> str:
    """Return the path in a URL or of Windows with slashes.

    Label Studio serves local files as `/data/local-files/?d=<path>`.
    """
    try:
        url = urlsplit(named) if URL.match(named) or "/local-files/?" in named else None
    except ValueError:  # a bracket in the place of a host
        url = None
    if url is None:
        return named.replace("\\", "/")
    path = parse_qs(url.query)["d"][0] if "d" in parse_qs(url.query) else unquote(url.path)
    return path.replace("\\", "/")
