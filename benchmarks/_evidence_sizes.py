"""Sizes: how many training curves it takes.

R², rank correlation and the share of final values in the 90 % interval at 25 % of the curve when
10 to 200 curves train, at most two thirds of the set.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from _evidence_forecasts import evaluate
from _evidence_forecasts import forecast_task
from _evidence_predictors import available
from _evidence_predictors import LAST_SEEN_VALUE
from _evidence_predictors import OURS
from _evidence_predictors import PREDICTORS
from _evidence_results import add_run_arguments
from _evidence_results import Result
from _evidence_results import Results
from _evidence_scores import estimate
from _evidence_scores import METRICS
from _evidence_sets import add_set_arguments
from _evidence_sets import find_sets
from _evidence_sets import load_set
from _evidence_tables import percent
from _evidence_tables import print_table


if TYPE_CHECKING:
    import argparse


FRACTION = 0.25
SIZES = (10, 20, 30, 50, 100, 200)
SHOWN = ("r2", "rank", "coverage")


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_set_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument(
        "--predictors",
        nargs="*",
        choices=PREDICTORS,
        metavar="NAME",
        default=[LAST_SEEN_VALUE, OURS, "ridge"],
    )
    parser.add_argument("--n-splits", type=int, default=10)
    parser.add_argument("--sizes", nargs="*", type=int, default=SIZES)


def run(args: argparse.Namespace) -> None:
    names = available(args.predictors)
    results = Results(args.cache, args.n_jobs)
    for set_name, folder in find_sets(args).items():
        n = len(load_set(folder).finals)
        sizes = [size for size in args.sizes if size <= 2 * n // 3]
        tasks = [
            forecast_task(folder, name, FRACTION, split, n_train=size)
            for name in names
            for size in sizes
            for split in range(args.n_splits)
        ]
        of: dict[tuple[str, int], list[Result]] = defaultdict(list)
        for task, result in zip(tasks, results.of(evaluate, tasks), strict=True):
            of[task.predictor, task.n_train].append(result)
        for metric in SHOWN:
            title, factor, decimals = METRICS[metric]
            rows = []
            for name in names:
                scores = [[r["scores"][metric] for r in of[name, size]] for size in sizes]
                cells = [estimate(values).text(factor, decimals) for values in scores]
                rows.append([PREDICTORS[name].label, *cells])
            print_table(
                f"{set_name} ({n} curves), {title} at {percent(FRACTION)} by training curves",
                ["predictor", *map(str, sizes)],
                rows,
            )
