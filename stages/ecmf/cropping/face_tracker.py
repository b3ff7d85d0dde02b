"""The faces of successive pictures -> the one person of the clip.

Faces are linked by where they are, not by who they are: nobody is recognised. After a cut to
another person at the same place of the picture, the track goes on with that person.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ecmf.cropping.base import Face

MAXIMUM_STEP = 1.0
"""How far a face may move from one sight to the next, in sides of its box.

Pictures may be a third of a second apart, in which a lively speaker leans by most of a face's
width; two people side by side are farther apart than this."""

MAXIMUM_GROWTH = 2.0
"""By which factor a face may grow or shrink from one sight to the next."""


@dataclass
class _Track:
    faces: dict[int, Face] = field(default_factory=dict)
    """Number of the picture -> the face in it."""

    @property
    def last(self) -> Face:
        return next(reversed(self.faces.values()))

    @property
    def presence(self) -> float:
        """The area of all its faces: large for who is near and seen for long."""
        return sum(face.width * face.height for face in self.faces.values())


def follow(pictures: Sequence[Sequence[Face]]) -> list[Face | None]:
    """Return the face of the clip's main person in each picture, or None where it is not seen.

    Each picture in turn: the pair of a track and a face that lie nearest are one person, then the
    next nearest, until none is near enough; a face that is left begins a track. A person who is
    missed for some pictures is found again where they were last seen. The main person is the one
    with the largest presence, area times pictures; scores do not vote, since their scales differ.

    Args:
        pictures: The faces of each picture, in order of time.
    """
    tracks: list[_Track] = []
    for number, faces in enumerate(pictures):
        free = list(range(len(faces)))
        waiting = list(range(len(tracks)))
        pairs = sorted(
            (step, track, face)
            for track in waiting
            for face in free
            if (step := _step(tracks[track].last, faces[face])) is not None
        )
        for _, track, face in pairs:
            if track in waiting and face in free:
                waiting.remove(track)
                free.remove(face)
                tracks[track].faces[number] = faces[face]
        tracks += [_Track({number: faces[face]}) for face in free]
    main = max(tracks, key=lambda track: track.presence, default=_Track())
    return [main.faces.get(number) for number in range(len(pictures))]


def _step(before: Face, after: Face) -> float | None:
    """Return how far a face moved, in sides of its box, or None if this is somebody else."""
    side_before, side_after = (max(face.width, face.height) for face in (before, after))
    growth = max(side_before, side_after) / min(side_before, side_after)
    across = (after.left + after.right - before.left - before.right) / 2
    down = (after.top + after.bottom - before.top - before.bottom) / 2
    step = float((across**2 + down**2) ** 0.5) / ((side_before + side_after) / 2)
    return step if step < MAXIMUM_STEP and growth <= MAXIMUM_GROWTH else None
