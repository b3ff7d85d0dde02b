"""Search a space of training parameters with TPE, scored by the mean over the validation folds.

The same seed draws the same trials: a resumed search ends with the same result, and a longer search
continues a shorter one.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean
from typing import Literal

import optuna
from optuna.trial import TrialState
from tqdm import tqdm

from ecmf.errors import ParamsError
from ecmf.tuning.dotted_params import Values, current_values, with_values
from ecmf.tuning.objective import Objective
from ecmf.tuning.search_space import Space, contains, round_values

log = logging.getLogger(__name__)

TRIALS_BEFORE_PRUNING = 5
FOLDS_BEFORE_PRUNING = 2


@dataclass(frozen=True)
class Trial:
    """One set of values, and the validation score of each fold it was trained on."""

    number: int
    values: Values
    state: Literal["complete", "pruned", "refused"]
    by_fold: list[float] = field(default_factory=list)
    reason: str = ""

    @property
    def score(self) -> float:
        """The mean over its folds."""
        return fmean(self.by_fold)


def search(objective: Objective, space: Space, trials: int, seed: int) -> list[Trial]:
    """Train the current values, if the space contains them, then those that TPE proposes.

    All trials are trained on the same folds with the same seed. A trial is pruned by the median
    stopping rule (Vizier, Golovin et al. 2017) on the mean over its folds so far.
    """
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=optuna.pruners.MedianPruner(n_startup_trials=TRIALS_BEFORE_PRUNING),
    )
    current = current_values(objective.params)
    if contains(space, current):
        study.enqueue_trial({key: current[key] for key in space})
    done: list[Trial] = []
    with tqdm(
        total=trials, desc=f"sweep {objective.params.model}", unit="trial", disable=None
    ) as progress:
        for _ in range(trials):
            done.append(_run_trial(objective, study, space, seed))
            if scores := [trial.score for trial in done if trial.state == "complete"]:
                progress.set_postfix(best=f"{max(scores):.3f}")
            progress.update()
    return done


def best_trial(trials: Sequence[Trial]) -> Trial:
    """Return the best trial trained on all folds, the first of equals."""
    complete = [trial for trial in trials if trial.state == "complete"]
    if not complete:
        raise ParamsError(
            f"none of the {len(trials)} trials could be trained: {trials[0].reason}. Search other "
            "values, or vary fewer keys that constrain each other"
        )
    return max(complete, key=lambda trial: (trial.score, -trial.number))


def _run_trial(objective: Objective, study: optuna.Study, space: Space, seed: int) -> Trial:
    drawn = study.ask(space)
    values = round_values(drawn.params, space)
    try:
        params = with_values(objective.params, values)
        reason = objective.why_invalid(params)
    except ParamsError as error:
        reason = str(error)
    if reason:
        log.info("trial %d is not valid: %s", drawn.number, reason)
        study.tell(drawn, state=TrialState.PRUNED)
        return Trial(drawn.number, values, "refused", reason=reason)
    by_fold: list[float] = []
    folds = objective.folds(seed)
    for fold in folds:
        by_fold.append(objective.train(params, fold, seed).validation)
        # The pruner compares the best report of a trial, so an easy first fold is not reported.
        if FOLDS_BEFORE_PRUNING <= len(by_fold) < len(folds):
            drawn.report(fmean(by_fold), len(by_fold))
            if drawn.should_prune():
                study.tell(drawn, state=TrialState.PRUNED)
                return Trial(drawn.number, values, "pruned", by_fold)
    study.tell(drawn, fmean(by_fold))
    return Trial(drawn.number, values, "complete", by_fold)
