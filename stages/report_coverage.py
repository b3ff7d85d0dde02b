"""Count the clips of every store by state: whole, empty, flagged or failed."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from ecmf.cli import stage
from ecmf.data.enriched_text import read_texts
from ecmf.params import Sources
from ecmf.storage.files import write_csv, write_text
from ecmf.storage.store import STATES, State, Store


def report_coverage(
    frames: Path,
    audio: Path,
    faces: Path,
    text: Path,
    features: Path,
    coverage: Path,
    incomplete: Path,
    sources: Sources,
) -> None:
    """Write the counts of all stores to `coverage`, and the clips not whole to `incomplete`.

    The clips are in a separate file because ids of a gated corpus must not be committed.
    """
    stores = {"frames": frames, "audio": audio, "faces": faces, **sources.paths(features)}
    rows: dict[str, list[tuple[str, State, str]]] = {}
    for name, path in stores.items():
        with Store(path) as store:
            rows[name] = [(clip_id, *store.state(clip_id)) for clip_id in store]
    rows["text"] = [(record.clip_id, record.state, record.reason) for record in read_texts(text)]
    report = {name: _count(state for _, state, _ in clips) for name, clips in rows.items()}
    write_text(coverage, json.dumps(report, indent=2) + "\n")
    lines = [(name, *clip) for name, clips in rows.items() for clip in clips if clip[1] != "whole"]
    write_csv(incomplete, [("store", "clip_id", "state", "reason"), *lines])


def _count(states: Iterable[State]) -> dict[str, int]:
    counts: Counter[str] = Counter(dict.fromkeys(STATES, 0))
    counts.update(states)
    return {"clips": counts.total(), **counts}


if __name__ == "__main__":
    stage.main(report_coverage)
