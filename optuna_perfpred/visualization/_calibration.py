from __future__ import annotations

import math
from typing import NamedTuple
from typing import TYPE_CHECKING

import numpy as np
from optuna.study import StudyDirection
from optuna.trial import TrialState
from scipy.stats import binomtest

from optuna_perfpred._arguments import check_single_objective
from optuna_perfpred._attributes import finite
from optuna_perfpred.pruners._audit import audit_study
from optuna_perfpred.pruners._recorded_decision import forecast_horizon
from optuna_perfpred.pruners._recorded_decision import read_decision
from optuna_perfpred.replay import ReplayReport
from optuna_perfpred.replay._calibration import Calibration
from optuna_perfpred.visualization import _drawing as drawing
from optuna_perfpred.visualization import _studies as studies


if TYPE_CHECKING:
    from collections.abc import Sequence

    from optuna.study import Study
    import plotly.graph_objects as go

    from optuna_perfpred.replay._calibration import CalibrationBin


COMPLETED = "completed"
AUDITED = "let finish on purpose"
REPLAYED = "replayed"
COLORS = {COMPLETED: drawing.BLUE, AUDITED: drawing.GREEN, REPLAYED: drawing.ORANGE}
# With more, error bars hide each other.
_MAX_ERROR_BARS = 100
_MAX_POINTS = 1000
_CONFIDENCE_LEVEL = 0.95


class _Prediction(NamedTuple):
    """A trial that completed with a forecast on it."""

    number: int
    kind: str
    predicted: float
    std: float | None
    final: float


def plot_calibration(study: Study | ReplayReport) -> go.Figure:
    """Plot forecasts beside what happened.

    On the left, the final values of trials that completed with a forecast on them, mostly those
    that were let finish on purpose, over the predicted ones, with one standard error. On the
    right, how often the trial became the best for what was stated as the probability of that,
    with 95 % confidence intervals and the number of forecasts; both axes are square roots, since
    decisions fall at small probabilities.

    In a study, each audited trial counts once. In a replay, each check at which the pruner had a
    forecast counts, so that several of one trial do, and intervals are narrower than they would
    be for independent forecasts.

    Args:
        study:
            A study, or the report of a replay.

    Returns:
        A :class:`plotly.graph_objects.Figure`.

    Raises:
        ValueError:
            If the study has several objectives.
        ImportError:
            If plotly is not installed.
    """
    return drawing.draw(describe_calibration(study))


def describe_calibration(study: Study | ReplayReport) -> drawing.Figure:
    """Describe the figure."""
    if isinstance(study, ReplayReport):
        title = f"Forecasts by {study.pruner} and outcomes{studies.of_study(study.study_name)}"
        predictions, calibration = _of_report(study), study.calibration
        name, maximize = "Objective Value", study.direction == StudyDirection.MAXIMIZE
        message = f"{study.pruner} has left no forecast of a final value in the replay."
    else:
        check_single_objective(study, "drawn")
        title = f"Forecasts and outcomes{studies.of_study(study.study_name)}"
        predictions, calibration = _of_study(study)
        name, maximize = studies.metric_name(study), studies.maximizes(study)
        message = (
            "No trial with a forecast of its final value has completed yet:\n"
            "let some finish on purpose (`audit_rate`, `shadow`), or replay the study."
        )
    if not predictions and calibration.count == 0:
        return drawing.Figure(title, [drawing.Panel(message=message)])
    shown = studies.evenly(predictions, _MAX_POINTS)
    if len(shown) < len(predictions):
        title += f" ({len(shown)} of {len(predictions)} trials)"
    panels = [_predictions(shown, name, maximize=maximize), _reliability(calibration.bins)]
    return drawing.Figure(title, panels, (0.44, 0.44))


def _predictions(
    predictions: Sequence[_Prediction], metric_name: str, *, maximize: bool
) -> drawing.Panel:
    title = "Predicted and final values"
    has_bars = len(predictions) <= _MAX_ERROR_BARS
    values = [value for one in predictions for value in (one.predicted, one.final)]
    ends_of_bars = [
        one.predicted + sign * (one.std or 0.0)
        for one in predictions
        for sign in (-1.0, 1.0)
        if has_bars
    ]
    log = studies.asks_for_log_axis(values, maximize=maximize)
    ends = studies.axis_range([*values, *ends_of_bars], log=log)
    if ends is None:
        return drawing.Panel(title=title, message="No forecast of a final value.")
    data = [_diagonal(ends)]
    for kind, color in COLORS.items():
        ones = [one for one in predictions if one.kind == kind]
        if not ones:
            continue
        spread = [one.std or 0.0 for one in ones]
        bars = {"type": "data", "array": spread, "thickness": 1, "width": 0}
        told = "Trial %{customdata}<br>predicted %{x:.4g}, ended at %{y:.4g}<extra></extra>"
        data.append(
            drawing.dots(
                [one.predicted for one in ones],
                [one.final for one in ones],
                color,
                6,
                marker={"opacity": 0.7},
                error_x=bars if has_bars else None,
                customdata=[one.number for one in ones],
                hovertemplate=told,
                name=kind,
            )
        )
    x, y = (
        drawing.value_axis(f"{what} {metric_name}", ends, log=log)
        for what in ("Predicted", "Final")
    )
    return drawing.Panel(data, x, y, title)


