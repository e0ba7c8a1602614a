from __future__ import annotations

from dataclasses import dataclass
from typing import Any
from typing import TYPE_CHECKING

import numpy as np
from optuna.pruners import HyperbandPruner
from optuna.pruners import MedianPruner
from optuna.pruners import NopPruner
from optuna.pruners import PercentilePruner
from optuna.pruners import SuccessiveHalvingPruner

from optuna_perfpred.predictors import SequentialRegression
from optuna_perfpred.pruners import PerformancePredictionPruner
from optuna_perfpred.replay._curves import describe_curves
from optuna_perfpred.replay._replay import replay
from optuna_perfpred.replay._report import count_left_out


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping
    from collections.abc import Sequence

    from optuna import Study
    from optuna.pruners import BasePruner

    from optuna_perfpred.replay._report import ReplayReport


PRUNERS: dict[str, Callable[[], BasePruner]] = {
    "none": NopPruner,
    "median": MedianPruner,
    "percentile": lambda: PercentilePruner(75.0),
    "halving": SuccessiveHalvingPruner,
    "hyperband": HyperbandPruner,
    "ours": PerformancePredictionPruner,
    "published": lambda: PerformancePredictionPruner(
        SequentialRegression("nu_svr_rbf", published=True),
        n_startup_trials=100,
        confidence=0.99,
        top_n=1,
    ),
}
"""The pruners that the command line knows, with the arguments they have by default."""

# The published one takes seconds for each model: only on request.
DEFAULT_PRUNERS = tuple(name for name in PRUNERS if name != "published")
_MEDIAN = "MedianPruner()"


def make_pruner(name: str) -> BasePruner:
    """Make a pruner by its name on the command line.

    Raises:
        ValueError:
            If there is none of this name.
    """
    if name not in PRUNERS:
        raise ValueError(f"There is no pruner {name!r}; choose from {', '.join(PRUNERS)}.")
    return PRUNERS[name]()


def comparison_table(reports: Mapping[str, ReplayReport]) -> str:
    """Give a table with one row for each of several replays of the same study.

    Args:
        reports:
            The reports by the name of the row, at least one.
    """
    first = next(iter(reports.values()))
    with_miss = first.budget is not None
    with_workers = first.n_workers > 1
    header = ["pruner", "steps", "saved", "speed-up", "best kept", "regret", "regret/IQR", "wrong"]
    header += ["miss"] * with_miss + ["wall clock"] * with_workers + ["ms/check"]
    rows = [header]
    for name, report in reports.items():
        row = [
            name,
            f"{report.steps_trained:.0f}",
            f"{100.0 * report.steps_saved / report.total_steps:.1f} %",
            f"{report.speed_up:.2f}",
            f"{100.0 * report.best_kept:.0f} %",
            f"{report.regret:.4g}",
            f"{report.regret_iqr:.4f}",
            f"{len(report.wrongly_pruned) / len(report.repeats):.4g}",
        ]
        if with_miss:
            row.append(f"{100.0 * report.miss:.2f} %")
        if with_workers:
            row.append(f"{report.wall_clock:.6g}")
        row.append(f"{1000.0 * report.pruner_seconds / max(1.0, report.n_checks):.3f}")
        rows.append(row)
    return align(rows)


def align(rows: Sequence[Sequence[str]]) -> str:
    """Give rows of cells as text: the first column to the left, the others to the right."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for row in rows:
        cells = [row[0].ljust(widths[0])]
        cells += [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells))
    return "\n".join(lines)


def describe_recording(report: ReplayReport) -> str:
    """Tell in a few words what was replayed, how often and what was left out."""
    text = (
        f"Study {report.study_name!r} ({report.direction.name.lower()}): "
        f"{len(report.values)} trials of up to {report.horizon} steps"
    )
    if report.order == "number":
        text += ", in the order of their numbers"
    else:
        text += f", in {len(report.repeats)} random orders (seed {report.seed})"
    if report.budget is not None:
        text += f", for {report.budget:g} full trainings"
    if report.n_workers > 1:
        text += f", {report.n_workers} workers"
    if report.left_out:
        total = sum(report.left_out.values())
        text += f"; {total} trials are left out ({count_left_out(report.left_out)})"
    return text + "."


# With a promise that most want,
_PROMISE: Mapping[str, Any] = {"max_risk": 0.05}
# and the arguments that move a study along the line between saving and losing.
SETTINGS: tuple[Mapping[str, Any], ...] = (
    {},
    _PROMISE,
    {"max_risk": 0.2},
    *(
        {"confidence": confidence, "n_startup_trials": n_startup_trials}
        for confidence in (0.3, 0.7, 0.9)
        for n_startup_trials in (1, 10)
    ),
)
"""The settings that are tried, as arguments of the pruner; the first are its defaults."""


@dataclass(frozen=True)
class Advice:
    """Settings of the pruner that did best on a finished study.

    Attributes:
        settings:
            The recommended arguments of the pruner. Empty for its defaults.
        curves:
            What the study's curves say about stopping.
        reports:
            The report of each replay by the expression that makes its pruner.
    """

    settings: Mapping[str, Any]
    curves: str
    reports: Mapping[str, ReplayReport]

    def __str__(self) -> str:
        name = _expression(self.settings)
        report, median = self.reports[name], self.reports[_MEDIAN]
        n_repeats = len(report.repeats)
        promise = self.reports.get(_expression(_PROMISE))
        lost = (
            "lost nothing"
            if report.regret == 0.0
            else f"lost {report.regret:.4g} of the best value on average "
            f"({100.0 * report.regret_iqr:.3g} % of the interquartile range)"
        )
        lines = [
            describe_recording(report),
            "",
            self.curves,
            "",
            comparison_table(self.reports),
            "",
            f"Recommended: {name}",
            f"It would have saved {_saved(report)} and {lost}; the best trial was kept in "
            f"{_kept(report)}.",
        ]
        if promise is not None and promise is not report:
            lines.append(
                f"With a promise: {_expression(_PROMISE)} is to stop the best trial of one "
                f"study in 20 at most. Here it would have saved {_saved(promise)}; the "
                f"best trial was kept in {_kept(promise)}."
            )
        if _merit(median) > _merit(report):
            lines.append(f"On this study {_MEDIAN} does better still.")
        lines.append(
            f"It was chosen as the best of {len(SETTINGS)} on the same {len(report.values)} trials"
            f" in {n_repeats} random orders, so expect a little less of it on the next study."
        )
        return "\n".join(lines)


def advise(
    study: Study, *, n_repeats: int = 5, seed: int | None = None, show_progress_bar: bool = False
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
    return Advice(best, describe_curves(study), reports)


def _saved(report: ReplayReport) -> str:
    share = 100.0 * report.steps_saved / report.total_steps
    return f"{share:.0f} % of the steps ({report.speed_up:.1f} times as fast)"


def _kept(report: ReplayReport) -> str:
    kept = sum(repeat.best_kept for repeat in report.repeats)
    return f"{kept} of {len(report.repeats)} orders"


def _merit(report: ReplayReport) -> tuple[float, float]:
    return -report.regret, report.speed_up


def _expression(settings: Mapping[str, Any]) -> str:
    arguments = ", ".join(f"{name}={value!r}" for name, value in settings.items())
    return f"PerformancePredictionPruner({arguments})"
