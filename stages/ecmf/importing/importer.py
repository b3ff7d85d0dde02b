"""A foreign source and a manifest -> the archive `imported` reads, and a list of all that is not.

The list, `<encoder>.left_out.csv` beside the archive, names every clip without a row and every
foreign id that is no clip, each with its reason: what is in neither is not there.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ecmf.data.manifest import Clip
from ecmf.encoding.feature_archive import write_archive
from ecmf.errors import ClipError, CorpusError, ParamsError
from ecmf.importing.base import ForeignSource, Read, Renaming
from ecmf.media import Vectors
from ecmf.storage.files import write_table

MISSING, ABSENT, UNUSABLE, PARTIAL = "missing", "absent", "unusable", "partial"
"""A clip nothing stands for, or only zeros, or what cannot be used at all or in some rows."""

UNKNOWN = "unknown"
"""A foreign id that is no clip."""

EXAMPLES = 3


@dataclass
class Imported:
    """One source as it was taken over: `rows` counts those written, `zeros` rows left out."""

    encoder: str
    archive: Path
    listed: Path
    clips: int = 0
    rows: int = 0
    dim: int = 0
    zeros: int = 0
    left_out: list[tuple[str, str, str, str]] = field(default_factory=list)
    """State, clip id, foreign id and reason of each."""

    def summary(self) -> str:
        """Say in one line what came over and what did not."""
        states = Counter(state for state, *_ in self.left_out)
        said = [f"{self.clips} clips, {self.rows} rows of {self.dim} numbers"]
        said += [f"{count} {state}" for state, count in sorted(states.items())]
        said += [f"{self.zeros} rows of zeros left out"] if self.zeros else []
        return f"{self.encoder}: {'; '.join(said)} ({self.listed.name})"


def import_source(
    source: ForeignSource, clips: Sequence[Clip], renamings: Sequence[Renaming], folder: Path
) -> Imported:
    """Write the rows of `source` that the manifest's clips have, in the order of the manifest.

    A row of zeros is what others write for nothing: it becomes no row, and neither does one with
    NaN or infinity. A clip whose rows cannot be used (no numbers, another width) has none.

    Raises:
        CorpusError: no foreign id is a clip, two are the same one, or no clip has a row; nothing
            is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    done = Imported(
        source.encoder,
        folder / f"{source.encoder}.npz",
        folder / f"{source.encoder}.left_out.csv",
    )
    found, unknown = _by_clip(source, {clip.clip_id for clip in clips}, renamings)
    if not found:
        raise CorpusError(
            f"{source.encoder}: none of its {len(unknown)} clips is in the manifest. Its ids are "
            f"like {_examples(unknown)}, those of the manifest like "
            f"{_examples([clip.clip_id for clip in clips])}: say with --id how to make the second "
            "of the first"
        )
    write_archive(done.archive, source.encoder, _rows(clips, found, done))
    done.left_out += [
        (UNKNOWN, "", foreign_id, "no clip of the manifest") for foreign_id in unknown
    ]
    write_table(done.listed, [("state", "clip_id", "foreign_id", "reason"), *done.left_out])
    return done


def _by_clip(
    source: ForeignSource, known: set[str], renamings: Sequence[Renaming]
) -> tuple[dict[str, tuple[str, Read]], list[str]]:
    """Sort the foreign ids into clips and those that are none; nothing is read yet."""
    found: dict[str, tuple[str, Read]] = {}
    unknown = []
    for foreign_id, read in source.clips:
        candidates = [foreign_id, *_renamed(foreign_id, renamings)]
        clip_id = next((candidate for candidate in candidates if candidate in known), None)
        if clip_id is None:
            unknown.append(foreign_id)
        elif clip_id in found:
            raise CorpusError(
                f"{source.encoder}: {found[clip_id][0]!r} and {foreign_id!r} are both clip "
                f"{clip_id!r}: keep one, or say with --id how the ids are made"
            )
        else:
            found[clip_id] = (foreign_id, read)
    return found, unknown


def _renamed(foreign_id: str, renamings: Sequence[Renaming]) -> Iterator[str]:
    for renaming in renamings:
        try:
            fit = re.fullmatch(renaming.pattern, foreign_id)
            if fit:
                yield fit.expand(renaming.template)
        except (re.error, IndexError) as error:
            raise ParamsError(
                f"--id {renaming.pattern!r} {renaming.template!r} is no regular expression and "
                f"what to make of it, such as '(.+)[.]mp4' '\\1': {error}"
            ) from error


def _rows(
    clips: Sequence[Clip], found: Mapping[str, tuple[str, Read]], done: Imported
) -> Iterator[tuple[str, Vectors]]:
    for clip in tqdm(clips, done.encoder, unit="clip", disable=None):
        if clip.clip_id not in found:
            done.left_out.append((MISSING, clip.clip_id, "", "nothing stands for it"))
            continue
        foreign_id, read = found[clip.clip_id]
        try:
            rows, not_finite = _checked(read, done)
        except ClipError as error:
            done.left_out.append((UNUSABLE, clip.clip_id, foreign_id, str(error)))
            continue
        if not len(rows):
            done.left_out.append((ABSENT, clip.clip_id, foreign_id, "nothing but zeros, or empty"))
            continue
        if not_finite:
            reason = f"{not_finite} rows with NaN or infinity left out"
            done.left_out.append((PARTIAL, clip.clip_id, foreign_id, reason))
        done.clips += 1
        done.rows += len(rows)
        yield clip.clip_id, rows
    if not done.clips:
        states = ", ".join(f"{clip_id!r} {reason}" for _, clip_id, _, reason in done.left_out[:3])
        raise CorpusError(f"{done.encoder}: no clip of the manifest has a row: {states}")


def _checked(read: Read, done: Imported) -> tuple[Vectors, int]:
    """Give the rows (rows, dim) that say something, and how many were not finite.

    Raises:
        ClipError: they are no rows of numbers, are of another width, or none is finite.
    """
    found = read()
    if not found.size:
        return np.empty((0, done.dim), "float32"), 0
    if found.dtype.kind not in "fiub":
        raise ClipError(f"holds {found.dtype}, not numbers")
    if found.ndim not in (1, 2):
        raise ClipError(f"has shape {found.shape}, not (dim,) or (rows, dim)")
    with np.errstate(over="ignore"):  # found below, as not finite
        rows = np.atleast_2d(found).astype("float32")
    rows, zeros = _split(rows, rows.any(axis=1))
    if not len(rows):
        return rows, 0
    if done.dim and rows.shape[1] != done.dim:
        raise ClipError(f"is {rows.shape[1]} numbers wide, not {done.dim} as the clips before it")
    rows, not_finite = _split(rows, np.isfinite(rows).all(axis=1))
    if not len(rows):
        raise ClipError("holds NaN or infinity in every row")
    done.dim = rows.shape[1]
    done.zeros += zeros
    return rows, not_finite


def _split(rows: Vectors, good: NDArray[np.bool_] | np.bool_) -> tuple[Vectors, int]:
    kept = rows[good]
    return kept, len(rows) - len(kept)


def _examples(ids: Sequence[str]) -> str:
    return ", ".join(map(repr, ids[:EXAMPLES])) or "nothing"
