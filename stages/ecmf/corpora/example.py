"""Example to copy: read a folder per emotion, with files named `<speaker>_<number>.<suffix>`.

    happy/ann_01.mp4
    sad/bob_07.wav

A manifest has the classes of the plugin with its name, so copy the file under another name.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import ClassVar

from ecmf.data.manifest import Clip, raise_errors

VIDEO, AUDIO = {".mp4", ".mov"}, {".wav", ".flac"}
NAME = re.compile(r"(?P<speaker>[^_]+)_(?P<number>\d+)")


class Corpus:
    """Four emotions; the order of `classes` is that of all class probabilities."""

    classes: ClassVar[tuple[str, ...]] = ("angry", "happy", "neutral", "sad")
    gated: ClassVar[bool] = False  # True if the licence forbids to pass the labels on

    def clips(self, folder: Path) -> Iterator[Clip]:
        """Yield the clips, sorted by path.

        Raises:
            CorpusError: a file has another name than `<speaker>_<number>`.
        """
        paths = sorted(
            path.relative_to(folder)
            for label in self.classes
            for path in (folder / label).glob("*")
            if path.suffix.lower() in VIDEO | AUDIO
        )
        wrong = [path for path in paths if not NAME.fullmatch(path.stem)]
        raise_errors(folder, [f"{path} is not named <speaker>_<number>: rename" for path in wrong])
        yield from map(_clip, paths)


def _clip(path: Path) -> Clip:
    speaker = path.stem.partition("_")[0]
    is_video = path.suffix.lower() in VIDEO
    return Clip(
        clip_id=f"{path.parent}_{path.stem}",
        video=path.as_posix() if is_video else "",
        audio="" if is_video else path.as_posix(),
        speaker=speaker,
        group=speaker,  # no split may divide a group: no speaker is in training and in test
        label=str(path.parent),
    )
