from __future__ import annotations

from collections.abc import Mapping
import math
from typing import NamedTuple
from typing import TYPE_CHECKING

from optuna_perfpred.replay import ReplayReport
from optuna_perfpred.visualization._studies import of_study


if TYPE_CHECKING:
    from collections.abc import Sequence


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


class _ReplayInfo(NamedTuple):
    title: str
    pruners: list[_PrunerInfo]
    message: str | None


def _get_replay_info(
    reports: ReplayReport | Sequence[ReplayReport] | Mapping[str, ReplayReport],
) -> _ReplayInfo:
    named = _name(reports)
    studies = ", ".join(dict.fromkeys(report.study_name for report in named.values()))
    pruners = [
        _PrunerInfo(
            name=name,
            speed_up=report.speed_up,
            regret=report.regret_iqr,
            best_kept=report.best_kept,
            repeats=[
                (repeat.speed_up, _in_iqr(repeat.regret, report.iqr)) for repeat in report.repeats
            ],
        )
        for name, report in named.items()
    ]
    return _ReplayInfo(
        title=f"What pruners save and lose in replays{of_study(studies)}",
        pruners=pruners,
        message=None if pruners else "There is no report of a replay.",
    )


def _name(
    reports: ReplayReport | Sequence[ReplayReport] | Mapping[str, ReplayReport],
) -> dict[str, ReplayReport]:
    if isinstance(reports, Mapping):
        named = dict(reports)
    else:
        named = {}
        for report in [reports] if isinstance(reports, ReplayReport) else reports:
            if not isinstance(report, ReplayReport):
                raise ValueError(f"`reports` must hold replay reports, but got {report!r}.")
            name, number = report.pruner, 1
            while name in named:
                number += 1
                name = f"{report.pruner} {number}"
            named[name] = report
    for report in named.values():
        if not isinstance(report, ReplayReport):
            raise ValueError(f"`reports` must hold replay reports, but got {report!r}.")
    return named


def _in_iqr(regret: float, iqr: float) -> float:
    if iqr > 0.0:
        return regret / iqr
    return 0.0 if regret == 0.0 else math.inf
