"""Collect what the refinement proposes for labels, to be shown in a labelling tool."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, Protocol

from ecmf.data.annotation import OWN
from ecmf.data.manifest import Clip


@dataclass(frozen=True)
class Proposal:
    """The refined label of a clip.

    `confidence` falls from 1 to 0 as the entropy of its votes rises to that of equal votes for all
    classes. `note` gives a clip in doubt its entropy, decision, reason and votes; else it is empty.
    """

    label: str
    confidence: float
    note: str = ""


class LabelWriter(Protocol):
    """A corpus of a labelling tool."""

    def write_labels(self, folder: Path, out: Path, proposals: Mapping[str, Proposal]) -> int:
        """Write the annotations of `folder` with the proposals to `out`; return how many."""
        ...


class Timed(NamedTuple):
    """A proposal and its time in seconds."""

    start: float
    end: float
    proposal: Proposal


def timed(
    clips: Sequence[Clip], proposals: Mapping[str, Proposal], end: float, offset: float = 0.0
) -> list[Timed]:
    """Return the proposals for `clips` by time; none ends after `end`."""
    found = (
        Timed(
            float(clip.start or 0) - offset,
            min(float(clip.end) - offset, end) if clip.end else end,
            proposals[clip.clip_id],
        )
        for clip in clips
        if clip.clip_id in proposals
    )
    return sorted(found, key=lambda item: item[:2])


def own_tiers(found: Sequence[Timed]) -> Iterator[tuple[str, list[tuple[float, float, str]]]]:
    """Yield the names and the spans of tiers without overlaps: labels, then what is in doubt."""
    doubts = [item for item in found if item.proposal.note]
    for name, items in ((OWN, found), (f"{OWN}_doubt", doubts)):
        for number, layer in enumerate(_without_overlap(items), 1):
            yield (
                name if number == 1 else f"{name}_{number}",
                [
                    (start, end, proposal.label if name == OWN else proposal.note)
                    for start, end, proposal in layer
                ],
            )


def _without_overlap(items: Sequence[Timed]) -> list[list[Timed]]:
    layers: list[list[Timed]] = []
    for item in items:
        free = (layer for layer in layers if layer[-1].end <= item.start)
        layer = next(free, None)
        if layer is None:
            layers.append([item])
        else:
            layer.append(item)
    return layers
