from __future__ import annotations

import math
import textwrap
from typing import Any
from typing import TYPE_CHECKING

import numpy as np

from optuna_perfpred.visualization._calibration import describe_calibration
from optuna_perfpred.visualization._drawing import import_to_plot
from optuna_perfpred.visualization._forecasts import describe_forecasts
from optuna_perfpred.visualization._policy import describe_policy
from optuna_perfpred.visualization._replay import describe_replay
from optuna_perfpred.visualization._savings import describe_savings


if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence

    from matplotlib.axes import Axes
    import numpy.typing as npt
    from optuna.study import Study

    from optuna_perfpred.replay import ReplayReport
    from optuna_perfpred.samplers import QLearningSampler
    from optuna_perfpred.visualization._drawing import Figure
    from optuna_perfpred.visualization._drawing import Settings


# A pixel of plotly in points.
_POINTS = 0.75
_DASHES = {"solid": "solid", "dash": "dashed", "dot": "dotted"}
_MARKERS = {
    "circle": "o",
    "square": "s",
    "diamond": "D",
    "triangle-up": "^",
    "x": "X",
    "star": "*",
    "pentagon": "p",
    "hexagon": "h",
}


def plot_calibration(study: Study | ReplayReport) -> npt.NDArray[np.object_]:
    """Plot forecasts beside what happened.

    See :func:`optuna_perfpred.visualization.plot_calibration`.

    Args:
        study:
            A study, or the report of a replay.

    Returns:
        Two :class:`matplotlib.axes.Axes`, of the values and of the probabilities.

    Raises:
        ValueError:
            If the study has several objectives.
        ImportError:
            If matplotlib is not installed.
    """
    return _draw(describe_calibration(study), 2)


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
    ax: Axes = _draw(describe_forecasts(study))[0]
    return ax


def plot_policy(study: Study, sampler: QLearningSampler) -> npt.NDArray[np.object_]:
    """Plot what :class:`~optuna_perfpred.QLearningSampler` has learned.

    See :func:`optuna_perfpred.visualization.plot_policy`.

    Args:
        study:
            A study of networks.
        sampler:
            The sampler, or a new one with the same arguments: it learns from the study.

    Returns:
        Two :class:`matplotlib.axes.Axes`, of the rewards and of the layers.

    Raises:
        ValueError:
            If the study has several objectives or the sampler is another one.
        ImportError:
            If matplotlib is not installed.
    """
    return _draw(describe_policy(study, sampler), 2)


def plot_replay(
    reports: ReplayReport | Sequence[ReplayReport] | Mapping[str, ReplayReport],
) -> Axes:
    """Plot what pruners save against what they lose, in replays of recorded trials.

    See :func:`optuna_perfpred.visualization.plot_replay`.

    Args:
        reports:
            The reports of :func:`~optuna_perfpred.replay.replay`, by the pruners' names or with
            the names of their classes.

    Returns:
        A :class:`matplotlib.axes.Axes`.

    Raises:
        ValueError:
            If something else is among the reports.
        ImportError:
            If matplotlib is not installed.
    """
    ax: Axes = _draw(describe_replay(reports))[0]
    return ax


