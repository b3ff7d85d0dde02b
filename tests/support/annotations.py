"""Annotations of two emotions in one recording, as each labelling tool writes them."""

import json
from pathlib import Path
from typing import Any

import pytest

MEDIA = b"a recording"


def textgrid(folder: Path, name: str = "talk", **tiers: list[tuple[float, float, str]]) -> Path:
    """Write a TextGrid with `praatio`, and its recording."""
    praat = pytest.importorskip("praatio.textgrid", reason="the extra `labels` is not installed")
    grid = praat.Textgrid(0, 10)
    for tier, intervals in tiers.items():
        grid.addTier(praat.IntervalTier(tier, intervals, 0, 10))
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.wav").write_bytes(MEDIA)
    path = folder / f"{name}.TextGrid"
    grid.save(str(path), "long_textgrid", includeBlankSpaces=True)
    return path


def eaf(folder: Path, *tiers: tuple[dict[str, str], list[tuple[int, int, str]]]) -> Any:
    """Return an annotation made with `pympi` of `talk.mp4`, which is written; times in ms."""
    elan = pytest.importorskip("pympi.Elan", reason="the extra `labels` is not installed")
    pytest.importorskip("defusedxml", reason="the extra `labels` is not installed")
    document = elan.Eaf(author="ann")
    document.remove_tier("default")
    document.add_linked_file("file:///C:/films/talk.mp4", "./talk.mp4", "video/mp4")
    for attributes, annotations in tiers:
        document.add_tier(**attributes)
        for start, end, text in annotations:
            document.add_annotation(attributes["tier_id"], start, end, text)
    (folder / "talk.mp4").write_bytes(MEDIA)
    document.to_file(str(folder / "talk.eaf"))
    return document


def region(kind: str, value: str, start: float | None = None, end: float | None = None) -> Any:
    """Return a result of Label Studio."""
    times = {} if start is None else {"start": start, "end": end}
    return {
        "id": "x", "type": kind, "from_name": kind, "to_name": "audio", "origin": "manual",
        "value": {"text" if kind == "textarea" else kind: [value], **times},
    }  # fmt: skip


def task(data: dict[str, Any], **results: list[Any]) -> Any:
    """Return a task with an annotation per person; `p7` is the person 7."""
    return {
        "id": 1,
        "data": data,
        "annotations": [
            {"id": 5, "completed_by": int(person[1:]), "result": found, "was_cancelled": False}
            for person, found in results.items()
        ],
        "predictions": [],
    }


def export(folder: Path, *tasks: Any) -> Path:
    """Write an export of Label Studio."""
    path = folder / "export.json"
    path.write_text(json.dumps(tasks))
    return path


def database(folder: Path, rows: list[tuple[str, str, str, str]], rater: str = "human") -> Any:
    """Write a database with `audformat`: file, start, end and label of each row; return it."""
    audformat = pytest.importorskip("audformat", reason="the extra `labels` is not installed")
    made = audformat.Database("mine")
    labels = sorted({label for *_, label in rows if label})
    made.schemes["emotion"] = audformat.Scheme("str", labels=labels)
    made.raters["ann"] = audformat.Rater(rater)
    files, starts, ends, values = zip(*rows, strict=True)
    made["segments"] = audformat.Table(audformat.segmented_index(files, starts, ends))
    made["segments"]["emotion"] = audformat.Column(scheme_id="emotion", rater_id="ann")
    made["segments"]["emotion"].set([value or None for value in values])
    for file in set(files):
        (folder / file).write_bytes(MEDIA)
    made.save(str(folder), storage_format="csv")
    return made
