"""The list of clips every stage walks, in one order: `data/manifests/<corpus>.csv`."""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Literal, get_args

from ecmf import registry
from ecmf.errors import CorpusError, MissingFileError
from ecmf.storage.files import write_table

Split = Literal["train", "val", "test", "candidate", "unlabelled"]
SPLITS: tuple[Split, ...] = get_args(Split)

WITHOUT_LABEL: tuple[Split, ...] = ("candidate", "unlabelled")
"""Splits nobody learns from or is scored on; their clips are only predicted.

Candidates are those that predictions are asked for: whoever hands these in takes them in the order
of the manifest, which is the order they were asked for in.
"""

ANNOTATOR_PREFIX = "annotator_"
"""Columns with this prefix hold what one annotator said of each clip, or nothing."""


@dataclass(frozen=True)
class Clip:
    """One line of the manifest. An empty string is what the corpus does not have.

    `video` and `audio` are paths from the project's root, absolute if the corpus lies outside; a
    clip with neither is its transcript alone.
    `group` is what must not be cut by a split: the speaker, the dialogue or the film.
    `dialogue` names a conversation, whose clips stand in the order in which they were said.
    `sha256` is the content of the video, or of the audio, or of both one after the other; empty for
    neither.
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
    annotators: dict[str, str] = field(default_factory=dict)

    @property
    def sources(self) -> list[Path]:
        """The clip's files: video, audio, or both."""
        return [Path(path) for path in (self.video, self.audio) if path]


COLUMNS = [column.name for column in fields(Clip) if column.name != "annotators"]


def read_manifest(path: Path) -> list[Clip]:
    """All clips of a corpus, in the order of the file.

    Raises:
        MissingFileError: there is no such manifest; says how to make one.
        CorpusError: columns are missing, an id stands twice, a split or a label is unknown, a clip
            of train, val or test has no label, a candidate has one.
    """
    if not path.is_file():
        raise MissingFileError(f"no manifest {path}: make it with `ecmf index <corpus> <folder>`")
    with path.open(newline="", encoding="utf-8") as file:
        reader = csv.DictReader(file)
        missing = set(COLUMNS) - set(reader.fieldnames or [])
        if missing:
            raise CorpusError(f"{path} has no column {', '.join(sorted(missing))}")
        clips = [_clip(row) for row in reader]
    check(clips, classes_of(path, clips), str(path))
    return clips


def write_manifest(clips: Sequence[Clip], path: Path) -> None:
    """Write the clips as csv, one column per annotator after the fixed ones."""
    annotators = sorted({name for clip in clips for name in clip.annotators})
    lines = [
        [
            *(getattr(clip, column) for column in COLUMNS),
            *(clip.annotators.get(name, "") for name in annotators),
        ]
        for clip in clips
    ]
    write_table(path, [[*COLUMNS, *annotators], *lines])


def classes_of(path: Path, clips: Iterable[Clip]) -> tuple[str, ...]:
    """Return the classes in the order of every vector of probabilities.

    A manifest named after a member of `corpora/` has the member's order; any other one has its
    labels in alphabetical order.
    """
    if path.stem in registry.names("corpora"):
        declared: tuple[str, ...] = registry.load("corpora", path.stem).Corpus.classes
        if declared:
            return declared
    return tuple(sorted({clip.label for clip in clips if clip.label}))


def check(clips: Sequence[Clip], classes: Sequence[str], where: str) -> None:
    """Refuse clips that contradict each other or the classes; names all of them in one error."""
    faults = []
    seen: set[str] = set()
    for clip in clips:
        if not clip.clip_id:
            faults.append(f"a clip without an id ({clip.video or clip.audio!r})")
        if clip.clip_id in seen:
            faults.append(f"clip id {clip.clip_id!r} stands twice")
        seen.add(clip.clip_id)
        if clip.split not in SPLITS:
            faults.append(
                f"clip {clip.clip_id!r}: split {clip.split!r} is none of {', '.join(SPLITS)}."
                + registry.hint(clip.split, SPLITS)
            )
        for said in (clip.label, *clip.annotators.values()):
            if said and said not in classes:
                faults.append(
                    f"clip {clip.clip_id!r}: unknown label {said!r}, the classes are "
                    f"{', '.join(classes)}.{registry.hint(said, classes)}"
                )
        if not clip.label and clip.split not in WITHOUT_LABEL:
            faults.append(f"clip {clip.clip_id!r}: no label, but split {clip.split!r}")
        if clip.label and clip.split == "candidate":
            faults.append(f"clip {clip.clip_id!r}: label {clip.label!r}, but split 'candidate'")
    if faults:
        raise CorpusError("\n  ".join([f"{where}: {len(faults)} faults", *faults]))


def _clip(row: dict[str, str]) -> Clip:
    annotators = {name: said for name, said in row.items() if name.startswith(ANNOTATOR_PREFIX)}
    return Clip(**{column: row[column] or "" for column in COLUMNS}, annotators=annotators)  # type: ignore[arg-type]
