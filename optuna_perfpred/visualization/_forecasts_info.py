from __future__ import annotations

from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from optuna_perfpred._attributes import read_text
from optuna_perfpred.history import gone_on_with
from optuna_perfpred.history import joined_curve
from optuna_perfpred.history import stopped_before
from optuna_perfpred.history import tell_why_continued
from optuna_perfpred.pruners._assessment import REASON
from optuna_perfpred.pruners._recorded_decision import is_by_wrapped_pruner
from optuna_perfpred.pruners._recorded_decision import read_decision
from optuna_perfpred.visualization._curve_choice import choose_curves
from optuna_perfpred.visualization._studies import asks_for_log_axis
from optuna_perfpred.visualization._studies import axis_range
from optuna_perfpred.visualization._studies import best_trial
from optuna_perfpred.visualization._studies import check_single_objective
from optuna_perfpred.visualization._studies import is_feasible
from optuna_perfpred.visualization._studies import maximizes
from optuna_perfpred.visualization._studies import metric_label
from optuna_perfpred.visualization._studies import metric_name
from optuna_perfpred.visualization._studies import of_study
from optuna_perfpred.visualization._style import BLUE
from optuna_perfpred.visualization._style import GREEN
from optuna_perfpred.visualization._style import GREY
from optuna_perfpred.visualization._style import PURPLE
from optuna_perfpred.visualization._style import SKY_BLUE
from optuna_perfpred.visualization._style import VERMILLION
from optuna_perfpred.visualization._thinning import evenly


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial

    from optuna_perfpred.pruners._recorded_decision import Decision


# What became of a trial, in the order in which they are drawn, and its colour.
COMPLETED = "trained to the end"
INFEASIBLE = "infeasible"
STOPPED = "stopped by a forecast"
OTHERWISE = "stopped otherwise"
AUDITED = "let finish on purpose"
RUNNING = "running"
COLORS = {
    INFEASIBLE: GREY,
    COMPLETED: BLUE,
    OTHERWISE: PURPLE,
    STOPPED: VERMILLION,
    AUDITED: GREEN,
    RUNNING: SKY_BLUE,
}
FORECAST = "forecast ± one standard error"
ENDED_EARLY = (STOPPED, OTHERWISE)
GONE_ON = "stopped here, and gone on with"

_DRAWN = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
# No screen shows more points of a curve.
_MAX_POINTS = 200


class _ForecastInfo(NamedTuple):
    """The forecast by which a trial was judged.

    Attributes:
        steps: The step of the decision and that for which the forecast is.
        values: The value at the decision and the predicted one.
        band: One standard error below and above the predicted value, if it is known.
    """

    steps: tuple[int, int]
    values: tuple[float, float]
    band: tuple[float, float] | None


class _CurveInfo(NamedTuple):
    """A curve of finite values.

    Attributes:
        joins: Where stopped trials ended with which it goes on.
        why_continued: Why it does, in a sentence; empty if it goes on with none.
    """

    number: int
    kind: str
    steps: list[int]
    values: list[float]
    forecast: _ForecastInfo | None
    reason: str
    joins: list[tuple[int, float]]
    why_continued: str


class _ForecastsInfo(NamedTuple):
    """What is drawn: curves of finite values, of ``n_trials`` trials that have reported."""

    title: str
    metric_label: str
    curves: list[_CurveInfo]
    n_trials: int
    best_value: float | None
    best_number: int | None
    log: bool
    value_range: tuple[float, float] | None
    message: str | None


