"""What is found for the same money where the steps of trials cost differently.

The searches of `in_loop.py`, with a price: a step of one trial costs up to 20 times what a step of
another one does. The same default pruner counts steps, or what they cost (`cost=`).

    python benchmarks/cost.py [--curves DIR ...] [--sets NAME ...] [--prices NAME ...]
        [--pruners NAME ...] [--samplers tpe random] [--budgets 10 20 40] [--every 1] [--seeds 6]
        [--rules RULES] [--jobs 2]

- Prices. `machine`: a step costs 1 to 20, log-uniform, whatever the configuration, as where trials
  run on different machines; a parameter of its own, which the sampler proposes too. `size`: the
  same, by the size of the network or, where a set knows none, its first parameter. `recorded`: the
  seconds of a step that were recorded of the nearest trainings (sets of the repository).
- `--every 3`: only each third step of a training is reported, and it is the unit of all that is
  counted. Searches are three times as fast.
- A full training costs what one of the random configurations does on the average. Misses at a
  budget, their mean over seeds and sets, `--curves` and `--rules` are as in `in_loop.py`.
- Cheaper: for the miss that the pruner which counts steps has at a budget, how many times less is
  spent by the row's. What was spent is noted at the completion of each new best; ± is its standard
  error over the seeds, by the jackknife.
"""

from __future__ import annotations

import argparse
from functools import lru_cache
import math
import os
from pathlib import Path
import time
from typing import NamedTuple
from typing import TYPE_CHECKING
import warnings


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy is imported: one core for each process.

from in_loop import CURVES
from in_loop import find_sets
from in_loop import load
from in_loop import SAMPLERS
from joblib import delayed
from joblib import Parallel
import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.trial import TrialState
import pandas as pd
from pruners import BUDGETS
from pruners import Curves
from pruners import MISS_OFFSET
from pruners import Options
from pruners import PRUNERS

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import StoppingRule


if TYPE_CHECKING:
    from collections.abc import Callable
    from collections.abc import Mapping

    from optuna.pruners import BasePruner
    from optuna.trial import FrozenTrial


MAX_PRICE = 20.0
MACHINE = "machine"
PRICES = (MACHINE, "size", "recorded")
SIZES = ("num_weights", "width", "hidden", "channels")
OURS, OURS_COST = "ours", "ours_cost"
NAMES = ("none", "median_warmup", "hyperband", OURS, OURS_COST)
# At so many amounts between half a training and all that is spent are misses compared.
N_AMOUNTS = 200
# How many random configurations tell what a full training costs.
N_PRICED = 2000


class Market:
    """What a step of each configuration of a set costs.

    Args:
        folder: The set.
        name: One of `PRICES`.

    Attributes:
        distributions: The search space; with prices of machines, a parameter more.
        mean: The mean price of a random configuration, in the unit of the prices.
        range: The lowest and the highest price, as multiples of it.
    """

    def __init__(self, folder: Path, name: str) -> None:
        surrogate = load(folder)
        self.distributions = dict(surrogate.distributions)
        self._price = self._of_size()
        if name == MACHINE:
            self.distributions[MACHINE] = FloatDistribution(1.0, MAX_PRICE, log=True)
            self._price = lambda params: params[MACHINE]
        elif name == "recorded":
            self._price = self._of_seconds(folder)
        rng = np.random.RandomState(2)
        drawn = [
            {name: _draw(d, rng.rand()) for name, d in self.distributions.items()}
            for _ in range(N_PRICED)
        ]
        costs = np.array([self._price(params) for params in drawn])
        self.mean = float(costs.mean())
        self.range = costs.min() / self.mean, costs.max() / self.mean

    def price(self, params: Mapping[str, float]) -> float:
        """Give what a step costs, if one of a random configuration costs 1 on the average."""
        return self._price(params) / self.mean

    def _of_size(self) -> Callable[[Mapping[str, float]], float]:
        names = list(self.distributions)
        found = [name for size in SIZES for name in names if size in name]
        name = (found or names)[0]
        distribution = self.distributions[name]
        return lambda params: MAX_PRICE ** _place(distribution, params[name])

    def _of_seconds(self, folder: Path) -> Callable[[Mapping[str, float]], float]:
        seconds = pd.read_csv(folder / "seconds.csv.gz", index_col=0)
        # The first step compiles and warms up.
        log_seconds = np.log(seconds.iloc[:, 1:].median(axis=1))
        configs = pd.read_csv(folder / "configs.csv.gz", index_col=0).loc[log_seconds.index]
        names = [name for name in self.distributions if name != MACHINE]
        points = np.array(
            [[_place(self.distributions[n], v) for v in configs[n]] for n in names]
        ).T

        def price(params: Mapping[str, float]) -> float:
            point = [_place(self.distributions[n], params[n]) for n in names]
            squared = ((points - point) ** 2).sum(axis=1)
            nearest = np.argsort(squared, kind="stable")[:4]
            return float(np.exp(log_seconds.to_numpy()[nearest].mean()))

        return price


