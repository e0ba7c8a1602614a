from __future__ import annotations

from typing import TYPE_CHECKING

from optuna_perfpred.visualization._imports import import_to_plot
from optuna_perfpred.visualization._replay import fastest_of
from optuna_perfpred.visualization._replay import label_of
from optuna_perfpred.visualization._replay import REGRET
from optuna_perfpred.visualization._replay import regret_limit
from optuna_perfpred.visualization._replay import SPEED_UP
from optuna_perfpred.visualization._replay import speed_up_ticks
from optuna_perfpred.visualization._replay_info import _get_replay_info
from optuna_perfpred.visualization._square_root import square_roots
from optuna_perfpred.visualization._square_root import ticks_up_to
from optuna_perfpred.visualization._style import BLACK
from optuna_perfpred.visualization._style import CYCLE
from optuna_perfpred.visualization.matplotlib._axes import legend_below
from optuna_perfpred.visualization.matplotlib._axes import new_axes
from optuna_perfpred.visualization.matplotlib._axes import say


if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence

    from matplotlib.axes import Axes

    from optuna_perfpred.replay import ReplayReport
    from optuna_perfpred.visualization._replay_info import _ReplayInfo


_MARKERS = "osD^X*ph"


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
    import_to_plot("matplotlib.pyplot")
    return _draw(_get_replay_info(reports))


def _draw(info: _ReplayInfo) -> Axes:
    ticker = import_to_plot("matplotlib.ticker")
    ax: Axes = new_axes()[0]
    ax.set_title(info.title)
    if info.message is not None:
        say(ax, info.message)
        return ax
    ax.set_xlabel(SPEED_UP)
    ax.set_ylabel(REGRET)
    limit, fastest = regret_limit(info), fastest_of(info)
    (top,) = square_roots([limit])
    ax.set_xscale("log")
    ax.xaxis.set_minor_locator(ticker.NullLocator())
    ax.set_xticks(speed_up_ticks(fastest), [f"{tick:g}" for tick in speed_up_ticks(fastest)])
    ax.set_xlim(0.93, 1.1 * fastest)
    ticks = ticks_up_to(limit)
    ax.set_yticks(square_roots(ticks), [f"{tick:.4g}" for tick in ticks])
    ax.set_ylim(-0.04 * top, 1.04 * top)
    for number, pruner in enumerate(info.pruners):
        color, marker = CYCLE[number % len(CYCLE)], _MARKERS[number % len(_MARKERS)]
        if len(pruner.repeats) > 1:
            ax.scatter(
                [speed_up for speed_up, _ in pruner.repeats],
                square_roots(min(limit, regret) for _, regret in pruner.repeats),
                s=22,
                marker=marker,
                color=color,
                alpha=0.6,
                linewidth=0,
            )
        (place,) = square_roots([min(limit, pruner.regret)])
        ax.scatter(
            pruner.speed_up,
            place,
            s=90,
            marker=marker,
            color=color,
            edgecolor=BLACK,
            linewidth=0.8,
            label=label_of(pruner),
            zorder=3,
        )
    legend_below(ax, 4)
    return ax