def _get_forecasts_info(study: Study) -> _ForecastsInfo:
    check_single_objective(study)
    maximize = maximizes(study)
    trials = study.get_trials(deepcopy=False)
    # A trial that goes on with a stopped one is one curve with it.
    gone_on = gone_on_with(trials, _DRAWN)
    reported = [
        trial
        for trial in trials
        if trial.state in _DRAWN and trial.intermediate_values and trial.number not in gone_on
    ]
    horizon = _horizon(reported)
    curves = [
        curve
        for trial in choose_curves(study, reported)
        if (curve := _read_curve(trial, trials, horizon)) is not None
    ]
    best = best_trial(study, trials)
    seen = [value for curve in curves for value in curve.values]
    log = asks_for_log_axis(seen, maximize=maximize)
    predicted = [curve.forecast.values[1] for curve in curves if curve.forecast is not None]
    value_range = axis_range(
        [*seen, *predicted],
        always=[best.value] if best is not None and best.value is not None else (),
        log=log,
    )
    if log and value_range is not None:
        curves = [_raise_to(value_range[0], curve) for curve in curves]
    title = f"Learning curves and forecasts{of_study(study.study_name)}"
    if len(curves) < len(reported):
        title += f" ({len(curves)} of {len(reported)} trials)"
    return _ForecastsInfo(
        title=title,
        metric_label=metric_label(metric_name(study), maximize=maximize),
        curves=curves,
        n_trials=len(reported),
        best_value=None if best is None else best.value,
        best_number=None if best is None else best.number,
        log=log,
        value_range=value_range,
        message=None if curves else _why_empty(reported),
    )


def _horizon(trials: Sequence[FrozenTrial]) -> int:
    """Give the last step that a completed trial reached, as the pruner does; else that any did."""
    completed = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return max((trial.last_step or 0 for trial in completed or trials), default=0)


def _read_curve(
    trial: FrozenTrial, trials: Sequence[FrozenTrial], horizon: int
) -> _CurveInfo | None:
    # What is not finite counts as not reported, as it does for the pruner.
    finite = [
        (step, value)
        for step, value in sorted(joined_curve(trial, trials).items())
        if float("-inf") < value < float("inf")
    ]
    if not finite:
        return None
    decision = read_decision(trial)
    places = [i for i, (step, _) in enumerate(finite) if decision and step <= decision.step]
    ends = {stopped.last_step for stopped in stopped_before(trial, trials)}
    joins = [i for i, (step, _) in enumerate(finite) if step in ends]
    shown = evenly(finite, _MAX_POINTS, keep=[*places[-1:], *joins])
    at_decision = finite[places[-1]] if places else None
    return _CurveInfo(
        number=trial.number,
        kind=_kind(trial, decision),
        steps=[step for step, _ in shown],
        values=[value for _, value in shown],
        forecast=_read_forecast(decision, at_decision, horizon),
        reason=read_text(trial.user_attrs, REASON),
        joins=[finite[i] for i in joins],
        why_continued=tell_why_continued(trial, trials) or "",
    )


def _kind(trial: FrozenTrial, decision: Decision | None) -> str:
    if trial.state == TrialState.PRUNED:
        return STOPPED if decision and not is_by_wrapped_pruner(trial) else OTHERWISE
    if decision is not None and decision.audit:
        return AUDITED
    if trial.state == TrialState.RUNNING:
        return RUNNING
    return COMPLETED if is_feasible(trial) else INFEASIBLE


def _read_forecast(
    decision: Decision | None, at: tuple[int, float] | None, horizon: int
) -> _ForecastInfo | None:
    if decision is None or decision.predicted_value is None or at is None:
        return None
    step, value = at
    end = horizon if decision.horizon is None else decision.horizon
    if end <= step:
        return None
    mean, std = decision.predicted_value, decision.predicted_std
    return _ForecastInfo(
        steps=(step, end),
        values=(value, mean),
        band=None if std is None else (mean - std, mean + std),
    )


def _raise_to(low: float, curve: _CurveInfo) -> _CurveInfo:
    """Bring a forecast to the edge of a logarithmic axis that does not have it."""
    if (forecast := curve.forecast) is None:
        return curve
    band = forecast.band and (max(low, forecast.band[0]), max(low, forecast.band[1]))
    values = (forecast.values[0], max(low, forecast.values[1]))
    return curve._replace(forecast=forecast._replace(values=values, band=band))


def _why_empty(reported: Sequence[FrozenTrial]) -> str:
    if reported:
        return "No trial has reported a finite value."
    return "No trial has reported an intermediate value yet: see `trial.report`."
