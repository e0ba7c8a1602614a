from __future__ import annotations

from datetime import timedelta
from itertools import accumulate
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from optuna.trial import TrialState

from optuna_perfpred._attributes import read_step
from optuna_perfpred.history import gone_on_with
from optuna_perfpred.history import joined_curve
from optuna_perfpred.history import stopped_before
from optuna_perfpred.history import trained_steps
from optuna_perfpred.pruners._audit import audit_study
from optuna_perfpred.pruners._recorded_decision import is_by_wrapped_pruner
from optuna_perfpred.pruners._recorded_decision import read_decision
from optuna_perfpred.samplers._q_learning import REUSED
from optuna_perfpred.visualization._studies import check_single_objective
from optuna_perfpred.visualization._studies import of_study
from optuna_perfpred.visualization._thinning import evenly


if TYPE_CHECKING:
    from collections.abc import Sequence
    from collections.abc import Set
    from datetime import datetime

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_perfpred.pruners import AuditReport


FORECAST = "saved by forecasts"
WRAPPED = "saved by the wrapped pruner"
OTHER = "saved otherwise"
# What a step was: trained, or who has saved it. In the order in which they are stacked.
TRAINED = "trained"
AUDITED = "trained for the audit"
REPEATED = "trained again"
BANDS = (TRAINED, AUDITED, REPEATED, FORECAST, WRAPPED, OTHER)
# No screen shows more points of a line.
_MAX_POINTS = 500


class _Spent(NamedTuple):
    """What a finished trial has cost and saved.

    Attributes:
        ended: The time of its end.
        steps: The number of its steps by band; less than none were saved of what it repeats.
        seconds: Its duration; :obj:`None` if it is not known.
        state: Its state.
        counts: Whether it is no stopped trial that another one has gone on with.
    """

    ended: datetime
    steps: dict[str, float]
    seconds: float | None
    state: TrialState
    counts: bool


class _SavingsInfo(NamedTuple):
    """The cumulative number of steps by band, at the end of each finished trial.

    Attributes:
        times: The start of the first trial and the ends of all, ascending. Shape: ``(n,)``.
        steps: The cumulative steps by band, those bands that have any. Each of shape ``(n,)``.
        audit: What the audit tells, as a sentence; empty if no trial was audited.
    """

    title: str
    times: list[datetime]
    steps: dict[str, list[float]]
    audit: str
    message: str | None


def _get_savings_info(study: Study) -> _SavingsInfo:
    check_single_objective(study)
    title = f"Steps trained and saved in trials{of_study(study.study_name)}"
    trials = study.get_trials(deepcopy=False)
    spent = read_spent(trials)
    if not spent:
        message = "No trial has finished yet that has reported an intermediate value."
        return _SavingsInfo(title, [], {}, "", message)
    totals = {
        band: list(accumulate(trial.steps.get(band, 0.0) for trial in spent)) for band in BANDS
    }
    trained = totals[TRAINED][-1] + totals[AUDITED][-1] + totals[REPEATED][-1]
    saved = sum(totals[band][-1] for band in (FORECAST, WRAPPED, OTHER))
    if saved > 0.0:
        title += f": {saved / (trained + saved):.0%} saved"
    shown = evenly(range(len(spent)), _MAX_POINTS)
    return _SavingsInfo(
        title=title,
        times=[_start(trials, spent[0].ended), *(spent[place].ended for place in shown)],
        steps={
            # An area cannot show that until then more was repeated than saved.
            band: [0.0, *(max(0.0, total[place]) for place in shown)]
            for band, total in totals.items()
            if total[-1] > 0.0 or band == TRAINED
        },
        audit=describe_audit(audit_study(study)),
        message=None,
    )


