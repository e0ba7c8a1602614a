"""Which pruner finds more when a sampler is in the loop.

Recorded curves replayed in a random order (`pruners.py`) tell nothing of a study whose sampler
learns: its proposals crowd near the best one, and what it is told of stopped trials decides on
what it proposes next. Here a sampler proposes, a surrogate of recorded curves answers (see
`_in_loop_surrogate.py`), and a pruner stops.

    python benchmarks/in_loop.py [--curves DIR ...] [--sets NAME ...] [--pruners NAME ...]
        [--samplers tpe gp random] [--workers 1 8 64] [--budgets 10 20 40] [--seeds 6]
        [--rules RULES] [--jobs 2]

By default the recordings of the repository are searched, by TPE with one worker. `--curves` adds
those of other folders, with one folder a set; `optuna_perfpred.replay.load_curves` tells their
format. Sets without numeric parameters are skipped. The stopping rule that comes with the package
was trained on the public sets that the README names and on trainings like those of the
repository. `--rules` gives for each set one that was not trained on it, `RULES/NAME.npz`, as
`benchmarks/stopping_rule/train.py` writes them.

- Clock: each worker trains one step a tick; all begin together. Steps are counted 1, 2, ..., one
  for each recorded value.
- Budgets are numbers of full trainings, of all workers together. With more than 8 workers they are
  larger in proportion, eight times as large with 64: these would not complete any with 40.
- Miss: per cent of 4,000 random configurations of the surrogate that end better than the best
  completed one when the budget is spent; 100 if none is completed. Over sets, the geometric mean
  of (mean over seeds + 0.1 %), minus 0.1 %; and the mean at the largest budget.
- ±: standard error of this very number over the seeds, by the jackknife: it is computed again
  without each of the seeds. The geometric mean of each seed's own misses would be smaller than
  that of the means, and so would not have the printed number as its centre. A seed is left out of
  all sets at once, as the first proposals of a seed are the same in all of them.
- Trials begun, and new best stopped: of the trials that were, or when they were stopped would have
  been, a new best, those that were stopped and not continued. Means of a search.
- Predicted values: the sampler is wrapped in `PredictedValueSampler`, which shows it a stopped
  trial as completed if the pruner has left a predicted value. Optuna's pruners leave none.
- A trial with the user attribute `perfpred:continues` goes on with the curve of the earlier trial
  whose number this is: from the first step, or in the rows with checkpoints from where it was
  stopped, at no cost.

A search by TPE takes a second or two (64 workers: 10), so the default options need three minutes
on two cores; one by the GP sampler takes 5 to 10 seconds (64 workers: minutes).
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

from _in_loop_search import Outcome
from _in_loop_search import Search
from _in_loop_surrogate import NeighbourSurrogate
from _in_loop_surrogate import UnsuitableSetError
from joblib import delayed
from joblib import Parallel
import numpy as np
import optuna
from optuna.samplers import GPSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from pruners import BUDGETS
from pruners import Curves
from pruners import MISS_OFFSET
from pruners import Options
from pruners import PRUNERS

from optuna_perfpred import PredictedValueSampler


if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna.samplers import BaseSampler
    from optuna.study import StudyDirection


CURVES = Path(__file__).parent / "curves"
MAX_WORKERS = 8  # Of more, the budgets grow with their number.
SAMPLERS: dict[str, tuple[str, Callable[..., BaseSampler]]] = {
    "tpe": ("TPE", TPESampler),
    "gp": ("GP", GPSampler),
    "random": ("random search", RandomSampler),
}
PREDICTED = ", predicted values"
WITH_PREDICTED = "_predicted"  # Ends the name of a pruner beside a wrapped sampler.
NAMES = (
    "none",
    "median",
    "median_warmup",
    "percentile",
    "halving",
    "hyperband",
    "ours",
    "ours_retrain",
    "ours_checkpoint",
    "ours_predicted",
    "median_warmup_predicted",
)


class Cell(NamedTuple):
    """What is the same for all searches of a table."""

    sampler: str
    n_workers: int
    budgets: tuple[int, ...]


class Args(argparse.Namespace):
    curves: list[Path]
    sets: list[str] | None
    pruners: list[str]
    samplers: list[str]
    workers: list[int]
    budgets: list[int]
    seeds: int
    rules: Path | None
    jobs: int


@lru_cache
def load(folder: Path) -> NeighbourSurrogate:
    return NeighbourSurrogate(folder)


def create_study(
    name: str,
    direction: StudyDirection | str,
    n_steps: int,
    *,
    sampler: str,
    pruner: str,
    seed: int,
    rule: Path | None,
) -> optuna.Study:
    """Create a study in memory, with the pruner and the sampler of these names."""
    make_sampler = SAMPLERS[sampler][1]
    make_pruner = PRUNERS[pruner.removesuffix(WITH_PREDICTED)][1]
    return optuna.create_study(
        study_name=f"{name}-{seed}",  # Hyperband's brackets depend on it.
        direction=direction,
        sampler=(
            PredictedValueSampler(make_sampler(seed=seed))
            if pruner.endswith(WITH_PREDICTED)
            else make_sampler(seed=seed)
        ),
        pruner=make_pruner(Curves(n_steps, n_steps), Options(n_iter=0, rule=rule)),
    )


def search(folder: Path, pruner: str, seed: int, cell: Cell, rule: Path | None) -> Outcome:
    """Search one set once."""
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    if cell.sampler == "gp":
        import torch

        torch.set_num_threads(1)
    surrogate = load(folder)
    study = create_study(
        folder.name,
        surrogate.direction,
        surrogate.n_steps,
        sampler=cell.sampler,
        pruner=pruner,
        seed=seed,
        rule=rule,
    )
    checkpoints = pruner.removesuffix(WITH_PREDICTED).endswith("_checkpoint")
    return Search(study, surrogate, checkpoints=checkpoints).run(cell.budgets, cell.n_workers)


def geometric_mean(misses: np.ndarray) -> np.ndarray:
    """Combine the misses of sets and seeds. Shape: ``(n_sets, n_seeds, n_budgets)``."""
    return np.exp(np.log(misses.mean(axis=1) + MISS_OFFSET).mean(axis=0)) - MISS_OFFSET


def arithmetic_mean(misses: np.ndarray) -> np.ndarray:
    return misses.mean(axis=(0, 1))


def jackknife_error(
    statistic: Callable[[np.ndarray], np.ndarray], misses: np.ndarray
) -> np.ndarray:
    """Give the standard error of a statistic over the seeds; NaN if there is but one."""
    n_seeds = misses.shape[1]
    if n_seeds == 1:
        return np.full(misses.shape[2], math.nan)
    left_out = [statistic(np.delete(misses, seed, axis=1)) for seed in range(n_seeds)]
    return np.sqrt((n_seeds - 1) * np.var(left_out, axis=0))


def estimates(statistic: Callable[[np.ndarray], np.ndarray], misses: np.ndarray) -> list[str]:
    """Give the statistic at each budget, with its standard error."""
    errors = jackknife_error(statistic, misses)
    return [
        f"{value:.2f} ± {error:.2f}"
        for value, error in zip(statistic(misses), errors, strict=True)
    ]


def row(outcomes: list[list[Outcome]]) -> list[str]:
    """Give the cells of a pruner's row from the outcomes of each set and seed."""
    misses = np.array([[outcome.misses for outcome in of_set] for of_set in outcomes])
    counts = [outcome[2:] for of_set in outcomes for outcome in of_set]
    _, n_new_best, n_stopped = np.mean(counts, axis=0)
    n_trials = np.mean([outcome.n_trials for of_set in outcomes for outcome in of_set])
    share = f" ({n_stopped / n_new_best:.0%})" if n_new_best else ""
    return [
        *estimates(geometric_mean, misses),
        estimates(arithmetic_mean, misses)[-1],
        f"{n_trials:.0f}",
        f"{n_stopped:.1f} of {n_new_best:.1f}{share}",
    ]


