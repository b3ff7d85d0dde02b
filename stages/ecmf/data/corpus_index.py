"""Collect, check and hash the clips of a corpus folder for its manifest.

Media files are not decoded: `decode_video` checks whether they can be. Every byte is read once, for
its hash, so indexing takes as long as reading the corpus from disk.
"""

import os
import stat
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import cache
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from ecmf import registry
from ecmf.data.manifest import Clip, find_errors, raise_errors
from ecmf.errors import CorpusError, MissingFileError
from ecmf.storage.files import sha256

MAX_ID_BYTES = 200
"""Maximum bytes of a clip id in UTF-8: file systems allow 255 for a name with its suffixes."""

CLIPS_PER_TASK = 64
"""Clips that a thread hashes per task: dispatching one small file costs more than reading it."""

IsInside = Callable[[Path], bool]
"""Return whether a folder, after resolving links, is in the folder of the corpus."""


def collect_clips(corpus: str, folder: Path) -> list[Clip]:
    """Return the clips of `folder`, read by the plugin `corpus` of `corpora/`, with their hashes.

    Paths are relative to the project's root (the current folder) if the corpus lies inside it, and
    absolute otherwise.

    Raises:
        ParamsError: there is no such corpus; the message lists the existing ones.
        MissingFileError: there is no such folder.
        CorpusError: a file is absent, unreadable or outside the folder, an id is unsafe or
            duplicate, or a label is unknown; the message lists every error.
    """
    plugin = registry.load("corpora", corpus).Corpus()
    if not folder.is_dir():
        raise MissingFileError(f"no folder {folder}: name the folder with the clips of {corpus}")
    clips = list(plugin.clips(folder))
    if not clips:
        raise CorpusError(f"{folder} holds no clip of corpus {corpus!r}")
    root = folder.resolve()
    # Cached, since many files share a folder: resolving links is most of the work on MER2025.
    is_inside = cache(lambda parent: parent.resolve().is_relative_to(root))
    errors = [error for clip in clips for error in _clip_errors(clip, folder, is_inside)]
    if not errors:
        clips, errors = _with_hashes(clips, folder)
    errors += find_errors(clips, plugin.classes or sorted({clip.label for clip in clips}))
    raise_errors(folder, errors)
    return clips


def _clip_errors(clip: Clip, folder: Path, is_inside: IsInside) -> Iterator[str]:
    where = f"clip {clip.clip_id!r}"
    if not _is_safe(clip.clip_id):
        yield (
            f"{where}: ids become file names, so no separator, no unprintable character, no "
            f"leading dot and at most {MAX_ID_BYTES} bytes are allowed: rename it"
        )
    if not clip.sources and not clip.transcript:
        yield f"{where} has no video, no audio and no transcript: add one of them"
    for path in clip.sources:
        if error := _file_error(path, folder, is_inside):
            yield f"{where}: {str(path)!r} {error}"


def _is_safe(clip_id: str) -> bool:
    return (
        clip_id.isprintable()
        and not clip_id.startswith(".")
        and not {"/", "\\"} & set(clip_id)
        and len(clip_id.encode()) <= MAX_ID_BYTES
    )


def _file_error(relative: Path, folder: Path, is_inside: IsInside) -> str:
    if not str(relative).isprintable():
        return "has an unprintable character: rename the file"
    if relative.is_absolute():
        return f"is absolute: write it relative to {folder}"
    path = folder / relative
    try:
        if _is_regular_file(path) and is_inside(path.parent):
            return ""
        target = path.resolve()
        if not target.is_relative_to(folder.resolve()):
            return f"leads out of {folder} to {target}: copy the file into the folder"
        if not target.exists():
            return f"is not in {folder}: add the file, or remove the clip"
        if not target.is_file():
            return "is not a regular file: name the file itself"
    except (OSError, RuntimeError) as error:  # a loop of symlinks, a folder without permission
        return f"cannot be reached ({error}): repair the link or its permissions"
    return ""


def _is_regular_file(path: Path) -> bool:
    """Return whether `path` is a regular file, not a link to one."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _with_hashes(clips: Sequence[Clip], folder: Path) -> tuple[list[Clip], list[str]]:
    """Fill in the hashes and the manifest's paths; threads suffice, as hashlib frees the GIL."""
    root = Path(os.path.abspath(folder))  # noqa: PTH100  (resolve() would follow a linked corpus)
    project = f"{Path.cwd().as_posix().rstrip('/')}/"
    errors = []

    def with_hash(clip: Clip) -> Clip:
        digest = ""
        try:
            if clip.sources:
                digest = sha256(*(root / path for path in clip.sources))
        except OSError as error:
            errors.append(f"clip {clip.clip_id!r} cannot be read ({error}): check its permissions")
        video, audio = (
            path and (root / path).as_posix().removeprefix(project)
            for path in (clip.video, clip.audio)
        )
        return replace(clip, video=video, audio=audio, sha256=digest)

    def hash_task(first: int) -> list[Clip]:
        return [with_hash(clip) for clip in clips[first : first + CLIPS_PER_TASK]]

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        hashed = chain.from_iterable(threads.map(hash_task, range(0, len(clips), CLIPS_PER_TASK)))
        progress = tqdm(hashed, "hashing", total=len(clips), unit="clip", disable=None)
        return list(progress), sorted(errors)
