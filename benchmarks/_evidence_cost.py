"""Cost: seconds to fit and to forecast, side by side in one run.

On one set, 100 curves train and forecasts are made at 25 % of the curve, in one process. All
seconds are of one core, so that other processes hardly change them. First decision: a fit and one
forecast; a predictor that learns nothing from other curves, or learns anew from each partial one,
pays this each time. Next forecast: one more with what was fitted; in a batch: of many at once,
for each. In a study: a recorded study is replayed with the predictor in
`PerformancePredictionPruner`, which refits it whenever a tenth more trials are complete, and the
seconds in the predictor are divided by the number of its forecasts. Slow predictors replay fewer
trials with fewer forecasts of each, and ours beside them the same.

The paper's seconds are of a machine of 2017: ν-SVR 0.006 for a fit and 0.00006 for a forecast,
BNN 0.024, LCE 60 for a forecast.
"""

from __future__ import annotations

from collections import defaultdict
from contextlib import contextmanager
from pathlib import Path
import time
from typing import NamedTuple
from typing import TYPE_CHECKING

from _evidence_predictors import available
from _evidence_predictors import FAST
from _evidence_predictors import of_cost
from _evidence_predictors import OURS
from _evidence_predictors import PREDICTORS
from _evidence_replays import find_rule
from _evidence_replays import forecasting_pruner
from _evidence_replays import label
from _evidence_replays import replay_task
from _evidence_replays import replay_with
from _evidence_replays import RULE
from _evidence_replays import Settings
from _evidence_sets import add_set_arguments
from _evidence_sets import CurveSet
from _evidence_sets import find_sets
from _evidence_sets import load_set
from _evidence_sets import N_TRAIN
from _evidence_tables import percent
from _evidence_tables import print_table
import numpy as np
from optuna.pruners import BasePruner

from optuna_perfpred import CurvePredictor
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import StoppingRule


if TYPE_CHECKING:
    import argparse
    from collections.abc import Iterator

    import optuna

    from optuna_perfpred.predictors import Forecast


FRACTION = 0.25
N_BATCH = 100
N_REPEATS = {"fast": 20, "medium": 5, "slow": 2}
# How many times cheaper than these a decision of ours is to be.
BARS = {"bayesian_network": 100.0, "parametric_ensemble": 10_000.0}


