from __future__ import annotations

import math
from typing import TYPE_CHECKING

from optuna.pruners._successive_halving import _completed_rung_key
from optuna.trial import TrialState

from optuna_perfpred.history import stopped_trial
from optuna_perfpred.history import tell_why_continued
from optuna_perfpred.pruners._assessment import AUDIT
from optuna_perfpred.pruners._recorded_decision import is_by_wrapped_pruner


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial

    from optuna_perfpred.history import CurveRecord
    from optuna_perfpred.history import FinishedTrials
    from optuna_perfpred.pruners import Assessment
    from optuna_perfpred.pruners._recorded_decision import Decision


# What Optuna names the results of rungs, but for their number.
_RUNG = _completed_rung_key(0).rstrip("0")


def tell_outcome(
    trial: FrozenTrial,
    decision: Decision | None,
    assessment: Assessment | None,
    *,
    horizon: int | None,
    best_before: CurveRecord | None,
    sign: float,
) -> str:
    """Tell what became of a trial.

    Args:
        trial:
            The trial.
        decision:
            What a pruner has decided on it.
        assessment:
            What is foreseen of it, found again.
        horizon:
            The step at which a full curve ends, or the rung that decided; :obj:`None` if it is
            not known.
        best_before:
            The best of the trials that were complete before the trial ended.
        sign:
            ``1.0`` if the study maximizes, ``-1.0`` if it minimizes.

    Returns:
        A sentence or two.
    """
    by_wrapped = is_by_wrapped_pruner(trial)
    if trial.user_attrs.get(AUDIT) and (by_wrapped or decision is not None):
        verdict = _verdict(trial, best_before, sign)
        return f"It was let finish on purpose, to check this decision, and {_end(trial)}{verdict}."
    found_again = ""
    if assessment is not None:
        would = f"be stopped at step {assessment.step}" if assessment.is_hopeless else "go on"
        found_again = f" By this forecast, found again, it would {would}."
    if trial.state == TrialState.PRUNED:
        return _pruned(trial, decision, horizon) + (found_again if decision is None else "")
    if decision is not None:
        return f"It went on nevertheless and {_end(trial)}."
    if trial.state == TrialState.WAITING:
        return "It is waiting to be run."
    if assessment is None:
        return f"It {_end(trial)}."
    if trial.state == TrialState.COMPLETE and not assessment.is_hopeless:
        found_again = f" It came closest to that at step {assessment.step}."
    return f"It was not stopped and {_end(trial)}.{found_again}"


def why_not_assessed(
    trial: FrozenTrial, finished: FinishedTrials, repeats_until: int | None
) -> str:
    """Tell in a sentence why nothing was foreseen of a trial.

    Args:
        trial:
            The trial.
        finished:
            The trials that had ended before it did.
        repeats_until:
            The last step of the stopped trial that it goes on with, if there is one.
    """
    if trial.state == TrialState.WAITING:
        return "It was never judged: it has not begun."
    if not trial.intermediate_values:
        return "It was never judged: it has reported no intermediate value."
    if repeats_until is not None and max(trial.intermediate_values) <= repeats_until:
        return f"It was not judged again: until step {repeats_until} it was trained before."
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


def _pruned(trial: FrozenTrial, decision: Decision | None, horizon: int | None) -> str:
    told = "It was pruned"
    if trial.last_step is not None:
        told += f" at step {trial.last_step}"
    if is_by_wrapped_pruner(trial):
        alone = "; the forecast alone would have let it go on" if decision is not None else ""
        return f"{told}{alone}."
    if decision is None and _ended_with_rung(trial):
        return f"{told}, where successive halving did not promote it: no forecast is recorded."
    if decision is None:
        return f"{told}, by another pruner or the objective itself: no forecast is recorded."
    if horizon is None:
        return f"{told}."
    whole = "its rung" if decision.horizon is not None else "a full curve"
    return f"{told}; {whole} ends at step {horizon}."


def _ended_with_rung(trial: FrozenTrial) -> bool:
    results = [v for key, v in trial.system_attrs.items() if key.startswith(_RUNG)]
    return trial.last_step is not None and trial.intermediate_values[trial.last_step] in results


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


def tell_second_chances(trial: FrozenTrial, trials: Sequence[FrozenTrial]) -> tuple[str, ...]:
    """Tell with which stopped trial a trial goes on, and which have gone on with it.

    Args:
        trial:
            The trial.
        trials:
            All trials of its study, by ascending number.

    Returns:
        A sentence for each; empty if there are none.
    """
    why = tell_why_continued(trial, trials)
    sentences = [] if why is None else [why]
    sentences += [
        f"Trial {other.number} goes on with it, and {tell_end(other)}."
        for other in trials
        if stopped_trial(other, trials) is trial
    ]
    return tuple(sentences)


def tell_end(trial: FrozenTrial) -> str:
    """Tell in a few words how a trial that goes on with a stopped one has ended, or if."""
    if trial.state == TrialState.COMPLETE:
        return f"ended at {trial.value:.4g}"
    if trial.state == TrialState.PRUNED:
        at = "" if trial.last_step is None else f" at step {trial.last_step}"
        return f"was stopped again{at}"
    if trial.state == TrialState.FAIL:
        return "failed"
    return "is running" if trial.state == TrialState.RUNNING else "waits to be run"
