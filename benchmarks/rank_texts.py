"""Rank each clip's own text among all texts, after the contrastive pretraining of `semmim`.

`python benchmarks/rank_texts.py`, after `dvc repro`, from the project's root. Of each source of the
sample corpus the mean of a clip's aligned steps is compared with the guides of 165 clips: the mean
of their other text sources, or of all other sources of a clip without text. The rank of the own
guide is 1 at best and 83 by chance. Pretrained on half of the training part of a test fold, twice;
"pretrained" are the clips of the pretraining, in which the text chooses the steps that are masked,
and "unseen" those of other actors. Claim: the mean rank of every source is at most a tenth of
chance on the former.
"""

import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from support.comparison import log
from support.corpora import Corpus, load_corpora
from support.tuned_training import Trainings
from torch.nn import functional

from ecmf.data.splits import with_unlabelled
from ecmf.fusion.layers.alignment import Alignment
from ecmf.training.fold_runs import FoldRun
from ecmf.training.model import Model
from ecmf.training.pretraining import pretrain
from ecmf.training.trainer import setup

CLIPS, RUNS = 200, 2
MAX_SHARE_OF_CHANCE = 0.1

Ranks = dict[tuple[str, str], list[float]]
"""Mean rank over chance of each run, by the part of the clips and the source."""


def align(corpus: Corpus, trainings: Trainings, run: FoldRun) -> tuple[Model, Alignment]:
    """Pretrain `semmim` on the training clips of a run; return it with its contrastive task."""
    torch.manual_seed(run.seed)
    fold = with_unlabelled(run.fold, corpus.clips, corpus.targets.weight)
    dataset = trainings.dataset
    state = setup(dataset, corpus.targets, fold, run.seed, trainings.params)
    tasks = state.model.fusion.pretext_tasks()
    alignment = next(tasks)
    if not isinstance(alignment, Alignment):
        raise TypeError(f"the first pretext task is {type(alignment).__name__}")
    state.model.fusion.pretext_tasks = lambda: iter((alignment,))  # type: ignore[method-assign]
    clips = np.concatenate([state.train, fold.unlabelled])
    pretrain(state.model, dataset, clips, state.rng, trainings.params)
    return state.model.eval(), alignment.eval()


@torch.inference_mode()
def rank(
    model: Model, alignment: Alignment, trainings: Trainings, clips: NDArray[np.int64]
) -> dict[str, float]:
    """Return the mean rank of the own guide over that by chance, by source."""
    batch = model.standardise(trainings.dataset.batch(torch.from_numpy(clips)))
    aligned = alignment.aligner(alignment.encoders(batch))
    guides, guided = alignment.aligner.guides(aligned)
    shares = {}
    for number, (rows, mask) in enumerate(aligned):
        known = guided[:, number]
        means = rows.sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
        own = functional.normalize(means[known], dim=-1)
        likeness = own @ functional.normalize(guides[known, number], dim=-1).T
        ranks = (likeness >= likeness.diagonal()[:, None]).sum(dim=1).float()
        shares[trainings.sources[number].name] = ranks.mean().item() / ((len(ranks) + 1) / 2)
    return shares


def main() -> int:
    """Print the ranks; return 1 if the claim does not hold."""
    with tempfile.TemporaryDirectory() as folder:
        (corpus,) = load_corpora(["sample"], Path(folder))
    trainings = Trainings(corpus, "semmim")
    found: Ranks = {}
    for run in trainings.inner_runs()[:RUNS]:
        model, alignment = align(corpus, trainings, run)
        for part, clips in (("pretrained", run.fold.train), ("unseen", run.fold.test)):
            for source, share in rank(model, alignment, trainings, clips[:CLIPS]).items():
                found.setdefault((part, source), []).append(share)
    for (part, source), shares in found.items():
        log.info("%s, %s: %s of chance", part, source, [round(share, 3) for share in shares])
    seen = [max(shares) for (part, _), shares in found.items() if part == "pretrained"]
    return int(max(seen) > MAX_SHARE_OF_CHANCE)


if __name__ == "__main__":
    sys.exit(main())