def _place(distribution: FloatDistribution, value: float) -> float:
    low, high = distribution.low, distribution.high
    if distribution.log:
        low, high, value = math.log(low), math.log(high), math.log(value)
    return (value - low) / (high - low)


def _draw(distribution: FloatDistribution, share: float) -> float:
    low, high = distribution.low, distribution.high
    if distribution.log:
        return math.exp(math.log(low) + share * math.log(high / low))
    return low + share * (high - low)


@lru_cache
def market(folder: Path, name: str) -> Market:
    return Market(folder, name)


class Cell(NamedTuple):
    """What is the same for all searches of a table."""

    prices: str
    sampler: str
    budgets: tuple[int, ...]
    every: int

    @property
    def amounts(self) -> np.ndarray:
        """What was spent, in full trainings, at which misses are compared."""
        return np.geomspace(0.5, max(self.budgets), N_AMOUNTS)

    def at_budgets(self, of_amounts: np.ndarray) -> np.ndarray:
        """Give what is known at each amount at the budgets. Shape: ``(len(budgets),)``."""
        places = np.searchsorted(self.amounts, np.array(self.budgets) * (1.0 + 1e-9)) - 1
        return of_amounts[places]


class Search(NamedTuple):
    """What a search has found.

    Attributes:
        misses: The miss when each of the amounts was spent, in per cent.
        n_trials: The number of trials begun.
    """

    misses: np.ndarray
    n_trials: int


def make_pruner(name: str, n_steps: int, priced: Market, rule: Path | None) -> BasePruner:
    if name == OURS_COST:

        def cost(trial: FrozenTrial, step: int) -> float:
            return priced.price(trial.params)

        return PerformancePredictionPruner(StoppingRule(rule), cost=cost)
    return PRUNERS[name][1](Curves(n_steps, n_steps), Options(n_iter=0, rule=rule))


