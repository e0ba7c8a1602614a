from __future__ import annotations

import textwrap
from typing import TYPE_CHECKING

from optuna_perfpred.visualization._imports import import_to_plot
from optuna_perfpred.visualization._savings import ALPHA
from optuna_perfpred.visualization._savings import COLORS
from optuna_perfpred.visualization._savings_info import _get_savings_info
from optuna_perfpred.visualization.matplotlib._axes import legend_below
from optuna_perfpred.visualization.matplotlib._axes import new_axes
from optuna_perfpred.visualization.matplotlib._axes import say


if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from optuna.study import Study

    from optuna_perfpred.visualization._savings_info import _SavingsInfo


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
    import_to_plot("matplotlib.pyplot")
    return _draw(_get_savings_info(study))


def _draw(info: _SavingsInfo) -> Axes:
    dates = import_to_plot("matplotlib.dates")
    ax: Axes = new_axes()[0]
    if info.message is not None:
        ax.set_title(info.title)
        say(ax, info.message)
        return ax
    if info.audit:
        ax.figure.suptitle(info.title)
        ax.set_title(textwrap.fill(info.audit, 100), fontsize=9)
    else:
        ax.set_title(info.title)
    ax.set_xlabel("Time")
    ax.set_ylabel("Steps, cumulative")
    ticker = import_to_plot("matplotlib.ticker")
    ax.yaxis.set_major_locator(ticker.MaxNLocator(integer=True))
    ax.yaxis.set_major_formatter(ticker.StrMethodFormatter("{x:,.0f}"))
    colors = [COLORS[band] for band in info.steps]
    ax.stackplot(
        dates.date2num(info.times),
        *info.steps.values(),
        labels=list(info.steps),
        colors=colors,
        alpha=ALPHA,
    )
    ax.xaxis_date()
    locator = dates.AutoDateLocator()
    ax.xaxis.set_major_locator(locator)
    ax.xaxis.set_major_formatter(dates.ConciseDateFormatter(locator))
    ax.set_ylim(bottom=0.0)
    legend_below(ax)
    return ax
