"""Identify the content of a clip's files, and check that it is the content that was indexed."""

import uuid

from ecmf.data.manifest import Clip
from ecmf.errors import ClipError
from ecmf.storage import files


def content_key(clip: Clip) -> str:
    """Return the cache key of a clip: the hash of its files, and whether it has video and audio.

    The key of a clip with an unreadable file is random.
    """
    try:
        content = clip.sha256 or _hash_files(clip)
    except OSError:
        return uuid.uuid4().hex
    return f"{content}-{bool(clip.video)}-{bool(clip.audio)}"


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
    return files.sha256(*map(files.locate, clip.sources))
