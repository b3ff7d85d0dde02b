import threading
from dataclasses import dataclass

import numpy as np
import pytest
import torch
from onnxruntime.capi.onnxruntime_pybind11_state import RuntimeException

from ecmf.encoding import batching
from ecmf.encoding.batching import CHUNKS_PER_BATCH, PREFETCHED_CLIPS, encode
from ecmf.encoding.network import Chunk, Network
from ecmf.errors import ClipError
from ecmf.execution.process_pool import Failure


@dataclass(frozen=True)
class Clip:
    """A clip of one chunk per length."""

    lengths: tuple[int, ...]
    unbatched: bool = False
    bad: bool = False


class Sums(Network):
    """A network of one layer that records its batches."""

    dim = 3
    provenance: dict[str, str] = {}  # noqa: RUF012

    def __init__(self):
        self.batches = []
        self.prepared = []
        torch.manual_seed(0)
        self.layer = torch.nn.Linear(1, 3)

    def split(self, clip):
        self.prepared.append(threading.current_thread().name)
        if clip.bad:
            raise ClipError("cannot be split")
        return [
            Chunk({"x": np.arange(length, dtype="float32")}, unbatched=clip.unbatched)
            for length in clip.lengths
        ]

    def forward(self, batch):
        self.batches.append(batch["x"].shape)
        with torch.inference_mode():
            return self.layer(torch.from_numpy(batch["x"]).sum(dim=1, keepdim=True)).numpy()

    def merge(self, clip, results):
        return self.features(np.array(results).reshape(-1, 3), np.arange(len(results)) * 1.0)


def encoded(network, clips):
    return dict(batching.run(network, ((i, lambda i=i: clips[i]) for i in range(len(clips)))))


def test_chunks_of_many_clips_fill_whole_batches_of_one_shape():
    network = Sums()
    clips = [Clip((5, 7, 5))] * 20
    results = encoded(network, clips)
    assert sorted(results) == list(range(20))
    assert all(rows == CHUNKS_PER_BATCH for rows, _ in network.batches)
    assert sum(1 for _, width in network.batches if width == 5) == -(-40 // CHUNKS_PER_BATCH)
    for features in results.values():
        assert features.values.shape == (3, 3)
        assert np.array_equal(features.values[0], features.values[2])


def test_a_clip_gets_the_same_bits_alone_and_among_any_others():
    rng = np.random.default_rng(0)
    clips = [Clip(tuple(map(int, rng.integers(1, 4, count)))) for count in rng.integers(0, 9, 50)]
    together = encoded(Sums(), clips)
    for number, clip in enumerate(clips):
        (alone,) = encode(Sums(), [clip])
        assert together[number].values.tobytes() == alone.values.tobytes()


def test_an_unbatched_chunk_neither_waits_nor_is_filled_up():
    network = Sums()
    encoded(network, [Clip((number,), unbatched=True) for number in range(1, 6)])
    assert network.batches == [(1, number) for number in range(1, 6)]


def test_shapes_that_never_fill_a_batch_do_not_wait_without_end(monkeypatch):
    monkeypatch.setattr(batching, "MAX_WAITING_CHUNKS", 5)
    network, batches_run = Sums(), []
    clips = [Clip((number,)) for number in range(1, 21)]
    for _ in batching.run(network, ((i, lambda i=i: clips[i]) for i in range(20))):
        batches_run.append(len(network.batches))
    assert batches_run[0] == 1
    assert len(network.batches) == 20


def test_clips_are_prepared_ahead_while_the_network_computes():
    network, another = Sums(), threading.Event()
    split, forward = network.split, network.forward

    def signalling_split(clip):
        if network.prepared:
            another.set()
        return split(clip)

    def waiting_forward(batch):
        assert another.wait(timeout=60), "no clip is prepared while the network computes"
        return forward(batch)

    network.split, network.forward = signalling_split, waiting_forward
    encoded(network, [Clip((4,) * CHUNKS_PER_BATCH)] * 3)
    assert threading.current_thread().name not in network.prepared
    assert len(network.prepared) == 3


def test_no_more_clips_are_read_than_are_needed_ahead():
    read = []

    def clips():
        for number in range(1000):
            read.append(number)
            yield number, lambda: Clip((4,) * CHUNKS_PER_BATCH)

    results = batching.run(Sums(), clips())
    next(results)
    assert len(read) <= PREFETCHED_CLIPS + 2
    results.close()


def test_a_clip_that_cannot_be_split_fails_alone():
    results = encoded(Sums(), [Clip((2,)), Clip((2,), bad=True), Clip((2,))])
    assert results[1] == Failure("cannot be split")
    assert results[0].values.tobytes() == results[2].values.tobytes()
    with pytest.raises(ClipError, match="cannot be split"):
        encode(Sums(), [Clip((2,)), Clip((2,), bad=True)])


def test_a_clip_for_which_a_library_raises_anything_fails_alone():
    class Fragile(Sums):
        def split(self, clip):
            if clip.bad:
                raise IndexError("no such token")
            return super().split(clip)

    results = encoded(Fragile(), [Clip((2,)), Clip((2,), bad=True), Clip((2,))])
    assert results[1].reason.startswith("IndexError: no such token (test_batching.py, line ")
    assert results[0].values.tobytes() == results[2].values.tobytes()


def test_nan_fails_its_clip_alone():
    network = Sums()
    network.forward = lambda batch: np.where(batch["x"][:, :1] == 0, np.nan, 1.0) * np.ones((1, 3))
    (result,) = encoded(network, [Clip((3,))]).values()
    assert "NaN or infinity" in result.reason


TORCH = torch.OutOfMemoryError("CUDA out of memory")
ONNX = RuntimeException("Failed to allocate memory for requested buffer of size 9")


class Small(Sums):
    """A device with memory for `max_chunks`; more raise an error of the libraries."""

    def __init__(self, max_chunks, error=TORCH):
        super().__init__()
        self.max_chunks, self.error = max_chunks, error

    def forward(self, batch):
        if len(batch["x"]) > self.max_chunks:
            raise self.error
        return super().forward(batch)


@pytest.mark.parametrize("error", [TORCH, ONNX, MemoryError()])
@pytest.mark.parametrize("max_chunks", [1, 3, 8])
def test_out_of_memory_halves_the_batch_and_goes_on(max_chunks, error, caplog):
    network = Small(max_chunks, error)
    clips = [Clip((4, 4, 4))] * 24
    results, whole = encoded(network, clips), encoded(Sums(), clips)
    for number in results:
        np.testing.assert_allclose(results[number].values, whole[number].values, rtol=1e-6)
    assert "out of memory with 16 chunks of x (4,)" in caplog.text
    assert caplog.text.count("out of memory") == {1: 4, 3: 3, 8: 1}[max_chunks]


def test_a_chunk_too_large_for_the_device_fails_its_clip_alone():
    network = Small(0)
    (result,) = encoded(network, [Clip((4,))]).values()
    assert result.reason.startswith("too large for the memory of cpu")


def test_any_other_error_of_a_network_stops_the_run():
    network = Sums()
    network.forward = lambda batch: (_ for _ in ()).throw(RuntimeError("sizes do not match"))
    with pytest.raises(RuntimeError, match="sizes do not match"):
        encoded(network, [Clip((4,))])


def test_out_of_memory_is_told_from_other_errors():
    from ecmf.execution import device

    with pytest.raises(RuntimeError) as raised:
        torch.empty(1 << 60)
    assert device.is_out_of_memory(raised.value)
    assert not device.is_out_of_memory(RuntimeError("sizes do not match"))
