"""Collect, check and hash the clips of a corpus folder for its manifest.

Media files are not decoded: `decode_video` checks whether they can be. Every byte is read once, for
its hash, however many clips are pieces of a file: indexing takes as long as reading the corpus.
"""

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from itertools import chain
from pathlib import Path

from tqdm import tqdm

from ecmf import registry
from ecmf.data.corpus_files import CorpusFiles, is_lfs_pointer
from ecmf.data.empty_cells import empty_word_errors, without_empty_words
from ecmf.data.manifest import Clip, find_errors, raise_errors
from ecmf.errors import CorpusError, MissingFileError
from ecmf.storage.files import sha256

CLIPS_PER_TASK = 64
"""Clips that a thread hashes per task: dispatching one small file costs more than reading it."""


def collect_clips(corpus: str, folder: Path, *, follow_links: bool = False) -> list[Clip]:
    """Return the clips of `folder`, read by the plugin `corpus` of `corpora/`, with their hashes.

    Paths are relative to the project's root (the current folder) if the corpus lies inside it, and
    absolute otherwise. With `follow_links`, a file may be a link out of the folder, and its path is
    that of the link's target.

    Raises:
        ParamsError: there is no such corpus; the message lists the existing ones.
        MissingFileError: there is no such folder.
        CorpusError: a file is absent, unreadable or outside the folder, an id is unsafe or
            duplicate, or a label is unknown; the message sums up every error.
    """
    plugin = registry.load("corpora", corpus).Corpus()
    if not folder.is_dir():
        raise MissingFileError(f"no folder {folder}: name the folder with the clips of {corpus}")
    files = CorpusFiles(folder, follow_links)
    clips = [
        replace(clip, video=files.find(clip.video), audio=files.find(clip.audio))
        for clip in without_empty_words(list(plugin.clips(folder)), folder)
    ]
    if not clips:
        raise CorpusError(f"{folder} holds no clip of corpus {corpus!r}")
    errors = [error for clip in clips for error in _clip_errors(clip, files)]
    if not errors:
        clips, errors = _with_hashes(clips, files)
    errors += find_errors(clips, plugin.classes or sorted({clip.label for clip in clips}))
    raise_errors(folder, errors)
    return clips


def _clip_errors(clip: Clip, files: CorpusFiles) -> Iterator[str]:
    where = f"clip {clip.clip_id!r}"
    if not clip.sources and not clip.transcript:
        yield f"{where} has no video, no audio and no transcript: add one of them"
    for path in clip.sources:
        if error := files.error(path):
            yield f"{where}: {str(path)!r} {error}"
    yield from empty_word_errors(clip)


def _with_hashes(clips: Sequence[Clip], files: CorpusFiles) -> tuple[list[Clip], list[str]]:
    """Fill in the hashes and the manifest's paths; threads suffice, as hashlib frees the GIL.

    Files of which several clips are pieces are hashed once, and an error names the first of them.
    """
    unique = list({(clip.video, clip.audio): clip for clip in reversed(clips)}.values())[::-1]
    project = f"{Path.cwd().as_posix().rstrip('/')}/"
    errors: list[str] = []

    def with_hash(clip: Clip) -> Clip:
        video, audio = (files.path(name) if name else None for name in (clip.video, clip.audio))
        paths = [path for path in (video, audio) if path is not None]
        digest = ""
        try:
            errors.extend(
                f"clip {clip.clip_id!r}: {str(path)!r} is a pointer of git-lfs, not the file: run "
                "`git lfs pull` in a clone (an archive of the repository lacks the files), and "
                "index again"
                for path in filter(is_lfs_pointer, paths)
            )
            if paths:
                digest = sha256(*paths)
        except OSError as error:
            errors.append(f"clip {clip.clip_id!r} cannot be read ({error}): check its permissions")
        names = [path.as_posix().removeprefix(project) if path else "" for path in (video, audio)]
        return replace(clip, video=names[0], audio=names[1], sha256=digest)

    def hash_task(first: int) -> list[Clip]:
        return [with_hash(clip) for clip in unique[first : first + CLIPS_PER_TASK]]

    with ThreadPoolExecutor(max_workers=os.cpu_count()) as threads:
        hashed = chain.from_iterable(threads.map(hash_task, range(0, len(unique), CLIPS_PER_TASK)))
        progress = tqdm(hashed, "hashing", total=len(unique), unit="clip", disable=None)
        by_files = {
            (clip.video, clip.audio): done for clip, done in zip(unique, progress, strict=True)
        }
    found = [by_files[clip.video, clip.audio] for clip in clips]
    return [
        replace(clip, video=done.video, audio=done.audio, sha256=done.sha256)
        for clip, done in zip(clips, found, strict=True)
    ], sorted(errors)
