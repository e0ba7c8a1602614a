"""Which pruner finds more at the same cost.

Each set of recorded curves is replayed through a real Optuna study in random orders, the same
ones for all pruners. Two protocols:

- equal trials: 200 trials (or all that the set has). Speed-up; share of the runs in which the
  best trial was completed; regret, the distance between the best value and the best completed
  one, in interquartile ranges of the set's final values and at most 1.
- equal compute: trials are drawn until the budget of 10, 20 or 40 full trainings is spent or the
  set is exhausted. Miss: per cent of the set's configurations that are better than the best
  completed one.

    python benchmarks/pruners.py --curves DIR [--sets NAME ...] [--pruners NAME ...]
        [--rules RULES] [--n-orders 10] [--jobs 2]

`DIR` is a folder with one folder a set; `optuna_perfpred.replay.load_curves` tells their format.
The stopping rule that comes with the package was trained on the public sets that the README
names. On these, `--rules` gives for each set one that was not trained on it, `RULES/NAME.npz`, as
`benchmarks/stopping_rule/train.py` writes them.
"""

from __future__ import annotations

import argparse
from collections import defaultdict
import dataclasses
from functools import lru_cache
import hashlib
import math
import os
from pathlib import Path
import time
from typing import NamedTuple
from typing import TYPE_CHECKING
import warnings


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy is imported: one core for each process.

from joblib import delayed
from joblib import Parallel
import numpy as np
import optuna
from optuna.pruners import BasePruner
from optuna.pruners import HyperbandPruner
from optuna.pruners import MedianPruner
from optuna.pruners import NopPruner
from optuna.pruners import PercentilePruner
from optuna.pruners import SuccessiveHalvingPruner
from optuna.study import StudyDirection
from optuna.trial import TrialState

from optuna_perfpred import CurvePredictor
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import SequentialRegression
from optuna_perfpred import StoppingRule
from optuna_perfpred.replay import load_curves
from optuna_perfpred.replay import replay


if TYPE_CHECKING:
    from collections.abc import Callable

    from optuna import Study
    from optuna.trial import FrozenTrial

    from optuna_perfpred.predictors import Forecast
    from optuna_perfpred.replay import ReplayReport


N_TRIALS = 200
BUDGETS = (10, 20, 40)
# Added to a miss, so that a set on which nothing is missed doesn't decide the geometric mean.
MISS_OFFSET = 0.1
BURN_IN = 100


class IEpochPruner(BasePruner):
    """Train all trials for i epochs, and on only those that are then the best so far.

    The baseline of Egele et al. 2024, "The Unreasonable Effectiveness of Early Discarding after
    One Epoch in Neural Network Hyperparameter Optimization".
    """

    def __init__(self, n_epochs: int) -> None:
        self._n_epochs = n_epochs

    def prune(self, study: Study, trial: FrozenTrial) -> bool:
        if len(trial.intermediate_values) != self._n_epochs:
            return False
        step = trial.last_step
        value = trial.intermediate_values[step]
        others = [
            other.intermediate_values[step]
            for other in study.get_trials(deepcopy=False)
            if other.number != trial.number and step in other.intermediate_values
        ]
        known = [other for other in others if not math.isnan(other)]
        if math.isnan(value) or not known:
            return math.isnan(value)
        if study.direction == StudyDirection.MAXIMIZE:
            return value < max(known)
        return value > min(known)


class FrozenPredictor(CurvePredictor):
    """A predictor that learns from the burn-in and never again, as published.

    The pruner refits an unfitted copy of it on a history whose first trials are those of the
    burn-in; what was fitted on them is found again.
    """

    _fitted: dict[str, CurvePredictor] = {}  # noqa: RUF012 (shared by all copies on purpose)

    def __init__(self, n_iter: int = 100) -> None:
        self.n_iter = n_iter

    def fit(
        self, configurations: np.ndarray, curves: np.ndarray, finals: np.ndarray
    ) -> FrozenPredictor:
        arrays = (configurations[:BURN_IN], curves[:BURN_IN], finals[:BURN_IN])
        # Of the configurations only the number of columns, which grows when a choice is met for
        # the first time: the mean that stands for an absent number drifts with every trial.
        key = hashlib.sha1(arrays[1].tobytes() + arrays[2].tobytes()).hexdigest()
        key += f" {configurations.shape[1]}"
        if key not in self._fitted:
            self._fitted.clear()
            predictor = SequentialRegression("nu_svr_rbf", published=True, n_iter=self.n_iter)
            self._fitted[key] = predictor.fit(*arrays)
        self._predictor = self._fitted[key]
        return self

    def predict(self, configurations: np.ndarray, curves: np.ndarray) -> Forecast:
        return self._predictor.predict(configurations, curves)


