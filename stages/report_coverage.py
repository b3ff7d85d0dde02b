"""Every store -> how many clips came through whole, empty, flagged or failed, and why."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ecmf import stage
from ecmf.enrichment import read_texts
from ecmf.files import write_text
from ecmf.params import Sources
from ecmf.store import STATES, State, Store


def report_coverage(
    frames: Path,
    audio: Path,
    faces: Path,
    text: Path,
    features: Path,
    coverage: Path,
    sources: Sources,
) -> None:
    """Count the clips of every stage; those that are not whole are listed with their reason."""
    stores = {"frames": frames, "audio": audio, "faces": faces, **sources.paths(features)}
    report = {}
    for name, path in stores.items():
        with Store(path) as store:
            report[name] = _count((clip_id, *store.state(clip_id)) for clip_id in store)
    report["text"] = _count(
        (record.clip_id, record.state, record.reason) for record in read_texts(text)
    )
    write_text(coverage, json.dumps(report, indent=2, ensure_ascii=False) + "\n")


def _count(clips: Iterable[tuple[str, State, str]]) -> dict[str, Any]:
    """Clips per state, and per reason the ids of those that are not whole."""
    counts: Counter[str] = Counter(dict.fromkeys(STATES, 0))
    reasons: dict[str, dict[str, list[str]]] = {state: {} for state in STATES if state != "whole"}
    for clip_id, state, reason in clips:
        counts[state] += 1
        if state != "whole":
            reasons[state].setdefault(reason, []).append(clip_id)
    listed = {state: why for state, why in reasons.items() if why}
    return {"clips": counts.total(), **counts, **({"why": listed} if listed else {})}


if __name__ == "__main__":
    stage.main(report_coverage)
