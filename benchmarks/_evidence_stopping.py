"""Stopping: early stopping by each predictor under the same rule.

Recorded curves are replayed through a real Optuna study in random orders, the same for all rows.
A trial is stopped if its forecast says that it fails to beat the best completed trial with a
given confidence; the predictors differ in nothing but the forecast. Beside them stand the default
pruner, stock pruners, and the i-epoch rule of Egele et al. 2024 (train all trials for 10 % of the
epochs, and on only those that are then the best so far). Speed-up: steps of full trainings per
trained step, geometric mean; best kept: share of the orders in which the best trial was
completed; regret: distance of the best completed value from the best one in interquartile ranges
of the set, at most 1.

Slow predictors replay fewer trials with fewer forecasts of each; the second table of a set
repeats all rows under these terms. Where a predictor takes nothing from other trials but their
range (LCE), forecasts are computed once for all orders, with the range of the replayed curves.
"""

from __future__ import annotations

from collections import defaultdict
import math
from pathlib import Path
from typing import TYPE_CHECKING

from _evidence_advance import forecast_in_advance
from _evidence_advance import ForecastsInAdvance
from _evidence_predictors import available
from _evidence_predictors import FAST
from _evidence_predictors import MEDIUM
from _evidence_predictors import of_cost
from _evidence_predictors import PREDICTORS
from _evidence_predictors import PUBLISHED
from _evidence_predictors import SLOW
from _evidence_replays import find_rule
from _evidence_replays import forecasting_pruner
from _evidence_replays import label
from _evidence_replays import OTHER_PRUNERS
from _evidence_replays import replay_task
from _evidence_replays import replay_with
from _evidence_replays import ReplayTask
from _evidence_replays import RULE
from _evidence_replays import run_replay
from _evidence_replays import Settings
from _evidence_results import add_run_arguments
from _evidence_results import Result
from _evidence_results import Results
from _evidence_scores import estimate
from _evidence_sets import add_set_arguments
from _evidence_sets import find_sets
from _evidence_sets import load_set
from _evidence_tables import print_table


if TYPE_CHECKING:
    import argparse


HEADER = ("pruner", "speed-up", "best kept", "regret / IQR")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_set_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument("--predictors", nargs="*", choices=PREDICTORS, metavar="NAME")
    parser.add_argument("--rules", nargs="*", type=Path, help="rules not trained on a set")
    parser.add_argument("--n-orders", type=int, default=3)
    parser.add_argument("--n-trials", type=int, default=200)
    parser.add_argument("--n-startup-trials", type=int, default=20)
    parser.add_argument("--confidence", type=float, default=0.95)
    parser.add_argument("--top-n", type=int, default=1)
    parser.add_argument("--n-checks", type=int, default=9, help="forecasts of a whole curve")
    parser.add_argument("--slow-sets", nargs="*", help="sets with a second table; default: all")
    parser.add_argument("--n-slow-orders", type=int, default=2)
    parser.add_argument("--n-slow-trials", type=int, default=40)
    parser.add_argument("--n-slow-checks", type=int, default=2)


def run(args: argparse.Namespace) -> None:
    names = available(args.predictors)
    fast, slower = of_cost(names, FAST), of_cost(names, MEDIUM, SLOW)
    slower = [name for name in slower if name not in PUBLISHED]
    results = Results(args.cache, args.n_jobs)
    print(
        f"\nForecasting pruners: Δ = {args.confidence:g}, {args.n_startup_trials} start-up "
        f"trials, to beat: the best but {args.top_n - 1}, at most {args.n_checks} forecasts of a "
        "whole curve."
    )
    for set_name, folder in find_sets(args).items():
        rule = find_rule(args.rules, set_name)
        rows = [*OTHER_PRUNERS, RULE, *fast]
        settings = Settings(args.n_startup_trials, args.confidence, args.top_n, args.n_checks)
        n_trials = min(args.n_trials, len(load_set(folder).finals))
        tasks = [
            replay_task(folder, row, order, n_trials, settings, rule=rule)
            for row in rows
            for order in range(args.n_orders)
        ]
        note = "a rule trained without it" if rule else "the rule that comes with the package"
        title = f"{set_name}, {n_trials} trials, {args.n_orders} orders, {note}"
        print_results(title, tasks, results.of(run_replay, tasks))
        if slower and (args.slow_sets is None or set_name in args.slow_sets):
            run_slow(args, set_name, folder, [*rows, *slower], results, rule)


def run_slow(
    args: argparse.Namespace,
    set_name: str,
    folder: str,
    rows: list[str],
    results: Results,
    rule: str,
) -> None:
    n_trials = min(args.n_slow_trials, len(load_set(folder).finals))
    settings = Settings(args.n_startup_trials, args.confidence, args.top_n, args.n_slow_checks)
    tasks = [
        replay_task(folder, row, order, n_trials, settings, subset=n_trials, rule=rule)
        for row in rows
        for order in range(args.n_slow_orders)
    ]
    in_advance = [t for t in tasks if t.pruner in PREDICTORS and PREDICTORS[t.pruner].per_trial]
    others = [task for task in tasks if task not in in_advance]
    done = dict(zip(others, results.of(run_replay, others), strict=True))
    for task in in_advance:
        forecasts = forecast_in_advance(task, results, args.n_slow_checks)
        pruner = forecasting_pruner(ForecastsInAdvance(forecasts), settings, task)
        done[task] = replay_with(task, pruner)
    title = (
        f"{set_name}, {n_trials} trials, {args.n_slow_orders} orders, {args.n_slow_checks} "
        "forecasts of a whole curve at most"
    )
    print_results(title, tasks, [done[task] for task in tasks])


def print_results(title: str, tasks: list[ReplayTask], results: list[Result]) -> None:
    of: dict[str, list[Result]] = defaultdict(list)
    for task, result in zip(tasks, results, strict=True):
        of[task.pruner].append(result)
    rows = [[label(pruner), *replay_cells(of_pruner)] for pruner, of_pruner in of.items()]
    print_table(title, HEADER, rows)


def replay_cells(results: list[Result]) -> list[str]:
    """Give speed-up, best kept and regret of some orders."""
    speed_up = estimate([result["log_speed_up"] for result in results])
    mean = math.exp(speed_up.mean)
    return [
        # To first order, the error of a logarithm is the relative error.
        speed_up._replace(mean=mean, error=mean * speed_up.error).text(),
        estimate([result["best_kept"] for result in results]).text(1.0, 2),
        estimate([result["regret"] for result in results]).text(1.0, 3),
    ]
