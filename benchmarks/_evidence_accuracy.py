"""Accuracy: how near forecasts are to what happens, and whether their intervals hold it.

The curves of a set are split at random: 100 train (two thirds where there are fewer than 150),
all others are forecast from their first 5, 10, 25 and 50 %. Errors and densities are in units of
the standard deviation of the set's final values. A forecast's scale is taken to be at least 0.001
of that unit, a logarithm of a density at least -20. Where a predictor gives no forecast, the mean
and the standard deviation of the training curves' final values stand for it.

Slow predictors forecast the first test curves of few splits; ours and `LastSeenValue` stand
beside them with the same curves. Of so few curves, R² is that of the variance of the whole set,
and standard errors are from curves drawn with replacement.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from _evidence_forecasts import evaluate
from _evidence_forecasts import forecast_task
from _evidence_forecasts import N_SAMPLE
from _evidence_forecasts import sampled
from _evidence_predictors import available
from _evidence_predictors import FAST
from _evidence_predictors import LAST_SEEN_VALUE
from _evidence_predictors import MEDIUM
from _evidence_predictors import of_cost
from _evidence_predictors import OURS
from _evidence_predictors import PREDICTORS
from _evidence_predictors import PUBLISHED
from _evidence_predictors import SLOW
from _evidence_results import add_run_arguments
from _evidence_results import Result
from _evidence_results import Results
from _evidence_scores import bootstrap
from _evidence_scores import Comparison
from _evidence_scores import Estimate
from _evidence_scores import estimate
from _evidence_scores import Forecasts
from _evidence_scores import METRICS
from _evidence_sets import add_set_arguments
from _evidence_sets import find_sets
from _evidence_sets import load_set
from _evidence_sets import N_TRAIN
from _evidence_tables import percent
from _evidence_tables import print_table
import numpy as np


if TYPE_CHECKING:
    import argparse


FRACTIONS = (0.05, 0.1, 0.25, 0.5)
COMPARED_FRACTION = 0.25
FEW_CURVES = 30
COVERAGE_BAR = 0.85, 0.95
COMPARED_METRICS = ("r2", "rank")
# Baker et al. 2017, table 1: R² × 100 at 25 % of the curve, of our predictors by name.
PAPER = {
    "metaqnn_cifar10": {
        "ols": 93.22,
        "nu_svr_linear": 94.44,
        "nu_svr_rbf": 94.22,
        "random_forest": 92.27,
    },
    "deep_resnets_tinyimagenet": {
        "ols": 90.15,
        "nu_svr_linear": 91.8,
        "nu_svr_rbf": 85.78,
        "random_forest": 91.37,
    },
    "lstm_ptb": {
        "ols": 89.8,
        "nu_svr_linear": 98.59,
        "nu_svr_rbf": 83.29,
        "random_forest": 91.38,
    },
}

Runs = dict[tuple[str, float, int], list[Result]]
"""The results of all splits by predictor, fraction and number of training curves."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_set_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument("--predictors", nargs="*", choices=PREDICTORS, metavar="NAME")
    parser.add_argument("--n-splits", type=int, default=10)
    parser.add_argument(
        "--n-medium-splits", type=int, default=3, help="of predictors that take seconds"
    )
    parser.add_argument(
        "--medium-fractions", nargs="*", type=float, choices=FRACTIONS, default=FRACTIONS
    )
    parser.add_argument("--n-slow-splits", type=int, default=1, help="of those that take minutes")
    parser.add_argument(
        "--n-slow-curves", type=int, default=20, help=f"that they forecast, up to {N_SAMPLE}"
    )
    parser.add_argument(
        "--slow-fractions", nargs="*", type=float, choices=FRACTIONS, default=FRACTIONS
    )


def run(args: argparse.Namespace) -> None:
    names = available(args.predictors)
    args.n_slow_splits = min(args.n_slow_splits, args.n_splits)  # Ours stand beside them.
    results = Results(args.cache, args.n_jobs)
    verdicts: list[list[str]] = []
    coverages: list[list[str]] = []
    for set_name, folder in find_sets(args).items():
        runs = collect(args, results, folder, names)
        n = len(load_set(folder).finals)
        title = f"{set_name} ({n} curves, {min(N_TRAIN, 2 * n // 3)} train)"
        print_set(title, runs, names, PAPER.get(set_name, {}))
        slow = of_cost(names, SLOW)
        if slow:
            print_slow(title, runs, slow, args)
        if OURS in names:
            verdicts += judge(set_name, runs, names, args.n_slow_curves)
            coverages.append([set_name, *coverage_cells(runs)])
    if OURS in names:
        print_verdicts(verdicts, coverages)


