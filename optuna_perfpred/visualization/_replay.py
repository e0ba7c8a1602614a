from __future__ import annotations

import math
from typing import TYPE_CHECKING

from optuna_perfpred.visualization._plotly import empty_figure
from optuna_perfpred.visualization._plotly import graph_objects
from optuna_perfpred.visualization._plotly import LEGEND_BELOW
from optuna_perfpred.visualization._replay_info import _get_replay_info
from optuna_perfpred.visualization._square_root import square_roots
from optuna_perfpred.visualization._square_root import ticks_up_to
from optuna_perfpred.visualization._style import BLACK
from optuna_perfpred.visualization._style import CYCLE


if TYPE_CHECKING:
    from collections.abc import Mapping
    from collections.abc import Sequence

    import plotly.graph_objects as go

    from optuna_perfpred.replay import ReplayReport
    from optuna_perfpred.visualization._replay_info import _PrunerInfo
    from optuna_perfpred.visualization._replay_info import _ReplayInfo


SPEED_UP = "Speed-up (total steps per trained step)"
REGRET = "Regret (interquartile ranges of the final values)"
_SPEED_UPS = tuple(
    digit * 10**power for power in range(5) for digit in (1.0, 1.5, 2.0, 3.0, 5.0, 7.0)
)
_SYMBOLS = ("circle", "square", "diamond", "triangle-up", "x", "star", "pentagon", "hexagon")


def plot_replay(
    reports: ReplayReport | Sequence[ReplayReport] | Mapping[str, ReplayReport],
) -> go.Figure:
    """Plot what pruners save against what they lose, in replays of recorded trials.

    A large mark is a pruner, small ones its repeats. Further right is faster; 0 is a run whose
    best trial was completed. What completed nothing has an infinite regret and is marked at the
    upper edge. The axis of the regret is a square root.

    Args:
        reports:
            The reports of :func:`~optuna_perfpred.replay.replay`, by the pruners' names or with
            the names of their classes.

    Returns:
        A :class:`plotly.graph_objects.Figure`.

    Raises:
        ValueError:
            If something else is among the reports.
        ImportError:
            If plotly is not installed.
    """
    graph_objects()
    return _draw(_get_replay_info(reports))


def _draw(info: _ReplayInfo) -> go.Figure:
    if info.message is not None:
        return empty_figure(info.title, info.message)
    figure = graph_objects().Figure(
        layout={"title": info.title, "template": "plotly_white", "legend": LEGEND_BELOW}
    )
    limit = regret_limit(info)
    (top,) = square_roots([limit])
    fastest = fastest_of(info)
    figure.update_xaxes(
        title=SPEED_UP,
        type="log",
        range=[math.log10(0.93), math.log10(1.1 * fastest)],
        tickvals=speed_up_ticks(fastest),
    )
    ticks = ticks_up_to(limit)
    figure.update_yaxes(
        title=REGRET,
        range=[-0.04 * top, 1.04 * top],
        tickvals=square_roots(ticks),
        ticktext=[f"{tick:.4g}" for tick in ticks],
    )
    for number, pruner in enumerate(info.pruners):
        color = CYCLE[number % len(CYCLE)]
        symbol = _SYMBOLS[number % len(_SYMBOLS)]
        if len(pruner.repeats) > 1:
            figure.add_trace(
                graph_objects().Scatter(
                    x=[speed_up for speed_up, _ in pruner.repeats],
                    y=square_roots(min(limit, regret) for _, regret in pruner.repeats),
                    mode="markers",
                    marker={"color": color, "symbol": symbol, "size": 7, "opacity": 0.6},
                    customdata=[regret for _, regret in pruner.repeats],
                    hovertemplate="%{x:.3g} times, regret %{customdata:.4g}<extra></extra>",
                    legendgroup=pruner.name,
                    showlegend=False,
                )
            )
        figure.add_trace(
            graph_objects().Scatter(
                x=[pruner.speed_up],
                y=square_roots([min(limit, pruner.regret)]),
                mode="markers",
                marker={
                    "color": color,
                    "symbol": symbol,
                    "size": 13,
                    "line": {"color": BLACK, "width": 1},
                },
                hovertemplate=f"{_described(pruner)}<extra></extra>",
                legendgroup=pruner.name,
                name=label_of(pruner),
            )
        )
    return figure


def label_of(pruner: _PrunerInfo) -> str:
    """Name a pruner in the legend."""
    return pruner.name if math.isfinite(pruner.regret) else f"{pruner.name} (∞)"


def _described(pruner: _PrunerInfo) -> str:
    """Give a pruner's numbers in words."""
    return (
        f"{pruner.name}: {pruner.speed_up:.3g} times faster, regret {pruner.regret:.4g} IQR, "
        f"best kept in {pruner.best_kept:.0%} of {len(pruner.repeats)}"
    )


def regret_limit(info: _ReplayInfo) -> float:
    """Give the end of the axis of the regret, where infinite ones are marked."""
    regrets = [regret for pruner in info.pruners for _, regret in pruner.repeats]
    return 1.15 * max((r for r in regrets if math.isfinite(r) and r > 0.0), default=0.1)


def fastest_of(info: _ReplayInfo) -> float:
    """Give the largest speed-up of all repeats, at least 2 for an axis of some length."""
    return max(2.0, *(speed_up for pruner in info.pruners for speed_up, _ in pruner.repeats))


def speed_up_ticks(fastest: float) -> list[float]:
    """Choose speed-ups to be written at a logarithmic axis that begins at 1."""
    ticks = [tick for tick in _SPEED_UPS if tick <= 1.1 * fastest]
    return ticks if len(ticks) <= 12 else [tick for tick in ticks if tick not in (1.5, 7.0)]
