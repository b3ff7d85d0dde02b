"""Identify the content of a clip, and check that its files are those that were indexed."""

import uuid
from functools import lru_cache
from pathlib import Path

from ecmf.data.manifest import Clip
from ecmf.errors import ClipError
from ecmf.storage import files


def content_key(clip: Clip) -> str:
    """Return the cache key of a clip: the hash of its files, whether it has video and audio.

    That of a piece of the files names its start and its end. It is random with an unreadable file.
    """
    try:
        content = clip.sha256 or _hash_files(clip)
    except OSError:
        return uuid.uuid4().hex
    piece = f"-{clip.start}-{clip.end}" if clip.start or clip.end else ""
    return f"{content}-{bool(clip.video)}-{bool(clip.audio)}{piece}"


def check_content(clip: Clip) -> None:
    """Raise ClipError if a file is absent, or the content is not that of the manifest."""
    if clip.sha256 and clip.sources:
        try:
            actual = _hash_files(clip)
        except OSError as error:
            paths = " or ".join(map(str, clip.sources))
            raise ClipError(f"{paths}: cannot be read ({error.strerror})") from error
        if actual != clip.sha256:
            raise ClipError(
                f"changed since it was indexed: its sha256 is {actual}, the manifest says "
                f"{clip.sha256}. Index the corpus again"
            )


def _hash_files(clip: Clip) -> str:
    paths = tuple(map(files.locate, clip.sources))
    states = [path.stat() for path in paths]
    return _sha256(paths, tuple((s.st_ino, s.st_size, s.st_mtime_ns) for s in states))


@lru_cache(maxsize=16)
def _sha256(paths: tuple[Path, ...], states: tuple[tuple[int, ...], ...]) -> str:
    """Hash files; those in the same state as before, of which many clips are pieces, only once."""
    return files.sha256(*paths)
