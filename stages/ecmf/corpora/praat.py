"""Read a folder of Praat's TextGrids with the recordings they are of (`praatio`, MIT).

    talk.TextGrid
    talk.wav        or .mp4, …: the same name, beside it, in the folder or in its subfolder `media`

Tiers of intervals become annotators, or fill a column of the manifest (`data/annotation.py`). Empty
intervals and tiers of points are not read.
"""

import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, ClassVar

from ecmf.data.annotated_clips import clips_of, to_clips
from ecmf.data.annotation import (
    OWN,
    Mark,
    Recording,
    annotation_files,
    clip_name,
    library,
    read_tiers,
)
from ecmf.data.label_proposals import Proposal, own_tiers, timed
from ecmf.data.manifest import Clip
from ecmf.data.media_search import MediaSearch
from ecmf.errors import CorpusError

SUFFIX = ".TextGrid"
NEGATIVE = re.compile(r"^\s*(?:xmin|xmax)\s*=\s*-(?![0.]*\s*$)", re.MULTILINE)
"""A negative time, of which `praatio` drops the sign."""

ENCODINGS = {b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}


class Corpus:
    """A corpus whose classes are the labels in its TextGrids."""

    classes: ClassVar[tuple[str, ...]] = ()
    gated: ClassVar[bool] = False

    def clips(self, folder: Path) -> list[Clip]:
        """Return the clips by TextGrid and time.

        Raises:
            CorpusError: there is no TextGrid, one is malformed or without a recording, or as
                `to_clips`.
            MissingFileError: the package `praatio` is absent.
        """
        return to_clips(folder, (recording for _, _, recording in _read(folder)))

    def write_labels(self, folder: Path, out: Path, proposals: Mapping[str, Proposal]) -> int:
        """Write copies of the TextGrids with tiers of the proposals; return their number of clips.

        The tiers take the place of those of an earlier call.
        """
        tiers, written = read_tiers(folder), 0
        textgrid = library("praatio.textgrid")
        for path, grid, recording in _read(folder):
            for name in [name for name in grid.tierNames if name.startswith(OWN)]:
                grid.removeTier(name)
            clips, _ = clips_of(recording, tiers)
            found = timed(clips, proposals, end=grid.maxTimestamp)
            for name, spans in own_tiers(found):
                low, high = grid.minTimestamp, grid.maxTimestamp
                grid.addTier(textgrid.IntervalTier(name, spans, low, high))
            target = out / path.relative_to(folder)
            target.parent.mkdir(parents=True, exist_ok=True)
            grid.save(str(target), "long_textgrid", includeBlankSpaces=True)
            written += len(found)
        return written


def _read(folder: Path) -> Iterator[tuple[Path, Any, Recording]]:
    paths = annotation_files(folder, SUFFIX)
    textgrid, errors = library("praatio.textgrid"), library("praatio.utilities.errors")
    search = MediaSearch(folder)
    for path in paths:
        relative = path.relative_to(folder)
        try:
            text = path.read_bytes()
            if NEGATIVE.search(text.decode(ENCODINGS.get(text[:2], "utf-8"))):
                raise CorpusError(f"{path}: a negative time: Praat's recordings begin at 0")
            grid = textgrid.openTextgrid(str(path), False, "error")
        except (
            errors.PraatioException,
            ValueError,
            LookupError,
            AttributeError,
            TypeError,
        ) as error:
            raise CorpusError(
                f"{path} is no TextGrid that praatio reads ({type(error).__name__}: {error}): save "
                "it again from Praat, as a text file"
            ) from error
        media = search.beside(relative)
        if not any(media):
            raise CorpusError(
                f"{path}: no recording {relative.stem}.wav, .mp4, … beside it, in {folder} or in "
                f"{folder / 'media'}: put it there under this name"
            )
        marks = [
            Mark(name, label.strip(), float(start), float(end))
            for name in grid.tierNames
            if isinstance(grid.getTier(name), textgrid.IntervalTier)
            for start, end, label in grid.getTier(name).entries
            if label.strip()
        ]
        yield path, grid, Recording(clip_name(relative.with_suffix("")), media, marks)
