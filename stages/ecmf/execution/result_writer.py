"""Write the results of all clips into stores, and count the clips that failed.

A failed clip has no rows, and its reason. If more clips failed than the error budget allows, no
store is written.
"""

import logging
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple, Self

from ecmf.execution.clip_log import log_clip
from ecmf.execution.error_budget import check_budget
from ecmf.execution.process_pool import Failure
from ecmf.storage.store import STATES, Layout, Result, Rows, State, no_rows
from ecmf.storage.store_writer import StoreWriter

log = logging.getLogger(__name__)


class OutputStore(NamedTuple):
    """A store to write: its path, the layout of its rows, and its provenance."""

    path: Path
    layout: Layout
    provenance: Mapping[str, Any]


class ResultWriter:
    """Write one store per part of a result; the files appear only when all are complete.

    Attributes:
        rows: Number of rows written so far, in all stores.
        flagged: Reason of each flagged clip.
    """

    def __init__(self, *stores: OutputStore) -> None:
        self.rows = 0
        self.flagged: dict[str, str] = {}
        self._stores = stores
        self._writers: list[StoreWriter] = []
        self._files = ExitStack()

    def write(self, results: Iterable[tuple[str, Result | Failure]], budget: float) -> None:
        """Append every clip, and log the number of clips in each state.

        Failed clips are listed beside the first store if they are too many.

        Raises:
            ErrorBudgetError: a larger fraction of the clips than `budget` failed.
        """
        failed: dict[str, str] = {}
        states: Counter[str] = Counter()
        for clip_id, result in results:
            parts = self._parts(result)
            for writer, rows in zip(self._writers, parts, strict=True):
                writer.append(clip_id, rows)
                self.rows += len(rows)
            named = {store.path.stem: rows for store, rows in zip(self._stores, parts, strict=True)}
            if reason := join_reasons(named, "failed"):
                failed[clip_id] = reason
            if reason := join_reasons(named, "flagged"):
                self.flagged[clip_id] = reason
            state = max((rows.state for rows in parts), key=STATES.index)
            states[state] += 1
            if state != "whole":
                log_clip(clip_id, state, join_reasons(named, state))
        listing = self._stores[0].path.with_suffix(".failed.csv")
        check_budget(failed, states.total(), budget, listing)
        for writer in self._writers:  # on a full disk none of the stores gets its name
            writer.finish()
        counts = (f"{states[state]} {state}" for state in STATES if states[state])
        log.info("clips: %s", ", ".join(counts))

    def _parts(self, result: Result | Failure) -> Result:
        if isinstance(result, Failure):
            return tuple(no_rows(store.layout, "failed", result.reason) for store in self._stores)
        return result

    def __enter__(self) -> Self:
        """Use as `with ResultWriter(store, …) as out:`."""
        with ExitStack() as files:
            self._writers = [files.enter_context(StoreWriter(*store)) for store in self._stores]
            self._files = files.pop_all()
        return self

    def __exit__(self, *error: Any) -> None:
        """Finish the stores if the block ended without an error, else leave nothing behind."""
        self._files.__exit__(*error)


def write_results(
    results: Iterable[tuple[str, Result | Failure]], stores: Sequence[OutputStore], budget: float
) -> Mapping[str, str]:
    """Write all results into `stores`; return the reason of each flagged clip."""
    with ResultWriter(*stores) as out:
        out.write(results, budget)
    return out.flagged


def join_reasons(parts: Mapping[str, Rows], state: State) -> str:
    """Join the reasons of the parts of a result in a state; one that all share is named once."""
    reasons = {name: rows.reason for name, rows in parts.items() if rows.state == state}
    if len(reasons) == len(parts) and len(set(reasons.values())) == 1:
        return next(iter(reasons.values()))
    return "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
