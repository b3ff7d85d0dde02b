"""Turn paths of media files, folders and tables into clips to predict."""

import mimetypes
import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from ecmf.corpora.folder import TABLE
from ecmf.data.corpus_index import collect_clips
from ecmf.data.manifest import Clip, read_manifest
from ecmf.errors import CorpusError, MissingFileError
from ecmf.storage.files import walk

MAX_NAME_BYTES, MAX_PATH_BYTES = 255, 4095
"""Limits of Linux, NAME_MAX and PATH_MAX."""

TYPES = mimetypes.MimeTypes()
for _suffix, _type in (
    (".mkv", "video/x-matroska"), (".mxf", "application/mxf"), (".m4v", "video/x-m4v"),
    (".ogv", "video/ogg"), (".ts", "video/mp2t"), (".mts", "video/mp2t"), (".3gp", "video/3gpp"),
    (".wmv", "video/x-ms-wmv"), (".flv", "video/x-flv"), (".flac", "audio/flac"),
    (".m4a", "audio/mp4"), (".ogg", "audio/ogg"), (".oga", "audio/ogg"), (".opus", "audio/opus"),
    (".wma", "audio/x-ms-wma"), (".caf", "audio/x-caf"), (".amr", "audio/amr"),
):  # fmt: skip
    TYPES.add_type(_type, _suffix)


def clips_of(paths: Iterable[str]) -> list[Clip]:
    """Return the clips of media files, of folders and of manifests, each once, in their order.

    Of a folder all media files are taken, also of those below it, sorted by name; or, if it has a
    `clips.csv`, the clips of that table, as `ecmf index folder` reads it. A `.csv` is a manifest as
    `ecmf index` writes it. The id of a media file is its path, with escapes for what cannot be
    printed.

    Raises:
        MissingFileError: a folder holds no media file, there is no such manifest, or no file can
            have such a name.
        CorpusError: a table or a manifest has errors, or two clips the same id.
    """
    clips: dict[str, Clip] = {}
    for path in paths:
        _check_length(path)
        for clip in _clips_of(Path(path)):
            if clips.setdefault(clip.clip_id, clip) != clip:
                raise CorpusError(
                    f"{path}: another clip has the id {clip.clip_id!r}: predict them in two runs"
                )
    return list(clips.values())


def clip_of(path: Path, transcript: str = "", language: str = "") -> Clip:
    """Return a media file as a clip: by its suffix a sound, else a video with its sound."""
    name = str(path)
    clip_id = name if name.isprintable() else ascii(name)[1:-1]
    video, audio = ("", name) if _kind(path) == "audio" else (name, "")
    return Clip(clip_id, video, audio, transcript, language, group=clip_id, split="unlabelled")


def _check_length(path: str) -> None:
    longest = max(map(len, os.fsencode(path).split(b"/")))
    if longest > MAX_NAME_BYTES or len(os.fsencode(path)) > MAX_PATH_BYTES:
        raise MissingFileError(f"{path[:50]!r}… is too long for the name of a file: correct it")


def _clips_of(path: Path) -> Iterator[Clip]:
    if path.suffix.lower() == ".csv":
        yield from read_manifest(path)
    elif (path / TABLE).is_file():
        yield from collect_clips("folder", path)
    elif path.is_dir():
        media = sorted(file for file in walk(path) if _kind(file) in ("audio", "video"))
        if not media:
            raise MissingFileError(f"{path} holds no file of video or audio, by the suffixes")
        yield from map(clip_of, media)
    else:
        yield clip_of(path)


def _kind(path: Path) -> str:
    """Return "video", "audio" or another first part of the media type of a suffix."""
    return (TYPES.guess_type(f"name{path.suffix.lower()}")[0] or "").partition("/")[0]
