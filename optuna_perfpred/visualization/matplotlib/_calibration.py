from __future__ import annotations

from typing import TYPE_CHECKING

from optuna_perfpred.visualization._calibration import EXACT
from optuna_perfpred.visualization._calibration import NO_PREDICTIONS
from optuna_perfpred.visualization._calibration import NO_PROBABILITIES
from optuna_perfpred.visualization._calibration import PREDICTIONS
from optuna_perfpred.visualization._calibration import RELIABILITY
from optuna_perfpred.visualization._calibration import reliability_limit
from optuna_perfpred.visualization._calibration import STATED
from optuna_perfpred.visualization._calibration_info import _get_calibration_info
from optuna_perfpred.visualization._calibration_info import COLORS
from optuna_perfpred.visualization._calibration_info import MAX_ERROR_BARS
from optuna_perfpred.visualization._imports import import_to_plot
from optuna_perfpred.visualization._square_root import square_roots
from optuna_perfpred.visualization._square_root import ticks_up_to
from optuna_perfpred.visualization._style import BLACK
from optuna_perfpred.visualization._style import BLUE
from optuna_perfpred.visualization.matplotlib._axes import legend_below
from optuna_perfpred.visualization.matplotlib._axes import new_axes
from optuna_perfpred.visualization.matplotlib._axes import say
from optuna_perfpred.visualization.matplotlib._axes import say_across


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    import numpy as np
    import numpy.typing as npt
    from optuna.study import Study

    from optuna_perfpred.replay import ReplayReport
    from optuna_perfpred.visualization._calibration_info import _CalibrationInfo


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
    import_to_plot("matplotlib.pyplot")
    return _draw(_get_calibration_info(study))


def _draw(info: _CalibrationInfo) -> npt.NDArray[np.object_]:
    axes = new_axes(2)
    values, probabilities = axes
    values.figure.suptitle(info.title)
    if info.message is not None:
        say_across(axes, info.message)
        return axes
    _draw_predictions(values, info)
    _draw_reliability(probabilities, info)
    legend_below(values if info.predictions else probabilities)
    return axes


def _draw_predictions(ax: Axes, info: _CalibrationInfo) -> None:
    ax.set_title(PREDICTIONS)
    if info.value_range is None:
        say(ax, NO_PREDICTIONS)
        return
    ax.set_xlabel(f"Predicted {info.metric_name}")
    ax.set_ylabel(f"Final {info.metric_name}")
    if info.log:
        ax.set_xscale("log")
        ax.set_yscale("log")
    ax.plot(
        info.value_range,
        info.value_range,
        color=BLACK,
        linewidth=1.0,
        linestyle="dashed",
        label=EXACT,
    )
    for kind, color in COLORS.items():
        ones = [one for one in info.predictions if one.kind == kind]
        if not ones:
            continue
        ax.errorbar(
            [one.predicted for one in ones],
            [one.final for one in ones],
            xerr=[one.std or 0.0 for one in ones]
            if len(info.predictions) <= MAX_ERROR_BARS
            else None,
            fmt="o",
            markersize=4,
            elinewidth=0.8,
            color=color,
            alpha=0.7,
            label=kind,
        )
    ax.set_xlim(info.value_range)
    ax.set_ylim(info.value_range)


def _draw_reliability(ax: Axes, info: _CalibrationInfo) -> None:
    ax.set_title(RELIABILITY)
    if not info.bins:
        say(ax, NO_PROBABILITIES)
        return
    ax.set_xlabel(STATED)
    ax.set_ylabel("Share that did")
    top = reliability_limit(info)
    (end,) = square_roots([top])
    ax.plot([0.0, end], [0.0, end], color=BLACK, linewidth=1.0, linestyle="dashed")
    stated = square_roots(one.stated for one in info.bins)
    shares = square_roots(one.share for one in info.bins)
    lows = square_roots(one.interval[0] for one in info.bins)
    highs = square_roots(one.interval[1] for one in info.bins)
    below = [max(0.0, share - low) for low, share in zip(lows, shares, strict=True)]
    above = [max(0.0, high - share) for high, share in zip(highs, shares, strict=True)]
    ax.errorbar(stated, shares, yerr=[below, above], fmt="o", color=BLUE, elinewidth=1.0)
    for x, y, one in zip(stated, highs, info.bins, strict=True):
        ax.text(x, y + 0.01 * end, str(one.n), fontsize=8, ha="center", va="bottom")
    ticks = ticks_up_to(top)
    labels = [f"{tick:.4g}" for tick in ticks]
    ax.set_xticks(square_roots(ticks), labels)
    ax.set_yticks(square_roots(ticks), labels)
    ax.set_xlim(-0.02 * end, end)
    ax.set_ylim(-0.02 * end, end)
