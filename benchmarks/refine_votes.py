"""Compare label refiners on the votes of real raters, by the labels that they make.

`python benchmarks/refine_votes.py`, from the project's root; the folder of real data is
`$ECMF_SHARED`, and the sample corpus is compared after `dvc repro`. What is absent is skipped.

- CREMA-D: votes for one of 6 emotions by about 10 anonymous raters who heard a clip, saw it, or
  both. The truth is the emotion that the actor was asked to play. The given label is one rater's
  and the annotators are the others of the same presentation, or it is the plurality of one
  presentation and the annotators are the other two.
- BRIGHTER: texts rated by the same few people. One gives the label and others annotate (in
  Ukrainian, one); the truth is the plurality of the raters held out, who are no authority, but have
  no part in the refinement.
- sample: 20 % of the labels and 15 to 35 % of each annotator's are wrong by design.

There are no features, so no model votes: `confident_learning` keeps every label, like `keep`.
Prints for each case the WAF of the labels against the truth, with intervals drawn over actors or
texts, and their Brier score as training targets. The plain plurality counts every vote once; its
ties are drawn. Nothing is fitted to the truth. Ends with 1 if

- the plurality of CREMA-D is not the known one (voice .416, face .663, both .722; ties are errors),
- the default refiner falls below the given label or the plurality by more than the interval where
  the label is the rating of a person like the others.
"""

import sys
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from support.comparison import Confusions, bootstrap_scores, log, seed_scores
from support.corpora import SHARED
from support.rated_corpora import Case, Ratings, Votes, cases, draw_plurality, intended, read_crema

from ecmf.data.enriched_text import EnrichedText
from ecmf.metrics import INTERVAL
from ecmf.params import RefineLabels, load_params
from ecmf.refinement.label_refinement import LabelRefinement
from ecmf.refinement.label_sources import one_hot_labels

GIVEN, PLURALITY, SHARES = "given label", "plurality", "shares of the votes"
DEFAULT, DAWID_SKENE = "default", "dawid_skene"
PUBLISHED = {"voice": 0.416, "face": 0.663, "both": 0.722}
"""Fraction of clips whose only most frequent vote is the intended emotion, by presentation."""

Targets = NDArray[np.float64]
"""Training targets (clips, classes)."""


def refiners(annotators: Sequence[str]) -> dict[str, Mapping[str, Any]]:
    """Return parameters of refine_labels by the name of their line."""
    weights = {"vote": {"weights": "agreement"}}
    two = {"agreement": {"sources": annotators[:2]}}
    diagonal, one_step = {"correct": 10.0}, {"iterations": 1}
    default = load_params().refine_labels.model_dump(mode="json")
    return {
        DEFAULT: default,
        f"{DEFAULT}, softened": {**default, "disagreement": "soften"},
        "vote, weights by agreement": {"refiner": "vote", "options": weights},
        DAWID_SKENE: {"refiner": "dawid_skene"},
        "dawid_skene, correct 10": {"refiner": DAWID_SKENE, "options": {DAWID_SKENE: diagonal}},
        "dawid_skene, one step": {"refiner": DAWID_SKENE, "options": {DAWID_SKENE: one_step}},
        "agreement of two annotators": {"refiner": "agreement", "options": two},
        "confident_learning": {"refiner": "confident_learning"},
    }


def targets(case: Case, ratings: Ratings, seed: int) -> dict[str, Targets]:
    """Compute the training targets by every refiner, and without one."""
    clips = ratings.clips
    votes = one_hot_labels([clip.label for clip in clips], case.classes)
    given, votes = votes, votes.copy()
    annotators = sorted({name for clip in clips for name in clip.annotators})
    for name in annotators:
        said = [clip.annotators.get(name, "") for clip in clips]
        votes += one_hot_labels(said, case.classes)
    rng = np.random.default_rng([seed, 1])
    plurality = np.eye(len(case.classes))[[draw_plurality(counts, rng) for counts in votes]]
    texts = [EnrichedText(clip_id=clip.clip_id, raw="", enriched="", provider="lexicon",
                          prompt_version="1") for clip in clips]  # fmt: skip
    made = {GIVEN: given, PLURALITY: plurality, SHARES: votes / votes.sum(axis=1, keepdims=True)}
    for name, parameters in refiners(annotators).items():
        params = RefineLabels.model_validate(parameters)
        refined = LabelRefinement(clips, case.classes, texts, {}, params)()
        made[name] = np.array([label.soft for label in refined.labels])
    return made


