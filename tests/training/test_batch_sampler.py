"""Batches of a training: every clip once, alike in size, alike in length, by chance."""

import numpy as np
import pytest

from ecmf.training.batch_sampler import count_batches, draw_batches


def cut(clips, size, lengths=None, seed=0):
    lengths = np.ones(max(clips) + 1, "int64") if lengths is None else lengths
    return draw_batches(np.asarray(clips), lengths, size, np.random.default_rng(seed))


@pytest.mark.parametrize(("clips", "size"), [(1, 8), (8, 8), (9, 8), (1000, 7)])
def test_every_clip_is_in_one_batch_and_no_batch_is_a_leftover(clips, size):
    batches = cut(range(clips), size)
    assert sorted(np.concatenate(batches)) == list(range(clips))
    sizes = [len(batch) for batch in batches]
    assert len(batches) == count_batches(clips, size) and max(sizes) <= size
    assert max(sizes) - min(sizes) <= 1


def test_clips_of_about_one_length_come_together_and_less_is_padded():
    lengths = np.random.default_rng(1).integers(1, 200, 2000)

    def padded(batches):
        return sum(len(batch) * lengths[batch].max() for batch in batches)

    by_length = padded(cut(range(2000), 32, lengths))
    assert by_length < 0.75 * padded(cut(range(2000), 32))
    assert by_length >= lengths.sum()


def test_the_order_is_drawn_anew_and_follows_from_the_seed():
    first, again, other = (cut(range(100), 10, seed=seed) for seed in (0, 0, 1))
    assert all(np.array_equal(a, b) for a, b in zip(first, again, strict=True))
    assert not all(np.array_equal(a, b) for a, b in zip(first, other, strict=True))
    lengths = np.arange(1000)
    longest = [batch.max() for batch in cut(range(1000), 10, lengths)]
    assert longest != sorted(longest), "short clips would always be learned from first"
