"""Turn the marks of recordings into clips: a clip for every piece that someone labelled."""

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from math import inf, isfinite
from pathlib import Path

from ecmf.data.annotation import FILLED, OWN, TIERS, Mark, Recording, Tier, read_tiers
from ecmf.data.label_spelling import spelling_errors
from ecmf.data.manifest import ANNOTATOR_PREFIX, Clip, raise_errors

log = logging.getLogger(__name__)


@dataclass
class _Piece:
    start: float
    end: float | None
    speaker: str
    cells: dict[str, str] = field(default_factory=dict)


def to_clips(folder: Path, recordings: Iterable[Recording]) -> list[Clip]:
    """Return the clips of all recordings, in their order.

    Raises:
        CorpusError: as `read_tiers`, marks as `clips_of` finds them, or two labels differ only in
            case; lists all errors.
    """
    tiers = read_tiers(folder)
    clips, errors = [], []
    for recording in recordings:
        found, faults = clips_of(recording, tiers)
        clips += found
        errors += faults
    votes = (
        (clip.clip_id, vote) for clip in clips for vote in (*clip.annotators.values(), clip.label)
    )
    raise_errors(folder, [*errors, *spelling_errors(votes)])
    return _with_known_votes(folder, clips)


def clips_of(
    recording: Recording, tiers: Mapping[str, Tier] | None
) -> tuple[list[Clip], list[str]]:
    """Return the clips of a recording by time, and what is wrong with its marks.

    Marks of labels with the same borders (in milliseconds) and speaker are one clip. If there are
    none, each piece of the transcript is a clip without a label.
    """
    errors = []
    columns: dict[str, list[Mark]] = defaultdict(list)
    pieces: dict[tuple[int, float, str], _Piece] = {}
    for given in recording.marks:
        if not _is_piece(given):
            errors.append(
                f"{recording.name!r}: tier {given.tier!r}: start {given.start} and end {given.end} "
                "are no piece of a file: 0 <= start < end is needed"
            )
            continue
        column, mark = _assign(given, tiers)
        if column in FILLED and column != "label":
            columns[column].append(mark)
        elif column:
            cells = _piece(pieces, mark).cells
            if mark.value and cells.setdefault(column, mark.value) != mark.value:
                errors.append(
                    f"{recording.name!r}: {column} is {cells[column]!r} and {mark.value!r} from "
                    f"{mark.start:g} s: keep one, or say in {TIERS} which tiers hold the labels"
                )
    for mark in columns["transcript"] if not pieces else ():
        _piece(pieces, mark)
    ordered = sorted(pieces.items(), key=lambda item: item[0])
    return [_clip(recording, piece, columns) for _, piece in ordered], errors


def _is_piece(mark: Mark) -> bool:
    end = inf if mark.end is None else mark.end
    return isfinite(mark.start) and (mark.end is None or isfinite(end)) and 0 <= mark.start < end


def _assign(mark: Mark, tiers: Mapping[str, Tier] | None) -> tuple[str, Mark]:
    """Return the column that a mark fills, or "", and the mark with the speaker of its tier."""
    if mark.tier.casefold().startswith(OWN):
        return "", mark
    if not mark.tier:
        return mark.column, mark
    if tiers is None:
        named = mark.column or mark.tier.casefold()
        column = named if named in FILLED else f"{ANNOTATOR_PREFIX}{mark.annotator or mark.tier}"
        return column, mark
    tier = tiers.get(mark.tier, Tier(""))
    column = tier.column
    if column == "label" or column.startswith(ANNOTATOR_PREFIX):
        person = f"{ANNOTATOR_PREFIX}{mark.annotator}" if mark.annotator else ""
        column = "label" if mark.column == "label" else person or column
    return column, replace(mark, speaker=tier.speaker or mark.speaker)


def _piece(pieces: dict[tuple[int, float, str], _Piece], mark: Mark) -> _Piece:
    end = inf if mark.end is None else round(1000 * mark.end)
    piece = _Piece(mark.start, mark.end, mark.speaker)
    return pieces.setdefault((round(1000 * mark.start), end, mark.speaker), piece)


def _clip(recording: Recording, piece: _Piece, columns: Mapping[str, list[Mark]]) -> Clip:
    cells = {name: _cell(name, piece, marks) for name, marks in columns.items()}
    votes = {name: value for name, value in sorted(piece.cells.items()) if name != "label"}
    label = piece.cells.get("label") or _majority(votes)
    speaker = cells.get("speaker") or piece.speaker
    video, audio = recording.media
    start, end = piece.start + recording.offset, piece.end
    return Clip(
        clip_id=_clip_id(recording.name, piece),
        video=video,
        audio=audio,
        transcript=cells.get("transcript", ""),
        language=cells.get("language", ""),
        speaker=speaker,
        group=cells.get("group") or speaker or video or audio,
        dialogue=cells.get("dialogue", ""),
        split=cells.get("split") or ("train" if label else "unlabelled"),  # type: ignore[arg-type]
        label=label,
        valence=cells.get("valence", ""),
        start=f"{start:.3f}" if start else "",
        end="" if end is None else f"{end + recording.offset:.3f}",
        annotators=votes,
    )


def _clip_id(name: str, piece: _Piece) -> str:
    """Name a clip by its times, so that marks which are added later change no other clip."""
    times = [] if not piece.start and piece.end is None else [f"{round(1000 * piece.start):07d}"]
    times += [] if piece.end is None else [f"{round(1000 * piece.end):07d}"]
    return "_".join([name, *times, *([piece.speaker] if piece.speaker else [])])


def _cell(column: str, piece: _Piece, marks: Sequence[Mark]) -> str:
    """Return the text in a piece, or the value at its middle, of its speaker's marks."""
    end = inf if piece.end is None else piece.end
    own = sorted(
        (mark for mark in marks if not piece.speaker or mark.speaker in ("", piece.speaker)),
        key=lambda mark: mark.start,
    )
    if column == "transcript":
        is_whole = not piece.start and piece.end is None
        return " ".join(
            mark.value
            for mark in own
            if (is_whole if mark.end is None else piece.start <= (mark.start + mark.end) / 2 < end)
        )
    middle = piece.start if piece.end is None else (piece.start + piece.end) / 2
    for mark in own:
        if mark.start <= middle < (inf if mark.end is None else mark.end):
            return mark.value
    return ""


def _majority(votes: Mapping[str, str]) -> str:
    """Return the label of most annotators; of equally many, that of the first by name."""
    counts = Counter(votes.values())
    return max(counts, key=lambda label: counts[label], default="")


def _with_known_votes(folder: Path, clips: Sequence[Clip]) -> list[Clip]:
    """Drop votes for what is no clip's label, and an only annotator, who is the label already."""
    classes = {clip.label for clip in clips}
    unknown = Counter(
        vote for clip in clips for vote in clip.annotators.values() if vote not in classes
    )
    if unknown:
        log.warning(
            "%s: left out votes of annotators for labels that no clip has by majority: %s",
            folder, ", ".join(f"{label!r} ({count})" for label, count in sorted(unknown.items())),
        )  # fmt: skip
    names = {name for clip in clips for name in clip.annotators}
    is_only = len(names) == 1 and all(
        vote == clip.label for clip in clips for vote in clip.annotators.values()
    )
    return [
        replace(
            clip,
            annotators={}
            if is_only
            else {name: vote for name, vote in clip.annotators.items() if vote in classes},
        )
        for clip in clips
    ]
