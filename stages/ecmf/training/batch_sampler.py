"""Draw batches of equal size and of clips of similar length, in random order."""

from collections.abc import Sequence

import numpy as np

from ecmf.data.splits import Indices

BATCHES_PER_BUCKET = 8
"""Batches that are drawn together and then cut by length: more batches save padding, mix less."""


def count_batches(clips: int, batch_size: int) -> int:
    """Count the batches of at most `batch_size` clips."""
    return -(-clips // batch_size)


def draw_batches(
    clips: Indices, lengths: Indices, batch_size: int, rng: np.random.Generator
) -> Sequence[Indices]:
    """Cut `clips` into batches of at most `batch_size`, whose sizes differ by at most one clip.

    The clips are shuffled, divided into buckets, and sorted within each bucket by `lengths` (rows
    of each clip of the corpus), since a batch is padded to its longest clip. The order of the
    batches is random.
    """
    order = rng.permutation(clips)
    batches: list[Indices] = []
    count = count_batches(len(order), batch_size)
    buckets = max(1, count // BATCHES_PER_BUCKET)
    parts = np.array_split(order, count)
    for bucket in np.array_split(np.arange(count), buckets):
        together = np.concatenate([parts[number] for number in bucket])
        by_length = together[np.argsort(lengths[together], kind="stable")]
        ends = np.cumsum([len(parts[number]) for number in bucket])[:-1]
        batches += np.split(by_length, ends)
    return [batches[number] for number in rng.permutation(count)]
