"""Read a folder of ELAN's annotations (.eaf) with their recordings (`pympi-ling`, MIT).

The media files are those that an annotation names, wherever they are in the folder or in its
subfolder `media` (`data/media_search.py`), or else those with its name. Tiers become annotators, or
fill a column of the manifest (`data/annotation.py`); a tier's attribute PARTICIPANT is the speaker,
and ANNOTATOR the annotator. An annotation without times has those of its parent.
"""

import logging
import os
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
from ecmf.data.media_search import Media, MediaSearch, classify
from ecmf.errors import CorpusError
from ecmf.storage.files import write_bytes

MILLISECONDS = 1000

log = logging.getLogger(__name__)


class Corpus:
    """A corpus whose classes are the labels in its annotations."""

    classes: ClassVar[tuple[str, ...]] = ()
    gated: ClassVar[bool] = False

    def clips(self, folder: Path) -> list[Clip]:
        """Return the clips by annotation file and time.

        Raises:
            CorpusError: there is no .eaf file, one is malformed or without a recording, or as
                `to_clips`.
            MissingFileError: the package `pympi-ling` or `defusedxml` is absent.
        """
        return to_clips(folder, (recording for _, _, recording in _read(folder)))

    def write_labels(self, folder: Path, out: Path, proposals: Mapping[str, Proposal]) -> int:
        """Write copies of the .eaf files with tiers of the proposals; return their number of clips.

        The tiers take the place of those of an earlier call.
        """
        elan, tiers, written = library("pympi.Elan"), read_tiers(folder), 0
        for path, document, recording in _read(folder):
            document.remove_tiers([name for name in document.tiers if name.startswith(OWN)])
            clips, _ = clips_of(recording, tiers)
            last = max(
                (time for time in document.timeslots.values() if time is not None), default=0
            )
            found = timed(clips, proposals, last / MILLISECONDS, recording.offset)
            if not document.linguistic_types:
                document.add_linguistic_type("default-lt")
            for name, spans in own_tiers(found):
                document.add_tier(name, ann=OWN)
                for start, end, text in spans:
                    borders = (round(MILLISECONDS * time) for time in (start, end))
                    document.add_annotation(name, *borders, text)
            target = out / path.relative_to(folder)
            for media in document.media_descriptors:
                if relative := media.get("RELATIVE_MEDIA_URL"):
                    media["RELATIVE_MEDIA_URL"] = _moved(relative, path.parent, target.parent)
            write_bytes(target, elan.to_string(document, encoding="UTF-8"))
            written += len(found)
        return written


def _moved(relative: str, old: Path, new: Path) -> str:
    """Return a relative path from another folder."""
    return Path(os.path.relpath(old / relative, new)).as_posix()


def _read(folder: Path) -> Iterator[tuple[Path, Any, Recording]]:
    paths = annotation_files(folder, ".eaf")
    elan, xml = library("pympi.Elan"), library("defusedxml.ElementTree")
    search = MediaSearch(folder)
    for path in paths:
        try:
            # `pympi` reads the file with a parser that expands entities.
            xml.parse(path, forbid_dtd=True)
            document = elan.Eaf(str(path), suppress_version_warning=True)
            marks = [mark for tier in document.tiers for mark in _marks(document, tier)]
        except (SyntaxError, ValueError, LookupError, AttributeError, TypeError) as error:
            raise CorpusError(
                f"{path} is no annotation that pympi reads ({type(error).__name__}: {error}): save "
                "it again from ELAN"
            ) from error
        media, offset = _media(path, document, folder, search)
        name = clip_name(path.relative_to(folder).with_suffix(""))
        yield path, document, Recording(name, media, marks, offset)


def _marks(document: Any, tier: str) -> Iterator[Mark]:
    """Yield the marks of a tier; those without times are left out, with a warning."""
    aligned, references, attributes, _ = document.tiers[tier]
    texts = [(key, text) for key, (_, _, text, _) in aligned.items()]
    texts += [(key, text) for key, (_, text, _, _) in references.items()]
    untimed = 0
    for key, text in texts:
        start, end = (document.timeslots[slot] for slot in _slots(document, key))
        if start is None or end is None:
            untimed += 1
        elif text.strip():
            yield Mark(
                tier,
                text.strip(),
                start / MILLISECONDS,
                end / MILLISECONDS,
                speaker=attributes.get("PARTICIPANT") or "",
                annotator=attributes.get("ANNOTATOR") or "",
            )
    if untimed:
        log.warning("tier %r: %d annotations without times left out", tier, untimed)


def _slots(document: Any, key: str) -> tuple[str, str]:
    """Return the time slots of an annotation or of the one it refers to.

    Raises:
        ValueError: annotations refer to each other in a circle.
    """
    seen = set()
    while key not in seen:
        seen.add(key)
        aligned, references, _, _ = document.tiers[document.annotations[key]]
        if key in aligned:
            begin, end, _, _ = aligned[key]
            return begin, end
        key = references[key][0]
    raise ValueError(f"annotation {key!r} refers to itself")


def _media(path: Path, document: Any, folder: Path, search: MediaSearch) -> tuple[Media, float]:
    """Return the media files with the time origin of the first, and that origin in seconds."""
    relative = path.relative_to(folder)
    given = document.media_descriptors
    first = given[0].get("TIME_ORIGIN") if given else None
    found = []
    for media in given:
        if media.get("TIME_ORIGIN") == first:
            names = [media.get("RELATIVE_MEDIA_URL") or "", media.get("MEDIA_URL") or ""]
            paths = [search.find(name, relative.parent) for name in names if name]
            here = [name for name in paths if (folder / name).is_file()]
            found += here[:1] or paths[-1:]
    media_files = classify(iter(found)) or search.beside(relative)
    if not any(media_files):
        raise CorpusError(
            f"{path} names no video or sound in {folder}: put the recording beside it, named "
            f"{relative.stem}.mp4, .wav, …"
        )
    try:
        return media_files, int(first or 0) / MILLISECONDS
    except ValueError as error:
        raise CorpusError(f"{path}: TIME_ORIGIN {first!r} is no number of milliseconds") from error
