"""Split a long waveform into windows that a recogniser takes, at quiet places."""

from collections.abc import Iterator

import numpy as np

from ecmf.media import SAMPLE_RATE, Samples

FRAME = SAMPLE_RATE // 10
"""Samples of a stretch whose level is compared: 0.1 s."""


def split_at_pauses(samples: Samples, longest_seconds: float) -> Iterator[tuple[float, Samples]]:
    """Yield the start in seconds and the samples of each window, which follow one another.

    A window ends in the middle of the quietest tenth of a second in its last third.
    """
    longest = int(longest_seconds * SAMPLE_RATE)
    first = 0
    while len(samples) - first > longest:
        search = first + 2 * longest // 3
        frames = samples[search : first + longest].astype("float32")
        levels = np.square(frames[: len(frames) // FRAME * FRAME].reshape(-1, FRAME)).sum(axis=1)
        end = search + int(levels.argmin()) * FRAME + FRAME // 2
        yield first / SAMPLE_RATE, samples[first:end]
        first = end
    yield first / SAMPLE_RATE, samples[first:]