def search(folder: Path, pruner: str, seed: int, cell: Cell, rule: Path | None) -> Search:
    """Search one set until all is spent, with one worker."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    surrogate, priced = load(folder), market(folder, cell.prices)
    # The last step is one of them.
    reported = np.arange(surrogate.n_steps)[:: -cell.every][::-1]
    study = optuna.create_study(
        study_name=f"{folder.name}-{seed}",  # Hyperband's brackets depend on it.
        direction=surrogate.direction,
        sampler=SAMPLERS[cell.sampler][1](seed=seed),
        pruner=make_pruner(pruner, len(reported), priced, rule),
    )
    best, spent = None, 0.0
    amounts = cell.amounts
    misses = np.full(len(amounts), 100.0)
    n_trials = 0
    while spent < amounts[-1]:
        trial = study.ask(priced.distributions)
        n_trials += 1
        curve = surrogate.curve(trial.params)[reported]
        price = priced.price(trial.params) / len(curve)
        for step, value in enumerate(curve.tolist(), 1):
            spent += price
            trial.report(value, step)
            if step < len(curve) and trial.should_prune():
                study.tell(trial, state=TrialState.PRUNED)
                break
        else:
            study.tell(trial, value)
            if surrogate.is_better(value, best):
                best = value
                misses[spent <= amounts] = 100.0 * surrogate.share_better_than(best)
    return Search(misses, n_trials)


def mean_miss(misses: np.ndarray) -> np.ndarray:
    """Combine the misses of sets and seeds. Shape: ``(n_sets, n_seeds, n_amounts)``."""
    return np.exp(np.log(misses.mean(axis=1) + MISS_OFFSET).mean(axis=0)) - MISS_OFFSET


def cheaper(cell: Cell, misses: np.ndarray, reference: np.ndarray) -> np.ndarray:
    """Tell how many times less is spent for what the reference has found at each budget.

    NaN where it is not found for the largest budget.
    """
    own, other, amounts = mean_miss(misses), mean_miss(reference), cell.amounts
    ratios = []
    for miss in cell.at_budgets(other):
        reached, first = (np.flatnonzero(found <= miss + 1e-12) for found in (own, other))
        ratios.append(amounts[first[0]] / amounts[reached[0]] if len(reached) else math.nan)
    return np.array(ratios)


def estimates(statistic: Callable[..., np.ndarray], *arrays: np.ndarray) -> list[str]:
    """Tell a statistic with its standard error over the seeds, by the jackknife."""
    n_seeds = arrays[0].shape[1]
    left_out = [
        statistic(*(np.delete(array, seed, axis=1) for array in arrays))
        for seed in range(n_seeds)
        if n_seeds > 1
    ]
    found = statistic(*arrays)
    errors = np.sqrt((n_seeds - 1) * np.var(left_out, axis=0)) if left_out else 0.0 * found
    told = []
    for value, error in zip(found, errors, strict=True):
        # Where it is not reached without some of the seeds, the error is not known.
        margin = "" if math.isnan(error) else f" ± {error:.2f}"
        told.append("not reached" if math.isnan(value) else f"{value:.2f}{margin}")
    return told


def print_table(title: str, cell: Cell, results: dict[str, list[list[Search]]]) -> None:
    header = ["pruner", *(f"miss at {b}, %" for b in cell.budgets)]
    header += [f"cheaper than by steps at {b}" for b in cell.budgets] + ["trials begun"]
    print(f"\n**{title}**\n")
    print("|", " | ".join(header), "|")
    print("|", " | ".join(["---"] * len(header)), "|")
    misses = {
        pruner: np.array([[found.misses for found in of_set] for of_set in of_pruner])
        for pruner, of_pruner in results.items()
    }
    for pruner, of_pruner in results.items():
        cells = estimates(lambda m: cell.at_budgets(mean_miss(m)), misses[pruner])
        if OURS in misses and pruner != OURS:
            cells += estimates(lambda *m: cheaper(cell, *m), misses[pruner], misses[OURS])
        else:
            cells += ["1"] * len(cell.budgets)
        n_trials = np.mean([found.n_trials for of_set in of_pruner for found in of_set])
        name = "**ours, by cost**" if pruner == OURS_COST else PRUNERS[pruner][0]
        name = "ours, by steps" if pruner == OURS else name
        print("|", " | ".join([name, *cells, f"{n_trials:.0f}"]), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, nargs="*", default=[], metavar="DIR")
    parser.add_argument("--sets", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--prices", nargs="*", choices=PRICES, default=PRICES)
    parser.add_argument("--pruners", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--samplers", nargs="*", choices=SAMPLERS, default=["tpe"])
    parser.add_argument("--budgets", type=int, nargs="*", default=BUDGETS)
    parser.add_argument("--every", type=int, default=1, help="report each n-th step only")
    parser.add_argument("--seeds", type=int, default=6, help="number of searches of a set")
    parser.add_argument("--rules", type=Path, help="rules that were not trained on a set")
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    start = time.perf_counter()
    sets = find_sets([CURVES, *args.curves], args.sets)
    for sampler in args.samplers:
        for prices in args.prices:
            priced = {n: f for n, f in sets.items() if prices != "recorded" or f.parent == CURVES}
            if not priced:
                continue
            cell = Cell(prices, sampler, tuple(sorted(args.budgets)), args.every)
            tasks = [(p, n, s) for p in args.pruners for n in priced for s in range(args.seeds)]
            found = Parallel(args.jobs, backend="multiprocessing")(
                delayed(search)(
                    priced[name], pruner, seed, cell, args.rules and args.rules / f"{name}.npz"
                )
                for pruner, name, seed in tasks
            )
            by_task = dict(zip(tasks, found, strict=True))
            results = {
                p: [[by_task[p, n, s] for s in range(args.seeds)] for n in priced]
                for p in args.pruners
            }
            title = f"{SAMPLERS[sampler][0]}, prices: {prices}, {len(priced)} sets"
            print_table(title, cell, results)
    print(f"\nSeeds: {args.seeds}. {time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
