"""Read JSON exports of Label Studio with the recordings of their tasks.

The media files are found by the ends of the paths in a task's `data`, in the folder or in its
subfolder `media` (`data/media_search.py`); other data with the name of a column of the manifest
fills it. Choices and labels, of a region or of the whole file, are votes of the person who set them
(`annotator_<number of the person>`), and the label in an annotation marked as ground truth; text
areas are transcripts, unless `tiers.csv` tells the meaning of the control tags
(`data/annotation.py`). A task that nobody has annotated is a clip without label.

The export is read as JSON: the package `label-studio-sdk` asks for another opencv.
"""

import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from copy import deepcopy
from pathlib import Path, PurePosixPath
from typing import Any, ClassVar

from ecmf.data.annotated_clips import clips_of, to_clips
from ecmf.data.annotation import FILLED, OWN, Mark, Recording, annotation_files, read_tiers
from ecmf.data.label_proposals import Proposal
from ecmf.data.label_studio_export import Annotation, Result, Task, read_export
from ecmf.data.manifest import Clip
from ecmf.data.media_search import MediaSearch, classify, kind_of
from ecmf.errors import CorpusError
from ecmf.storage.files import write_json

UPLOAD = re.compile(r"^[0-9a-f]{8}-")
"""What Label Studio puts before the name of an uploaded file."""

VOTES = ("choices", "labels")
"""Types of results that are votes; the only other type that is read is `textarea`."""

log = logging.getLogger(__name__)


class Corpus:
    """A corpus whose classes are the labels in its exports."""

    classes: ClassVar[tuple[str, ...]] = ()
    gated: ClassVar[bool] = False

    def clips(self, folder: Path) -> list[Clip]:
        """Return the clips by export, task and time.

        Raises:
            CorpusError: there is no .json file, one is no export or too large, a task has no media
                file, or as `to_clips`.
        """
        search = MediaSearch(folder)
        return to_clips(
            folder,
            (
                _recording(path, number, task, search)
                for path in annotation_files(folder, ".json")
                for number, task in enumerate(read_export(path)[1])
            ),
        )

    def write_labels(self, folder: Path, out: Path, proposals: Mapping[str, Proposal]) -> int:
        """Write copies of the exports with predictions to import; return their number of clips.

        They take the place of those of an earlier call. The score of a task is the confidence of
        its most doubtful clip: Label Studio sorts by it.
        """
        tiers, search, written = read_tiers(folder), MediaSearch(folder), 0
        for path in annotation_files(folder, ".json"):
            raw, tasks = read_export(path)
            template = _vote_template(path, tasks)
            for number, task in enumerate(tasks):
                clips, _ = clips_of(_recording(path, number, task, search), tiers)
                results = [
                    (_prediction(template, clip, proposals[clip.clip_id]), proposals[clip.clip_id])
                    for clip in clips
                    if clip.clip_id in proposals
                ]
                others = [
                    given
                    for given in raw[number].get("predictions") or []
                    if not (isinstance(given, dict) and given.get("model_version") == OWN)
                ]
                own = {
                    "model_version": OWN,
                    "score": min((proposal.confidence for _, proposal in results), default=0.0),
                    "result": [result for result, _ in results],
                }
                raw[number]["predictions"] = [*others, own] if results else others
                written += len(results)
            write_json(out / path.relative_to(folder), raw)
        return written


def _recording(path: Path, number: int, task: Task, search: MediaSearch) -> Recording:
    named = [text for text in task.data.values() if isinstance(text, str) and kind_of(text)]
    found = [_find(text, search) for text in named]
    media = classify(iter(found))
    if media is None:
        raise CorpusError(
            f"{path}: task {number + 1} names no video or sound in its data: label recordings"
        )
    marks = [
        Mark("", str(value), column=name.casefold())
        for name, value in task.data.items()
        if name.casefold() in FILLED and isinstance(value, str | int | float)
    ]
    finished = [given for given in task.annotations if not given.was_cancelled]
    for annotation in finished:
        marks += _marks(path, annotation)
    if not any(annotation.result for annotation in finished):
        marks.append(Mark("", "", column="label"))
    return Recording("_".join(Path(media.video or media.audio).parts), media, marks)


def _find(named: str, search: MediaSearch) -> str:
    """Return the path of a file, whose uploaded copy has another name."""
    name = PurePosixPath(named).name
    found = search.find(named, Path())
    if found == name and UPLOAD.match(name):
        return search.find(UPLOAD.sub("", name), Path())
    return found


def _marks(path: Path, annotation: Annotation) -> Iterator[Mark]:
    skipped: Counter[str] = Counter()
    by = annotation.completed_by
    person = str(by.get("id", "") if isinstance(by, dict) else "" if by is None else by)
    for result in annotation.result:
        value = result.value.get("text" if result.type == "textarea" else result.type)
        values = value if isinstance(value, list) else [value]
        is_vote = result.type in VOTES
        if result.type not in (*VOTES, "textarea") or not value or (is_vote and len(values) > 1):
            skipped[result.type] += 1
            continue
        yield Mark(
            result.from_name or result.type,
            " ".join(str(part).strip() for part in values),
            _seconds(path, result.value.get("start")) or 0.0,
            _seconds(path, result.value.get("end")),
            annotator=person if is_vote else "",
            column="transcript" if not is_vote else "label" if annotation.ground_truth else "",
        )
    if skipped:
        log.warning(
            "%s: results that are not one choice, label or text from a time in seconds to another, "
            "left out: %s",
            path, ", ".join(f"{count} {kind or 'untyped'}" for kind, count in skipped.items()),
        )  # fmt: skip


def _seconds(path: Path, value: Any) -> float | None:
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise CorpusError(f"{path}: the time {value!r} of a region is no number of seconds")
    return float(value)


def _vote_template(path: Path, tasks: list[Task]) -> Result:
    """Return a result by which predictions name the control tag and its kind."""
    for task in tasks:
        for annotation in task.annotations:
            for result in annotation.result:
                if result.type in VOTES:
                    return result
    raise CorpusError(
        f"{path}: no task has a choice or a label, so the control tag of predictions is unknown: "
        "label one task in Label Studio and export again"
    )


def _prediction(template: Result, clip: Clip, proposal: Proposal) -> dict[str, Any]:
    value = {template.type: [proposal.label]}
    times = {"start": float(clip.start or 0), "end": float(clip.end)} if clip.end else {}
    meta = {"meta": {"text": [proposal.note]}} if proposal.note else {}
    return deepcopy(
        {
            "id": f"{OWN}_{clip.clip_id}",
            "type": template.type,
            "from_name": template.from_name,
            "to_name": template.to_name,
            "value": {**value, **times},
            **meta,
        }
    )
