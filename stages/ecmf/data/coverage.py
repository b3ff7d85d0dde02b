"""Collect how many clips came through each stage, and why the others did not."""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from ecmf.data.enriched_text import EnrichedText
from ecmf.storage.store import STATES, State, Store

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


def incomplete_clips(states: States) -> list[tuple[str, ...]]:
    """List the clips that are not whole, below a header: store, clip id, state and reason."""
    rows = [(name, *clip) for name, clips in states.items() for clip in clips if clip[1] != "whole"]
    return [("store", "clip_id", "state", "reason"), *rows]
