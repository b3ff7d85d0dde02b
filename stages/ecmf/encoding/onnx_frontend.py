"""Sound -> frames, by an ONNX file: a sound cut into parts gives the frames of the whole."""

import functools
from bisect import bisect_right
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ecmf.errors import ParamsError
from ecmf.media import SAMPLES_PER_SECOND, Samples
from ecmf.pretrained import onnx_model

Frames = NDArray[np.float32]
"""What a front end makes of a sound, (frames, bands)."""

FRAMES_AT_ONCE = 3000
"""Of a long clip; with steps of 10 ms 30 s, for which a front end needs some 20 MB."""

TOLERANCE = 1e-3
"""By how much frames of a sound in parts may differ from those of the whole."""


class FrontEnd:
    """Samples on the scale of int16 in, frames out; can be asked by several threads at once.

    `field` are the samples of one frame, `hop` those from one frame to the next: both are measured
    on silence. `dynamic_range` is how far below the loudest of what it is given at once the file
    lets a frame lie, None for any distance. Parts are lifted to what the loudest moment of the
    whole asks for; their own asks for no more, so that nothing is lost by having cut.

    Raises:
        MissingFileError: the file is no ONNX file.
        ParamsError: it gives no frames of `bands` numbers, or frames of a whole sound that are not
            those of its parts.
    """

    def __init__(self, path: Path, bands: int, dynamic_range: float | None) -> None:
        self._graph = onnx_model.read(path)
        self._path, self._bands, self._range = path, bands, dynamic_range
        self._output = self._graph.output().name
        sides = self._graph.input().sides
        if sides not in ((None, None), (1, None)):
            raise ParamsError(
                f"{path} takes {sides}: a front end takes a sound of any length, (1, samples)"
            )
        try:
            self.field, self.hop = self._measured()
            self._try()
        except onnx_model.REFUSALS as error:
            raise ParamsError(f"{path} makes no frames of a sound: {error}") from error

    def __call__(self, samples: Samples, at_once: int = FRAMES_AT_ONCE) -> Frames:
        """Make the frames that lie in `samples`, which are one at least, `at_once` at a time."""
        count = (len(samples) - self.field) // self.hop + 1
        parts = []
        for first in range(0, count, at_once):
            last = min(first + at_once, count) - 1
            parts.append(self._asked(samples[first * self.hop : last * self.hop + self.field]))
        frames = np.concatenate(parts)
        return frames if self._range is None else np.maximum(frames, frames.max() - self._range)

    def samples(self, frames: int) -> int:
        """Return how many samples so many frames speak of."""
        return (frames - 1) * self.hop + self.field

    def _asked(self, samples: Samples) -> Frames:
        sound = samples.astype(np.float32)[None]
        given = self._graph.ask(self._output, sound)
        if given.shape[-1] != self._bands or given.size != self._bands * given.shape[-2]:
            raise ParamsError(
                f"{self._path} gives {given.shape} for {sound.shape}, but the network takes frames "
                f"of {self._bands} numbers"
            )
        frames: Frames = given.reshape(-1, self._bands)
        return frames

    def _measured(self) -> tuple[int, int]:
        """Samples of one frame, and from one to the next: found by counting frames of silence."""
        count = functools.cache(lambda samples: len(self._asked(np.zeros(samples, np.int16))))

        def next_after(samples: int) -> int:
            longer = range(samples, samples + SAMPLES_PER_SECOND)
            return samples + bisect_right(longer, count(samples), key=count)

        first = next_after(SAMPLES_PER_SECOND)
        hop = next_after(first) - first
        field = first - (count(first) - 1) * hop
        if field <= 0:
            raise ParamsError(
                f"{self._path} makes frames of what lies before and behind a sound: export it "
                "without padding (center=False)"
            )
        return field, hop

    def _try(self) -> None:
        """Cut a sound into parts, loud and silent ones; raises ParamsError if that shows."""
        levels = np.repeat([0, 8000, 0, 50], SAMPLES_PER_SECOND)
        sound = (np.random.default_rng(0).normal(size=len(levels)) * levels).astype(np.int16)
        whole = self._asked(sound)
        parts = self(sound, at_once=max(1, len(whole) // 7))
        if parts.shape != whole.shape or not np.allclose(parts, whole, rtol=0, atol=TOLERANCE):
            raise ParamsError(
                f"{self._path} gives other frames for parts of a sound than for the whole, with "
                f"dynamic_range: {self._range}. If it lifts what is quiet, "
                f"{whole.max() - whole.min():.6g} may be right; if it levels a sound by its mean "
                "or deviation, it cannot be used"
            )
