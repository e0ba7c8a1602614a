from __future__ import annotations

import math
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from optuna_perfpred.visualization._decisions import is_by_wrapped_pruner


if TYPE_CHECKING:
    from optuna.trial import FrozenTrial

    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.history import FinishedTrials
    from optuna_perfpred.visualization._decisions import Decision


def tell_outcome(
    trial: FrozenTrial,
    decision: Decision | None,
    *,
    judged_at: int | None,
    best_before: CurveRecord | None,
    sign: float,
) -> str:
    """Tell what became of a trial.

    Args:
        trial:
            The trial.
        decision:
            What a pruner has decided on it.
        judged_at:
            The step whose forecast is told, if there is one.
        best_before:
            The best of the trials that were complete before the trial ended.
        sign:
            ``1.0`` if the study maximizes, ``-1.0`` if it minimizes.

    Returns:
        A sentence or two.
    """
    if decision is not None and decision.audit:
        verdict = _verdict(trial, best_before, sign)
        return f"It was let finish on purpose, to check this forecast, and {_end(trial)}{verdict}."
    if trial.state == TrialState.PRUNED:
        return _pruned(trial, decision)
    if decision is not None:
        return f"It went on nevertheless and {_end(trial)}."
    if trial.state == TrialState.WAITING:
        return "It is waiting to be run."
    if judged_at is None:
        return f"It {_end(trial)}."
    if trial.state == TrialState.COMPLETE:
        return f"It was not stopped and {_end(trial)}. It came closest to it at step {judged_at}."
    return f"It was not stopped and {_end(trial)}. This is foreseen of it at its last step."


def why_not_judged(trial: FrozenTrial, finished: FinishedTrials) -> str:
    """Tell in a sentence why nothing was foreseen of a trial.

    Args:
        trial:
            The trial.
        finished:
            The trials that had ended before it did.
    """
    if trial.state == TrialState.WAITING:
        return "It was never judged: it has not begun."
    if not trial.intermediate_values:
        return "It was never judged: it has reported no intermediate value."
    if all(math.isnan(value) for value in trial.intermediate_values.values()):
        return "It was never judged: it has reported nothing but NaN."
    if len(finished.completed) == 0:
        return "It was never judged: no other trial was complete by then."
    last = max((int(r.steps[-1]) for r in finished.completed if len(r.steps)), default=None)
    if last is None:
        return "It was never judged: the completed trials have reported no intermediate values."
    if min(trial.intermediate_values) >= last:
        return f"It was never judged: full curves end at step {last}, where it first reported."
    return "It was never judged: too little was known by then to forecast its end."


def best_of(finished: FinishedTrials, sign: float) -> CurveRecord | None:
    """Give the best of the completed trials, as ``study.best_trial`` tells it."""
    feasible = (record for record in finished.completed if record.feasible)
    return max(feasible, key=lambda r: (sign * r.value, -r.number), default=None)


def _pruned(trial: FrozenTrial, decision: Decision | None) -> str:
    n = len(trial.intermediate_values)
    after = f"after {n} report{'' if n == 1 else 's'}"
    if is_by_wrapped_pruner(trial):
        forecast = "" if decision is None else "; the forecast alone would have let it go on"
        return f"It was pruned at step {trial.last_step}, {after}{forecast}."
    if decision is None:
        return (
            f"It was pruned {after}, but no forecast is recorded: another pruner did it, or the "
            "objective itself."
        )
    return f"It was pruned at step {trial.last_step}, {after}."


def _end(trial: FrozenTrial) -> str:
    if trial.state == TrialState.COMPLETE:
        return f"ended at {trial.value:.4g}"
    if trial.state == TrialState.PRUNED:
        return f"was pruned by something else at step {trial.last_step}"
    return "is still running" if trial.state == TrialState.RUNNING else "failed"


def _verdict(trial: FrozenTrial, best_before: CurveRecord | None, sign: float) -> str:
    if trial.value is None or trial.state != TrialState.COMPLETE or best_before is None:
        return ""
    best = f"the best before, {best_before.value:.4g}"
    if sign * trial.value > sign * best_before.value:
        return f", better than {best}: pruning it would have been wrong"
    return f", not better than {best}: pruning it would have been right"
