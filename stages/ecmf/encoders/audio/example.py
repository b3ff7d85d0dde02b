"""Example to copy: loudness and zero crossings of each second of a voice.

The function has the name of the file and is called once per window; without `window_seconds` it is
called once per clip. The arguments after the star are the encoder's options. Silent clips are left
out before the function is called, but a window within a clip may be silent.
"""

from typing import Annotated

import numpy as np
from pydantic import Field

from ecmf.acoustics.descriptors import Waveform
from ecmf.encoding.audio_feature import audio_feature
from ecmf.encoding.feature import Vector

Floor = Annotated[float, Field(lt=0, description="Lowest level in dB of full scale.")]


@audio_feature(dim=2, window_seconds=1.0)
def example(waveform: Waveform, *, floor: Floor = -70.0) -> Vector:
    """Return the level in dB of full scale, and the zero crossings per sample."""
    power = np.mean(np.square(waveform, dtype="float64"))
    level = 10 * np.log10(max(float(power), 10 ** (floor / 10)))  # silence has no logarithm
    crossings = np.mean(np.signbit(waveform[1:]) != np.signbit(waveform[:-1]))
    return np.array([level, crossings])
