"""FFmpeg through decord, frame after frame, and only what can be proved to be the right frames.

decord never says which frame it gives: where one is lost it repeats another, and after a seek in a
transport stream all of them are a group of pictures late. So nothing is sought here. The timestamps
decord lists must be those of the file, and every frame must be decoded, from the first to the last,
without one repetition; then each is the one its place says. A video that fails this is not used:
`pyav` may read it. Only the pictures of frames nobody wants are not made.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import decord
import numpy as np

from ecmf.config import Section
from ecmf.decoding.base import Footage
from ecmf.decoding.demuxer import Reel
from ecmf.errors import ClipError
from ecmf.media import RGB
from ecmf.storage.jpeg import shrink

NO_REPETITION = 1e-9
"""Share of repeated frames decord may give before it raises; its `fault_tol=1` lets one pass."""

TOLERANCE = 0.002
"""Seconds by which two timestamps of one frame may differ: decord's have 32 bits."""

OTHERWISE = "`decoder: pyav` may read it"


class Options(Section):
    """Nothing to choose."""


class Decoder:
    """Decode a file from its first to its last frame, in one thread."""

    def __init__(self, options: Options) -> None:
        decord.logging.set_level(decord.logging.QUIET)
        self.provenance: Mapping[str, Any] = {"decord": decord.__version__}

    def __call__(self, reel: Reel, frames: int, longest_side: int) -> Footage:
        """Decode the reel; a truncated file is decoded up to where it breaks off."""
        timeline = reel.timeline
        chosen = timeline.uniform(frames)
        wanted = set(chosen.tolist())
        images: list[RGB] = []
        try:
            with _intact(reel) as path:
                reader = decord.VideoReader(str(path), num_threads=1, fault_tol=NO_REPETITION)
                _check_timestamps(reader, reel)
                upcoming = 0
                for number in _asked(reader, wanted, len(timeline.stamps) - 1):
                    if number > upcoming:
                        reader.skip_frames(number - upcoming)
                    frame, upcoming = reader.next(), number + 1
                    if number in wanted:
                        images.append(shrink(frame.asnumpy(), longest_side))
        except (decord.DECORDError, decord.DECORDLimitReachedError, StopIteration) as error:
            # How far it came depends on the timing of its threads; a reason may not.
            raise ClipError(
                f"decord does not give all of its {len(timeline.stamps)} frames: {OTHERWISE}"
            ) from error
        return Footage(images, timeline.times[chosen], timeline)


def _asked(reader: Any, wanted: set[int], last: int) -> list[int]:
    """List the frames to ask for, the others are skipped: decoded, but not made into pictures.

    Over a key frame `skip_frames` would seek, and it takes the end of the file for a frame: so the
    key frames, those before them and the last one are asked for, wanted or not.
    """
    keys = [int(key) for key in reader.get_key_indices()]
    before = range(keys[0] if keys else last)
    asked = {*wanted, *keys, *(key - 1 for key in keys), *before, last}
    return sorted(asked & set(range(last + 1)))


@contextmanager
def _intact(reel: Reel) -> Iterator[Path]:
    """Yield a file without a picture that is cut in two: decord would give up well before it."""
    if reel.cut_at is None:
        yield reel.path
        return
    with tempfile.NamedTemporaryFile(suffix=reel.path.suffix) as copy:
        copy.write(reel.path.read_bytes()[: reel.cut_at])
        copy.flush()
        yield Path(copy.name)


def _check_timestamps(reader: Any, reel: Reel) -> None:
    """Refuse a reader that does not list every frame of the file at its time, or others besides."""
    listed = np.sort(reader.get_frame_timestamp(np.arange(len(reader)))[:, 0])
    begin = (reel.stream.start_time or 0) * reel.timeline.unit
    expected = reel.starts_at + reel.timeline.times - begin
    nearest = np.searchsorted(listed, expected - TOLERANCE).clip(max=len(listed) - 1)
    astray = int((np.abs(listed[nearest] - expected) > TOLERANCE).sum())
    between = (listed > expected[0] - TOLERANCE) & (listed < expected[-1] + TOLERANCE)
    astray = max(astray, abs(int(between.sum()) - len(expected)))
    if astray:
        raise ClipError(
            f"decord gives {astray} of its {len(expected)} frames other timestamps than the file, "
            f"so it cannot be trusted: {OTHERWISE}"
        )
