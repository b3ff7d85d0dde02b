"""Order the clips by the uncertainty of all votes on their label."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from ecmf.data.label_table import Label
from ecmf.data.manifest import Clip
from ecmf.refinement.base import SourceVotes


@dataclass(frozen=True)
class UncertainClip:
    """A clip with its label and each source's probabilities (classes,); `entropy` is in nats."""

    clip: Clip
    label: Label
    votes: Mapping[str, np.ndarray]
    entropy: float


def most_uncertain_clips(
    clips: Sequence[Clip],
    labels: Sequence[Label],
    clip_ids: Sequence[str],
    sources: Mapping[str, SourceVotes],
) -> list[UncertainClip]:
    """Return the clips with several votes, those with the most uncertain ones first.

    Uncertainty is the entropy of the mean of all votes on a clip. Clips with a single vote are left
    out.
    """
    clip_of = {clip.clip_id: clip for clip in clips}
    label_of = {label.clip_id: label for label in labels}
    uncertain = []
    for row, clip_id in enumerate(clip_ids):
        votes = {name: s.probs[row] for name, s in sources.items() if s.has_vote[row]}
        if len(votes) < 2:
            continue
        mean = np.mean(list(votes.values()), axis=0)
        entropy = float(-(mean * np.log(np.maximum(mean, 1e-12))).sum())
        uncertain.append(UncertainClip(clip_of[clip_id], label_of[clip_id], votes, entropy))
    return sorted(uncertain, key=lambda u: (-round(u.entropy, 9), u.clip.clip_id))
