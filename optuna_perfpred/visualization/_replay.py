from __future__ import annotations

from collections.abc import Mapping
import math
from typing import NamedTuple
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


class _PrunerInfo(NamedTuple):
    """What one pruner saved and lost.

    Attributes:
        name: Its name.
        speed_up: Total steps per trained step, the geometric mean of the repeats.
        regret: The regret in interquartile ranges, the mean of the repeats; infinite if one of
            them completed nothing.
        best_kept: The share of repeats in which the best value was completed.
        repeats: The speed-up and the regret of each repeat.
    """

    name: str
    speed_up: float
    regret: float
    best_kept: float
    repeats: list[tuple[float, float]]


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
    pruners = _get_replay_info(reports)
    repeats = [repeat for pruner in pruners for repeat in pruner.repeats]
    # An axis of some length, at the upper end of which infinite regrets are marked.
    fastest = max(2.0, *(speed_up for speed_up, _ in repeats))
    limit = 1.15 * max((r for _, r in repeats if math.isfinite(r) and r > 0.0), default=0.1)
    data: list[drawing.Settings] = []
    for number, pruner in enumerate(pruners):
        color = drawing.CYCLE[number % len(drawing.CYCLE)]
        symbol = _SYMBOLS[number % len(_SYMBOLS)]
        regrets = [regret for _, regret in pruner.repeats]
        if len(regrets) > 1:
            data.append(
                drawing.dots(
                    [speed_up for speed_up, _ in pruner.repeats],
                    drawing.square_roots(min(limit, regret) for regret in regrets),
                    color,
                    7,
                    marker={"symbol": symbol, "opacity": 0.6},
                    customdata=regrets,
                    hovertemplate="%{x:.3g} times, regret %{customdata:.4g}<extra></extra>",
                    legendgroup=pruner.name,
                    showlegend=False,
                )
            )
        told = (
            f"{pruner.name}: {pruner.speed_up:.3g} times faster, regret {pruner.regret:.4g} IQR, "
            f"best kept in {pruner.best_kept:.0%} of {len(regrets)}<extra></extra>"
        )
        data.append(
            drawing.dots(
                [pruner.speed_up],
                drawing.square_roots([min(limit, pruner.regret)]),
                color,
                13,
                marker={"symbol": symbol, "line": {"color": drawing.BLACK, "width": 1}},
                hovertemplate=told,
                legendgroup=pruner.name,
                name=pruner.name + ("" if math.isfinite(pruner.regret) else " (∞)"),
            )
        )
    ticks = [tick for tick in _SPEED_UPS if tick <= 1.1 * fastest]
    if len(ticks) > 12:
        ticks = [tick for tick in ticks if tick not in (1.5, 7.0)]
    speed_ups = {
        "title": {"text": "Speed-up (total steps per trained step)"},
        "type": "log",
        "range": (math.log10(0.93), math.log10(1.1 * fastest)),
        "tickvals": ticks,
        "ticktext": [f"{tick:g}" for tick in ticks],
    }
    top = math.sqrt(limit)
    regret_axis = drawing.root_axis(
        "Regret (interquartile ranges of the final values)", limit, (-0.04 * top, 1.04 * top)
    )
    return drawing.Figure(title, [drawing.Panel(data, speed_ups, regret_axis)])


def _get_replay_info(
    reports: ReplayReport | Sequence[ReplayReport] | Mapping[str, ReplayReport],
) -> list[_PrunerInfo]:
    return [
        _PrunerInfo(
            name=name,
            speed_up=report.speed_up,
            regret=report.regret_iqr,
            best_kept=report.best_kept,
            repeats=[
                (repeat.speed_up, _in_iqr(repeat.regret, report.iqr)) for repeat in report.repeats
            ],
        )
        for name, report in _by_name(reports).items()
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


def _in_iqr(regret: float, iqr: float) -> float:
    if iqr > 0.0:
        return regret / iqr
    return 0.0 if regret == 0.0 else math.inf
