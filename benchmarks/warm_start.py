"""What an earlier study is worth to the default pruner.

Of each set of recorded curves, some are an earlier study in which nothing was pruned, and the
others are replayed in random orders, without it (cold) and with it (warm). With `--related A:B`,
set A is also replayed with all curves of set B as the earlier study. Miss: per cent of the
replayed configurations that are better than the best completed one when the budget of 10, 20 or
40 full trainings is spent.

    python benchmarks/warm_start.py --curves DIR [--sets NAME ...] [--related A:B ...]
        [--rules RULES] [--n-earlier 100] [--n-orders 10] [--jobs 2]

For `DIR` and `--rules` see `benchmarks/pruners.py`.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import NamedTuple
import warnings

from joblib import delayed
from joblib import Parallel
import numpy as np
import optuna
from optuna.trial import TrialState
from pruners import BUDGETS
from pruners import load
from pruners import MISS_OFFSET
from pruners import misses_at_budgets

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import StoppingRule
from optuna_perfpred.replay import replay


class Task(NamedTuple):
    """A set to replay, and where its earlier study comes from: nowhere, itself, another set."""

    name: str
    source: str
    row: str


def study_of(study: optuna.Study, trials: list[optuna.trial.FrozenTrial]) -> optuna.Study:
    part = optuna.create_study(direction=study.direction, sampler=study.sampler)
    part.add_trials(trials)
    return part


def run(args: argparse.Namespace, task: Task, seed: int) -> list[float]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.simplefilter("ignore")
    study, _ = load(args.curves / task.name)
    trials = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    order = np.random.default_rng(seed).permutation(len(trials))
    n_earlier = min(args.n_earlier, len(trials) // 2)
    earlier = study_of(study, [trials[i] for i in order[:n_earlier]])
    if task.source not in ("", task.name):
        earlier, _ = load(args.curves / task.source)
    rule = StoppingRule(args.rules / f"{task.name}.npz" if args.rules else None)
    pruner = PerformancePredictionPruner(rule, warm_start=[earlier] if task.source else [])
    others = study_of(study, [trials[i] for i in order[n_earlier:]])
    report = replay(others, pruner, order="random", seed=seed, budget=max(BUDGETS))
    return misses_at_budgets(report)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", help="default: all folders in DIR")
    parser.add_argument("--related", nargs="*", default=[], metavar="A:B")
    parser.add_argument("--rules", type=Path, help="rules that were not trained on a set")
    parser.add_argument("--n-earlier", type=int, default=100)
    parser.add_argument("--n-orders", type=int, default=10)
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    names = args.sets or sorted(path.name for path in args.curves.iterdir() if path.is_dir())
    related = dict(pair.split(":") for pair in args.related)

    tasks = [Task(n, source, row) for n in names for source, row in (("", "cold"), (n, "warm"))]
    tasks += [Task(n, source, f"warm from {source}") for n, source in related.items()]
    results = Parallel(args.jobs, backend="multiprocessing")(
        delayed(run)(args, task, seed) for task in tasks for seed in range(args.n_orders)
    )
    misses = np.array(results).reshape(len(tasks), args.n_orders, len(BUDGETS)).mean(axis=1)
    print(f"| set | earlier study | miss at {' / '.join(map(str, BUDGETS))} |")
    print("| --- | --- | --- |")
    for task, row in zip(tasks, misses, strict=True):
        print(f"| {task.name} | {task.row} | {' / '.join(f'{miss:.2f}' for miss in row)} % |")
    for kind in ("cold", "warm"):
        chosen = [task.row == kind for task in tasks]
        mean = np.exp(np.log(misses[chosen] + MISS_OFFSET).mean(axis=0))
        print(f"| all {len(names)} | {kind} | {' / '.join(f'{miss:.2f}' for miss in mean)} % |")
    print(f"\n{args.n_orders} orders; of all sets the geometric mean of the miss + {MISS_OFFSET}.")


if __name__ == "__main__":
    main()
