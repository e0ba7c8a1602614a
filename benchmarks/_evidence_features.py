"""Features: what curves, architectures and hyperparameters each tell.

R² × 100 at 25 % of the curve from the time series (TS), the architecture's parameters (AP), the
hyperparameters (HP) and their unions; 100 curves train. Which columns of a set are which stands
above its table. Without time series, the final value is predicted from the configuration alone.
"""

from __future__ import annotations

from collections import defaultdict
from typing import TYPE_CHECKING

from _evidence_forecasts import evaluate
from _evidence_forecasts import forecast_task
from _evidence_predictors import available
from _evidence_predictors import OURS
from _evidence_predictors import PREDICTORS
from _evidence_results import add_run_arguments
from _evidence_results import Results
from _evidence_scores import estimate
from _evidence_sets import add_set_arguments
from _evidence_sets import columns
from _evidence_sets import find_sets
from _evidence_tables import percent
from _evidence_tables import print_table


if TYPE_CHECKING:
    import argparse


FRACTION = 0.25
UNIONS = ("TS", "AP", "HP", "TS+AP", "TS+HP", "AP+HP", "TS+AP+HP")
# Baker et al. 2017, table 2: R² × 100 of ν-SVR.
PAPER = {
    "metaqnn_cifar10": {"TS": 93.98, "AP": 27.45, "HP": 12.60, "TS+AP+HP": 94.44},
    "deep_resnets_tinyimagenet": {"TS": 86.52, "AP": 84.33, "HP": 8.78, "TS+AP+HP": 91.8},
    "lstm_ptb": {"TS": 97.81, "AP": 16.11, "HP": 3.98, "TS+AP+HP": 98.24},
}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_set_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument(
        "--predictors",
        nargs="*",
        choices=PREDICTORS,
        metavar="NAME",
        default=[OURS, "ridge", "nu_svr_linear"],
    )
    parser.add_argument("--n-splits", type=int, default=5)


def run(args: argparse.Namespace) -> None:
    names = available(args.predictors)
    results = Results(args.cache, args.n_jobs)
    for set_name, folder in find_sets(args).items():
        of_kind = columns(folder)
        unions = [u for u in UNIONS if all(k == "TS" or of_kind[k] for k in u.split("+"))]
        tasks = [
            forecast_task(folder, name, FRACTION, split, features=union)
            for name in names
            for union in unions
            for split in range(args.n_splits)
        ]
        scores: dict[tuple[str, str], list[float]] = defaultdict(list)
        for task, result in zip(tasks, results.of(evaluate, tasks), strict=True):
            scores[task.predictor, task.features].append(result["scores"]["r2"])
        kinds = "; ".join(f"{k}: {', '.join(of_kind[k]) or 'none'}" for k in of_kind)
        rows = [
            [PREDICTORS[name].label, *(estimate(scores[name, u]).text(100.0) for u in unions)]
            for name in names
        ]
        if set_name in PAPER:
            rows.append(["in the paper", *(str(PAPER[set_name].get(u, "-")) for u in unions)])
        title = f"{set_name}, R² × 100 at {percent(FRACTION)} by features ({kinds})"
        print_table(title, ["predictor", *unions], rows)