def _reliability(bins: Sequence[CalibrationBin]) -> drawing.Panel:
    title = "How often they became the best"
    if not bins:
        message = "No stated probability\nwith a known outcome."
        return drawing.Panel(title=title, message=message)
    intervals = [_interval(one) for one in bins]
    stated = drawing.square_roots(one.mean_forecast for one in bins)
    shares = drawing.square_roots(one.frequency for one in bins)
    lows = drawing.square_roots(low for low, _ in intervals)
    highs = drawing.square_roots(high for _, high in intervals)
    # Above each bar there is place for a number.
    end = math.sqrt(1.2) * max(*stated, *highs)
    bars = {
        "type": "data",
        "array": [max(0.0, high - share) for high, share in zip(highs, shares, strict=True)],
        "arrayminus": [max(0.0, share - low) for low, share in zip(lows, shares, strict=True)],
        "thickness": 1.2,
    }
    told = (
        "stated %{customdata[0]:.3f}, happened %{customdata[1]:.3f} "
        "(%{customdata[2]:.3f} to %{customdata[3]:.3f})<extra></extra>"
    )
    customdata = [
        (one.mean_forecast, one.frequency, *interval)
        for one, interval in zip(bins, intervals, strict=True)
    ]
    unlisted: drawing.Settings = {"showlegend": False}
    data = [
        {**_diagonal((0.0, end)), **unlisted},
        drawing.dots(
            stated,
            shares,
            drawing.BLUE,
            8,
            error_y=bars,
            customdata=customdata,
            hovertemplate=told,
            **unlisted,
        ),
        {
            "x": stated,
            "y": highs,
            "mode": "text",
            "text": [str(one.count) for one in bins],
            "textposition": "top center",
            "hoverinfo": "skip",
            **unlisted,
        },
    ]
    x, y = (
        drawing.root_axis(text, end**2, (-0.02 * end, end))
        for text in ("Stated probability (above the bars: how many forecasts)", "Share that did")
    )
    return drawing.Panel(data, x, y, title)


def _diagonal(ends: tuple[float, float]) -> drawing.Settings:
    of_both = {"name": "as forecast", "legendgroup": "as forecast", "hoverinfo": "skip"}
    return drawing.line(ends, ends, drawing.BLACK, 1, dash="dash", **of_both)


def _of_study(study: Study) -> tuple[list[_Prediction], Calibration]:
    became_best = {wrong.number for wrong in audit_study(study).false_prunes}
    predictions = []
    stated, happened = [], []
    for trial in study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,)):
        decision = read_decision(trial)
        if decision is None or decision.horizon is not None:
            continue
        # Of those that were not chosen to finish, only those that did well are here.
        if decision.audit and decision.probability is not None:
            stated.append(decision.probability)
            happened.append(trial.number in became_best)
        final = finite(trial.value)
        if decision.predicted_value is not None and final is not None:
            predictions.append(
                _Prediction(
                    number=trial.number,
                    kind=AUDITED if decision.audit else COMPLETED,
                    predicted=decision.predicted_value,
                    std=decision.predicted_std,
                    final=final,
                )
            )
    return predictions, Calibration.of(np.array(stated, float), np.array(happened, bool))


def _of_report(report: ReplayReport) -> list[_Prediction]:
    predictions = []
    for trial in report.trials:
        predicted, final = finite(trial.predicted_value), finite(trial.value)
        is_final = forecast_horizon(trial.reason or "") is None
        if predicted is not None and final is not None and is_final:
            std = finite(trial.predicted_std)
            predictions.append(_Prediction(trial.number, REPLAYED, predicted, std, final))
    return predictions


def _interval(one: CalibrationBin) -> tuple[float, float]:
    """Give the 95 % confidence interval of the frequency, by Wilson's score."""
    came_true = binomtest(round(one.frequency * one.count), one.count)
    low, high = came_true.proportion_ci(confidence_level=_CONFIDENCE_LEVEL, method="wilson")
    return float(low), float(high)
