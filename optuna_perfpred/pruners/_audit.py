from __future__ import annotations

from dataclasses import dataclass
import math
from typing import TYPE_CHECKING

from optuna.study import StudyDirection
from optuna.trial import TrialState
from scipy.stats import binomtest

from optuna_perfpred._arguments import check_single_objective
from optuna_perfpred.history import gone_on_with
from optuna_perfpred.history import trained_steps
from optuna_perfpred.pruners._recorded_decision import read_decision


if TYPE_CHECKING:
    from collections.abc import Sequence
    from datetime import datetime

    from optuna import Study
    from optuna.trial import FrozenTrial

    from optuna_perfpred.pruners._recorded_decision import Decision


_CONFIDENCE_LEVEL = 0.95
_MAX_LISTED = 10


@dataclass(frozen=True)
class FalsePrune:
    """A trial that would have been pruned, was let finish, and became the best.

    Attributes:
        number:
            The trial's number.
        step:
            The step at which it would have been pruned.
        value:
            Its final value.
        best_before:
            The best value completed before it finished; :obj:`None` if there was none.
        reason:
            Why it would have been pruned.
    """

    number: int
    step: int
    value: float
    best_before: float | None
    reason: str


@dataclass(frozen=True)
class AuditReport:
    """How often a pruner is wrong, from the trials that it let finish on purpose.

    Attributes:
        study_name:
            The study's name.
        n_audited:
            The number of trials that would have been pruned, were let finish, and completed.
        false_prunes:
            Those of them that beat the best value completed before they finished.
        rate:
            The share of false prunes; :obj:`None` if no trial was audited.
        interval:
            The 95 % confidence interval of the rate (Wilson's score interval, which also holds
            for few trials and rates near 0); :obj:`None` if no trial was audited.
        audit_steps:
            The number of reports that the audited trials made after the decision: what the audit
            has cost, or, of a study in shadow mode, what pruning would have saved.
        n_pruned:
            The number of trials that were pruned by a forecast. Those that others have gone on
            with are not counted.
        total_steps:
            The number of steps that the trials of the study have trained. What was reported again
            from a checkpoint was not trained again.
    """

    study_name: str
    n_audited: int
    false_prunes: tuple[FalsePrune, ...]
    rate: float | None
    interval: tuple[float, float] | None
    audit_steps: int
    n_pruned: int
    total_steps: int

    def __str__(self) -> str:
        if self.rate is None or self.interval is None:
            return (
                f"No trial of study {self.study_name!r} was audited, so the rate of false prunes "
                "is not known. Give the pruner an `audit_rate`, or use `shadow=True`."
            )
        low, high = (100.0 * bound for bound in self.interval)
        share = 100.0 * self.audit_steps / self.total_steps
        steps = f"{self.audit_steps} of the study's {self.total_steps} steps ({share:.3g} %)"
        lines = [
            f"Audit of study {self.study_name!r}: {self.n_audited} trials finished although they "
            f"would have been pruned, {len(self.false_prunes)} of them became the best.",
            f"Rate of false prunes: {100.0 * self.rate:.3g} %, 95 % interval {low:.3g} to "
            f"{high:.3g} %.",
        ]
        if self.n_pruned == 0:
            lines.append(f"Nothing was pruned; pruning would have saved {steps}.")
        else:
            lines.append(
                f"{self.n_pruned} other trials were pruned, about {self.rate * self.n_pruned:.2g} "
                f"of them wrongly. The audit cost {steps}."
            )
        for wrong in self.false_prunes[:_MAX_LISTED]:
            best = "nothing" if wrong.best_before is None else f"{wrong.best_before:.4g}"
            lines.append(
                f"Trial {wrong.number} ended at {wrong.value:.4g}, the best before was {best}. "
                f"{wrong.reason}".rstrip()
            )
        if len(self.false_prunes) > _MAX_LISTED:
            lines.append(f"And {len(self.false_prunes) - _MAX_LISTED} more.")
        return "\n".join(lines)


def audit_study(study: Study) -> AuditReport:
    """Tell how often the pruner of a study is wrong.

    It is measured on the trials with the user attribute ``perfpred:audit``: a random share of
    those that would have been pruned (``audit_rate``), or all of them (``shadow=True``). A
    decision was false if the trial beat the best value of the feasible trials that completed
    before it. Trials that a wrapped pruner would have pruned without a forecast are not counted.

    Args:
        study:
            A single-objective study in any storage.

    Returns:
        The report. ``print`` gives its summary.

    Raises:
        ValueError:
            If the study has several objectives.
    """
    check_single_objective(study, "audited")
    trials = study.get_trials(deepcopy=False)
    decisions = {trial.number: read_decision(trial) for trial in trials}
    audited = {
        trial.number: decision
        for trial in trials
        if trial.state == TrialState.COMPLETE
        and (decision := decisions[trial.number]) is not None
        and decision.audit
    }
    gone_on = gone_on_with(trials)
    false_prunes = _false_prunes(study, trials, audited)
    interval = None
    if audited:
        bounds = binomtest(len(false_prunes), len(audited)).proportion_ci(
            confidence_level=_CONFIDENCE_LEVEL, method="wilson"
        )
        interval = (float(bounds.low), float(bounds.high))
    return AuditReport(
        study_name=study.study_name,
        n_audited=len(audited),
        false_prunes=tuple(false_prunes),
        rate=len(false_prunes) / len(audited) if audited else None,
        interval=interval,
        audit_steps=sum(
            step > audited[trial.number].step
            for trial in trials
            if trial.number in audited
            for step in trial.intermediate_values
        ),
        n_pruned=sum(
            trial.state == TrialState.PRUNED
            and trial.number not in gone_on
            and decisions[trial.number] is not None
            for trial in trials
        ),
        total_steps=sum(len(trained_steps(trial, trials)) for trial in trials),
    )


def _false_prunes(
    study: Study, trials: Sequence[FrozenTrial], audited: dict[int, Decision]
) -> list[FalsePrune]:
    sign = 1.0 if study.direction == StudyDirection.MAXIMIZE else -1.0
    feasible = [
        trial
        for trial in trials
        if trial.state == TrialState.COMPLETE and all(c <= 0.0 for c in trial.constraints.values())
    ]
    false_prunes = []
    best = -math.inf
    for trial in sorted(feasible, key=_completion_order):
        assert trial.value is not None
        if trial.number in audited and sign * trial.value > best:
            false_prunes.append(
                FalsePrune(
                    number=trial.number,
                    step=audited[trial.number].step,
                    value=trial.value,
                    best_before=None if best == -math.inf else sign * best,
                    reason=audited[trial.number].reason,
                )
            )
        best = max(best, sign * trial.value)
    return false_prunes


def _completion_order(trial: FrozenTrial) -> tuple[datetime, int]:
    assert trial.datetime_complete is not None
    # Trials added by hand may carry a time zone, which does not compare with those without.
    return trial.datetime_complete.replace(tzinfo=None), trial.number