class Clock:
    """Counts calls and their seconds, by name, also those of copies of what it watches."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self.calls: dict[str, int] = defaultdict(int)

    @contextmanager
    def watch(self, name: str, *, calls: int = 1) -> Iterator[None]:
        start = time.process_time()
        yield
        self.seconds[name] += time.process_time() - start
        self.calls[name] += calls

    def per_call(self, name: str) -> float:
        return self.seconds[name] / max(self.calls[name], 1)


FORECASTS, CHECKS = Clock(), Clock()


class TimedPredictor(CurvePredictor):
    """A predictor on the clock; the calls are its forecasts."""

    def __init__(self, name: str) -> None:
        self.name = name

    def fit(
        self, configurations: np.ndarray, curves: np.ndarray, finals: np.ndarray
    ) -> TimedPredictor:
        with FORECASTS.watch(self.name, calls=0):
            self._predictor = PREDICTORS[self.name].make().fit(configurations, curves, finals)
        return self

    def predict(self, configurations: np.ndarray, curves: np.ndarray) -> Forecast:
        with FORECASTS.watch(self.name, calls=len(curves)):
            return self._predictor.predict(configurations, curves)


class TimedPruner(BasePruner):
    """A pruner on the clock."""

    def __init__(self, pruner: BasePruner, name: str) -> None:
        self._pruner = pruner
        self._name = name

    def prune(self, study: optuna.Study, trial: optuna.trial.FrozenTrial) -> bool:
        with CHECKS.watch(self._name):
            return self._pruner.prune(study, trial)


class Seconds(NamedTuple):
    """The seconds of one predictor: for a fit and a forecast, one more, one of many at once."""

    first: float
    following: float
    batch: float


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_set_arguments(parser)
    parser.add_argument("--predictors", nargs="*", choices=PREDICTORS, metavar="NAME")
    parser.add_argument("--rules", nargs="*", type=Path, help="rules not trained on a set")
    parser.add_argument("--cost-set", help="which set; default: the first")
    parser.add_argument("--n-trials", type=int, default=200)
    parser.add_argument("--n-slow-trials", type=int, default=30)
    parser.add_argument("--n-slow-checks", type=int, default=3)


def run(args: argparse.Namespace) -> None:
    sets = find_sets(args)
    set_name = args.cost_set or next(iter(sets))
    folder = sets[set_name]
    names = available(args.predictors)
    curve_set = load_set(folder)
    # A first call of anything imports and caches.
    measure(OURS, curve_set, n_repeats=1)
    seconds = {name: measure(name, curve_set, N_REPEATS[PREDICTORS[name].cost]) for name in names}
    print_decisions(f"{set_name}, seconds", seconds)
    rule = find_rule(args.rules, set_name)
    live = Settings(10, 0.99, 5, 0)  # The defaults of a pruner with a predictor.
    note = f"{set_name}, seconds in a study of {args.n_trials} trials, a forecast at each step"
    fast = of_cost(names, FAST)
    every_step = print_study(note, folder, fast, args.n_trials, live, rule)
    n_trials, n_checks = args.n_slow_trials, args.n_slow_checks
    short = Settings(min(20, n_trials - 1), 0.95, 1, n_checks)
    note = f"{set_name}, seconds in a study of {n_trials} trials, {n_checks} forecasts a curve"
    seldom = print_study(note, folder, names, n_trials, short, rule)
    if OURS in names:
        print_bars(seconds, every_step, seldom)


def measure(name: str, curve_set: CurveSet, n_repeats: int) -> Seconds:
    train, test = curve_set.split(N_TRAIN, 0)
    seen = curve_set.first(FRACTION, test)
    configurations = curve_set.configurations
    first, following = [], []
    for row in range(n_repeats):
        start = time.process_time()
        predictor = PREDICTORS[name].make()
        predictor.fit(configurations[train], curve_set.curves[train], curve_set.finals[train])
        predictor.predict(configurations[test[[row]]], seen[[row]])
        fitted = time.process_time()
        predictor.predict(configurations[test[[row + 1]]], seen[[row + 1]])
        following.append(time.process_time() - fitted)
        first.append(fitted - start)
    n_batch = N_BATCH if PREDICTORS[name].cost == FAST else 10
    rows = np.resize(np.arange(len(test)), n_batch)
    start = time.process_time()
    predictor.predict(configurations[test[rows]], seen[rows])
    batch = (time.process_time() - start) / n_batch
    return Seconds(float(np.median(first)), float(np.median(following)), batch)


def print_decisions(title: str, seconds: dict[str, Seconds]) -> None:
    ours = seconds.get(OURS)
    header = ["predictor", "first decision", "next forecast", "in a batch", "first, of ours"]
    rows = []
    for name, of_name in seconds.items():
        ratio = times(of_name.first, ours.first) if ours is not None else "-"
        rows.append([PREDICTORS[name].label, *map(number, of_name), ratio])
    print_table(f"{title}; {N_TRAIN} curves train, {percent(FRACTION)} seen", header, rows)


def print_study(
    title: str, folder: str, names: list[str], n_trials: int, settings: Settings, rule: str
) -> dict[str, float]:
    """Replay a study with each predictor.

    Returns:
        Seconds of a forecast of each predictor, its fits included, and those of a check of the
        default pruner.
    """
    rows = {}
    for name in (RULE, *names):
        FORECASTS.seconds[name] = CHECKS.seconds[name] = 0.0
        FORECASTS.calls[name] = CHECKS.calls[name] = 0
        task = replay_task(folder, name, 0, n_trials, settings, rule=rule)
        if name == RULE:
            pruner = PerformancePredictionPruner(StoppingRule(rule or None))
        else:
            pruner = forecasting_pruner(TimedPredictor(name), settings, task)
        replay_with(task, TimedPruner(pruner, name))
        n_forecasts = str(FORECASTS.calls[name]) if name != RULE else "-"
        rows[name] = [label(name), n_forecasts, number(CHECKS.per_call(name))]
    costs = {name: FORECASTS.per_call(name) for name in names}
    costs[RULE] = CHECKS.per_call(RULE)
    for name, row in rows.items():
        is_timed = name != RULE
        row.append(number(costs[name]) if is_timed else "-")
        row.append(times(costs[name], costs[OURS]) if is_timed and OURS in costs else "-")
    header = ["predictor", "forecasts", "`should_prune`, a check", "a forecast", "of ours"]
    print_table(title, header, rows.values())
    return costs


def print_bars(
    seconds: dict[str, Seconds], every_step: dict[str, float], seldom: dict[str, float]
) -> None:
    """Print how many times cheaper a decision of ours is, all fits included."""
    rows = []
    for name, bar in BARS.items():
        if name in seconds:
            alone = seconds[name].first
            rows.append(
                [
                    PREDICTORS[name].label,
                    f"{bar:,.0f}×",
                    times(alone, seconds[OURS].first),
                    times(alone, every_step[OURS]),
                    times(seldom[name], seldom[OURS]),
                    times(alone, every_step[RULE]),
                ]
            )
    header = [
        "predictor",
        "bar",
        "its decision / our first one",
        "its decision / ours in a study",
        "both in a study",
        "its decision / a check of our default pruner",
    ]
    if rows:
        print_table("How many times cheaper our decisions are, fits included", header, rows)


def times(seconds: float, of: float) -> str:
    return f"{float(f'{seconds / of:.2g}'):,g}×"


def number(seconds: float) -> str:
    return f"{seconds:.2g}"
