"""Replays of a set with one pruner in one random order."""

from __future__ import annotations

from functools import lru_cache
import math
from typing import NamedTuple
from typing import TYPE_CHECKING

from _evidence_predictors import PREDICTORS
from _evidence_predictors import source_digest
from _evidence_sets import digest
import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.pruners import MedianPruner
from optuna.pruners import SuccessiveHalvingPruner
from optuna.trial import TrialState
from pruners import Curves
from pruners import IEpochPruner

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import StoppingRule
from optuna_perfpred.history import read_curve
from optuna_perfpred.replay import load_curves
from optuna_perfpred.replay import replay


if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from _evidence_results import Result
    from optuna import Study

    from optuna_perfpred import CurvePredictor


RULE = "rule"
OTHER_PRUNERS: dict[str, tuple[str, Callable[[Curves], BasePruner]]] = {
    "median": ("median", lambda _: MedianPruner()),
    "halving": (
        "successive halving (η 3)",
        lambda _: SuccessiveHalvingPruner(reduction_factor=3),
    ),
    "i_epoch": (
        "i-epoch rule (10 %)",
        lambda curves: IEpochPruner(max(1, round(0.1 * curves.n_reports))),
    ),
}


class Settings(NamedTuple):
    """How trials are stopped by forecasts, the same for all predictors.

    Attributes:
        n_startup_trials: Completed trials before any is stopped.
        confidence: Δ of the paper.
        top_n: The value to beat is the n-th best.
        n_checks: Number of forecasts of a whole curve, at equal distances; 0: at each step.
    """

    n_startup_trials: int
    confidence: float
    top_n: int
    n_checks: int


_NO_SETTINGS = Settings(0, 0.0, 1, 0)  # Of pruners that have their own.


class ReplayTask(NamedTuple):
    """One replay.

    Attributes:
        folder: Of the set.
        pruner: Of `OTHER_PRUNERS`, `RULE`, or the name of a predictor.
        order: Number of the random order.
        n_trials: Number of trials.
        settings: Of a predictor's pruner; the others have their own.
        subset: Number of curves that are replayed, the same in all orders; 0: the whole set.
        rule: File of the stopping rule; empty: the one that comes with the package.
        version: Of the curves and of the predictor's source.
    """

    folder: str
    pruner: str
    order: int
    n_trials: int
    settings: Settings
    subset: int
    rule: str
    version: str


def replay_task(
    folder: str,
    pruner: str,
    order: int,
    n_trials: int,
    settings: Settings = _NO_SETTINGS,
    *,
    subset: int = 0,
    rule: str = "",
) -> ReplayTask:
    version = digest(folder)
    if pruner in PREDICTORS:
        version += f" {source_digest(pruner)}"
    else:
        settings = _NO_SETTINGS
    return ReplayTask(folder, pruner, order, n_trials, settings, subset, rule, version)


def label(pruner: str) -> str:
    if pruner == RULE:
        return "**ours, default pruner**"
    return OTHER_PRUNERS[pruner][0] if pruner in OTHER_PRUNERS else PREDICTORS[pruner].label


def run_replay(task: ReplayTask) -> Result:
    """Replay with the predictor that the task names."""
    settings = Settings(*task.settings)
    if task.pruner in PREDICTORS:
        predictor = PREDICTORS[task.pruner].make()
        return replay_with(task, forecasting_pruner(predictor, settings, task))
    curves = load_study(task.folder, task.subset)[1]
    if task.pruner == RULE:
        return replay_with(task, PerformancePredictionPruner(StoppingRule(task.rule or None)))
    return replay_with(task, OTHER_PRUNERS[task.pruner][1](curves))


def forecasting_pruner(
    predictor: CurvePredictor, settings: Settings, task: ReplayTask
) -> PerformancePredictionPruner:
    interval = interval_steps(task.folder, settings.n_checks)
    return PerformancePredictionPruner(
        predictor,
        n_startup_trials=settings.n_startup_trials,
        confidence=settings.confidence,
        top_n=settings.top_n,
        interval_steps=interval,
        n_warmup_steps=interval if interval > 1 else 0,
    )


def replay_with(task: ReplayTask, pruner: BasePruner) -> Result:
    study, _ = load_study(task.folder, task.subset)
    n_trials = min(task.n_trials, len(study.get_trials(deepcopy=False)))
    report = replay(study, pruner, order="random", seed=task.order, n_trials=n_trials)
    (repeat,) = report.repeats
    return {
        "log_speed_up": math.log(repeat.speed_up),
        "best_kept": float(repeat.best_kept),
        "regret": min(1.0, report.regret_iqr),
        "seconds": repeat.pruner_seconds,
        "n_checks": repeat.n_checks,
    }


@lru_cache(maxsize=2)
def load_study(folder: str, subset: int = 0) -> tuple[Study, Curves]:
    """Read a set; of a subset the curves are drawn once for all orders."""
    study = load_curves(folder)
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    steps = [trial.intermediate_values.keys() for trial in trials]
    curves = Curves(max(map(max, steps)), max(map(len, steps)))
    if subset:
        drawn = np.random.default_rng(0).permutation(len(trials))[:subset]
        study = optuna.create_study(
            study_name=study.study_name, direction=study.direction, sampler=study.sampler
        )
        study.add_trials([trials[i] for i in np.sort(drawn)])
    return study, curves


def interval_steps(folder: str, n_checks: int) -> int:
    """Give the distance of so many checks of a whole curve, in steps."""
    return 1 if n_checks == 0 else max(1, load_study(folder)[1].last_step // (n_checks + 1))


def checked_lengths(folder: str, subset: int, n_checks: int) -> list[int]:
    """Give the numbers of steps that curves have at the checks."""
    study, _ = load_study(folder, subset)
    steps = np.unique(np.concatenate([read_curve(t)[0] for t in study.get_trials()]))
    interval = interval_steps(folder, n_checks)
    firsts = [steps[steps >= k * interval].min() for k in range(1, steps[-1] // interval + 1)]
    return sorted({int(np.searchsorted(steps, step)) + 1 for step in firsts if step < steps[-1]})


def find_rule(rules: list[Path] | None, set_name: str) -> str:
    """Give the rule that was not trained on a set; empty if there is none."""
    files = [folder / f"{set_name}.npz" for folder in rules or ()]
    return next((str(file.resolve()) for file in files if file.is_file()), "")