def read_spent(trials: Sequence[FrozenTrial]) -> list[_Spent]:
    """Count what the finished trials of a study have cost and saved, in the order of their ends.

    A pruned trial has saved as many reports as the completed ones made on the average after its
    last step. One that another trial has gone on with has saved nothing, and what that one has
    trained again is taken from what was saved. Trials whose value was known before and that were
    not trained are left out.

    Args:
        trials:
            All trials of the study, by ascending number.
    """
    trials = [trial for trial in trials if read_step(trial.user_attrs, REUSED) is None]
    remaining = _Remaining(trials)
    gone_on = gone_on_with(trials)
    spent = [
        _Spent(
            ended=trial.datetime_complete.replace(tzinfo=None),
            steps=_steps(trial, trials, gone_on, remaining),
            seconds=_seconds(trial),
            state=trial.state,
            counts=trial.number not in gone_on,
        )
        for trial in trials
        if trial.datetime_complete is not None and trial.intermediate_values
    ]
    return sorted(spent, key=lambda trial: trial.ended)


def describe_audit(audit: AuditReport) -> str:
    """Tell in one sentence how many trials were wrongly pruned; nothing if nobody knows."""
    if audit.rate is None or audit.interval is None:
        return ""
    low, high = audit.interval
    text = (
        f"Audit: {len(audit.false_prunes)} of {audit.n_audited} trials that would have been "
        f"pruned became the best ({low:.1%} to {high:.1%} with 95 % confidence)"
    )
    if audit.n_pruned > 0:
        text += (
            f"; of {audit.n_pruned} pruned ones, about {audit.rate * audit.n_pruned:.0f} wrongly "
            f"({low * audit.n_pruned:.0f} to {high * audit.n_pruned:.0f})"
        )
    return text + "."


def _start(trials: Sequence[FrozenTrial], first_end: datetime) -> datetime:
    starts = [t.datetime_start.replace(tzinfo=None) for t in trials if t.datetime_start]
    start = min(starts, default=first_end)
    # Trials added by hand start when they end; an area needs some width.
    return start if start < first_end else first_end - timedelta(seconds=1)


class _Remaining:
    """How many reports completed trials made after a step, on the average of those that did."""

    def __init__(self, trials: Sequence[FrozenTrial]) -> None:
        whole = [trial for trial in trials if trial.state == TrialState.COMPLETE]
        # If none is complete, others tell at least how long a training is.
        curves = [joined_curve(trial, trials) for trial in whole or trials]
        self._steps = np.sort([step for curve in curves for step in curve])
        self._ends = np.sort([max(curve) for curve in curves if curve])

    def after(self, step: int) -> float:
        n_longer = len(self._ends) - np.searchsorted(self._ends, step, side="right")
        n_steps = len(self._steps) - np.searchsorted(self._steps, step, side="right")
        return float(n_steps / n_longer) if n_longer > 0 else 0.0


def _steps(
    trial: FrozenTrial,
    trials: Sequence[FrozenTrial],
    gone_on: Set[int],
    remaining: _Remaining,
) -> dict[str, float]:
    steps = trained_steps(trial, trials)
    stopped = stopped_before(trial, trials)
    known = {step for other in stopped for step in other.intermediate_values}
    n_repeated = len(steps & known)
    spent: dict[str, float] = {TRAINED: len(steps) - n_repeated}
    if n_repeated > 0:
        spent |= {REPEATED: n_repeated, _saver(stopped[0]): -n_repeated}
    decision = read_decision(trial)
    if trial.state == TrialState.PRUNED:
        assert trial.last_step is not None
        # What another trial goes on to train was not saved; of those that were stopped, the one
        # that came furthest has saved the rest.
        if trial.number not in gone_on and trial.last_step >= max(known, default=0):
            by = _saver(trial)
            spent[by] = spent.get(by, 0.0) + remaining.after(trial.last_step)
    elif decision is not None and decision.audit:
        spent[AUDITED] = sum(step > decision.step for step in steps - known)
        spent[TRAINED] -= spent[AUDITED]
    return spent


def _saver(trial: FrozenTrial) -> str:
    """Give the band of what a pruned trial has saved."""
    if is_by_wrapped_pruner(trial):
        return WRAPPED
    return OTHER if read_decision(trial) is None else FORECAST


def _seconds(trial: FrozenTrial) -> float | None:
    start, end = trial.datetime_start, trial.datetime_complete
    if start is None or end is None:
        return None
    # Trials added by hand may carry a time zone, or only at one end.
    return max(0.0, (end.replace(tzinfo=None) - start.replace(tzinfo=None)).total_seconds())