class Curves(NamedTuple):
    """What the pruners are told of a set: the length of a full training."""

    last_step: int
    n_reports: int


class Options(NamedTuple):
    n_iter: int
    rule: Path | None


# The default of ours gets no argument; some of the others need the length of a training.
PRUNERS: dict[str, tuple[str, Callable[[Curves, Options], BasePruner]]] = {
    "none": ("no pruning", lambda *_: NopPruner()),
    "median": ("median", lambda *_: MedianPruner()),
    "median_warmup": (
        "median, 20 % warm-up",
        lambda curves, _: MedianPruner(n_warmup_steps=round(0.2 * curves.last_step)),
    ),
    "percentile": ("percentile 75", lambda *_: PercentilePruner(75.0)),
    "halving": (
        "successive halving (η 3)",
        lambda *_: SuccessiveHalvingPruner(reduction_factor=3),
    ),
    "hyperband": ("Hyperband", lambda curves, _: HyperbandPruner(1, curves.last_step, 3)),
    "i_epoch": (
        "i-epoch rule (10 %)",
        lambda curves, _: IEpochPruner(max(1, round(0.1 * curves.n_reports))),
    ),
    "published": (
        "ours, as published",
        lambda _, options: PerformancePredictionPruner(
            FrozenPredictor(options.n_iter), n_startup_trials=BURN_IN, confidence=0.99, top_n=1
        ),
    ),
    "ours": (
        "**ours, default**",
        lambda _, options: PerformancePredictionPruner(StoppingRule(options.rule)),
    ),
    "ours_retrain": (
        "ours, second chances from the first step",
        lambda _, options: PerformancePredictionPruner(
            StoppingRule(options.rule), second_chance="retrain"
        ),
    ),
    "ours_checkpoint": (
        "**ours, second chances from checkpoints**",
        lambda _, options: PerformancePredictionPruner(
            StoppingRule(options.rule), second_chance="checkpoint"
        ),
    ),
}


class Result(NamedTuple):
    speed_up: float
    best_kept: float
    regret: float
    misses: tuple[float, ...]
    pruner_seconds: float
    n_checks: float


@lru_cache(maxsize=1)
def load(folder: Path) -> tuple[Study, Curves]:
    study = load_curves(folder)
    steps = [trial.intermediate_values.keys() for trial in study.get_trials(deepcopy=False)]
    return study, Curves(max(map(max, filter(None, steps))), max(map(len, steps)))


def misses_at_budgets(report: ReplayReport) -> list[float]:
    """Give the misses of a replay with the largest budget."""
    (result,) = report.repeats
    misses = []
    for budget in BUDGETS:
        # A pruner doesn't know of the budget: a smaller one ends the same run earlier.
        spent, completed = 0, []
        for trial in result.trials:
            spent += trial.steps_trained
            if spent > budget * report.horizon:
                break
            if trial.state == TrialState.COMPLETE:
                completed.append(trial)
        best = dataclasses.replace(result, trials=tuple(completed)).best_completed
        misses.append(100.0 * report.share_better_than(best))
    return misses


