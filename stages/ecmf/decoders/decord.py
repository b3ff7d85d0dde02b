"""FFmpeg through decord, frame after frame, and only what can be proved to be the right frames.

decord never says which frame it gives: where one is lost it repeats another, and after a seek in a
transport stream all of them are a group of pictures late. So nothing is sought or skipped here. The
timestamps decord lists must be those of the file, and every frame must come, from the first to the
last, without one repetition; then each is the one its place says. A video that fails this is not
used: `pyav` may read it.
"""

import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import decord
import numpy as np

from ecmf.decoders.base import Footage
from ecmf.errors import ClipError
from ecmf.media import RGB
from ecmf.pictures import shrink
from ecmf.recording import Reel
from ecmf.section import Section

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
                for number in range(len(timeline.stamps)):
                    frame = reader.next()
                    if number in wanted:
                        images.append(shrink(frame.asnumpy(), longest_side))
        except (decord.DECORDError, decord.DECORDLimitReachedError, StopIteration) as error:
            # How far it came depends on the timing of its threads; a reason may not.
            raise ClipError(
                f"decord does not give all of its {len(timeline.stamps)} frames: {OTHERWISE}"
            ) from error
        return Footage(images, timeline.times[chosen], timeline)


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
    """Refuse a reader that does not list every frame of the file at its time."""
    listed = np.sort(reader.get_frame_timestamp(np.arange(len(reader)))[:, 0])
    begin = (reel.stream.start_time or 0) * reel.timeline.unit
    expected = reel.starts_at + reel.timeline.times - begin
    nearest = np.searchsorted(listed, expected - TOLERANCE).clip(max=len(listed) - 1)
    astray = int((np.abs(listed[nearest] - expected) > TOLERANCE).sum())
    if astray:
        raise ClipError(
            f"decord gives {astray} of its {len(expected)} frames other timestamps than the file, "
            f"so it cannot be trusted: {OTHERWISE}"
        )
