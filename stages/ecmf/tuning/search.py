"""A space of parameters -> trials, drawn by TPE and scored by validation folds alone.

A trial's score is the mean of its folds. The same seed draws the same trials, whatever was trained
before: a search that was killed ends where it would have ended, and one of more trials goes on
where one of fewer stopped.
"""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Literal

import optuna
from optuna.trial import FrozenTrial, TrialState
from tqdm import tqdm

from ecmf.errors import ParamsError
from ecmf.tuning.dotted_params import Values, changed, present
from ecmf.tuning.objective import Ground
from ecmf.tuning.search_space import Space, holds, rounded

log = logging.getLogger(__name__)

TRIALS_BEFORE_PRUNING = 5
FOLDS_BEFORE_PRUNING = 2


@dataclass(frozen=True)
class Trial:
    """One set of values, and the validation WAF of each fold it was trained on."""

    number: int
    values: Values
    state: Literal["complete", "pruned", "refused"]
    by_fold: list[float] = field(default_factory=list)
    reason: str = ""

    @property
    def score(self) -> float:
        """The mean over its folds."""
        return fmean(self.by_fold)


class MedianOfFolds(optuna.pruners.BasePruner):
    """Give a trial up whose mean over the folds so far is below the median of those gone through.

    The median stopping rule of Vizier (Golovin et al. 2017) on running means. Optuna's own compares
    the best step of a trial, which for folds would be its easiest one.
    """

    def prune(self, study: optuna.Study, trial: FrozenTrial) -> bool:
        """Tell whether to give `trial` up after the fold it has last reported."""
        through = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        step = trial.last_step
        if step is None or step + 1 < FOLDS_BEFORE_PRUNING or len(through) < TRIALS_BEFORE_PRUNING:
            return False
        return trial.intermediate_values[step] < median(
            one.intermediate_values[step] for one in through
        )


def search(ground: Ground, space: Space, trials: int, seed: int) -> list[Trial]:
    """Train the values as they are, if the space holds them, then what TPE proposes.

    All trials are trained on the same folds with the same seed.
    """
    optuna.logging.disable_default_handler()
    optuna.logging.enable_propagation()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(
        direction="maximize",
        sampler=optuna.samplers.TPESampler(seed=seed),
        pruner=MedianOfFolds(),
    )
    now = present(ground.params)
    if holds(space, now):
        study.enqueue_trial({key: now[key] for key in space})
    done: list[Trial] = []
    with tqdm(
        total=trials, desc=f"sweep {ground.params.model}", unit="trial", disable=None
    ) as progress:
        for _ in range(trials):
            done.append(_try(ground, study, space, seed))
            if scored := [trial.score for trial in done if trial.state == "complete"]:
                progress.set_postfix(best=f"{max(scored):.3f}")
            progress.update()
    return done


def best(trials: Sequence[Trial]) -> Trial:
    """Return the best of the trials that went through all folds, the first of equals."""
    through = [trial for trial in trials if trial.state == "complete"]
    if not through:
        raise ParamsError(
            f"none of the {len(trials)} trials could be trained: {trials[0].reason}. Search other "
            "values, or more of those that must agree"
        )
    return max(through, key=lambda trial: (trial.score, -trial.number))


def _try(ground: Ground, study: optuna.Study, space: Space, seed: int) -> Trial:
    asked = study.ask(space)
    values = rounded(asked.params, space)
    try:
        params = changed(ground.params, values)
        refusal = ground.refusal(params)
    except ParamsError as error:
        refusal = str(error)
    if refusal:
        log.info("trial %d is no valid set: %s", asked.number, refusal)
        study.tell(asked, state=TrialState.PRUNED)
        return Trial(asked.number, values, "refused", reason=refusal)
    by_fold: list[float] = []
    folds = ground.folds(seed)
    for step, fold in enumerate(folds):
        by_fold.append(ground.train(params, fold, seed).validation)
        asked.report(fmean(by_fold), step)
        if step + 1 < len(folds) and asked.should_prune():
            study.tell(asked, state=TrialState.PRUNED)
            return Trial(asked.number, values, "pruned", by_fold)
    study.tell(asked, fmean(by_fold))
    return Trial(asked.number, values, "complete", by_fold)
