from __future__ import annotations

from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna.trial import TrialState

from optuna_perfpred._arguments import check_single_objective
from optuna_perfpred._attributes import read_text
from optuna_perfpred.history import gone_on_with
from optuna_perfpred.history import joined_curve
from optuna_perfpred.history import stopped_before
from optuna_perfpred.history import tell_why_continued
from optuna_perfpred.pruners._assessment import REASON
from optuna_perfpred.pruners._recorded_decision import is_by_wrapped_pruner
from optuna_perfpred.pruners._recorded_decision import read_decision
from optuna_perfpred.visualization import _drawing as drawing
from optuna_perfpred.visualization import _studies as studies


if TYPE_CHECKING:
    from collections.abc import Iterator
    from collections.abc import Sequence

    from optuna.study import Study
    from optuna.trial import FrozenTrial
    import plotly.graph_objects as go

    from optuna_perfpred.pruners._recorded_decision import Decision


# What became of a trial, in the order in which they are drawn, and its colour.
COMPLETED = "trained to the end"
INFEASIBLE = "infeasible"
STOPPED = "stopped by a forecast"
OTHERWISE = "stopped otherwise"
AUDITED = "let finish on purpose"
RUNNING = "running"
COLORS = {
    INFEASIBLE: drawing.GREY,
    COMPLETED: drawing.BLUE,
    OTHERWISE: drawing.PURPLE,
    STOPPED: drawing.VERMILLION,
    AUDITED: drawing.GREEN,
    RUNNING: drawing.SKY_BLUE,
}
FORECAST = "forecast ± one standard error"
GONE_ON = "stopped here, and gone on with"

_DRAWN = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.RUNNING)
# No screen shows more points of a curve.
_MAX_POINTS = 200
# More curves than these do not tell more in one figure.
_MAX_CURVES = 100
_N_BEST = 10
_N_LATEST = 10
_N_AUDITED = 20


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


def plot_forecasts(study: Study) -> go.Figure:
    """Plot learning curves, with the forecasts by which trials were judged.

    A trial that was stopped by a forecast goes on, dotted, from its last step to the value that
    was predicted and the step for which: the end of the training, or of f-Hyperband's rung. The
    band is one standard error to either side. So do the trials that were let finish on purpose,
    beside what became of them. A trial that goes on with a stopped one is one curve with it, with
    a circle where that one was stopped.

    Of more than 100 trials, the best, the latest, the audited ones and a spread of the others are
    drawn. The axis is logarithmic if all values are positive and several decades apart, and
    leaves out single far values.

    Args:
        study:
            A study, finished or not.

    Returns:
        A :class:`plotly.graph_objects.Figure`.

    Raises:
        ValueError:
            If the study has several objectives.
        ImportError:
            If plotly is not installed.
    """
    return drawing.draw(describe_forecasts(study))


def describe_forecasts(study: Study) -> drawing.Figure:
    """Describe the figure."""
    info = _get_forecasts_info(study)
    curves = info.curves
    if not curves:
        message = "No trial has reported an intermediate value yet: see `trial.report`."
        if info.n_trials > 0:
            message = "No trial has reported a finite value."
        return drawing.Figure(info.title, [drawing.Panel(message=message)])
    forecasts = [curve.forecast for curve in curves if curve.forecast is not None]
    ends = [step for curve in curves for step in (curve.steps[0], curve.steps[-1])]
    ends += [forecast.steps[1] for forecast in forecasts]
    # Curves are seen through all bands.
    alpha = max(0.008, min(0.2, 0.6 / max(1, len(forecasts))))
    data = [
        trace
        for kind, color in COLORS.items()
        for trace in _traces([c for c in curves if c.kind == kind], kind, color, alpha)
    ]
    if forecasts:
        data.append(drawing.line([None], [None], drawing.GREY, 1, dash="dot", name=FORECAST))
    joins = [(curve, *join) for curve in curves for join in curve.joins]
    if joins:
        x, y = [step for _, step, _ in joins], [value for _, _, value in joins]
        text = [
            f"Trial {curve.number}<br>{drawing.wrap(curve.why_continued)}" for curve, _, _ in joins
        ]
        circle = {"symbol": "circle-open"}
        told: drawing.Settings = {"text": text, "hovertemplate": "%{text}<extra></extra>"}
        data.append(drawing.dots(x, y, drawing.BLACK, 7, marker=circle, name=GONE_ON, **told))
    if info.best_value is not None:
        x, y = [min(ends), max(ends)], [info.best_value] * 2
        name = f"best value {info.best_value:.4g} (trial {info.best_number})"
        data.append(drawing.line(x, y, drawing.BLACK, 1, dash="dash", name=name))
    steps = {"title": {"text": "Step"}, **drawing.integer_ticks(ends)}
    values = drawing.value_axis(info.metric_label, info.value_range, log=info.log)
    return drawing.Figure(info.title, [drawing.Panel(data, steps, values)])


