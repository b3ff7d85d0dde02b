"""Collect how many clips came through each stage, why the others did not, and what was seen."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ecmf.data.enriched_text import EnrichedText
from ecmf.storage.store import STATES, State, Store

QUANTILES = {"5 %": 0.05, "median": 0.5, "95 %": 0.95}

States = Mapping[str, Sequence[tuple[str, State, str]]]
"""Clip id, state and reason of every clip, by the name of the store."""


def read_states(stores: Mapping[str, Path], texts: Iterable[EnrichedText]) -> States:
    """Read the state of every clip in each store, and in the enriched texts."""
    states: dict[str, Sequence[tuple[str, State, str]]] = {}
    for name, path in stores.items():
        with Store(path) as store:
            states[name] = [(clip_id, *store.state(clip_id)) for clip_id in store]
    states["text"] = [(record.clip_id, record.state, record.reason) for record in texts]
    return states


def count_states(states: States) -> dict[str, dict[str, int]]:
    """Count the clips of each store by state."""
    counts = {}
    for name, clips in states.items():
        found: Counter[str] = Counter(dict.fromkeys(STATES, 0))
        found.update(state for _, state, _ in clips)
        counts[name] = {"clips": len(clips), **found}
    return counts


def count_faces(faces: Path) -> dict[str, Any]:
    """Count the frames with the main person's face, and the clips with several faces or with none.

    A clip without a face had its frames searched; one that was not searched has no video, or its
    video failed (`count_states` of the frames tells which).

    `face_height` has quantiles over the clips, in pixels of the file, of the median height of the
    main person's face; null if no clip has a face.
    """
    with Store(faces) as store:
        searched = store.facts.get("frames", np.zeros(len(store))) > 0
        facts = {name: values[~np.isnan(values)] for name, values in store.facts.items()}
        faces_found = np.diff(store.starts) > 0
    none = np.empty(0)
    heights = facts.get("face_height", none)
    quantiles = np.quantile(heights, list(QUANTILES.values())) if len(heights) else None
    return {
        "frames": int(facts.get("frames", none).sum()),
        "frames_with_a_face": int(facts.get("faces", none).sum()),
        "clips_without_a_face": int((searched & ~faces_found).sum()),
        "clips_not_searched": int((~searched).sum()),
        "clips_with_several_faces": int((facts.get("several_faces", none) > 0).sum()),
        "face_height": quantiles if quantiles is None
        else dict(zip(QUANTILES, quantiles.round(1).tolist(), strict=True)),
    }  # fmt: skip


def incomplete_clips(states: States) -> list[tuple[str, ...]]:
    """List the clips that are not whole, below a header: store, clip id, state and reason."""
    rows = [(name, *clip) for name, clips in states.items() for clip in clips if clip[1] != "whole"]
    return [("store", "clip_id", "state", "reason"), *rows]
