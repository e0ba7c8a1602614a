from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING

from optuna_perfpred.visualization._calibration_info import _get_calibration_info
from optuna_perfpred.visualization._calibration_info import COLORS
from optuna_perfpred.visualization._calibration_info import MAX_ERROR_BARS
from optuna_perfpred.visualization._imports import import_to_plot
from optuna_perfpred.visualization._plotly import empty_figure
from optuna_perfpred.visualization._plotly import graph_objects
from optuna_perfpred.visualization._plotly import LEGEND_BELOW
from optuna_perfpred.visualization._plotly import log10_range
from optuna_perfpred.visualization._square_root import square_roots
from optuna_perfpred.visualization._square_root import ticks_up_to
from optuna_perfpred.visualization._style import BLACK
from optuna_perfpred.visualization._style import BLUE


if TYPE_CHECKING:
    from optuna.study import Study
    import plotly.graph_objects as go

    from optuna_perfpred.replay import ReplayReport
    from optuna_perfpred.visualization._calibration_info import _CalibrationInfo


PREDICTIONS = "Predicted and final values"
RELIABILITY = "How often they became the best"
STATED = "Stated probability (above the bars: how many forecasts)"
NO_PREDICTIONS = "No forecast of a final value."
NO_PROBABILITIES = "No stated probability\nwith a known outcome."
EXACT = "as forecast"


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
    graph_objects()
    return _draw(_get_calibration_info(study))


def _draw(info: _CalibrationInfo) -> go.Figure:
    if info.message is not None:
        return empty_figure(info.title, info.message)
    figure = import_to_plot("plotly.subplots").make_subplots(
        rows=1, cols=2, subplot_titles=(PREDICTIONS, RELIABILITY), horizontal_spacing=0.12
    )
    figure.update_layout(title=info.title, template="plotly_white", legend=LEGEND_BELOW)
    _draw_predictions(figure, info)
    _draw_reliability(figure, info)
    return figure


def _draw_predictions(figure: Any, info: _CalibrationInfo) -> None:
    if info.value_range is None:
        _say(figure, NO_PREDICTIONS, 1)
        return
    kind_of_axis = "log" if info.log else "linear"
    ends = log10_range(info.value_range, log=info.log)
    figure.update_xaxes(
        title=f"Predicted {info.metric_name}", type=kind_of_axis, range=ends, row=1, col=1
    )
    figure.update_yaxes(
        title=f"Final {info.metric_name}", type=kind_of_axis, range=ends, row=1, col=1
    )
    figure.add_trace(_diagonal(info.value_range), row=1, col=1)
    for kind, color in COLORS.items():
        ones = [one for one in info.predictions if one.kind == kind]
        if not ones:
            continue
        bars = None
        if len(info.predictions) <= MAX_ERROR_BARS:
            spread = [one.std or 0.0 for one in ones]
            bars = {"type": "data", "array": spread, "thickness": 1, "width": 0}
        figure.add_trace(
            graph_objects().Scatter(
                x=[one.predicted for one in ones],
                y=[one.final for one in ones],
                error_x=bars,
                customdata=[one.number for one in ones],
                mode="markers",
                marker={"color": color, "size": 6, "opacity": 0.7},
                name=kind,
                hovertemplate=(
                    "Trial %{customdata}<br>predicted %{x:.4g}, ended at %{y:.4g}<extra></extra>"
                ),
            ),
            row=1,
            col=1,
        )


def _draw_reliability(figure: Any, info: _CalibrationInfo) -> None:
    if not info.bins:
        _say(figure, NO_PROBABILITIES, 2)
        return
    top = reliability_limit(info)
    ticks = ticks_up_to(top)
    axis = {
        "range": [-0.02, square_roots([top])[0]],
        "tickvals": square_roots(ticks),
        "ticktext": [f"{tick:.4g}" for tick in ticks],
    }
    figure.update_xaxes(title=STATED, **axis, row=1, col=2)
    figure.update_yaxes(title="Share that did", **axis, row=1, col=2)
    figure.add_trace(_diagonal((0.0, square_roots([top])[0])), row=1, col=2)
    shares = square_roots(one.share for one in info.bins)
    lows = square_roots(one.interval[0] for one in info.bins)
    highs = square_roots(one.interval[1] for one in info.bins)
    figure.add_trace(
        graph_objects().Scatter(
            x=square_roots(one.stated for one in info.bins),
            y=shares,
            error_y={
                "type": "data",
                "array": [high - share for high, share in zip(highs, shares, strict=True)],
                "arrayminus": [share - low for low, share in zip(lows, shares, strict=True)],
                "thickness": 1.2,
            },
            mode="markers",
            marker={"color": BLUE, "size": 8},
            customdata=[(one.stated, one.share, *one.interval) for one in info.bins],
            hovertemplate=(
                "stated %{customdata[0]:.3f}, happened %{customdata[1]:.3f} "
                "(%{customdata[2]:.3f} to %{customdata[3]:.3f})<extra></extra>"
            ),
            showlegend=False,
        ),
        row=1,
        col=2,
    )
    figure.add_trace(
        graph_objects().Scatter(
            x=square_roots(one.stated for one in info.bins),
            y=highs,
            mode="text",
            text=[str(one.n) for one in info.bins],
            textposition="top center",
            showlegend=False,
            hoverinfo="skip",
        ),
        row=1,
        col=2,
    )


def reliability_limit(info: _CalibrationInfo) -> float:
    """Give the end of the axes of probabilities, with place for a number above each bar."""
    return 1.2 * max(max(one.stated, one.interval[1]) for one in info.bins)


def _diagonal(ends: tuple[float, float]) -> Any:
    return graph_objects().Scatter(
        x=ends,
        y=ends,
        mode="lines",
        line={"color": BLACK, "width": 1, "dash": "dash"},
        name=EXACT,
        legendgroup=EXACT,
        showlegend=ends[0] != 0.0,
        hoverinfo="skip",
    )


def _say(figure: Any, message: str, column: int) -> None:
    figure.update_xaxes(visible=False, row=1, col=column)
    figure.update_yaxes(visible=False, row=1, col=column)
    figure.add_annotation(
        text=message.replace("\n", "<br>"),
        showarrow=False,
        xref="x domain" if column == 1 else "x2 domain",
        yref="y domain" if column == 1 else "y2 domain",
        x=0.5,
        y=0.5,
    )