def compare(case: Case) -> dict[str, tuple[Confusions, float]]:
    """Return the confusions of the labels with the truth, and the Brier score, by refiner."""
    cells: dict[str, list[NDArray[np.int64]]] = {}
    brier: dict[str, list[float]] = {}
    drawn = [case.draw(seed) for seed in range(case.seeds)]
    names = sorted({clip.group for ratings in drawn for clip in ratings.clips})
    group_of = {name: number for number, name in enumerate(names)}
    for seed, ratings in enumerate(drawn):
        known = [i for i, clip in enumerate(ratings.clips) if ratings.truth.get(clip.clip_id)]
        clips = [ratings.clips[i] for i in known]
        truth = np.array([case.classes.index(ratings.truth[clip.clip_id]) for clip in clips])
        groups = np.array([group_of[clip.group] for clip in clips])
        for name, made in targets(case, ratings, seed).items():
            counts = np.zeros((len(names), *[len(case.classes)] * 2), "int64")
            np.add.at(counts, (groups, truth, made[known].argmax(axis=1)), 1)
            cells.setdefault(name, []).append(counts)
            errors = made[known] - np.eye(len(case.classes))[truth]
            brier.setdefault(name, []).append(float((errors**2).sum(axis=1).mean()))
    return {name: (np.stack(cells[name]), float(np.mean(brier[name]))) for name in cells}


class Result:
    """Scores of all refiners in one case, and their differences with intervals."""

    def __init__(self, compared: Mapping[str, tuple[Confusions, float]]) -> None:
        self.brier = {name: brier for name, (_, brier) in compared.items()}
        self._scores = {name: seed_scores(cells) for name, (cells, _) in compared.items()}
        self._draws = {name: bootstrap_scores(cells) for name, (cells, _) in compared.items()}

    def gain(self, name: str, reference: str) -> tuple[float, float, float]:
        """Return the difference of the mean WAF, and its interval."""
        low, high = np.percentile(self._draws[name] - self._draws[reference], INTERVAL)
        gain = self._scores[name].mean() - self._scores[reference].mean()
        return float(gain), float(low), float(high)

    def table(self) -> str:
        """Write Markdown: a line per refiner."""
        lines = [
            f"| | WAF | 95 % interval | by seed | against {GIVEN} | against {PLURALITY} | Brier |",
            "|---|---|---|---|---|---|---|",
        ]
        for name, scores in self._scores.items():
            low, high = np.percentile(self._draws[name], INTERVAL)
            gains = " | ".join(
                "" if name == other else "{:+.3f} ({:+.3f} to {:+.3f})".format(
                    *self.gain(name, other))
                for other in (GIVEN, PLURALITY)
            )  # fmt: skip
            lines.append(
                f"| {name} | {scores.mean():.3f} | {low:.3f} to {high:.3f} | "
                f"{scores.min():.3f} to {scores.max():.3f} | {gains} | {self.brier[name]:.3f} |"
            )
        return "\n".join(lines)


def broken_claims(case: Case, result: Result) -> list[str]:
    """Return the claims of the module that a case contradicts."""
    broken = []
    for other in (GIVEN, PLURALITY) if case.equal_raters else ():
        if result.gain(DEFAULT, other)[2] < 0:
            broken.append(f"{case.name}: the default is below the {other}")
    return broken


def pluralities(votes: Mapping[str, Mapping[str, Votes]]) -> dict[str, float]:
    """Return the fraction of clips whose only most frequent vote is the intended emotion."""
    letters = np.array(list("ADFHNS"))
    return {
        name: float(np.mean([
            letters[counts == counts.max()].tolist() == [intended(clip_id)]
            for clip_id, counts in by_clip.items()
        ]))
        for name, by_clip in votes.items()
    }  # fmt: skip


def main() -> int:
    """Print a table per case, and the claims that do not hold."""
    broken = []
    folder = SHARED / "data/crema_votes"
    if folder.is_dir():
        marks = pluralities(read_crema(folder))
        log.info("CREMA-D, plurality without ties: %s", marks)
        broken += [f"CREMA-D, {name}: {mark:.3f}" for name, mark in marks.items()
                   if round(mark, 3) != PUBLISHED[name]]  # fmt: skip
    for case in cases():
        result = Result(compare(case))
        log.info("### %s\n%s\n", case.name, result.table())
        broken += broken_claims(case, result)
    log.info("%s", "\n".join(["not met:", *broken]) if broken else "all claims hold")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main())