def plot_savings(study: Study) -> Axes:
    """Plot the steps that were trained and those that pruning has saved, over time.

    See :func:`optuna_perfpred.visualization.plot_savings`.

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
    figure = describe_savings(study)
    ax: Axes = _draw(figure, len(figure.panels))[0]
    return ax


def _draw(figure: Figure, n_axes: int = 1) -> npt.NDArray[np.object_]:
    """Draw a figure with pyplot, as plotly would."""
    plt = import_to_plot("matplotlib.pyplot")
    drawn, grid = plt.subplots(
        1,
        n_axes,
        squeeze=False,
        layout="constrained",
        figsize=(8.0 if n_axes == 1 else 12.0, 5.0),
        width_ratios=figure.widths if len(figure.widths) == n_axes else None,
    )
    axes: npt.NDArray[np.object_] = grid[0]
    # A name with two dollars in it is no formula.
    if n_axes == 1 and not figure.subtitle:
        axes[0].set_title(figure.title, parse_math=False)
    else:
        drawn.suptitle(figure.title, parse_math=False)
    if figure.subtitle:
        axes[0].set_title(textwrap.fill(figure.subtitle, 100), fontsize=9)
    if len(figure.panels) < n_axes:
        drawn.text(0.5, 0.5, figure.panels[0].message, ha="center", va="center")
        for ax in axes:
            ax.set_axis_off()
        return axes
    for ax, panel in zip(axes, figure.panels, strict=True):
        if panel.title:
            ax.set_title(panel.title)
        if panel.message:
            ax.set_axis_off()
            centre = {"ha": "center", "va": "center", "transform": ax.transAxes}
            ax.text(0.5, 0.5, panel.message, wrap=True, **centre)
            continue
        _draw_traces(ax, panel.data)
        for name, settings in (("x", panel.xaxis), ("y", panel.yaxis)):
            _set_axis(ax, name, settings)
    named = {
        label: handle
        for ax in axes
        for handle, label in zip(*ax.get_legend_handles_labels(), strict=True)
    }
    if named:
        below = {"loc": "outside lower center", "frameon": False, "fontsize": 9}
        drawn.legend(named.values(), named.keys(), ncols=2 + n_axes, **below)
    return axes


def _draw_traces(ax: Any, traces: Sequence[Settings]) -> None:
    stacked: Any = 0.0
    for order, trace in enumerate(traces):
        x, y = ([math.nan if v is None else v for v in trace[axis]] for axis in "xy")
        line, marker = trace.get("line", {}), trace.get("marker", {})
        settings = {
            "alpha": marker.get("opacity", trace.get("opacity")),
            "label": trace["name"] if trace.get("showlegend", True) else None,
            "zorder": 2.0 + order / len(traces),
        }
        if "fillcolor" in trace:
            *rgb, alpha = map(float, trace["fillcolor"][5:-1].split(","))
            settings |= {"alpha": alpha, "facecolor": [part / 255 for part in rgb]}
        if "stackgroup" in trace:
            below, stacked = stacked, np.add(stacked, y)
            ax.fill_between(x, below, stacked, **settings)
        elif "fillcolor" in trace:
            ax.fill(x, y, linewidth=0.0, **settings)
        elif trace["mode"] == "lines":
            ax.plot(
                x,
                y,
                color=line["color"],
                linewidth=_POINTS * line["width"],
                linestyle=_DASHES[line.get("dash", "solid")],
                drawstyle="steps-post" if line.get("shape") == "hv" else "default",
                **settings,
            )
        elif trace["mode"] == "markers":
            _draw_markers(ax, x, y, marker, settings)
        else:
            for place in zip(x, y, trace["text"], strict=True):
                ax.text(*place, fontsize=8, ha="center", va="bottom")
        if "error_x" in trace or "error_y" in trace:
            settings["label"] = None
            bars = {"fmt": "none", "ecolor": marker["color"], "elinewidth": 0.8}
            ends = {"xerr": _lengths(trace, "error_x"), "yerr": _lengths(trace, "error_y")}
            ax.errorbar(x, y, **bars, **ends, **settings)


def _lengths(trace: Settings, name: str) -> list[list[float]] | None:
    bars = trace.get(name)
    return bars and [bars.get("arrayminus", bars["array"]), bars["array"]]


def _draw_markers(
    ax: Any, x: list[float], y: list[float], marker: Settings, settings: Settings
) -> None:
    symbol, is_open, _ = marker.get("symbol", "circle").partition("-open")
    rim = marker.get("line", {})
    color = {"facecolors": "none" if is_open else marker["color"]}
    if "colorscale" in marker:
        color = {"c": marker["color"], "cmap": marker["colorscale"]}
    dots = ax.scatter(
        x,
        y,
        s=np.square(np.multiply(_POINTS, marker["size"])),
        marker=_MARKERS[symbol],
        edgecolors=rim.get("color", marker["color"] if is_open else "none"),
        linewidths=np.multiply(_POINTS, rim.get("width", 1.0)),
        **color,
        **settings,
    )
    if "colorbar" in marker:
        ax.figure.colorbar(dots, ax=ax, label=marker["colorbar"]["title"]["text"])


def _set_axis(ax: Any, name: str, settings: Settings) -> None:
    ticker, dates = import_to_plot("matplotlib.ticker"), import_to_plot("matplotlib.dates")
    axis: Any = ax.xaxis if name == "x" else ax.yaxis
    axis.set_label_text(settings.get("title", {}).get("text", ""), parse_math=False)
    ax.spines["top" if name == "x" else "right"].set_visible(False)
    axis.grid(visible=True, color="#dddddd", linewidth=0.6)
    is_log = settings.get("type") == "log"
    if is_log:
        ax.set(**{f"{name}scale": "log"})
    if settings.get("type") == "date":
        axis.set_major_formatter(dates.ConciseDateFormatter(axis.get_major_locator()))
    if "dtick" in settings:
        axis.set_major_locator(ticker.MaxNLocator(integer=True))
    if "tickvals" in settings:
        axis.set_minor_locator(ticker.NullLocator())
        axis.set_ticks(settings["tickvals"], settings["ticktext"])
    if settings.get("rangemode") == "tozero":
        ax.set(**{f"{name}lim": (0.0, None)})
    if (ends := settings.get("range")) is not None:
        ax.set(**{f"{name}lim": [10.0**end for end in ends] if is_log else ends})
