from __future__ import annotations

from typing import TYPE_CHECKING

from optuna.trial import TrialState

from optuna_perfpred._attributes import finite
from optuna_perfpred.pruners._recorded_decision import read_decision
from optuna_perfpred.visualization._studies import best_trial
from optuna_perfpred.visualization._studies import is_feasible
from optuna_perfpred.visualization._studies import maximizes
from optuna_perfpred.visualization._thinning import evenly


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial


# More curves than these do not tell more in one figure.
MAX_CURVES = 100
_N_BEST = 10
_N_LATEST = 10
_N_AUDITED = 20


def choose_curves(study: Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    """Choose the trials whose curves are drawn.

    Args:
        study:
            The study.
        trials:
            Those of its trials that have a curve.

    Returns:
        All, if there are few. Else the best ones, the latest ones and the latest audited ones,
        and of the others some at even distances. In the order of their numbers.
    """
    if len(trials) <= MAX_CURVES:
        return list(trials)
    chosen = {trial.number for trial in [*_best(study, trials), *trials[-_N_LATEST:]]}
    chosen |= {trial.number for trial in _audited(trials)[-_N_AUDITED:]}
    others = [trial for trial in trials if trial.number not in chosen]
    chosen |= {trial.number for trial in evenly(others, MAX_CURVES - len(chosen))}
    return [trial for trial in trials if trial.number in chosen]


def _best(study: Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    sign = 1.0 if maximizes(study) else -1.0
    finished = [
        trial
        for trial in trials
        if trial.state == TrialState.COMPLETE
        and is_feasible(trial)
        and finite(trial.value) is not None
    ]
    finished.sort(key=lambda trial: -sign * (trial.value or 0.0))
    best = best_trial(study, trials)
    return [*([best] if best is not None else []), *finished[:_N_BEST]]


def _audited(trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
    return [
        trial
        for trial in trials
        if (decision := read_decision(trial)) is not None and decision.audit
    ]
