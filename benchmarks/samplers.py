"""What predicted values of pruned trials are worth to a sampler.

TPE and the GP sampler with and without `PredictedValueSampler`, and random search, all under
`PerformancePredictionPruner()`. The objectives are surrogates fitted on sets of recorded learning
curves; how well the fit forecasts the final value of what it has not seen (R²) is printed, and
see `_sampler_surrogate.py`. Regret: the distance between the best recorded value and the best
completed one, in interquartile ranges of the recorded final values, when the steps of 5, 10, ...
full trainings are spent.

    python benchmarks/samplers.py --curves DIR [--sets NAME ...] [--rules RULES]
        [--samplers NAME ...] [--budget 20] [--gp-budget 20] [--n-seeds 20] [--n-gp-seeds 4]
        [--jobs 2]

`DIR` is a folder with one folder a set; `optuna_perfpred.replay.load_curves` tells their format.
The stopping rule that comes with the package was trained on the public sets that the README
names. On these, `--rules` gives for each set one that was not trained on it, `RULES/NAME.npz`, as
`benchmarks/stopping_rule/train.py` writes them.

With the default options and six sets it takes about 15 minutes on two cores. The GP sampler needs
0.3 s for a trial after 50, hence its fewer seeds. Up to ten completed trials it is random search
if it has no predicted values.
"""

from __future__ import annotations

import argparse
from functools import lru_cache
from functools import partial
import math
import os
from pathlib import Path
import time
from typing import TYPE_CHECKING
import warnings


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy is imported: one core for each process.

from _sampler_surrogate import Surrogate
from joblib import delayed
from joblib import Parallel
import numpy as np
import optuna
from optuna.samplers import GPSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import PredictedValueSampler
from optuna_perfpred import StoppingRule


if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna.samplers import BaseSampler

BUDGETS = (5, 10, 20, 40)
PREDICTED = ", predicted values"


def with_predicted_values(make: Callable[..., BaseSampler], seed: int) -> BaseSampler:
    return PredictedValueSampler(make(seed=seed))


SAMPLERS: dict[str, Callable[..., BaseSampler]] = {
    "random": RandomSampler,
    "TPE": TPESampler,
    f"TPE{PREDICTED}": partial(with_predicted_values, TPESampler),
    "GP": GPSampler,
    f"GP{PREDICTED}": partial(with_predicted_values, GPSampler),
}


@lru_cache
def load(folder: Path) -> Surrogate:
    return Surrogate(folder)


def search(
    folder: Path, sampler: str, seed: int, rule: Path | None, budgets: list[int]
) -> list[float]:
    """Give the regret when each of the budgets is spent; NaN if nothing was completed."""
    warnings.simplefilter("ignore")
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    if sampler.startswith("GP"):
        import torch

        torch.set_num_threads(1)
    surrogate = load(folder)
    study = optuna.create_study(
        study_name=f"{folder.name}-{seed}",
        direction=surrogate.direction,
        sampler=SAMPLERS[sampler](seed=seed),
        pruner=PerformancePredictionPruner(None if rule is None else StoppingRule(rule)),
    )
    regrets = [math.nan] * len(budgets)
    n_spent, n_allowed = 0, max(budgets) * len(surrogate.steps)

    def objective(trial: optuna.Trial) -> float:
        nonlocal n_spent
        curve = surrogate.suggest(trial).tolist()
        for step, value in zip(surrogate.steps, curve, strict=True):
            n_spent += 1
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return curve[-1]

    def note(study: optuna.Study, trial: optuna.trial.FrozenTrial) -> None:
        if trial.state == optuna.trial.TrialState.COMPLETE:
            regret = abs(surrogate.best_value - study.best_value) / surrogate.iqr
            for index, budget in enumerate(budgets):
                if n_spent <= budget * len(surrogate.steps):
                    regrets[index] = regret
        if n_spent >= n_allowed:
            study.stop()

    study.optimize(objective, callbacks=[note])
    return regrets


def mean_and_error(values: np.ndarray) -> str:
    error = values.std(ddof=1) / len(values) ** 0.5 if len(values) > 1 else math.nan
    return f"{values.mean():.3f} ± {error:.3f}"


def compare(with_values: np.ndarray, without: np.ndarray) -> str:
    """Give the mean difference of the seeds and its standard error: less is better."""
    return mean_and_error(with_values - without)


