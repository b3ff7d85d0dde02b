"""Order the clips of the browser, and choose those that are shown with pictures."""

from collections.abc import Mapping, Sequence
from itertools import chain, zip_longest

import numpy as np

from ecmf.reporting.results import Results

MOST_PICTURED = 300
"""Clips with pictures and a waveform."""

SPLIT_ORDER = ("test", "val", "train", "candidate", "unlabelled")
"""Splits in the order of the clips without pictures."""


def choose_clips(results: Results, doubt: Mapping[str, float]) -> tuple[list[int], list[int]]:
    """Return the positions of the clips with pictures, and of all others, each in order.

    Those with pictures are in turn the next clip in doubt, the next one predicted wrong and the
    next one of a sample of each class, so that a shorter list keeps the mixture; then others, as
    far as there is room. `doubt` is the uncertainty of the label of a clip by its id.
    """
    doubtful = sorted(
        (i for i, clip in enumerate(results.clips) if clip.clip_id in doubt),
        key=lambda i: (-round(doubt[results.clips[i].clip_id], 9), i),
    )
    kinds = (doubtful, wrong_clips(results), _sample_of_classes(results))
    mixed = chain.from_iterable(zip_longest(*kinds, fillvalue=-1))
    by_split = sorted(
        range(len(results.clips)), key=lambda i: (SPLIT_ORDER.index(results.clips[i].split), i)
    )
    mixture = list(dict.fromkeys(i for i in mixed if i >= 0))[:MOST_PICTURED]
    chosen = list(dict.fromkeys([*mixture, *by_split]))[:MOST_PICTURED]
    pictured = set(chosen)
    return chosen, [i for i in by_split if i not in pictured]


def wrong_clips(results: Results) -> list[int]:
    """Return the positions of the test clips predicted wrong, the most confident error first."""
    wrong = results.test[results.predicted[results.test] != results.truth]
    confidence = np.nan_to_num(results.probs[wrong].max(axis=1, initial=0))
    return [int(i) for i in wrong[np.lexsort((wrong, -confidence))]]


def _sample_of_classes(results: Results) -> list[int]:
    """Return the positions of test clips, one of each class in turn, spread over the manifest."""
    by_class = [
        _spread([int(i) for i in results.test[results.truth == number]])
        for number in range(len(results.classes))
    ]
    mixed = chain.from_iterable(zip_longest(*by_class, fillvalue=-1))
    return [i for i in mixed if i >= 0]


def _spread(positions: Sequence[int]) -> list[int]:
    """Order positions so that each beginning of the list is spread evenly over them.

    The order is that of the bit-reversed numbers (van der Corput's sequence in base 2).
    """
    bits = max(len(positions) - 1, 1).bit_length()
    order = (int(f"{number:0{bits}b}"[::-1], 2) for number in range(1 << bits))
    return [positions[number] for number in order if number < len(positions)]
