"""Turn a plain function of a waveform into an encoder: `@audio_feature(dim=2, window_seconds=1)`.

It is apart from `feature`, so that encoders of images and texts do not depend on acoustics.
"""

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from ecmf.acoustics.descriptors import MIN_SECONDS, Waveform, trim_silence
from ecmf.encoding.feature import Function, FunctionEncoder, attach
from ecmf.errors import PluginError
from ecmf.media import SAMPLE_RATE, Audio


class AudioEncoder(FunctionEncoder):
    """Encode the waveform of a clip as one row at time 0, or each window as a row at its centre.

    All windows have the same length; the last one ends with the clip, so it may overlap the one
    before. Silence, and audio shorter than MIN_SECONDS, has no row.
    """

    window_seconds: ClassVar[float | None]

    def inputs(self, clip: Any) -> tuple[Sequence[Waveform], NDArray[np.float64]]:
        """Return the waveform, or its windows with the time of their centres."""
        if not isinstance(clip, Audio):
            raise PluginError(
                f"{self.function.__name__} takes a waveform, not {type(clip).__name__}: decorate "
                "a function of images or texts with ecmf.encoding.feature"
            )
        waveform, _ = trim_silence(clip.samples, top_db=None)
        if not len(waveform):
            return [], np.zeros(0)
        if self.window_seconds is None:
            return [waveform], np.zeros(1)
        width = min(len(waveform), round(self.window_seconds * SAMPLE_RATE))
        last = len(waveform) - width
        starts = np.array([*range(0, last, width), last])
        windows = [waveform[start : start + width] for start in starts]
        return windows, (starts + width / 2) / SAMPLE_RATE


def audio_feature(dim: int, window_seconds: float | None = None) -> Callable[[Function], Function]:
    """Make a function (waveform: Waveform) that returns `dim` numbers an encoder.

    The waveform is float32 in -1..1 at 16 kHz, (samples,).

    Raises:
        PluginError: the function has other arguments than one input and keyword-only options, or
            the windows are too short to hear anything in them.
    """
    if window_seconds is not None and window_seconds < MIN_SECONDS:
        raise PluginError(
            f"window_seconds is {window_seconds}: make it at least {MIN_SECONDS}, or leave it out "
            "for one row per clip"
        )
    attributes = {"dim": dim, "window_seconds": window_seconds}
    return lambda function: attach(function, AudioEncoder, attributes)