def label(pruner: str) -> str:
    name = PRUNERS[pruner.removesuffix(WITH_PREDICTED)][0]
    return name + PREDICTED if pruner.endswith(WITH_PREDICTED) else name


def print_table(
    title: str, budgets: tuple[int, ...], results: dict[str, list[list[Outcome]]]
) -> None:
    header = [
        "pruner",
        *(f"miss at {budget}, %" for budget in budgets),
        f"mean at {budgets[-1]}, %",
        "trials begun",
        "new best stopped",
    ]
    print(f"\n**{title}**\n")
    print("|", " | ".join(header), "|")
    print("|", " | ".join(["---"] * len(header)), "|")
    for pruner, outcomes in results.items():
        print("|", " | ".join([label(pruner), *row(outcomes)]), "|", flush=True)


def print_tables(cell: Cell, results: dict[str, dict[str, list[Outcome]]]) -> None:
    """Print a table for each set and one for all, from the outcomes by pruner and set."""
    workers = "1 worker" if cell.n_workers == 1 else f"{cell.n_workers} workers"
    title = f"{SAMPLERS[cell.sampler][0]}, {workers}"
    sets = next(iter(results.values()))
    for name in sets:
        of_set = {pruner: [by_set[name]] for pruner, by_set in results.items()}
        print_table(f"{title}: {name}", cell.budgets, of_set)
    all_sets = {pruner: list(by_set.values()) for pruner, by_set in results.items()}
    print_table(f"{title}: all {len(sets)} sets", cell.budgets, all_sets)


