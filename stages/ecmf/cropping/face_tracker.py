"""Link the faces of successive frames into tracks and choose the track of the main person.

Faces are linked by position, not by identity: after a cut to another person at the same place of
the frame, the track continues with that person.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from ecmf.cropping.base import Face

MAX_CENTRE_SHIFT = 1.0
"""Largest shift of a face's centre between two detections, in sides of its box.

Frames may be a third of a second apart, in which a lively speaker moves by most of a face's width;
two people side by side are farther apart."""

MAX_SIZE_RATIO = 2.0
"""Largest factor by which a face grows or shrinks between two detections."""


@dataclass
class _Track:
    faces: dict[int, Face] = field(default_factory=dict)
    """Face by the index of its frame."""

    @property
    def last(self) -> Face:
        return next(reversed(self.faces.values()))

    @property
    def area_sum(self) -> float:
        """Sum of the areas of its faces, large for a person who is near and visible for long."""
        return sum(face.width * face.height for face in self.faces.values())


def track_main_face(frames: Sequence[Sequence[Face]]) -> list[Face | None]:
    """Return the face of the clip's main person in each frame, or None where it is not detected.

    In each frame, the nearest pair of a track and a face is linked, then the next nearest, until
    none is near enough; every remaining face starts a track. A person who is missed in some frames
    is linked again near the last detection. The main person's track has the largest sum of areas;
    scores are not used, since their scales differ.

    Args:
        frames: The faces of each frame, in order of time.
    """
    tracks: list[_Track] = []
    for index, faces in enumerate(frames):
        free_faces = list(range(len(faces)))
        free_tracks = list(range(len(tracks)))
        pairs = sorted(
            (distance, track, face)
            for track in free_tracks
            for face in free_faces
            if (distance := _link_distance(tracks[track].last, faces[face])) is not None
        )
        for _, track, face in pairs:
            if track in free_tracks and face in free_faces:
                free_tracks.remove(track)
                free_faces.remove(face)
                tracks[track].faces[index] = faces[face]
        tracks += [_Track({index: faces[face]}) for face in free_faces]
    main = max(tracks, key=lambda track: track.area_sum, default=_Track())
    return [main.faces.get(index) for index in range(len(frames))]


def _link_distance(before: Face, after: Face) -> float | None:
    """Return the shift of the centre in sides of the box, or None if the faces cannot be linked."""
    side_before, side_after = (max(face.width, face.height) for face in (before, after))
    ratio = max(side_before, side_after) / min(side_before, side_after)
    across = (after.left + after.right - before.left - before.right) / 2
    down = (after.top + after.bottom - before.top - before.bottom) / 2
    shift = float((across**2 + down**2) ** 0.5) / ((side_before + side_after) / 2)
    return shift if shift < MAX_CENTRE_SHIFT and ratio <= MAX_SIZE_RATIO else None
