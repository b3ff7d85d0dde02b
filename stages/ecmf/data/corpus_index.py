"""A corpus's folder in, its checked and hashed clips out: the list a manifest is written from.

Nothing is decoded here: whether a file can be played is found out, clip by clip, by `decode_video`.
But every byte is read once, for its hash: a corpus takes as long as its disk needs to read it.
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
from ecmf.data.manifest import Clip, check
from ecmf.errors import CorpusError, MissingFileError
from ecmf.storage.files import sha256

LONGEST_ID = 200
"""Bytes of a clip id in UTF-8: file systems allow 255 for a name, suffixes included."""

CLIPS_PER_TASK = 64
"""Clips a thread hashes in one go: handing over each small file costs more than reading it."""

IsInside = Callable[[Path], bool]
"""Whether a folder, its links followed, lies in that of the corpus."""


def index(corpus: str, folder: Path) -> list[Clip]:
    """Return the clips of `folder`, read by the member `corpus` of `corpora/`, hashes filled in.

    Paths are those of the manifest: from the project's root (the current folder) where the corpus
    lies inside it, absolute where it does not.

    Raises:
        ParamsError: there is no such corpus; lists those there are.
        MissingFileError: there is no such folder.
        CorpusError: a file is absent, unreadable or outside the folder, an id is unsafe or stands
            twice, a label is unknown; names every fault.
    """
    member = registry.load("corpora", corpus).Corpus()
    if not folder.is_dir():
        raise MissingFileError(f"no folder {folder}: name the one that holds the clips of {corpus}")
    named = list(member.clips(folder))
    if not named:
        raise CorpusError(f"{folder}: no clip of corpus {corpus!r} in it")
    root = folder.resolve()
    # Many files share a folder: following the links of each path is most of the work on MER2025.
    is_inside = cache(lambda parent: parent.resolve().is_relative_to(root))
    faults = [fault for clip in named for fault in _faults(clip, folder, is_inside)]
    clips, unreadable = _hashed(named, folder) if not faults else (named, [])
    reports = []
    if faults or unreadable:
        reports.append(
            "\n  ".join([f"{folder}: {len(faults + unreadable)} faults", *faults, *unreadable])
        )
    try:
        check(clips, member.classes or sorted({clip.label for clip in clips}), str(folder))
    except CorpusError as error:
        reports.append(str(error))
    if reports:
        raise CorpusError("\n".join(reports))
    return clips


def _faults(clip: Clip, folder: Path, is_inside: IsInside) -> Iterator[str]:
    where = f"clip {clip.clip_id!r}"
    if not _is_safe(clip.clip_id):
        yield (
            f"{where}: ids become file names, so no separator, no unprintable character, no "
            f"leading dot and at most {LONGEST_ID} bytes: rename it"
        )
    sources = clip.sources
    if not sources and not clip.transcript:
        yield f"{where}: it names no video and no audio and has no transcript: give one of them"
    for source in sources:
        fault = _file_fault(source, folder, is_inside)
        if fault:
            yield f"{where}: {str(source)!r} {fault}"


def _is_safe(clip_id: str) -> bool:
    return (
        clip_id.isprintable()
        and not clip_id.startswith(".")
        and not {"/", "\\"} & set(clip_id)
        and len(clip_id.encode()) <= LONGEST_ID
    )


def _file_fault(source: Path, folder: Path, is_inside: IsInside) -> str:
    if not str(source).isprintable():
        return "has an unprintable character: rename the file"
    if source.is_absolute():
        return f"is absolute: write it relative to {folder}"
    path = folder / source
    try:
        if _is_file_itself(path) and is_inside(path.parent):
            return ""
        target = path.resolve()
        if not target.is_relative_to(folder.resolve()):
            return f"leads out of {folder}, to {target}: copy the file into the folder"
        if not target.exists():
            return f"is not in {folder}: add the file, or take the clip out"
        if not target.is_file():
            return "is not a plain file: name the file itself"
    except (OSError, RuntimeError) as error:  # a loop of symlinks, a folder that may not be entered
        return f"cannot be reached ({error}): mend the link or its permissions"
    return ""


def _is_file_itself(path: Path) -> bool:
    """Say whether a plain file stands there; a link to one is none, and so is what is not there."""
    try:
        return stat.S_ISREG(path.lstat().st_mode)
    except OSError:
        return False


def _hashed(clips: Sequence[Clip], folder: Path) -> tuple[list[Clip], list[str]]:
    """Fill in hashes and the manifest's paths; hashlib lets go of the GIL, so threads do."""
    root = Path(os.path.abspath(folder))  # noqa: PTH100  (resolve() would follow a linked corpus)
    project = f"{Path.cwd().as_posix().rstrip('/')}/"
    faults = []

    def finished(clip: Clip) -> Clip:
        digest = ""
        try:
            if clip.sources:
                digest = sha256(*(root / source for source in clip.sources))
        except OSError as error:
            faults.append(f"clip {clip.clip_id!r}: cannot be read ({error}): mend its permissions")
        video, audio = (
            path and (root / path).as_posix().removeprefix(project)
            for path in (clip.video, clip.audio)
        )
        return replace(clip, video=video, audio=audio, sha256=digest)

    def all_finished(first: int) -> list[Clip]:
        return [finished(clip) for clip in clips[first : first + CLIPS_PER_TASK]]

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        made = chain.from_iterable(threads.map(all_finished, range(0, len(clips), CLIPS_PER_TASK)))
        progress = tqdm(made, "hashing", total=len(clips), unit="clip", disable=None)
        return list(progress), sorted(faults)
