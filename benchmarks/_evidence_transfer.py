"""Transfer: forecasts of curves unlike those that were learned from.

Depth: networks shallower than a limit train, deeper ones are forecast, as in Baker et al. 2017,
section 3: 100 random curves, or all where there are fewer, and 25 % of the curve.

Other sets: a predictor learns from 100 curves of one set and forecasts those of another at 25 % of
their length. It sees the time series only, as parameters differ. The seen part of each curve is
read at 10 equally distant times. Both sets are centred by the median of the curves' last seen
values and scaled by the distance of their 10th and 90th percentiles; no final value of the target
is used, but what all its curves show by then is. Beside it stand the same predictor trained on
100 curves of the target, and the last seen value.

Rules: the default pruner with a stopping rule that was not trained on the set (`--rules`, as
`benchmarks/stopping_rule/train.py --leave-out` writes them), the package's own means of transfer,
replayed as in the section on stopping.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from _evidence_depth import print_depths
from _evidence_other_sets import print_transfers
from _evidence_predictors import available
from _evidence_predictors import LAST_SEEN_VALUE
from _evidence_predictors import OURS
from _evidence_predictors import PREDICTORS
from _evidence_replays import find_rule
from _evidence_replays import replay_task
from _evidence_replays import RULE
from _evidence_replays import run_replay
from _evidence_results import add_run_arguments
from _evidence_results import Results
from _evidence_sets import add_set_arguments
from _evidence_sets import find_sets
from _evidence_sets import load_set
from _evidence_stopping import HEADER
from _evidence_stopping import replay_cells
from _evidence_tables import print_table


if TYPE_CHECKING:
    import argparse
    from collections.abc import Mapping


COMPARED = (
    LAST_SEEN_VALUE,
    OURS,
    "ridge",
    "nu_svr_linear",
    "nu_svr_rbf",
    "random_forest",
    "published_nu_svr_linear",
    "published_nu_svr_rbf",
)


def add_arguments(parser: argparse.ArgumentParser) -> None:
    add_set_arguments(parser)
    add_run_arguments(parser)
    parser.add_argument(
        "--predictors", nargs="*", choices=PREDICTORS, metavar="NAME", default=COMPARED
    )
    parser.add_argument("--n-splits", type=int, default=10)
    parser.add_argument("--pairs", nargs="*", metavar="SOURCE:TARGET")
    parser.add_argument("--rules", nargs="*", type=Path, help="rules not trained on a set")
    parser.add_argument("--n-orders", type=int, default=3)
    parser.add_argument("--n-trials", type=int, default=200)


def run(args: argparse.Namespace) -> None:
    sets = find_sets(args)
    results = Results(args.cache, args.n_jobs)
    names = available(args.predictors)
    print_depths(sets, names, results, args.n_splits)
    print_transfers(sets, args.pairs, names, results, args.n_splits)
    if args.rules:
        print_rules(sets, args, results)


def print_rules(sets: Mapping[str, str], args: argparse.Namespace, results: Results) -> None:
    rules = {name: rule for name in sets if (rule := find_rule(args.rules, name))}
    tasks = [
        replay_task(
            sets[name],
            RULE,
            order,
            min(args.n_trials, len(load_set(sets[name]).finals)),
            rule=rule,
        )
        for name, rule in rules.items()
        for order in range(args.n_orders)
    ]
    done = results.of(run_replay, tasks)
    rows = [
        [name, *replay_cells(done[i * args.n_orders : (i + 1) * args.n_orders])]
        for i, name in enumerate(rules)
    ]
    title = f"The default pruner with rules trained without the set, {args.n_trials} trials"
    print_table(f"{title}, {args.n_orders} orders", ["set", *HEADER[1:]], rows)
