"""Collect the content of the report from the outputs of all stages."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ecmf.data.manifest import Clip
from ecmf.errors import MissingFileError
from ecmf.reporting.clip_rows import Browser
from ecmf.reporting.figures import (
    calibration,
    confusion_grid,
    coverage_rows,
    read_curves,
    symmetric_domain,
    weight_grid,
)
from ecmf.reporting.group_scores import group_tables
from ecmf.reporting.results import Results
from ecmf.reporting.summary import Line, summarise
from ecmf.storage.store import Store
from ecmf.training.model_metadata import ModelMetadata


@dataclass(frozen=True)
class Reports:
    """The JSON reports of the stages, by what they are of."""

    evaluation: Mapping[str, Any]
    details: Mapping[str, Any]
    labels: Mapping[str, Any]
    coverage: Mapping[str, Any]


def read_report(path: Path) -> dict[str, Any]:
    """Read a JSON report; raises MissingFileError."""
    if not path.is_file():
        raise MissingFileError(f"no report {path}: run `dvc repro`")
    content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return content


def missing_parts(
    clips: Sequence[Clip], frames: Store, faces: Store, audio: Store
) -> dict[str, list[str]]:
    """List which of frames, face, voice and words each clip has none of, by its id."""
    stores = {"frames": frames, "face": faces, "voice": audio}
    return {
        clip.clip_id: [
            *(name for name, store in stores.items() if not store.count(clip.clip_id)),
            *([] if clip.transcript else ["words"]),
        ]
        for clip in clips
    }


def report_content(
    corpus: str,
    results: Results,
    metadata: ModelMetadata,
    reports: Reports,
    curves: Path,
    missing: Mapping[str, Sequence[str]],
    voters: Sequence[str],
    shown: Browser,
) -> dict[str, Any]:
    """Return the values that `templates/report.html` names."""
    summary = summarise(corpus, results, metadata, reports.evaluation, reports.details)
    main = next(iter(reports.evaluation["test"]))
    sources = reports.details.get("sources", {})
    return {
        "summary": summary,
        "test": reports.evaluation["test"],
        "val": _validation_line(reports, main),
        "confusion": confusion_grid(results),
        "weights": weight_grid(results),
        "calibration": calibration(results),
        "curves": read_curves(curves, summary.score_name),
        "sources": sources,
        "domain": symmetric_domain(sources),
        "left_out": reports.details.get("left_out", {}),
        "groups": group_tables(results, missing),
        "coverage": coverage_rows(reports.coverage),
        "labels": reports.labels,
        "browser": shown,
        "clip_data": {"classes": list(results.classes), "voters": voters, "clips": shown.rows},
    }


def _validation_line(reports: Reports, main: str) -> Line | None:
    """Return the score of the validation clips, None without any."""
    if "val" not in reports.evaluation:
        return None
    scores = {**reports.details["val"], **reports.evaluation["val"]}
    return Line("validation clips", scores[main], scores[f"{main}_low"], scores[f"{main}_high"])
