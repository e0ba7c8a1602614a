from __future__ import annotations

from typing import Any
from typing import TYPE_CHECKING

from optuna_perfpred.visualization._forecasts_info import _get_forecasts_info
from optuna_perfpred.visualization._forecasts_info import COLORS
from optuna_perfpred.visualization._forecasts_info import ENDED_EARLY
from optuna_perfpred.visualization._forecasts_info import FORECAST
from optuna_perfpred.visualization._forecasts_info import GONE_ON
from optuna_perfpred.visualization._plotly import empty_figure
from optuna_perfpred.visualization._plotly import graph_objects
from optuna_perfpred.visualization._plotly import integer_ticks
from optuna_perfpred.visualization._plotly import LEGEND_BELOW
from optuna_perfpred.visualization._plotly import log10_range
from optuna_perfpred.visualization._plotly import wrap
from optuna_perfpred.visualization._style import BLACK
from optuna_perfpred.visualization._style import GREY
from optuna_perfpred.visualization._style import rgba


if TYPE_CHECKING:
    from collections.abc import Iterable

    from optuna.study import Study
    import plotly.graph_objects as go

    from optuna_perfpred.visualization._forecasts_info import _CurveInfo
    from optuna_perfpred.visualization._forecasts_info import _ForecastsInfo


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
    graph_objects()
    return _draw(_get_forecasts_info(study))


def _draw(info: _ForecastsInfo) -> go.Figure:
    if info.message is not None:
        return empty_figure(info.title, info.message)
    go = graph_objects()
    figure = go.Figure(
        layout={
            "title": info.title,
            "template": "plotly_white",
            "legend": LEGEND_BELOW,
            "hovermode": "closest",
        }
    )
    all_steps = {step for curve in info.curves for step in (curve.steps[0], _end(curve))}
    figure.update_xaxes(title="Step", **integer_ticks(all_steps))
    figure.update_yaxes(
        title=info.metric_label,
        type="log" if info.log else "linear",
        range=log10_range(info.value_range, log=info.log),
    )
    for kind in COLORS:
        curves = [curve for curve in info.curves if curve.kind == kind]
        if curves:
            figure.add_traces([*_bands(curves, kind, band_alpha(info)), *_curves(curves, kind)])
    if any(curve.forecast is not None for curve in info.curves):
        figure.add_trace(_legend_of_forecasts(go))
    if any(curve.joins for curve in info.curves):
        figure.add_trace(_joins(go, info.curves))
    if info.best_value is not None:
        figure.add_trace(
            go.Scatter(
                x=[min(all_steps), max(all_steps)],
                y=[info.best_value] * 2,
                mode="lines",
                line={"color": BLACK, "width": 1, "dash": "dash"},
                name=f"best value {info.best_value:.4g} (trial {info.best_number})",
            )
        )
    return figure


def _curves(curves: list[_CurveInfo], kind: str) -> Iterable[Any]:
    go = graph_objects()
    color, group = COLORS[kind], {"legendgroup": kind, "name": kind}
    x, y, numbers = _joined(curves)
    yield go.Scatter(
        x=x,
        y=y,
        customdata=numbers,
        mode="lines",
        line={"color": color, "width": 1.2},
        opacity=0.7,
        hovertemplate="Trial %{customdata}<br>step %{x}: %{y:.4g}<extra></extra>",
        **group,
    )
    forecast = [curve for curve in curves if curve.forecast is not None]
    yield go.Scatter(
        x=[x for c in forecast if c.forecast for x in (*c.forecast.steps, None)],
        y=[y for c in forecast if c.forecast for y in (*c.forecast.values, None)],
        text=[text for c in forecast for text in (_told(c), _told(c), None)],
        mode="lines",
        line={"color": color, "width": 1, "dash": "dot"},
        opacity=0.5,
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
        **group,
    )
    # A curve of one point is seen by its marker alone.
    marked = [c for c in curves if kind in ENDED_EARLY or len(c.steps) == 1]
    yield go.Scatter(
        x=[curve.steps[-1] for curve in marked],
        y=[curve.values[-1] for curve in marked],
        text=[_told(curve) for curve in marked],
        mode="markers",
        marker={"color": color, "size": 5},
        hovertemplate="%{text}<extra></extra>",
        showlegend=False,
        **group,
    )


def _bands(curves: list[_CurveInfo], kind: str, alpha: float) -> Iterable[Any]:
    forecasts = [c.forecast for c in curves if c.forecast is not None and c.forecast.band]
    for forecast in forecasts:
        assert forecast.band is not None
        (start, end), (low, high) = forecast.steps, forecast.band
        yield graph_objects().Scatter(
            x=[start, end, end, start],
            y=[forecast.values[0], low, high, forecast.values[0]],
            fill="toself",
            fillcolor=rgba(COLORS[kind], alpha),
            mode="none",
            hoverinfo="skip",
            showlegend=False,
            legendgroup=kind,
            name=kind,
        )


def _legend_of_forecasts(go: Any) -> Any:
    dotted = {"color": GREY, "width": 1, "dash": "dot"}
    return go.Scatter(x=[None], y=[None], mode="lines", line=dotted, name=FORECAST)


def _joins(go: Any, curves: list[_CurveInfo]) -> Any:
    joins = [(curve, *join) for curve in curves for join in curve.joins]
    return go.Scatter(
        x=[step for _, step, _ in joins],
        y=[value for _, _, value in joins],
        text=[f"Trial {curve.number}<br>{wrap(curve.why_continued)}" for curve, _, _ in joins],
        mode="markers",
        marker={"color": BLACK, "size": 7, "symbol": "circle-open"},
        hovertemplate="%{text}<extra></extra>",
        name=GONE_ON,
    )


def band_alpha(info: _ForecastsInfo) -> float:
    """Give the opacity of each band, so that curves are seen through all of them."""
    n = sum(curve.forecast is not None for curve in info.curves)
    return max(0.008, min(0.2, 0.6 / max(1, n)))


def _end(curve: _CurveInfo) -> int:
    return max(curve.steps[-1], curve.forecast.steps[1] if curve.forecast else curve.steps[-1])


def _joined(curves: list[_CurveInfo]) -> tuple[list[Any], list[Any], list[int]]:
    """Join curves, with a gap after each: one trace for hundreds keeps the figure fast."""
    x: list[Any] = []
    y: list[Any] = []
    numbers: list[int] = []
    for curve in curves:
        x += [*curve.steps, None]
        y += [*curve.values, None]
        numbers += [curve.number] * (len(curve.steps) + 1)
    return x, y, numbers


def _told(curve: _CurveInfo) -> str:
    end = f"Trial {curve.number}<br>step {curve.steps[-1]}: {curve.values[-1]:.4g}"
    return f"{end}<br>{wrap(curve.reason)}" if curve.reason else end