def print_table(of_set: dict[str, np.ndarray], budgets: list[int]) -> None:
    print("|", " | ".join(["sampler", *(f"regret at {n}" for n in budgets)]), "|")
    print("|", " | ".join(["---"] * (len(budgets) + 1)), "|")
    for name, regrets in of_set.items():
        cells = [mean_and_error(of_budget) for of_budget in regrets.T]
        print("|", " | ".join([name, *cells, *["-"] * (len(budgets) - len(cells))]), "|")
    for name in of_set:
        if name + PREDICTED in of_set:
            differences = [
                compare(*pair)
                for pair in zip(of_set[name + PREDICTED].T, of_set[name].T, strict=True)
            ]
            print(f"\n{name}: difference by predicted values {' / '.join(differences)}")
    print(flush=True)


def print_summary(results: dict[str, dict[str, np.ndarray]]) -> None:
    """Count the sets on which the mean regret is smaller, equal and larger."""
    print("Sets on which predicted values win / draw (within one standard error) / lose:\n")
    for name in SAMPLERS:
        pairs = [
            (of_set[name + PREDICTED], of_set[name])
            for of_set in results.values()
            if name in of_set and name + PREDICTED in of_set
        ]
        for index, budget in enumerate(BUDGETS):
            counts = [0, 0, 0]
            for pair in pairs:
                if index >= pair[0].shape[1]:
                    continue
                difference = pair[0][:, index] - pair[1][:, index]
                error = difference.std() / len(difference) ** 0.5
                mean = difference.mean()
                counts[0 if mean < -error else 2 if mean > error else 1] += 1
            if any(counts):
                print(f"- {name} at {budget} full trainings: {' / '.join(map(str, counts))}")


class Args(argparse.Namespace):
    curves: Path
    sets: list[str] | None
    samplers: list[str]
    rules: Path | None
    budget: int
    gp_budget: int
    n_seeds: int
    n_gp_seeds: int
    jobs: int


def parse_args() -> Args:
    parser = argparse.ArgumentParser(
        description=__doc__.splitlines()[0], epilog=__doc__.split("\n\n")[-1]
    )
    parser.add_argument("--curves", type=Path, required=True, metavar="DIR")
    parser.add_argument("--sets", nargs="*", metavar="NAME", help="default: all folders in DIR")
    parser.add_argument("--samplers", nargs="*", choices=SAMPLERS, default=list(SAMPLERS))
    parser.add_argument("--rules", type=Path, help="rules that were not trained on a set")
    parser.add_argument("--budget", type=int, default=20, choices=BUDGETS)
    parser.add_argument("--gp-budget", type=int, default=20, choices=BUDGETS)
    parser.add_argument("--n-seeds", type=int, default=20)
    parser.add_argument("--n-gp-seeds", type=int, default=4)
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args(namespace=Args())


def main() -> None:
    args = parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    start = time.perf_counter()
    names = args.sets or sorted(path.parent.name for path in args.curves.glob("*/meta.json"))
    budgets = [n for n in BUDGETS if n <= args.budget]
    results: dict[str, dict[str, np.ndarray]] = {}
    for name in names:
        folder = args.curves / name
        surrogate = load(folder)  # Processes are forked and so have it.
        print(f"\n**{name}**: R² of the surrogate {surrogate.r2:.2f}\n", flush=True)
        rule = None if args.rules is None else args.rules / f"{name}.npz"
        tasks = [
            (sampler, seed)
            for sampler in args.samplers
            for seed in range(args.n_gp_seeds if sampler.startswith("GP") else args.n_seeds)
        ]
        regrets = Parallel(args.jobs, backend="multiprocessing")(
            delayed(search)(
                folder,
                sampler,
                seed,
                rule,
                [n for n in budgets if n <= args.gp_budget]
                if sampler.startswith("GP")
                else budgets,
            )
            for sampler, seed in tasks
        )
        results[name] = {
            sampler: np.array(
                [r for r, (of, _) in zip(regrets, tasks, strict=True) if of == sampler]
            )
            for sampler in args.samplers
        }
        print_table(results[name], budgets)
    print_summary(results)
    seconds = time.perf_counter() - start
    print(f"\n{args.n_seeds} seeds, GP {args.n_gp_seeds}; mean ± standard error. {seconds:.0f} s.")


if __name__ == "__main__":
    main()
