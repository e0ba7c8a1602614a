from __future__ import annotations

from typing import TYPE_CHECKING

from optuna_perfpred.visualization._forecasts import band_alpha
from optuna_perfpred.visualization._forecasts_info import _get_forecasts_info
from optuna_perfpred.visualization._forecasts_info import COLORS
from optuna_perfpred.visualization._forecasts_info import ENDED_EARLY
from optuna_perfpred.visualization._forecasts_info import FORECAST
from optuna_perfpred.visualization._forecasts_info import GONE_ON
from optuna_perfpred.visualization._imports import import_to_plot
from optuna_perfpred.visualization._style import BLACK
from optuna_perfpred.visualization._style import GREY
from optuna_perfpred.visualization.matplotlib._axes import legend_below
from optuna_perfpred.visualization.matplotlib._axes import new_axes
from optuna_perfpred.visualization.matplotlib._axes import say
from optuna_perfpred.visualization.matplotlib._axes import use_integers


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna.study import Study

    from optuna_perfpred.visualization._forecasts_info import _CurveInfo
    from optuna_perfpred.visualization._forecasts_info import _ForecastsInfo


def plot_forecasts(study: Study) -> Axes:
    """Plot learning curves, with the forecasts by which trials were judged.

    See :func:`optuna_perfpred.visualization.plot_forecasts`.

    Args:
        study:
            A study, finished or not.

    Returns:
        A :class:`matplotlib.axes.Axes`.

    Raises:
        ValueError:
            If the study has several objectives.
        ImportError:
            If matplotlib is not installed.
    """
    import_to_plot("matplotlib.pyplot")
    return _draw(_get_forecasts_info(study))


def _draw(info: _ForecastsInfo) -> Axes:
    ax: Axes = new_axes()[0]
    ax.set_title(info.title)
    if info.message is not None:
        say(ax, info.message)
        return ax
    ax.set_xlabel("Step")
    use_integers(ax)
    ax.set_ylabel(info.metric_label)
    if info.log:
        ax.set_yscale("log")
    for order, kind in enumerate(COLORS):
        curves = [curve for curve in info.curves if curve.kind == kind]
        if curves:
            _draw_kind(ax, curves, kind, order, band_alpha(info))
    if any(curve.forecast is not None for curve in info.curves):
        ax.plot([], [], color=GREY, linewidth=1.0, linestyle="dotted", label=FORECAST)
    joins = [join for curve in info.curves for join in curve.joins]
    if joins:
        steps, values = zip(*joins, strict=True)
        ax.scatter(
            steps, values, s=24, facecolors="none", edgecolors=BLACK, label=GONE_ON, zorder=3.5
        )
    if info.best_value is not None:
        ax.axhline(
            info.best_value,
            color=BLACK,
            linewidth=1.0,
            linestyle="dashed",
            label=f"best value {info.best_value:.4g} (trial {info.best_number})",
            zorder=4,
        )
    ax.margins(x=0.01)
    ax.autoscale_view()
    if info.value_range is not None:
        ax.set_ylim(info.value_range)
    legend_below(ax)
    return ax


def _draw_kind(ax: Axes, curves: list[_CurveInfo], kind: str, order: int, alpha: float) -> None:
    collections = import_to_plot("matplotlib.collections")
    color, zorder = COLORS[kind], 2.0 + 0.1 * order
    lines = [list(zip(curve.steps, curve.values, strict=True)) for curve in curves]
    ax.add_collection(
        collections.LineCollection(
            lines, color=color, linewidth=1.0, alpha=0.7, zorder=zorder, label=kind
        )
    )
    forecasts = [curve.forecast for curve in curves if curve.forecast is not None]
    ax.add_collection(
        collections.LineCollection(
            [list(zip(f.steps, f.values, strict=True)) for f in forecasts],
            color=color,
            linewidth=0.9,
            alpha=0.5,
            linestyle="dotted",
            zorder=zorder,
        )
    )
    fans = [
        [(f.steps[0], f.values[0]), (f.steps[1], f.band[0]), (f.steps[1], f.band[1])]
        for f in forecasts
        if f.band is not None
    ]
    ax.add_collection(
        collections.PolyCollection(fans, facecolor=color, alpha=alpha, linewidth=0, zorder=1.0)
    )
    # A curve of one point is seen by its marker alone.
    marked = [curve for curve in curves if kind in ENDED_EARLY or len(curve.steps) == 1]
    ax.scatter(
        [curve.steps[-1] for curve in marked],
        [curve.values[-1] for curve in marked],
        s=9,
        color=color,
        zorder=zorder,
    )
