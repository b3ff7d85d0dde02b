"""Pieces of many clips through one network: full batches of one shape, prepared ahead of it.

A batch of a shape always has the same number of pieces; one that is not full is filled up with
copies of its last piece. On one device the numbers of a piece are then the same to the bit whatever
clips it meets: matrix products choose their way of summing by shape, not by content. Measured on
ViT, BERT and HuBERT (CPU, torch 2.13): equal in every bit in any place and company, while batches
of 1 and 16 differ in the last ones.
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
from ecmf.encoding.network import Network, Piece
from ecmf.errors import ClipError
from ecmf.execution import device
from ecmf.execution.process_pool import Failure
from ecmf.media import Features

PIECES_PER_BATCH = 16
"""A constant, for it decides the last bits of every result. Processors gain little beyond it."""

CLIPS_AHEAD = 16
"""Clips that are read and preprocessed while the network computes."""

MOST_WAITING = 16 * PIECES_PER_BATCH
"""Pieces that wait for others of their shape; beyond it the fullest batch goes as it is."""

Tag = TypeVar("Tag")
Shape = tuple[tuple[str, tuple[int, ...], str], ...]

log = logging.getLogger(__name__)


def encode(encoder: Encoder[Any] | Network[Any], clips: Sequence[Any]) -> list[Features]:
    """Encode clips in memory, in their order; raises ClipError for the first that cannot be."""
    if not isinstance(encoder, Network):
        return encoder(clips)
    results = dict(run(encoder, ((i, partial(clips.__getitem__, i)) for i in range(len(clips)))))
    features = []
    for number in range(len(clips)):
        result = results[number]
        if isinstance(result, Failure):
            raise ClipError(result.reason)
        features.append(result)
    return features


def run(
    network: Network[Any], items: Iterable[tuple[Tag, Callable[[], Any]]]
) -> Iterator[tuple[Tag, Features | Failure]]:
    """Yield the features of every clip, or why there are none, as soon as they are known.

    Args:
        network: What encodes.
        items: A name for each clip, and how to read it: that is called in a thread.
    """
    batches = _Batches(network)
    prepared: deque[tuple[Tag, Future[tuple[Any, Sequence[Piece]] | Failure]]] = deque()

    def prepare(read: Callable[[], Any]) -> tuple[Any, Sequence[Piece]] | Failure:
        try:
            clip = read()
            return clip, network.pieces(clip)
        except ClipError as error:
            return Failure(str(error))

    with ThreadPoolExecutor(device.preparing_threads()) as threads:
        try:
            for tag, read in items:
                prepared.append((tag, threads.submit(prepare, read)))
                if len(prepared) > CLIPS_AHEAD:
                    yield from batches.take(*prepared.popleft())
            while prepared:
                yield from batches.take(*prepared.popleft())
            yield from batches.rest()
        finally:
            threads.shutdown(wait=False, cancel_futures=True)


@dataclass
class _Clip:
    """A clip on its way through the network."""

    tag: Any
    item: Any
    results: list[NDArray[Any] | Failure | None]
    missing: int

    def arrived(self, number: int, result: NDArray[Any] | Failure) -> bool:
        """Keep the result of a piece; True once it was the last one."""
        self.results[number] = result
        self.missing -= 1
        return not self.missing


@dataclass
class _Batches:
    """Pieces that wait for others of their shape."""

    network: Network[Any]
    waiting: dict[Shape, list[tuple[_Clip, int, Piece]]] = field(default_factory=dict)
    most: dict[Shape, int] = field(default_factory=dict)
    """Pieces at once that fit into memory, where fewer than a batch do."""

    def take(
        self, tag: Any, future: Future[tuple[Any, Sequence[Piece]] | Failure]
    ) -> Iterator[tuple[Any, Features | Failure]]:
        """Add a clip; yield the clips that came through because of it."""
        prepared = future.result()
        if isinstance(prepared, Failure):
            yield tag, prepared
            return
        item, pieces = prepared
        clip = _Clip(tag, item, [None] * len(pieces), len(pieces))
        if not pieces:
            yield tag, self._joined(clip)
        for number, piece in enumerate(pieces):
            shape = _shape(piece)
            group = self.waiting.setdefault(shape, [])
            group.append((clip, number, piece))
            if piece.alone or len(group) == PIECES_PER_BATCH:
                yield from self._compute(shape)
        while sum(map(len, self.waiting.values())) > MOST_WAITING:
            yield from self._compute(max(self.waiting, key=lambda shape: len(self.waiting[shape])))

    def rest(self) -> Iterator[tuple[Any, Features | Failure]]:
        """Yield what is left once no clip will come any more."""
        for shape in list(self.waiting):
            yield from self._compute(shape)

    def _compute(self, shape: Shape) -> Iterator[tuple[Any, Features | Failure]]:
        group = self.waiting.pop(shape)
        pieces = [piece for _, _, piece in group]
        wanted = 1 if pieces[0].alone else PIECES_PER_BATCH
        copies = pieces[-1:] * (wanted - len(pieces))
        results = self._forward(shape, [*pieces, *copies])
        for (clip, number, _), result in zip(group, results, strict=False):
            if clip.arrived(number, result):
                yield clip.tag, self._joined(clip)

    def _forward(self, shape: Shape, pieces: Sequence[Piece]) -> list[NDArray[Any] | Failure]:
        """One result per piece; halves the batch until it fits into memory."""
        most = self.most.get(shape, len(pieces))
        if len(pieces) > most:
            return [
                result
                for first in range(0, len(pieces), most)
                for result in self._forward(shape, pieces[first : first + most])
            ]
        try:
            return list(self.network.forward(_stacked(pieces)))
        except Exception as error:  # onnxruntime's own are no RuntimeError
            if not device.is_out_of_memory(error):
                raise
            if len(pieces) == 1:
                return [Failure(f"too large for the memory of {device.requested()}: {error}")]
        device.free_memory()
        self.most[shape] = len(pieces) // 2
        log.warning(
            "out of memory with %d pieces of %s: going on with %d at once; numbers may differ in "
            "the last bits from those of whole batches",
            len(pieces),
            ", ".join(f"{name} {sides}" for name, sides, _ in shape),
            self.most[shape],
        )
        return self._forward(shape, pieces)

    def _joined(self, clip: _Clip) -> Features | Failure:
        results = []
        for result in clip.results:
            if not isinstance(result, np.ndarray):
                return result or Failure("the network was not asked")
            results.append(result)
        try:
            features = self.network.join(clip.item, results)
        except ClipError as error:
            return Failure(str(error))
        if not np.isfinite(features.values).all():
            return Failure("the network gave NaN or infinity: does precision: float32 mend it?")
        return features


def _shape(piece: Piece) -> Shape:
    return tuple(
        (name, array.shape, array.dtype.str) for name, array in sorted(piece.inputs.items())
    )


def _stacked(pieces: Sequence[Piece]) -> Mapping[str, NDArray[Any]]:
    return {name: np.stack([piece.inputs[name] for piece in pieces]) for name in pieces[0].inputs}
