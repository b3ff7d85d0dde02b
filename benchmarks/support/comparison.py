"""Several trainings on the same features, folds and seeds -> one table with intervals.

The clips of the test split are scored, or where a corpus has none all in turn, in folds by group (a
speaker or a dialogue). A variant's score is its mean WAF over the seeds; its interval comes from
drawing the groups with replacement (percentile bootstrap, 95 %), as does that of its difference to
the rival: both are drawn together, so that the difference is paired.
"""

import logging
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "stages"))

from ecmf.data.features import Source
from ecmf.data.manifest import Clip
from ecmf.metrics import INTERVAL, waf_of_confusion
from ecmf.params import TrainFusion
from ecmf.training.cross_validation import load_model, read_sources, train_all
from ecmf.training.dataset import Dataset
from ecmf.training.targets import Targets
from ecmf.training.trainer import predict

logging.basicConfig(level=logging.INFO, format="%(message)s")
log = logging.getLogger(__name__)

SEEDS = (0, 1, 2, 3, 4)
DRAWS = 10_000

Answers = NDArray[np.float64]
"""Probabilities (seeds, clips, classes), summed over folds; zeros for clips that are not tested."""

Confusions = NDArray[np.int64]
"""Clips per seed, group, true class and predicted class."""


@dataclass(frozen=True)
class Variant:
    """A line of the table: parameters of the training, and what it is compared with."""

    name: str
    params: TrainFusion
    paths: Mapping[str, Path]


def tested_in_turn(clips: Sequence[Clip]) -> list[Clip]:
    """Forget the corpus's own splits: every labelled clip is trained on and tested in turn."""
    return [replace(clip, split="train" if clip.label else "unlabelled") for clip in clips]


def confusions(
    variant: Variant, clips: Sequence[Clip], classes: Sequence[str], targets: Targets
) -> Confusions:
    """Train a variant on every fold with every seed, and count what it says of the test folds."""
    (said,) = answers(variant, clips, classes, targets)
    return count(said, clips, classes)


def answers(
    variant: Variant,
    clips: Sequence[Clip],
    classes: Sequence[str],
    targets: Targets,
    without: Sequence[str | None] = (None,),
) -> list[Answers]:
    """Train a variant on every fold with every seed, and ask about the clips of the test folds.

    They are asked once for each of `without`: a branch that is taken from all of them, or None.
    """
    params = variant.params.of_member(variant.params.model)
    sources = read_sources(dict(variant.paths), clips, params)
    seeds = params.seeds
    said = [np.zeros((len(seeds), len(clips), len(classes))) for _ in without]
    device = torch.device("cpu")
    asked = [Dataset([_hidden(source, branch) for source in sources], device) for branch in without]
    for done in train_all(dict(variant.paths), clips, targets, params):
        model = load_model(done.weights, params, sources, len(classes), device)
        test = done.run.fold.test
        for dataset, here in zip(asked, said, strict=True):
            here[seeds.index(done.run.seed), test] += predict(model, dataset, test).probabilities
    scores = seed_scores(count(said[0], clips, classes))
    log.info("%s: WAF by seed %s", variant.name, scores.round(3).tolist())
    return said


def _hidden(source: Source, branch: str | None) -> Source:
    """The source as it is, or if it is of `branch`, without a row of any clip."""
    if source.name.partition("/")[0] != branch:
        return source
    return replace(source, values=source.values[:0], starts=np.zeros_like(source.starts))


def count(probabilities: Answers, clips: Sequence[Clip], classes: Sequence[str]) -> Confusions:
    """Count what is said of the clips, (seeds, clips, classes); zeros mean that one was not tested.

    Raises:
        ValueError: a clip of the test split was not tested, or another one was beside it.
    """
    tested = probabilities.any(axis=2).all(axis=0)
    split = [clip.split == "test" for clip in clips]
    expected = np.array(split if any(split) else [bool(clip.label) for clip in clips])
    if (tested != expected).any():
        raise ValueError(f"{tested.sum()} clips were tested instead of {expected.sum()}")
    groups = {
        name: number
        for number, name in enumerate(sorted({clips[i].group for i in np.flatnonzero(tested)}))
    }
    shape = (len(probabilities), len(groups), len(classes), len(classes))
    counted = np.zeros(shape, "int64")
    for i in np.flatnonzero(tested):
        truth, group = classes.index(clips[i].label), groups[clips[i].group]
        for seed, said in enumerate(probabilities[:, i]):
            counted[seed, group, truth, said.argmax()] += 1
    return counted


def seed_scores(counted: Confusions) -> NDArray[np.float64]:
    """WAF of each seed over all groups, (seeds,)."""
    return waf_of_confusion(counted.sum(axis=1))


def drawn_scores(counted: Confusions) -> NDArray[np.float64]:
    """Mean WAF over the seeds, for each draw of the groups, (draws,)."""
    groups = counted.shape[1]
    draws = np.random.default_rng(0).multinomial(groups, np.full(groups, 1 / groups), size=DRAWS)
    cells = np.einsum("ng,sgij->nsij", draws, counted)
    return waf_of_confusion(cells).mean(axis=1)


def table(results: Mapping[str, Confusions], rival: str) -> str:
    """Markdown: a line per variant, and its difference to the rival."""
    lines = [
        f"| | WAF | 95 % interval | by seed | against {rival} | 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    against = drawn_scores(results[rival])
    for name, counted in results.items():
        by_seed = seed_scores(counted)
        low, high = np.percentile(drawn_scores(counted), INTERVAL)
        gain = by_seed.mean() - seed_scores(results[rival]).mean()
        lower, upper = np.percentile(drawn_scores(counted) - against, INTERVAL)
        compared = "| |" if name == rival else f"{gain:+.3f} | {lower:+.3f} to {upper:+.3f} |"
        lines.append(
            f"| {name} | **{by_seed.mean():.3f}** | {low:.3f} to {high:.3f} | "
            f"{by_seed.min():.3f} to {by_seed.max():.3f} | {compared}"
        )
    return "\n".join(lines)