def run(folder: Path, pruner_name: str, seed: int, n_trials: int, options: Options) -> Result:
    """Replay one set in one order with one pruner."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    warnings.filterwarnings(
        "ignore", "All-NaN", RuntimeWarning
    )  # MedianPruner's, of diverged runs.
    study, curves = load(folder)
    pruner = PRUNERS[pruner_name][1](curves, options)
    report = replay(study, pruner, order="random", seed=seed, budget=max(BUDGETS))
    result = report.repeats[0]
    pruner_seconds, n_checks = result.pruner_seconds, result.n_checks
    misses = misses_at_budgets(report)

    finished = [trial for trial in result.trials if trial.state != TrialState.RUNNING]
    n_trials = min(n_trials, len(report.values))
    if len(finished) >= n_trials:  # The same study goes on just as far.
        equal_trials = dataclasses.replace(result, trials=tuple(finished[:n_trials]))
    else:
        report = replay(study, pruner, order="random", seed=seed, n_trials=n_trials)
        equal_trials = report.repeats[0]
        pruner_seconds, n_checks = equal_trials.pruner_seconds, equal_trials.n_checks
    regret = dataclasses.replace(report, repeats=(equal_trials,)).regret_iqr
    return Result(
        equal_trials.speed_up,
        float(equal_trials.best_kept),
        min(1.0, regret),
        tuple(misses),
        pruner_seconds,
        n_checks,
    )


def combine(results: list[Result]) -> Result:
    """Combine the orders of one set."""
    return Result(
        math.exp(np.mean([math.log(result.speed_up) for result in results])),
        float(np.mean([result.best_kept for result in results])),
        float(np.mean([result.regret for result in results])),
        tuple(np.mean([result.misses for result in results], axis=0).tolist()),
        sum(result.pruner_seconds for result in results),
        sum(result.n_checks for result in results),
    )


def combine_sets(results: list[Result]) -> Result:
    """Combine the sets: a geometric mean of speed-ups and of misses, else the mean."""
    combined = combine(results)
    misses = np.array([result.misses for result in results]) + MISS_OFFSET
    return combined._replace(misses=tuple(np.exp(np.log(misses).mean(axis=0)).tolist()))


def print_table(title: str, results: dict[str, Result]) -> None:
    budgets = " / ".join(map(str, BUDGETS))
    header = [
        "pruner",
        "speed-up",
        "best kept",
        "regret / IQR",
        f"miss at {budgets}",
        "ms a check",
    ]
    print(f"\n**{title}**\n")
    print("|", " | ".join(header), "|")
    print("|", " | ".join(["---"] * len(header)), "|")
    for name, result in results.items():
        cells = [
            PRUNERS[name][0],
            f"{result.speed_up:.1f}",
            f"{result.best_kept:.2f}",
            f"{result.regret:.3f}",
            " / ".join(f"{miss:.2f}" for miss in result.misses) + " %",
            f"{1000.0 * result.pruner_seconds / result.n_checks:.2f}",
        ]
        print("|", " | ".join(cells), "|", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--curves", type=Path, required=True)
    parser.add_argument("--sets", nargs="*", help="default: all folders in DIR")
    parser.add_argument("--pruners", nargs="*", choices=PRUNERS, default=list(PRUNERS))
    parser.add_argument("--rules", type=Path, help="rules that were not trained on a set")
    parser.add_argument("--n-orders", type=int, default=10)
    parser.add_argument("--first-order", type=int, default=0, help="the seed of the first order")
    parser.add_argument("--n-trials", type=int, default=N_TRIALS)
    parser.add_argument(
        "--published-n-iter",
        type=int,
        default=20,
        help="draws of the random search of the published ν-SVR, 1.4 s a model if 100",
    )
    parser.add_argument("--jobs", type=int, default=2)
    args = parser.parse_args()
    start = time.perf_counter()

    names = args.sets or sorted(path.parent.name for path in args.curves.glob("*/meta.json"))
    orders = range(args.first_order, args.first_order + args.n_orders)
    by_pruner: dict[str, list[Result]] = defaultdict(list)
    # Not loky, whose workers would read the set again for each task.
    with Parallel(args.jobs, backend="multiprocessing") as parallel:
        for name in names:
            folder = args.curves / name
            rule = None if args.rules is None else args.rules / f"{name}.npz"
            options = Options(args.published_n_iter, rule)
            tasks = [(pruner, order) for pruner in args.pruners for order in orders]
            results = parallel(
                delayed(run)(folder, pruner, order, args.n_trials, options)
                for pruner, order in tasks
            )
            by_task = dict(zip(tasks, results, strict=True))
            of_set = {p: combine([by_task[p, order] for order in orders]) for p in args.pruners}
            for pruner, result in of_set.items():
                by_pruner[pruner].append(result)
            n_replayed = min(args.n_trials, len(load(folder)[0].get_trials(deepcopy=False)))
            print_table(f"{name}, {n_replayed} trials", of_set)
    print_table(
        f"All {len(names)} sets", {p: combine_sets(results) for p, results in by_pruner.items()}
    )
    print(
        f"\n{args.n_orders} random orders each. Speed-ups are geometric means, misses geometric "
        f"means over the sets of the mean miss + {MISS_OFFSET} %, the others means."
    )
    if args.rules is not None:
        print("Ours: on each set with a stopping rule that was trained without it.")
    if "published" in args.pruners:
        print(
            f"As published: ν-SVR (RBF) with {args.published_n_iter} draws of its random search, "
            f"trained once on a burn-in of {BURN_IN} trials, Δ = .99, best value."
        )
    print(f"{time.perf_counter() - start:.0f} s.")


if __name__ == "__main__":
    main()