def collect(args: argparse.Namespace, results: Results, folder: str, names: list[str]) -> Runs:
    """Run all tasks of one set."""
    n_splits = {FAST: args.n_splits, MEDIUM: args.n_medium_splits, SLOW: args.n_slow_splits}
    all_fractions = {FAST: FRACTIONS, MEDIUM: args.medium_fractions, SLOW: args.slow_fractions}
    tasks = []
    for name in names:
        cost = PREDICTORS[name].cost
        fractions = all_fractions[cost]
        if name in PUBLISHED:
            fractions = (COMPARED_FRACTION,)
        n_test = args.n_slow_curves if cost == SLOW else -1
        sizes = (N_TRAIN, FEW_CURVES) if cost == FAST else (N_TRAIN,)
        tasks += [
            forecast_task(folder, name, fraction, split, n_train=n_train, n_test=n_test)
            for n_train in sizes
            for fraction in fractions
            for split in range(n_splits[cost])
        ]
    runs: Runs = defaultdict(list)
    for task, result in zip(tasks, results.of(evaluate, tasks), strict=True):
        runs[task.predictor, task.fraction, task.n_train].append(result)
    return runs


def print_set(title: str, runs: Runs, names: list[str], paper: dict[str, float]) -> None:
    """Print a table for each metric."""
    rows = [name for name in of_cost(names, FAST, MEDIUM) if name not in PUBLISHED]
    for metric, (metric_title, *_) in METRICS.items():
        header = ["predictor", *map(percent, FRACTIONS)]
        cells = {name: [cell(runs, metric, name, f) for f in FRACTIONS] for name in rows}
        at = percent(COMPARED_FRACTION)
        if PUBLISHED.keys() & set(names):
            header.append(f"{at} as published")
            for name in rows:
                cells[name].append(cell(runs, metric, f"published_{name}", COMPARED_FRACTION))
        if metric == "r2":
            header.append(f"{at} in the paper")
            for name in rows:
                cells[name].append(str(paper.get(name, "-")))
        if metric == "coverage":
            header += [f"{percent(f)}, {FEW_CURVES} train" for f in FRACTIONS]
            for name in rows:
                cells[name] += [cell(runs, metric, name, f, FEW_CURVES) for f in FRACTIONS]
        table = [[PREDICTORS[name].label, *cells[name]] for name in rows]
        print_table(f"{title}, {metric_title}", header, table)
    missing = {
        PREDICTORS[name].label: np.mean([result["missing"] for result in of_name])
        for name in rows
        if (of_name := runs.get((name, COMPARED_FRACTION, N_TRAIN)))
    }
    for label, share in missing.items():
        if share > 0.0:
            print(f"{label} gives no forecast of {percent(round(float(share), 4))} of the curves.")


def cell(runs: Runs, metric: str, name: str, fraction: float, n_train: int = N_TRAIN) -> str:
    of_name = runs.get((name, fraction, n_train))
    if not of_name:
        return "-"
    _, factor, decimals = METRICS[metric]
    return estimate([r["scores"][metric] for r in of_name]).text(factor, decimals)


def print_slow(title: str, runs: Runs, slow: list[str], args: argparse.Namespace) -> None:
    """Print the slow predictors beside ours, on the curves that they forecast."""
    n_splits, n_curves = args.n_slow_splits, args.n_slow_curves
    beside = [n for n in (LAST_SEEN_VALUE, OURS) if (n, COMPARED_FRACTION, N_TRAIN) in runs]
    fractions = args.slow_fractions
    joined = {
        (name, fraction): sampled(runs[name, fraction, N_TRAIN][:n_splits], n_curves)
        for name in (*beside, *slow)
        for fraction in fractions
    }
    estimates = {}
    for key, forecasts in joined.items():

        def scores(rows: np.ndarray, of: Forecasts = forecasts) -> np.ndarray:
            return np.array(list(of.rows(rows).scores(few=True).values()))

        estimates[key] = bootstrap(len(forecasts.finals), scores)
    note = f"the same {n_curves} test curves of {n_splits} split(s)"
    for position, (metric_title, factor, decimals) in enumerate(METRICS.values()):
        table = [
            [
                PREDICTORS[name].label,
                *(estimates[name, f][position].text(factor, decimals) for f in fractions),
            ]
            for name in (*beside, *slow)
        ]
        header = ["predictor", *map(percent, fractions)]
        print_table(f"{title}, {metric_title}; {note}", header, table)


