"""Check the integrity of a file: its declared length against the decoded one, gaps, damage."""

from collections.abc import Iterator, Mapping

import numpy as np

from ecmf.decoding.audio_decoder import AudioTrack
from ecmf.decoding.demuxer import TOLERANCE
from ecmf.decoding.frame_times import Timeline

GAP = 0.5
"""Shortest pause in seconds between two frames that can be a hole in the file."""

GAP_RATIO = 5
"""A pause is a hole if it is this many times as long as nearly all other intervals of the video.

The intervals of a recorded screen vary, and its longest pause is nothing unusual."""

USUAL_QUANTILE = 0.95


def frame_warnings(
    facts: Mapping[str, float], timeline: Timeline, *, counted: bool
) -> Iterator[str]:
    """Yield the defects of a video from its facts and the timestamps of its decoded frames.

    If the header has `counted` the frames, a pause between them is no hole.
    """
    short = facts["decoded_seconds"] < facts["claimed_seconds"] - TOLERANCE
    if short or facts["decoded_frames"] < facts["claimed_frames"]:
        claimed, decoded = (
            f"{facts[f'{side}_frames']:.0f} frames / {facts[f'{side}_seconds']:.2f} s"
            for side in ("claimed", "decoded")
        )
        yield f"truncated or damaged: claims {claimed}, {decoded} could be decoded"
    if facts["damaged_frames"]:
        yield f"{facts['damaged_frames']:.0f} frames are damaged, or may be, as FFmpeg reports"
    if timeline.duplicates:
        yield f"{timeline.duplicates} frames repeat the timestamp of another"
    if not counted:
        yield from _holes(timeline)


def _holes(timeline: Timeline) -> Iterator[str]:
    times = timeline.times
    intervals = np.diff(times)
    if not len(intervals):
        return
    usual = float(np.quantile(intervals, USUAL_QUANTILE, method="lower"))
    for index in np.flatnonzero(intervals > max(GAP, GAP_RATIO * usual)):
        yield (
            f"no frame between {times[index]:.2f} and {times[index + 1]:.2f} s: "
            "a hole in the file, or a recording that was paused"
        )


def audio_warnings(facts: Mapping[str, float], track: AudioTrack) -> Iterator[str]:
    """Yield the defects of an audio track, from its facts and what was seen in decoding it."""
    if facts["decoded_seconds"] < facts["claimed_seconds"] - TOLERANCE:
        yield (
            f"truncated or damaged: claims {facts['claimed_seconds']:.2f} s of sound, "
            f"{facts['decoded_seconds']:.2f} s could be decoded"
        )
    if track.corrupt_packets:
        yield f"{track.corrupt_packets} packets of sound are torn or could not be decoded"
    if track.missing_seconds:
        yield f"{track.missing_seconds:.2f} s of sound are missing between its timestamps"
    if len(track.samples) and not track.samples.any():
        yield "silence: every sample is 0"
