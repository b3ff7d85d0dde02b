"""Run chunks of many clips through one network: full batches of one shape, prefetched.

All batches of a shape have the same number of chunks: an incomplete one is filled up with copies of
its last chunk. On one device the result of a chunk is then the same to the bit in any batch, since
matrix products choose their order of summation by shape, not by content. Measured on ViT, BERT and
HuBERT (CPU, torch 2.13): equal to the bit at any position among any other chunks, while batches of
1 and 16 differ in the last bits.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from ecmf.encoding.base import Encoder
from ecmf.encoding.network import Chunk, Network
from ecmf.errors import ClipError
from ecmf.execution import device
from ecmf.execution.clip_errors import failing_one_clip
from ecmf.execution.process_pool import Failure
from ecmf.media import Features

CHUNKS_PER_BATCH = 16
"""Constant, since it affects the last bits of every result. Larger batches gain little speed."""

PREFETCHED_CLIPS = 16
"""Clips loaded and preprocessed while the network computes."""

MAX_WAITING_CHUNKS = 16 * CHUNKS_PER_BATCH
"""Maximum chunks that wait for others of their shape; beyond it the fullest batch is run."""

Key = TypeVar("Key")
InputShapes = tuple[tuple[str, tuple[int, ...], str], ...]
Prepared = tuple[Any, Sequence[Chunk]] | Failure
"""A clip and its chunks, or its failure."""

log = logging.getLogger(__name__)


def encode(encoder: Encoder[Any] | Network[Any], clips: Sequence[Any]) -> list[Features]:
    """Encode clips in memory, in order; raises ClipError for the first that fails."""
    if not isinstance(encoder, Network):
        return encoder(clips)
    results = dict(run(encoder, ((i, partial(clips.__getitem__, i)) for i in range(len(clips)))))
    features = []
    for index in range(len(clips)):
        result = results[index]
        if isinstance(result, Failure):
            raise ClipError(result.reason)
        features.append(result)
    return features


def run(
    network: Network[Any], items: Iterable[tuple[Key, Callable[[], Any]]]
) -> Iterator[tuple[Key, Features | Failure]]:
    """Yield the features of every clip, or its failure, as soon as they are computed.

    Args:
        network: The encoder.
        items: A key for each clip, and a function that loads the clip, called in a thread.
    """
    queue = _BatchQueue(network)
    prefetched: deque[tuple[Key, Future[Prepared]]] = deque()

    def prepare(load: Callable[[], Any]) -> Prepared:
        try:
            with failing_one_clip():
                clip = load()
                return clip, network.split(clip)
        except ClipError as error:
            return Failure(str(error))

    with ThreadPoolExecutor(device.loader_threads()) as threads:
        try:
            for key, load in items:
                prefetched.append((key, threads.submit(prepare, load)))
                if len(prefetched) > PREFETCHED_CLIPS:
                    yield from queue.add(*prefetched.popleft())
            while prefetched:
                yield from queue.add(*prefetched.popleft())
            yield from queue.flush()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


@dataclass
class _PendingClip:
    """A clip with the results of its chunks so far."""

    key: Any
    clip: Any
    results: list[NDArray[Any] | Failure | None]
    missing: int

    def add(self, number: int, result: NDArray[Any] | Failure) -> bool:
        """Store the result of a chunk; return whether it was the last missing one."""
        self.results[number] = result
        self.missing -= 1
        return not self.missing


@dataclass
class _BatchQueue:
    """Chunks that wait for others of their shape."""

    network: Network[Any]
    waiting: dict[InputShapes, list[tuple[_PendingClip, int, Chunk]]] = field(default_factory=dict)
    max_chunks: dict[InputShapes, int] = field(default_factory=dict)
    """Chunks per forward pass that fit into memory, for shapes whose full batch does not."""

    def add(self, key: Any, prepared: Future[Prepared]) -> Iterator[tuple[Any, Features | Failure]]:
        """Add a clip; yield the clips that it completes."""
        result = prepared.result()
        if isinstance(result, Failure):
            yield key, result
            return
        clip, chunks = result
        pending = _PendingClip(key, clip, [None] * len(chunks), len(chunks))
        if not chunks:
            yield key, self._merge(pending)
        for number, chunk in enumerate(chunks):
            shape = _shape(chunk)
            group = self.waiting.setdefault(shape, [])
            group.append((pending, number, chunk))
            if chunk.unbatched or len(group) == CHUNKS_PER_BATCH:
                yield from self._compute(shape)
        while sum(map(len, self.waiting.values())) > MAX_WAITING_CHUNKS:
            yield from self._compute(max(self.waiting, key=lambda shape: len(self.waiting[shape])))

    def flush(self) -> Iterator[tuple[Any, Features | Failure]]:
        """Yield the remaining clips."""
        for shape in list(self.waiting):
            yield from self._compute(shape)

    def _compute(self, shape: InputShapes) -> Iterator[tuple[Any, Features | Failure]]:
        group = self.waiting.pop(shape)
        chunks = [chunk for _, _, chunk in group]
        batch_size = 1 if chunks[0].unbatched else CHUNKS_PER_BATCH
        copies = chunks[-1:] * (batch_size - len(chunks))
        results = self._forward(shape, [*chunks, *copies])
        for (pending, number, _), result in zip(group, results, strict=False):
            if pending.add(number, result):
                yield pending.key, self._merge(pending)

    def _forward(self, shape: InputShapes, chunks: Sequence[Chunk]) -> list[NDArray[Any] | Failure]:
        """Compute one result per chunk, halving the batch until it fits into memory."""
        max_chunks = self.max_chunks.get(shape, len(chunks))
        if len(chunks) > max_chunks:
            return [
                result
                for first in range(0, len(chunks), max_chunks)
                for result in self._forward(shape, chunks[first : first + max_chunks])
            ]
        try:
            return list(self.network.forward(_stack(chunks)))
        except Exception as error:  # those of onnxruntime are not RuntimeErrors
            if not device.is_out_of_memory(error):
                raise
            if len(chunks) == 1:
                return [Failure(f"too large for the memory of {device.requested()}: {error}")]
        device.free_memory()
        self.max_chunks[shape] = len(chunks) // 2
        log.warning(
            "out of memory with %d chunks of %s: continuing with %d at once; results may differ in "
            "the last bits from those of whole batches",
            len(chunks),
            ", ".join(f"{name} {sides}" for name, sides, _ in shape),
            self.max_chunks[shape],
        )
        return self._forward(shape, chunks)

    def _merge(self, pending: _PendingClip) -> Features | Failure:
        results = []
        for result in pending.results:
            if not isinstance(result, np.ndarray):
                return result or Failure("the network computed no result for a chunk of this clip")
            results.append(result)
        try:
            with failing_one_clip():
                features = self.network.merge(pending.clip, results)
        except ClipError as error:
            return Failure(str(error))
        if not np.isfinite(features.values).all():
            return Failure("the network returned NaN or infinity: try precision: float32")
        return features


def _shape(chunk: Chunk) -> InputShapes:
    return tuple(
        (name, array.shape, array.dtype.str) for name, array in sorted(chunk.inputs.items())
    )


def _stack(chunks: Sequence[Chunk]) -> Mapping[str, NDArray[Any]]:
    return {name: np.stack([chunk.inputs[name] for chunk in chunks]) for name in chunks[0].inputs}