def search_all(
    cell: Cell, sets: dict[str, Path], args: Args
) -> dict[str, dict[str, list[Outcome]]]:
    """Give the outcomes of all seeds by pruner and set."""
    rules = {n: None if args.rules is None else args.rules / f"{n}.npz" for n in sets}
    tasks = [
        (pruner, name, seed)
        for pruner in args.pruners
        for name in sets
        for seed in range(args.seeds)
    ]
    outcomes = Parallel(args.jobs, backend="multiprocessing")(
        delayed(search)(sets[name], pruner, seed, cell, rules[name])
        for pruner, name, seed in tasks
    )
    by_task = dict(zip(tasks, outcomes, strict=True))
    return {
        pruner: {
            name: [by_task[pruner, name, seed] for seed in range(args.seeds)] for name in sets
        }
        for pruner in args.pruners
    }


def find_sets(folders: list[Path], names: list[str] | None) -> dict[str, Path]:
    """Give the folders of the sets by name, without those that don't suit."""
    found = {
        path.parent.name: path.parent
        for folder in folders
        for path in sorted(folder.glob("*/meta.json"))
    }
    sets = {}
    for name in names or found:
        if name not in found:
            raise FileNotFoundError(f"None of the folders holds a set {name!r}.")
        try:
            load(found[name])  # Processes are forked and so have it.
        except UnsuitableSetError as error:
            print(f"{name} is skipped: {error}.", flush=True)
        else:
            sets[name] = found[name]
    if not sets:
        raise ValueError("There is no set to search.")
    return sets


def parse_args() -> Args:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, nargs="*", default=[], metavar="DIR")
    parser.add_argument("--sets", nargs="*", metavar="NAME", help="default: all")
    parser.add_argument("--pruners", nargs="*", choices=NAMES, default=NAMES)
    parser.add_argument("--samplers", nargs="*", choices=SAMPLERS, default=["tpe"])
    parser.add_argument("--workers", type=int, nargs="*", default=[1])
    parser.add_argument("--budgets", type=int, nargs="*", default=BUDGETS)
    parser.add_argument("--seeds", type=int, default=6, help="number of searches of a set")
    parser.add_argument("--rules", type=Path, help="rules that were not trained on a set")
    parser.add_argument("--jobs", type=int, default=2)
    return parser.parse_args(namespace=Args())


def main() -> None:
    args = parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    start = time.perf_counter()
    sets = find_sets([CURVES, *args.curves], args.sets)
    for sampler in args.samplers:
        for n_workers in args.workers:
            budgets = [n * max(n_workers, MAX_WORKERS) // MAX_WORKERS for n in args.budgets]
            cell = Cell(sampler, n_workers, tuple(sorted(budgets)))
            print_tables(cell, search_all(cell, sets, args))
    print(
        f"\nSeeds: {args.seeds}. Misses are geometric means over the sets of the mean "
        f"miss + {MISS_OFFSET} %, minus {MISS_OFFSET} %; ± is their standard error over seeds."
    )
    if args.rules is not None:
        print("Ours: on each set with a stopping rule that was trained without it.")
    print(f"{time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
