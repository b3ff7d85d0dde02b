"""Clips in random order -> batches of one size, of clips about as long as each other."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

Indices = NDArray[np.int64]

BATCHES_PER_BUCKET = 8
"""So many batches are drawn together and cut by length: more save padding and mix less."""


def count_batches(clips: int, size: int) -> int:
    """Return how many batches of at most `size` clips there are."""
    return -(-clips // size)


def batched(
    clips: Indices, lengths: Indices, size: int, chance: np.random.Generator
) -> Sequence[Indices]:
    """Cut `clips` into batches of at most `size`, all as large as each other but for one clip.

    They are shuffled, drawn into buckets, and cut from each bucket by `lengths`, the rows that each
    clip of the corpus has: a batch is padded to its longest clip. The batches come in random order.
    """
    order = chance.permutation(clips)
    batches: list[Indices] = []
    whole = count_batches(len(order), size)
    buckets = max(1, whole // BATCHES_PER_BUCKET)
    parts = np.array_split(order, whole)
    for bucket in np.array_split(np.arange(whole), buckets):
        together = np.concatenate([parts[number] for number in bucket])
        by_length = together[np.argsort(lengths[together], kind="stable")]
        ends = np.cumsum([len(parts[number]) for number in bucket])[:-1]
        batches += np.split(by_length, ends)
    return [batches[number] for number in chance.permutation(whole)]
