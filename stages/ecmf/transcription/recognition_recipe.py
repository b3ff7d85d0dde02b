"""Recognise clips in threads of this process: as many at once as the model or the server takes."""

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import chain, islice

import numpy as np

from ecmf.errors import ClipError
from ecmf.execution.clip_errors import failing_one_clip
from ecmf.execution.process_pool import Failure
from ecmf.execution.recipe import Load, Recipe
from ecmf.media import Samples
from ecmf.storage.json_rows import to_rows
from ecmf.storage.store import Result
from ecmf.transcription.base import Recogniser, Recognition

PROTOCOL = 1
"""Increment it when the stored form of a recognition changes, or which clips are silent."""

SILENT_BELOW = 33
"""Peak of a waveform, of 32,768, below which it is silence: -60 dB of full scale. The noise of a
quiet room recorded at a usual level is above it."""


@dataclass(frozen=True)
class Speech:
    """Waveform of a clip, and the code of its language; empty if that is to be detected."""

    samples: Samples
    language: str


@dataclass(frozen=True)
class RecognitionRecipe(Recipe):
    """Recognise the words of clips, up to `in_flight` at once, with the model that `open` loads."""

    open: Callable[[], Recogniser]
    in_flight: int
    on_gpu: bool

    @property
    def on_device(self) -> bool:
        """Return whether the model runs on a GPU of this process."""
        return self.on_gpu

    def __call__(
        self, items: Iterable[tuple[str, Load]], processes: int
    ) -> Iterator[tuple[str, Result | Failure]]:
        """Yield the recognitions in the order of the items; `processes` is ignored."""
        rest = iter(items)
        first = list(islice(rest, 1))
        if not first:  # everything is cached: no server or weights are needed
            return
        running: deque[tuple[str, Future[Result | Failure]]] = deque()
        with closing(self.open()) as recogniser, ThreadPoolExecutor(self.in_flight) as threads:
            try:
                for key, load in chain(first, rest):
                    running.append((key, threads.submit(_recognise, recogniser, load)))
                    if len(running) > self.in_flight:
                        yield _ended(*running.popleft())
                while running:
                    yield _ended(*running.popleft())
            finally:
                threads.shutdown(wait=True, cancel_futures=True)


def _ended(key: str, future: Future[Result | Failure]) -> tuple[str, Result | Failure]:
    return key, future.result()


def _recognise(recogniser: Recogniser, load: Load) -> Result | Failure:
    speech: Speech = load()
    try:
        with failing_one_clip():
            if is_silent(speech.samples):
                return (to_rows(Recognition(silence="silence")),)
            return (to_rows(recogniser(speech.samples, speech.language)),)
    except ClipError as error:
        return Failure(str(error))


def is_silent(samples: Samples) -> bool:
    """Return whether no sample of a waveform reaches SILENT_BELOW."""
    return not len(samples) or int(np.abs(samples.astype("int32")).max()) < SILENT_BELOW
