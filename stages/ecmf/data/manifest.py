"""Read and write the manifest, the list of a corpus's clips: `data/manifests/<corpus>.csv`."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, get_args

from ecmf import registry
from ecmf.errors import CorpusError, MissingFileError, summarise
from ecmf.storage.csv_cells import is_number
from ecmf.storage.csv_rows import read_written
from ecmf.storage.files import write_csv

Split = Literal["train", "val", "test", "candidate", "unlabelled"]
SPLITS: tuple[Split, ...] = get_args(Split)

OTHER_NAMES: Mapping[str, Split] = {
    "dev": "val", "development": "val", "valid": "val", "validation": "val", "devel": "val",
    "training": "train", "eval": "test", "evaluation": "test", "testing": "test",
}  # fmt: skip
"""Names that other corpora give to the splits, to suggest ours."""

UNLABELLED_SPLITS: tuple[Split, ...] = ("candidate", "unlabelled")
"""Splits without labels; their clips are only predicted.

Candidates are the clips of a challenge's test set. Their order in the manifest is that of the
challenge's list, so that a submission can follow the manifest.
"""

MAX_ID_BYTES = 200
"""Maximum bytes of a clip id in UTF-8: file systems allow 255 for a name with its suffixes."""

ANNOTATOR_PREFIX = "annotator_"
"""Prefix of a column with one annotator's label of each clip; cells may be empty."""


@dataclass(frozen=True)
class Clip:
    """One row of the manifest. An empty string means that the corpus has no such value.

    `video` and `audio` are paths relative to the project's root, or absolute if the corpus is
    outside; a clip with neither has only a transcript.
    `group` is the unit that no split may divide: the speaker, the dialogue or the film.
    `dialogue` names a conversation; its clips are listed in the order of speech.
    `sha256` is the hash of the video, of the audio, or of both concatenated; empty for neither.
    `start` and `end` are seconds from the beginning of the files, of which the clip is that piece.
    `annotators` maps the column of each annotator to the label.
    """

    clip_id: str
    video: str = ""
    audio: str = ""
    transcript: str = ""
    language: str = ""
    speaker: str = ""
    group: str = ""
    dialogue: str = ""
    split: Split = "train"
    label: str = ""
    valence: str = ""
    sha256: str = ""
    start: str = ""
    end: str = ""
    annotators: dict[str, str] = field(default_factory=dict)

    @property
    def sources(self) -> list[Path]:
        """Paths of the clip's files: video, audio, or both."""
        return [Path(path) for path in (self.video, self.audio) if path]


COLUMNS = [column.name for column in fields(Clip) if column.name != "annotators"]
OPTIONAL_COLUMNS = ("start", "end")
"""Columns that a manifest has only if a clip has a value: older manifests stay as they are."""


def read_manifest(path: Path) -> list[Clip]:
    """Read all clips of a corpus, in the order of the file.

    Raises:
        MissingFileError: there is no such manifest.
        CorpusError: the file is not csv as `read_rows` takes it, columns are missing, an id is
            duplicate, a split or a label is unknown, a clip of train, val or test has no label, or
            a candidate has one.
    """
    if not path.is_file():
        raise MissingFileError(
            f"no manifest {path}: write it with `ecmf index <corpus> <folder>`; for a queued "
            f"experiment, also `git add {path}` (of a gated corpus `{path}.dvc`) before queueing it"
        )
    required = [name for name in COLUMNS if name not in OPTIONAL_COLUMNS]
    clips = [_clip(row) for row in read_written(path, required)]
    raise_errors(path, find_errors(clips, classes_of(path, clips)))
    return clips


def write_manifest(clips: Sequence[Clip], path: Path) -> None:
    """Write the clips as csv, with one column per annotator after the fixed ones."""
    annotators = sorted({name for clip in clips for name in clip.annotators})
    empty = {name for name in OPTIONAL_COLUMNS if not any(getattr(clip, name) for clip in clips)}
    columns = [column for column in COLUMNS if column not in empty]
    lines = [
        [
            *(getattr(clip, column) for column in columns),
            *(clip.annotators.get(name, "") for name in annotators),
        ]
        for clip in clips
    ]
    write_csv(path, [[*columns, *annotators], *lines])


