"""Compare several trainings on the same features, folds and seeds in a table with intervals.

The clips of the test split are scored, or if a corpus has none all in turn, in folds by group (a
speaker or a dialogue). The score of a variant is its mean WAF over the seeds; its interval comes
from drawing the groups with replacement (percentile bootstrap, 95 %), and so does that of its
difference to the reference: both are drawn together, so that the difference is paired.
"""

import functools
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
from ecmf.data.splits import REFIT
from ecmf.metrics import INTERVAL, waf_of_confusion
from ecmf.params import TrainFusion
from ecmf.training.cross_validation import train_all
from ecmf.training.dataset import Dataset
from ecmf.training.model import load_model
from ecmf.training.prediction import predict
from ecmf.training.source_reading import read_sources
from ecmf.training.task import Targets
from ecmf.training.weight_files import read_weights

logging.basicConfig(level=logging.INFO, format="%(message)s")
log = logging.getLogger(__name__)

SEEDS = (0, 1, 2, 3, 4)
DRAWS = 10_000

TestProbabilities = NDArray[np.float64]
"""Probabilities (seeds, clips, classes), summed over folds; zeros for clips that are not tested."""

Confusions = NDArray[np.int64]
"""Clips per seed, group, true class and predicted class."""


@dataclass(frozen=True)
class Variant:
    """A line of the table: parameters of a training, and the features it uses."""

    name: str
    params: TrainFusion
    paths: Mapping[str, Path]


def without_splits(clips: Sequence[Clip]) -> list[Clip]:
    """Replace the splits of the corpus: every labelled clip is trained on and tested in turn."""
    return [replace(clip, split="train" if clip.label else "unlabelled") for clip in clips]


def confusions(
    variant: Variant, clips: Sequence[Clip], classes: Sequence[str], targets: Targets
) -> Confusions:
    """Train a variant on every fold with every seed, and count its predictions of test clips."""
    (probs,) = predictions(variant, clips, classes, targets)
    return count(probs, clips, classes)


def predictions(
    variant: Variant,
    clips: Sequence[Clip],
    classes: Sequence[str],
    targets: Targets,
    without: Sequence[str | None] = (None,),
) -> list[TestProbabilities]:
    """Train a variant on every fold with every seed, and predict the clips of the test folds.

    There is one result for each of `without`: a branch that all test clips lack, or None.
    """
    params = variant.params.of_member(variant.params.model)
    sources = read_sources(dict(variant.paths), clips, params)
    seeds = params.seeds
    results = [np.zeros((len(seeds), len(clips), len(classes))) for _ in without]
    device = torch.device("cpu")
    datasets = [
        Dataset([_without_branch(source, branch) for source in sources], device)
        for branch in without
    ]
    for trained in train_all(dict(variant.paths), clips, targets, params):
        if params.refits and trained.run.fold.fold != REFIT:
            continue
        weights, _ = read_weights(trained.weights, trained.digest, "run again")
        model = load_model(weights, params, sources, targets.task, device)
        test, seed = trained.run.fold.test, seeds.index(trained.run.seed)
        for dataset, probs in zip(datasets, results, strict=True):
            probs[seed, test] += predict(model, dataset, test).outputs
    scores = seed_scores(count(results[0], clips, classes))
    log.info("%s: WAF by seed %s", variant.name, scores.round(3).tolist())
    return results


def _without_branch(source: Source, branch: str | None) -> Source:
    """Return the source, without any row if it belongs to `branch`."""
    if source.name.partition("/")[0] != branch:
        return source
    return replace(source, values=source.values[:0], starts=np.zeros_like(source.starts))


def count(
    probabilities: TestProbabilities, clips: Sequence[Clip], classes: Sequence[str]
) -> Confusions:
    """Count the predicted classes of the tested clips.

    Raises:
        ValueError: other clips were tested than those of the test split.
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
    cells = np.zeros(shape, "int64")
    for i in np.flatnonzero(tested):
        truth, group = classes.index(clips[i].label), groups[clips[i].group]
        for seed, probs in enumerate(probabilities[:, i]):
            cells[seed, group, truth, probs.argmax()] += 1
    return cells


def seed_scores(cells: Confusions) -> NDArray[np.float64]:
    """Compute the WAF of each seed over all groups, (seeds,)."""
    return waf_of_confusion(cells.sum(axis=1))


def bootstrap_scores(cells: Confusions) -> NDArray[np.float64]:
    """Compute the mean WAF over the seeds for each draw of the groups, (draws,)."""
    # counts as floats: exact, and a matrix product, which einsum of integers is not
    drawn = np.tensordot(_draws(cells.shape[1]), cells.astype("float64"), axes=(1, 1))
    return waf_of_confusion(drawn).mean(axis=1)


@functools.lru_cache(maxsize=1)
def _draws(groups: int) -> NDArray[np.float64]:
    """Draw how often each group is in each resample, (draws, groups)."""
    rng = np.random.default_rng(0)
    return rng.multinomial(groups, np.full(groups, 1 / groups), size=DRAWS).astype("float64")


def difference(results: Confusions, reference: Confusions) -> tuple[float, float, float]:
    """Compute the gain in WAF over the reference, and its 95 % interval, paired by group."""
    gain = seed_scores(results).mean() - seed_scores(reference).mean()
    low, high = np.percentile(bootstrap_scores(results) - bootstrap_scores(reference), INTERVAL)
    return float(gain), float(low), float(high)


def table(results: Mapping[str, Confusions], reference: str) -> str:
    """Write Markdown: a line per variant, with its difference to the reference."""
    lines = [
        f"| | WAF | 95 % interval | by seed | against {reference} | 95 % interval |",
        "|---|---|---|---|---|---|",
    ]
    for name, cells in results.items():
        by_seed = seed_scores(cells)
        low, high = np.percentile(bootstrap_scores(cells), INTERVAL)
        gain, lower, upper = difference(cells, results[reference])
        compared = "| |" if name == reference else f"{gain:+.3f} | {lower:+.3f} to {upper:+.3f} |"
        lines.append(
            f"| {name} | **{by_seed.mean():.3f}** | {low:.3f} to {high:.3f} | "
            f"{by_seed.min():.3f} to {by_seed.max():.3f} | {compared}"
        )
    return "\n".join(lines)
