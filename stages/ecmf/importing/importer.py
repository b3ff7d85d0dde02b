"""Write external features of a manifest's clips to an archive, and report all others.

The report, `<encoder>.left_out.csv` beside the archive, lists every clip without features and every
unknown foreign id, with the reason.
"""

import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tqdm import tqdm

from ecmf.data.manifest import Clip
from ecmf.encoding.feature_archive import write_archive
from ecmf.errors import ClipError, CorpusError, ParamsError
from ecmf.importing.base import ExternalFeatures, IdMapping, LoadRows
from ecmf.media import Vectors
from ecmf.storage.files import write_csv

MISSING, ABSENT, UNUSABLE, PARTIAL = "missing", "absent", "unusable", "partial"
"""A clip without features, with zeros only, with unusable rows only, with some unusable rows."""

UNKNOWN = "unknown"
"""A foreign id without a clip in the manifest."""

EXAMPLES = 3


@dataclass
class ImportResult:
    """Outcome of an import: numbers of written `rows`, and of omitted rows of `zeros`.

    `left_out` lists state, clip id, foreign id and reason.
    """

    encoder: str
    archive: Path
    report: Path
    clips: int = 0
    rows: int = 0
    dim: int = 0
    zeros: int = 0
    left_out: list[tuple[str, str, str, str]] = field(default_factory=list)

    def summary(self) -> str:
        """Return counts of imported and left-out clips and rows, in one line."""
        states = Counter(state for state, *_ in self.left_out)
        parts = [f"{self.clips} clips, {self.rows} rows of {self.dim} numbers"]
        parts += [f"{count} {state}" for state, count in sorted(states.items())]
        parts += [f"{self.zeros} rows of zeros left out"] if self.zeros else []
        return f"{self.encoder}: {'; '.join(parts)} ({self.report.name})"


def import_encoder(
    features: ExternalFeatures,
    clips: Sequence[Clip],
    id_mappings: Sequence[IdMapping],
    folder: Path,
) -> ImportResult:
    """Write the features of the manifest's clips, in the order of the manifest.

    Rows of zeros, which other toolkits write for absent input, and rows with NaN or infinity are
    left out. A clip with unusable rows (not numbers, another width) has none.

    Raises:
        CorpusError: no foreign id is a clip, two are the same clip, or no clip has a row; nothing
            is written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    name = features.encoder
    result = ImportResult(name, folder / f"{name}.npz", folder / f"{name}.left_out.csv")
    matched, unknown = _match_clips(features, {clip.clip_id for clip in clips}, id_mappings)
    if not matched:
        raise CorpusError(
            f"{name}: none of its {len(unknown)} clips is in the manifest. Its ids are e.g. "
            f"{_examples(unknown)}, those of the manifest e.g. "
            f"{_examples([clip.clip_id for clip in clips])}: map the first to the second with --id"
        )
    write_archive(result.archive, name, _rows(clips, matched, result))
    result.left_out += [
        (UNKNOWN, "", foreign_id, "no clip of the manifest") for foreign_id in unknown
    ]
    write_csv(result.report, [("state", "clip_id", "foreign_id", "reason"), *result.left_out])
    return result


def _match_clips(
    features: ExternalFeatures, known: set[str], id_mappings: Sequence[IdMapping]
) -> tuple[dict[str, tuple[str, LoadRows]], list[str]]:
    """Return foreign id and rows of each known clip, and the unknown foreign ids."""
    matched: dict[str, tuple[str, LoadRows]] = {}
    unknown = []
    for foreign_id, load in features.clips:
        candidates = [foreign_id, *_mapped_ids(foreign_id, id_mappings)]
        clip_id = next((candidate for candidate in candidates if candidate in known), None)
        if clip_id is None:
            unknown.append(foreign_id)
        elif clip_id in matched:
            raise CorpusError(
                f"{features.encoder}: {matched[clip_id][0]!r} and {foreign_id!r} are both clip "
                f"{clip_id!r}: keep one, or map the ids with --id"
            )
        else:
            matched[clip_id] = (foreign_id, load)
    return matched, unknown


def _mapped_ids(foreign_id: str, id_mappings: Sequence[IdMapping]) -> Iterator[str]:
    for mapping in id_mappings:
        try:
            match = re.fullmatch(mapping.pattern, foreign_id)
            if match:
                yield match.expand(mapping.template)
        except (re.error, IndexError) as error:
            raise ParamsError(
                f"--id {mapping.pattern!r} {mapping.template!r} is not a regular expression and "
                f"its replacement, e.g. '(.+)[.]mp4' '\\1': {error}"
            ) from error


def _rows(
    clips: Sequence[Clip], matched: Mapping[str, tuple[str, LoadRows]], result: ImportResult
) -> Iterator[tuple[str, Vectors]]:
    for clip in tqdm(clips, result.encoder, unit="clip", disable=None):
        if clip.clip_id not in matched:
            result.left_out.append((MISSING, clip.clip_id, "", "no features of this clip"))
            continue
        foreign_id, load = matched[clip.clip_id]
        try:
            rows, not_finite = _valid_rows(load(), result)
        except ClipError as error:
            result.left_out.append((UNUSABLE, clip.clip_id, foreign_id, str(error)))
            continue
        if not len(rows):
            result.left_out.append((ABSENT, clip.clip_id, foreign_id, "only zeros, or empty"))
            continue
        if not_finite:
            reason = f"{not_finite} rows with NaN or infinity left out"
            result.left_out.append((PARTIAL, clip.clip_id, foreign_id, reason))
        result.clips += 1
        result.rows += len(rows)
        yield clip.clip_id, rows
    if not result.clips:
        reasons = ", ".join(f"{name!r} {reason}" for _, name, _, reason in result.left_out[:3])
        raise CorpusError(f"{result.encoder}: no clip of the manifest has a row: {reasons}")


def _valid_rows(array: NDArray[Any], result: ImportResult) -> tuple[Vectors, int]:
    """Return the finite rows (rows, dim) that are not zeros, and the number of other rows.

    Raises:
        ClipError: the array is not rows of numbers, has another width, or no row is finite.
    """
    if not array.size:
        return np.empty((0, result.dim), "float32"), 0
    if array.dtype.kind not in "fiub":
        raise ClipError(f"holds {array.dtype}, not numbers")
    if array.ndim not in (1, 2):
        raise ClipError(f"has shape {array.shape}, not (dim,) or (rows, dim)")
    with np.errstate(over="ignore"):  # an overflow gives infinity, which is left out below
        rows = np.atleast_2d(array).astype("float32")
    nonzero = rows[rows.any(axis=1)]
    if not len(nonzero):
        return nonzero, 0
    if result.dim and rows.shape[1] != result.dim:
        raise ClipError(f"is {rows.shape[1]} numbers wide, not {result.dim} as the clips before it")
    finite = nonzero[np.isfinite(nonzero).all(axis=1)]
    if not len(finite):
        raise ClipError("holds NaN or infinity in every row")
    result.dim = rows.shape[1]
    result.zeros += len(rows) - len(nonzero)
    return finite, len(nonzero) - len(finite)


def _examples(ids: Sequence[str]) -> str:
    return ", ".join(map(repr, ids[:EXAMPLES])) or "nothing"