def judge(set_name: str, runs: Runs, names: list[str], n_slow_curves: int) -> list[list[str]]:
    """Compare ours with the best other predictor: of all splits, and of the slow ones' curves."""
    rows = []
    for metric in COMPARED_METRICS:
        comparisons = {"": compare_splits(runs, names, metric)}
        if of_cost(names, SLOW):
            comparisons["slow ones: "] = compare_curves(runs, names, metric, n_slow_curves)
        for note, comparison in comparisons.items():
            if comparison is not None:
                rows.append(
                    [set_name, note + METRICS[metric].title, *comparison_cells(comparison)]
                )
    return rows


def comparison_cells(comparison: Comparison) -> list[str]:
    ours, rival, best, difference = comparison
    return [
        ours.text(100.0),
        best.text(100.0),
        PREDICTORS[rival].label,
        difference.text(100.0),
        "yes" if comparison.within_paired else "no",
        "yes" if comparison.within_raw else "no",
    ]


def compare_splits(runs: Runs, names: list[str], metric: str) -> Comparison | None:
    def scores(name: str) -> list[float]:
        return [r["scores"][metric] for r in runs[name, COMPARED_FRACTION, N_TRAIN]]

    rivals = [name for name in of_cost(names, FAST, MEDIUM) if name != OURS]
    if not rivals:
        return None
    ours = scores(OURS)
    # Paired, as predictors that take longer have fewer splits.
    differences = {
        name: [other - own for other, own in zip(scores(name), ours, strict=False)]
        for name in rivals
    }
    rival = max(differences, key=lambda name: float(np.mean(differences[name])))
    best = scores(rival)
    common = ours[: len(best)]
    return Comparison(estimate(common), rival, estimate(best), estimate(differences[rival]))


def compare_curves(runs: Runs, names: list[str], metric: str, n_curves: int) -> Comparison | None:
    position = list(METRICS).index(metric)
    slow = [n for n in of_cost(names, SLOW) if (n, COMPARED_FRACTION, N_TRAIN) in runs]
    if not slow:
        return None
    n_splits = len(runs[slow[0], COMPARED_FRACTION, N_TRAIN])
    joined = {
        name: sampled(runs[name, COMPARED_FRACTION, N_TRAIN][:n_splits], n_curves)
        for name in (OURS, *slow)
    }

    def scores(rows: np.ndarray) -> np.ndarray:
        of = {n: list(f.rows(rows).scores(few=True).values())[position] for n, f in joined.items()}
        return np.array([*of.values(), *(of[name] - of[OURS] for name in slow)])

    estimates = bootstrap(len(joined[OURS].finals), scores)
    by_name = dict(zip(joined, estimates, strict=False))
    differences = dict(zip(slow, estimates[len(joined) :], strict=True))
    rival = max(slow, key=lambda name: differences[name].mean)
    return Comparison(by_name[OURS], rival, by_name[rival], differences[rival])


def coverage_cells(runs: Runs) -> list[str]:
    low, high = COVERAGE_BAR
    cells = []
    for n_train in (N_TRAIN, FEW_CURVES):
        estimates = [
            estimate([r["scores"]["coverage"] for r in runs[OURS, fraction, n_train]])
            for fraction in FRACTIONS
        ]
        cells.append(" / ".join(Estimate(e.mean, np.nan).text(100.0) for e in estimates))
        outside = [
            percent(fraction)
            for fraction, e in zip(FRACTIONS, estimates, strict=True)
            if not low <= round(e.mean, 3) <= high
        ]
        cells.append("yes" if not outside else f"not at {', '.join(outside)}")
    return cells


def print_verdicts(verdicts: list[list[str]], coverages: list[list[str]]) -> None:
    print_table(
        f"Ours beside the best other predictor, {percent(COMPARED_FRACTION)} of the curve",
        [
            "set",
            "metric",
            "ours",
            "best other",
            "which",
            "best other - ours, paired",
            "best, or within one standard error of the paired difference",
            "of the best's mean",
        ],
        verdicts,
    )
    header = ["set"]
    for n_train in (N_TRAIN, FEW_CURVES):
        fractions = " / ".join(map(percent, FRACTIONS))
        header += [f"{n_train} train: {fractions}", "85-95 %"]
    print_table("Ours: final values in the 90 % interval, %", header, coverages)
