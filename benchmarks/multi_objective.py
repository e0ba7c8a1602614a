"""What stopping finds where there are several objectives, beside unpruned at twice the steps.

The searches of `in_loop.py` with a second objective: what a step of the configuration costs, see
`cost.py`, on a logarithmic scale from 0 to 1. It is known at the start, or, with `--unknown`,
reported at each step as the training comes to it. Optuna has no pruner for several objectives, so
that the peer is no pruning, at as many and at twice as many steps.

    python benchmarks/multi_objective.py [--curves DIR ...] [--sets NAME ...] [--prices size
        recorded] [--samplers tpe nsgaii] [--every 1] [--seeds 6] [--unknown] [--jobs 2]

- Hypervolume: of the complete trials, with the first objective scaled from 0 for the best of 4,000
  random configurations to 1 for the median, and the reference point (1, 1). Mean over sets and
  seeds; ± is its standard error over the seeds, by the jackknife.
- `--every 3`: only each third step of a training is reported and counted.
- Budgets are numbers of full trainings. NSGA-II has a population of 20.
"""

from __future__ import annotations

import argparse
import math
import os
from pathlib import Path
import time
from typing import NamedTuple
import warnings


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy is imported: one core for each process.

from cost import market
from in_loop import CURVES
from in_loop import find_sets
from in_loop import load
from joblib import delayed
from joblib import Parallel
import numpy as np
import optuna
from optuna._hypervolume import compute_hypervolume
from optuna.samplers import NSGAIISampler
from optuna.samplers import TPESampler
from optuna.trial import TrialState
from pruners import BUDGETS

from optuna_perfpred import PredictedValueSampler
from optuna_perfpred.pruners import MultiObjectivePruning


SAMPLERS = {
    "tpe": ("TPE", lambda seed: TPESampler(seed=seed)),
    "nsgaii": ("NSGA-II", lambda seed: NSGAIISampler(population_size=20, seed=seed)),
}
NAMES = ["value", "price"]
UNPRUNED, OURS, PREDICTED = WAYS = (
    "unpruned",
    "**ours**",
    "**ours**, with `PredictedValueSampler`",
)
# How fast the second objective comes to its end, where it is reported.
RISE = 0.8


class Search(NamedTuple):
    """What a search has found.

    Attributes:
        hypervolumes: The hypervolume at each budget, and at each of them doubled.
        n_trials: The number of trials begun.
    """

    hypervolumes: tuple[float, ...]
    n_trials: int


def search(
    folder: Path, prices: str, sampler: str, seed: int, way: str, *, every: int, unknown: bool
) -> Search:
    """Search one set, unpruned for twice the largest budget."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    surrogate, priced = load(folder), market(folder, prices)
    stops, base = way != UNPRUNED, SAMPLERS[sampler][1](seed)
    study = optuna.create_study(
        directions=[surrogate.direction, "minimize"],
        sampler=PredictedValueSampler(base) if way == PREDICTED else base,
    )
    sign = 1.0 if surrogate.direction.name == "MAXIMIZE" else -1.0
    drawn = -sign * surrogate._drawn_values
    best, median = drawn.min(), np.median(drawn)
    low, high = np.log(priced.range)
    budgets = [*BUDGETS, *(2 * budget for budget in BUDGETS)]
    # The last step is one of them.
    reported = np.arange(surrogate.n_steps)[::-every][::-1]
    ends = [budget * len(reported) for budget in budgets]
    last = max(BUDGETS) * len(reported) if stops else max(ends)
    spent, n_trials, losses = 0, 0, []
    found = {}
    while spent < last:
        trial = study.ask(surrogate.distributions)
        n_trials += 1
        price = (math.log(priced.price(trial.params)) - low) / (high - low)
        curve = surrogate.curve(trial.params)[reported]
        rising = price * (1.0 - RISE ** np.arange(1, len(curve) + 1))
        price = rising[-1] if unknown else price
        pruning = MultiObjectivePruning(trial, NAMES, known=None if unknown else {"price": price})
        for step, value in enumerate(curve.tolist(), 1):
            spent += 1
            if spent in ends:
                found[spent] = _hypervolume(losses)
            if not stops:
                continue
            also = {"price": float(rising[step - 1])} if unknown else {}
            pruning.report({"value": value, **also}, step)
            if step < len(curve) and pruning.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, (value, price))
            losses.append([(-sign * value - best) / (median - best), price])
    return Search(tuple(found.get(end, math.nan) for end in ends), n_trials)


def _hypervolume(losses: list[list[float]]) -> float:
    values = np.array(losses).reshape(-1, 2)
    values = values[(values < 1.0).all(axis=1)]
    return float(compute_hypervolume(values, np.ones(2)))


def estimate(hypervolumes: np.ndarray) -> str:
    """Tell a mean over sets and seeds, and its error. Shape: ``(n_sets, n_seeds)``."""
    n_seeds = hypervolumes.shape[1]
    left_out = [np.delete(hypervolumes, seed, axis=1).mean() for seed in range(n_seeds)]
    error = math.sqrt((n_seeds - 1) * np.var(left_out)) if n_seeds > 1 else math.nan
    return f"{hypervolumes.mean():.4f} ± {error:.4f}"


def print_table(title: str, results: dict[str, list[list[Search]]]) -> None:
    header = ["", *(f"hypervolume at {b}" for b in BUDGETS), "trials begun"]
    print(f"\n**{title}**\n")
    print("|", " | ".join(header), "|")
    print("|", " | ".join(["---"] * len(header)), "|")
    for way, doubled in ((UNPRUNED, False), (UNPRUNED, True), (OURS, False), (PREDICTED, False)):
        found = results[way]
        hypervolumes = np.array([[one.hypervolumes for one in of_set] for of_set in found])
        first = len(BUDGETS) if doubled else 0
        cells = [estimate(hypervolumes[..., first + k]) for k in range(len(BUDGETS))]
        n_trials = np.mean([one.n_trials for of_set in found for one in of_set])
        n_trials /= 2 if way == UNPRUNED and not doubled else 1
        name = f"{way}, twice the steps" if doubled else way
        print("|", " | ".join([name, *cells, f"{n_trials:.0f}"]), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, nargs="*", default=[], metavar="DIR")
    parser.add_argument("--sets", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--prices", nargs="*", choices=("size", "recorded"), default=["recorded"])
    parser.add_argument("--samplers", nargs="*", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--every", type=int, default=1, help="report each n-th step only")
    parser.add_argument("--seeds", type=int, default=6, help="number of searches of a set")
    parser.add_argument("--unknown", action="store_true", help="the price is reported as well")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    start = time.perf_counter()
    sets = find_sets([CURVES, *args.curves], args.sets)
    for sampler in args.samplers:
        for prices in args.prices:
            priced = {n: f for n, f in sets.items() if prices == "size" or f.parent == CURVES}
            tasks = [(o, n, s) for o in WAYS for n in priced for s in range(args.seeds)]
            found = Parallel(args.jobs, backend="multiprocessing")(
                delayed(search)(
                    priced[name],
                    prices,
                    sampler,
                    seed,
                    way,
                    every=args.every,
                    unknown=args.unknown,
                )
                for way, name, seed in tasks
            )
            by_task = dict(zip(tasks, found, strict=True))
            results = {
                way: [[by_task[way, n, s] for s in range(args.seeds)] for n in priced]
                for way in WAYS
            }
            title = f"{SAMPLERS[sampler][0]}, price: {prices}, {len(priced)} sets"
            print_table(title + ", reported" * args.unknown, results)
    print(f"\nSeeds: {args.seeds}. {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