def classes_of(path: Path, clips: Iterable[Clip]) -> tuple[str, ...]:
    """Return the classes, in the order of all class probabilities.

    It is the order of the plugin of `corpora/` with the manifest's name, or else alphabetical.
    """
    if path.stem in registry.names("corpora"):
        declared: tuple[str, ...] = registry.load("corpora", path.stem).Corpus.classes
        if declared:
            return declared
    return tuple(sorted({clip.label for clip in clips if clip.label}))


def find_errors(clips: Sequence[Clip], classes: Sequence[str]) -> list[str]:
    """Check ids, pieces, splits and labels; return a message for every error."""
    errors = []
    seen: set[str] = set()
    for clip in clips:
        if not clip.clip_id:
            errors.append(f"a clip without an id ({clip.video or clip.audio!r})")
        elif not _is_safe(clip.clip_id):
            errors.append(
                f"clip {clip.clip_id!r}: ids become file names, so no separator, no unprintable "
                f"character, no leading dot and at most {MAX_ID_BYTES} bytes are allowed: rename it"
            )
        if clip.clip_id in seen:
            errors.append(f"clip id {clip.clip_id!r} appears twice")
        seen.add(clip.clip_id)
        if error := _piece_error(clip):
            errors.append(f"clip {clip.clip_id!r}: {error}")
        if clip.split not in SPLITS:
            errors.append(
                f"clip {clip.clip_id!r}: split {clip.split!r} is none of {', '.join(SPLITS)}."
                + _did_you_mean_split(clip.split)
            )
        for label in (clip.label, *clip.annotators.values()):
            if label and label not in classes:
                errors.append(
                    f"clip {clip.clip_id!r}: unknown label {label!r}, the classes are "
                    f"{', '.join(classes)}.{registry.did_you_mean(label, classes)}"
                )
        if not clip.label and clip.split not in UNLABELLED_SPLITS:
            errors.append(f"clip {clip.clip_id!r}: no label, but split {clip.split!r}")
        if clip.label and clip.split == "candidate":
            errors.append(f"clip {clip.clip_id!r}: label {clip.label!r}, but split 'candidate'")
    return errors


def _is_safe(clip_id: str) -> bool:
    return (
        clip_id.isprintable()
        and not clip_id.startswith(".")
        and not {"/", "\\"} & set(clip_id)
        and len(clip_id.encode()) <= MAX_ID_BYTES
    )


def _piece_error(clip: Clip) -> str:
    for name, cell in (("start", clip.start), ("end", clip.end)):
        if cell and not is_number(cell):
            return f"{name} {cell!r} is no number of seconds"
    if (clip.start or clip.end) and not clip.sources:
        return "start or end of a clip without video and audio: name the file, or empty both"
    start, end = float(clip.start or 0), float(clip.end or "inf")
    if not 0 <= start < end:
        return f"start {start:g} and end {end:g} are no piece of a file: 0 <= start < end is needed"
    return ""


def _did_you_mean_split(name: str) -> str:
    known = OTHER_NAMES.get(name.lower())
    return f" Did you mean {known!r}?" if known else registry.did_you_mean(name, SPLITS)


def raise_errors(where: Path, errors: Sequence[str]) -> None:
    """Raise a CorpusError that sums up the errors found in `where`, if there are any."""
    if errors:
        raise CorpusError(summarise(where, errors))


def _clip(row: dict[str, str]) -> Clip:
    annotators = {name: label for name, label in row.items() if name.startswith(ANNOTATOR_PREFIX)}
    cells = {column: row[column] for column in COLUMNS if column in row}
    return Clip(**cells, annotators=annotators)  # type: ignore[arg-type]
