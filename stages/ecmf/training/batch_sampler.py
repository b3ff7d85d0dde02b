"""Draw batches of one size, in random order, of clips of about the same length."""

from collections.abc import Sequence

import numpy as np

from ecmf.data.splits import Indices

BATCHES_PER_BUCKET = 8
"""Batches that are drawn together and then cut by length: more save padding and mix less."""


def count_batches(clips: int, batch_size: int) -> int:
    """Return how many batches of at most `batch_size` clips there are."""
    return -(-clips // batch_size)


def draw_batches(
    clips: Indices, lengths: Indices, batch_size: int, rng: np.random.Generator
) -> Sequence[Indices]:
    """Cut `clips` into batches of at most `batch_size`, whose sizes differ by at most one clip.

    The clips are shuffled, drawn into buckets, and sorted within each bucket by `lengths`, the row
    count of each clip of the corpus: a batch is padded to its longest clip. The batches come in
    random order.
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