def _traces(
    curves: list[_CurveInfo], kind: str, color: str, alpha: float
) -> Iterator[drawing.Settings]:
    if not curves:
        return
    of_kind = {"legendgroup": kind, "name": kind}
    unlisted: drawing.Settings = {**of_kind, "showlegend": False}
    told: drawing.Settings = {**unlisted, "hovertemplate": "%{text}<extra></extra>"}
    forecasts = [(curve, curve.forecast) for curve in curves if curve.forecast is not None]
    for _, forecast in forecasts:
        if forecast.band is not None:
            (start, end), (value, _) = forecast.steps, forecast.values
            yield {
                "x": [start, end, end, start],
                "y": [value, *forecast.band, value],
                "fill": "toself",
                "fillcolor": drawing.rgba(color, alpha),
                "mode": "none",
                "hoverinfo": "skip",
                **unlisted,
            }
    # One trace for hundreds of curves, with a gap after each, keeps the figure fast.
    yield drawing.line(
        [step for curve in curves for step in (*curve.steps, None)],
        [value for curve in curves for value in (*curve.values, None)],
        color,
        1.2,
        opacity=0.7,
        customdata=[curve.number for curve in curves for _ in (*curve.steps, None)],
        hovertemplate="Trial %{customdata}<br>step %{x}: %{y:.4g}<extra></extra>",
        **of_kind,
    )
    yield drawing.line(
        [step for _, forecast in forecasts for step in (*forecast.steps, None)],
        [value for _, forecast in forecasts for value in (*forecast.values, None)],
        color,
        1,
        dash="dot",
        opacity=0.5,
        text=[text for curve, _ in forecasts for text in (_told(curve), _told(curve), None)],
        **told,
    )
    # A curve of one point is seen by its marker alone.
    marked = [c for c in curves if kind in (STOPPED, OTHERWISE) or len(c.steps) == 1]
    x, y = [curve.steps[-1] for curve in marked], [curve.values[-1] for curve in marked]
    yield drawing.dots(x, y, color, 5, text=[_told(curve) for curve in marked], **told)


def _told(curve: _CurveInfo) -> str:
    end = f"Trial {curve.number}<br>step {curve.steps[-1]}: {curve.values[-1]:.4g}"
    return f"{end}<br>{drawing.wrap(curve.reason)}" if curve.reason else end


def _get_forecasts_info(study: Study) -> _ForecastsInfo:
    check_single_objective(study, "drawn")
    maximize = studies.maximizes(study)
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
        for trial in _choose_curves(study, reported)
        if (curve := _read_curve(trial, trials, horizon)) is not None
    ]
    best = studies.best_trial(study, trials)
    seen = [value for curve in curves for value in curve.values]
    log = studies.asks_for_log_axis(seen, maximize=maximize)
    predicted = [curve.forecast.values[1] for curve in curves if curve.forecast is not None]
    value_range = studies.axis_range(
        [*seen, *predicted],
        always=[best.value] if best is not None and best.value is not None else (),
        log=log,
    )
    if log and value_range is not None:
        curves = [_raise_to(value_range[0], curve) for curve in curves]
    title = f"Learning curves and forecasts{studies.of_study(study.study_name)}"
    if len(curves) < len(reported):
        title += f" ({len(curves)} of {len(reported)} trials)"
    return _ForecastsInfo(
        title=title,
        metric_label=studies.metric_label(study),
        curves=curves,
        n_trials=len(reported),
        best_value=None if best is None else best.value,
        best_number=None if best is None else best.number,
        log=log,
        value_range=value_range,
    )


def _choose_curves(study: Study, trials: Sequence[FrozenTrial]) -> list[FrozenTrial]:
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
    if len(trials) <= _MAX_CURVES:
        return list(trials)
    best = studies.best_trials(study, trials)[:_N_BEST]
    audited = [t for t in trials if (decision := read_decision(t)) is not None and decision.audit]
    chosen = {t.number for t in [*best, *trials[-_N_LATEST:], *audited[-_N_AUDITED:]]}
    others = [trial for trial in trials if trial.number not in chosen]
    chosen |= {t.number for t in studies.evenly(others, _MAX_CURVES - len(chosen))}
    return [trial for trial in trials if trial.number in chosen]


def _horizon(trials: Sequence[FrozenTrial]) -> int:
    """Give the last step that a completed trial reached, as the pruner does; else that any did."""
    completed = [trial for trial in trials if trial.state == TrialState.COMPLETE]
    return max((trial.last_step or 0 for trial in completed or trials), default=0)


def _read_curve(
    trial: FrozenTrial, trials: Sequence[FrozenTrial], horizon: int
) -> _CurveInfo | None:
    # What is not finite counts as not reported, as it does for the pruner.
    reported = [
        (step, value)
        for step, value in sorted(joined_curve(trial, trials).items())
        if float("-inf") < value < float("inf")
    ]
    if not reported:
        return None
    decision = read_decision(trial)
    places = [i for i, (step, _) in enumerate(reported) if decision and step <= decision.step]
    ends = {stopped.last_step for stopped in stopped_before(trial, trials)}
    joins = [i for i, (step, _) in enumerate(reported) if step in ends]
    shown = studies.evenly(reported, _MAX_POINTS, keep=[*places[-1:], *joins])
    at_decision = reported[places[-1]] if places else None
    return _CurveInfo(
        number=trial.number,
        kind=_kind(trial, decision),
        steps=[step for step, _ in shown],
        values=[value for _, value in shown],
        forecast=_read_forecast(decision, at_decision, horizon),
        reason=read_text(trial.user_attrs, REASON),
        joins=[reported[i] for i in joins],
        why_continued=tell_why_continued(trial, trials) or "",
    )


def _kind(trial: FrozenTrial, decision: Decision | None) -> str:
    if trial.state == TrialState.PRUNED:
        return STOPPED if decision and not is_by_wrapped_pruner(trial) else OTHERWISE
    if decision is not None and decision.audit:
        return AUDITED
    if trial.state == TrialState.RUNNING:
        return RUNNING
    return COMPLETED if studies.is_feasible(trial) else INFEASIBLE


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
