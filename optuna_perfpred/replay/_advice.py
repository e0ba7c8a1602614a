from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from optuna.pruners import MedianPruner

from optuna_perfpred.pruners import PerformancePredictionPruner
from optuna_perfpred.replay._comparison import comparison_table
from optuna_perfpred.replay._comparison import describe_recording
from optuna_perfpred.replay._replay import replay


if TYPE_CHECKING:
    from collections.abc import Mapping

    from optuna import Study

    from optuna_perfpred.replay._report import ReplayReport


# The two arguments that move a study along the line between saving and losing.
SETTINGS: tuple[Mapping[str, Any], ...] = (
    {},
    *(
        {"confidence": confidence, "n_startup_trials": n_startup_trials}
        for confidence in (0.3, 0.7, 0.9)
        for n_startup_trials in (1, 5, 10)
    ),
)
"""The settings that are tried, as arguments of the pruner; the first are its defaults."""

_MEDIAN = "MedianPruner()"


@dataclass(frozen=True)
class Advice:
    """Settings of the pruner that did best on a finished study.

    Attributes:
        settings:
            The recommended arguments of the pruner. Empty for its defaults.
        reports:
            The report of each replay by the expression that makes its pruner.
    """

    settings: Mapping[str, Any]
    reports: Mapping[str, ReplayReport]

    def __str__(self) -> str:
        name = _expression(self.settings)
        report, median = self.reports[name], self.reports[_MEDIAN]
        n_repeats = len(report.repeats)
        lost = (
            "lost nothing"
            if report.regret == 0.0
            else f"lost {report.regret:.4g} of the best value on average "
            f"({100.0 * report.regret_iqr:.3g} % of the interquartile range)"
        )
        lines = [
            describe_recording(report),
            "",
            comparison_table(self.reports),
            "",
            f"Recommended: {name}",
            f"It would have saved {100.0 * report.steps_saved / report.total_steps:.0f} % of the "
            f"steps ({report.speed_up:.1f} times as fast) and {lost}; the best trial was kept in "
            f"{sum(repeat.best_kept for repeat in report.repeats)} of {n_repeats} orders.",
        ]
        if _merit(median) > _merit(report):
            lines.append(f"On this study {_MEDIAN} does better still.")
        lines.append(
            f"It was chosen as the best of {len(SETTINGS)} on the same {len(report.values)} trials"
            f" in {n_repeats} random orders, so expect a little less of it on the next study."
        )
        return "\n".join(lines)


def advise(
    study: Study,
    *,
    n_repeats: int = 5,
    seed: int | None = None,
    show_progress_bar: bool = False,
) -> Advice:
    """Recommend settings of the pruner by replaying a finished study with each of a small grid.

    Recommended is what saves most among the settings that lost nothing in any order; if each lost
    something, the one that lost least.

    Args:
        study:
            A single-objective study in any storage.
        n_repeats:
            The number of random orders, the same ones for all settings.
        seed:
            Seed of the orders. If :obj:`None`, a random one.
        show_progress_bar:
            Whether to show the progress of each replay.

    Returns:
        The advice. ``print`` gives it with its reasons.

    Raises:
        ValueError:
            If the study cannot be replayed.
    """
    if seed is None:
        seed = int(np.random.default_rng().integers(2**31))
    pruners = {_expression(s): PerformancePredictionPruner(**s) for s in SETTINGS}
    reports = {
        name: replay(
            study,
            pruner,
            order="random",
            n_repeats=n_repeats,
            seed=seed,
            show_progress_bar=show_progress_bar,
        )
        for name, pruner in {_MEDIAN: MedianPruner(), **pruners}.items()
    }
    best = max(SETTINGS, key=lambda settings: _merit(reports[_expression(settings)]))
    return Advice(best, reports)


def _merit(report: ReplayReport) -> tuple[float, float]:
    return -report.regret, report.speed_up


def _expression(settings: Mapping[str, Any]) -> str:
    arguments = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    return f"PerformancePredictionPruner({arguments})"
