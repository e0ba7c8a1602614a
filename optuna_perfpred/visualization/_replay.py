from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from itertools import chain
import math
from typing import TYPE_CHECKING

from optuna_perfpred.replay import ReplayReport
from optuna_perfpred.visualization import _drawing as drawing
from optuna_perfpred.visualization._studies import of_study


if TYPE_CHECKING:
    from collections.abc import Sequence

    import plotly.graph_objects as go


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
    return drawing.draw(describe_replay(reports))


def describe_replay(
    reports: ReplayReport | Sequence[ReplayReport] | Mapping[str, ReplayReport],
) -> drawing.Figure:
    """Describe the figure."""
    named = _by_name(reports)
    studies = ", ".join(dict.fromkeys(report.study_name for report in named.values()))
    title = f"What pruners save and lose in replays{of_study(studies)}"
    if not named:
        message = "There is no report of a replay."
        return drawing.Figure(title, [drawing.Panel(message=message)])
    repeats = {name: _speed_ups_and_regrets(report) for name, report in named.items()}
    speed_ups, regrets = zip(*chain(*repeats.values()), strict=True)
    # An axis of some length, at the upper end of which infinite regrets are marked.
    fastest = max(2.0, *speed_ups)
    limit = 1.15 * max((r for r in regrets if math.isfinite(r) and r > 0.0), default=0.1)
    data: list[drawing.Settings] = []
    for number, (name, report) in enumerate(named.items()):
        color = drawing.CYCLE[number % len(drawing.CYCLE)]
        symbol = {"symbol": _SYMBOLS[number % len(_SYMBOLS)]}
        x, y = zip(*repeats[name], strict=True)
        if len(x) > 1:
            of_repeats = {"customdata": y, "legendgroup": name, "showlegend": False}
            told = "%{x:.3g} times, regret %{customdata:.4g}<extra></extra>"
            places = drawing.square_roots(min(limit, regret) for regret in y)
            marker = {**symbol, "opacity": 0.6}
            data.append(
                drawing.dots(x, places, color, 7, marker, hovertemplate=told, **of_repeats)
            )
        told = (
            f"{name}: {report.speed_up:.3g} times faster, regret {report.regret_iqr:.4g} IQR, "
            f"best kept in {report.best_kept:.0%} of {len(x)}<extra></extra>"
        )
        label = name if math.isfinite(report.regret_iqr) else f"{name} (∞)"
        of_pruner = {"hovertemplate": told, "legendgroup": name, "name": label}
        places = drawing.square_roots([min(limit, report.regret_iqr)])
        marker = {**symbol, "line": {"color": drawing.BLACK, "width": 1}}
        data.append(drawing.dots([report.speed_up], places, color, 13, marker, **of_pruner))
    ticks = [tick for tick in _SPEED_UPS if tick <= 1.1 * fastest]
    if len(ticks) > 12:
        ticks = [tick for tick in ticks if tick not in (1.5, 7.0)]
    x_axis = {
        "title": {"text": "Speed-up (total steps per trained step)"},
        "type": "log",
        "range": (math.log10(0.93), math.log10(1.1 * fastest)),
        "tickvals": ticks,
        "ticktext": [f"{tick:g}" for tick in ticks],
    }
    top = math.sqrt(limit)
    y_axis = drawing.root_axis(
        "Regret (interquartile ranges of the final values)", limit, (-0.04 * top, 1.04 * top)
    )
    return drawing.Figure(title, [drawing.Panel(data, x_axis, y_axis)])


def _speed_ups_and_regrets(report: ReplayReport) -> list[tuple[float, float]]:
    """Give those of each repeat, the regret in interquartile ranges, as the report does."""
    return [
        (repeat.speed_up, replace(report, repeats=(repeat,)).regret_iqr)
        for repeat in report.repeats
    ]


def _by_name(
    reports: ReplayReport | Sequence[ReplayReport] | Mapping[str, ReplayReport],
) -> dict[str, ReplayReport]:
    if isinstance(reports, ReplayReport):
        reports = [reports]
    for report in reports.values() if isinstance(reports, Mapping) else reports:
        if not isinstance(report, ReplayReport):
            raise ValueError(f"`reports` must hold replay reports, but got {report!r}.")
    if isinstance(reports, Mapping):
        return dict(reports)
    named: dict[str, ReplayReport] = {}
    for report in reports:
        name, number = report.pruner, 1
        while name in named:
            number += 1
            name = f"{report.pruner} {number}"
        named[name] = report
    return named
