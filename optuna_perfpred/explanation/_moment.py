from __future__ import annotations

import copy
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from optuna_perfpred.explanation._history import time_of_report
from optuna_perfpred.explanation._judges import PredictorJudge
from optuna_perfpred.pruners import PerformancePredictionPruner


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.trial import FrozenTrial

    from optuna_perfpred.explanation._evidence import Evidence
    from optuna_perfpred.explanation._history import KnownTrials
    from optuna_perfpred.explanation._judges import Judge
    from optuna_perfpred.history import FinishedTrials
    from optuna_perfpred.pruners import FastHyperbandPruner


# A trial that was never to be stopped is judged anew at this many of its steps at most; by a
# predictor, which may take seconds to fit for each, at few.
_MAX_STEPS = 50
_MAX_STEPS_OF_PREDICTOR = 3


class Moment(NamedTuple):
    """What was foreseen of a trial at one of its steps, found again.

    Attributes:
        step:
            The step.
        finished:
            The trials that had ended.
        evidence:
            What was foreseen, and from what.
        stops:
            Whether a pruner stops the trial by that.
    """

    step: int
    finished: FinishedTrials
    evidence: Evidence
    stops: bool


def find_moment(
    pruner: PerformancePredictionPruner | FastHyperbandPruner,
    judge: Judge,
    known: KnownTrials,
    trial: FrozenTrial,
    decided_at: int | None,
    repeats_until: int | None,
) -> Moment | None:
    """Find what was foreseen of a trial.

    Args:
        pruner:
            The pruner that was used.
        judge:
            Judges as it does.
        known:
            The finished trials of the study.
        trial:
            The trial.
        decided_at:
            The step of the decision on it, if there is one.
        repeats_until:
            The last step of the stopped trial that it goes on with, if there is one.

    Returns:
        What was foreseen at the decision. Without one, at the last step; of a completed trial,
        where it would have been stopped first, or came closest to that. :obj:`None` if nothing
        was.
    """
    closest: Moment | None = None
    for step in _steps(pruner, judge, trial, decided_at, repeats_until):
        time = time_of_report(trial, step)
        finished = known.at(time, trial.number)
        evidence = judge.judge(finished, _as_of(trial, step), time)
        if evidence is None:
            continue
        assessment = evidence.assessment
        stops = judge.stops(assessment)
        if (
            closest is None
            or stops
            or (assessment.probability < closest.evidence.assessment.probability)
        ):
            closest = Moment(step, finished, evidence, stops)
        if stops:
            break
    return closest


def _steps(
    pruner: PerformancePredictionPruner | FastHyperbandPruner,
    judge: Judge,
    trial: FrozenTrial,
    decided_at: int | None,
    repeats_until: int | None,
) -> Sequence[int]:
    if decided_at is not None:
        return [decided_at]
    steps = sorted(trial.intermediate_values)
    if repeats_until is not None:
        steps = [step for step in steps if step > repeats_until]
    if trial.state != TrialState.COMPLETE or not steps:
        return steps[-1:]
    if isinstance(pruner, PerformancePredictionPruner):
        steps = [step for step in steps if pruner._is_due(_as_of(trial, step))]
    n = _MAX_STEPS_OF_PREDICTOR if isinstance(judge, PredictorJudge) else _MAX_STEPS
    if len(steps) > n:
        # In between: the last one is the end, of which nothing is left to foresee.
        steps = [steps[int(len(steps) * (i + 1) / (n + 1))] for i in range(n)]
    return steps


def _as_of(trial: FrozenTrial, step: int) -> FrozenTrial:
    """Give a trial as it was when it had reported at a step."""
    then = copy.copy(trial)
    reports = trial.intermediate_values
    then.intermediate_values = {s: value for s, value in reports.items() if s <= step}
    return then
