"""How many trainings a cross-validated search costs, by what is reported and who stops.

Three data sets of scikit-learn, two learners, five folds: each configuration is trained in all
folds once, and recorded. Then studies are replayed in random orders, with the running mean
reported after each fold, Optuna's usual way, and with `report_fold` after each step.

    python benchmarks/cross_validation.py [--file FILE] [--n-configs 60] [--n-orders 5]

- Fits: trainings of one fold; one that is stopped counts as the part that was trained.
- Regret: how much better the best configuration is than the best one that was completed, in
  interquartile ranges of the values of all; and the share of studies in which it is completed.
- Values are log losses, of diabetes squared errors, means of the five folds.
- `--file` keeps the recordings, which take a few minutes on one core.
"""

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import NamedTuple
from typing import TYPE_CHECKING
import warnings


os.environ["OMP_NUM_THREADS"] = "1"  # Before numpy is imported: one core for each process.

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.distributions import IntDistribution
from optuna.pruners import HyperbandPruner
from optuna.pruners import MedianPruner
from optuna.pruners import NopPruner
from optuna.samplers import RandomSampler
from sklearn.datasets import load_breast_cancer
from sklearn.datasets import load_diabetes
from sklearn.datasets import load_digits
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.metrics import log_loss
from sklearn.metrics import mean_squared_error
from sklearn.model_selection import KFold
from sklearn.model_selection import StratifiedKFold
from sklearn.neural_network import MLPClassifier
from sklearn.neural_network import MLPRegressor
from sklearn.preprocessing import scale

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.optimization import report_fold
from optuna_perfpred.replay import replay


if TYPE_CHECKING:
    from collections.abc import Iterator

    from optuna.distributions import BaseDistribution
    from optuna.pruners import BasePruner


N_FOLDS = 5
N_STEPS = 10
TREES_A_STEP = 4
SPACES: dict[str, dict[str, BaseDistribution]] = {
    "network": {
        "learning_rate": FloatDistribution(1e-4, 1e-1, log=True),
        "alpha": FloatDistribution(1e-6, 1.0, log=True),
        "width": IntDistribution(4, 64, log=True),
        "batch_size": IntDistribution(8, 128, log=True),
    },
    "boosting": {
        "learning_rate": FloatDistribution(1e-2, 1.0, log=True),
        "max_depth": IntDistribution(1, 8),
        "subsample": FloatDistribution(0.2, 1.0),
        "min_samples_leaf": IntDistribution(1, 64, log=True),
    },
}


class DataSet(NamedTuple):
    X: np.ndarray
    y: np.ndarray
    is_regression: bool


def load(name: str) -> DataSet:
    if name == "diabetes":
        X, y = load_diabetes(return_X_y=True)
        return DataSet(scale(X), scale(y), True)
    if name == "breast_cancer":
        X, y = load_breast_cancer(return_X_y=True)
    else:
        X, y = load_digits(n_class=4, return_X_y=True)
    return DataSet(scale(X), y, False)


def train(
    data: DataSet, learner: str, params: dict[str, float], train: np.ndarray
) -> Iterator[object]:
    """Give the model after each step."""
    X, y = data.X[train], data.y[train]
    if learner == "network":
        width, batch_size = params["width"], params["batch_size"]
        network = (MLPRegressor if data.is_regression else MLPClassifier)(
            hidden_layer_sizes=(width,),
            learning_rate_init=params["learning_rate"],
            alpha=params["alpha"],
            batch_size=min(batch_size, len(y)),
            random_state=0,
        )
        for _ in range(N_STEPS):
            network.partial_fit(X, y, **({} if data.is_regression else {"classes": np.unique(y)}))
            yield network
        return
    boosting = GradientBoostingRegressor if data.is_regression else GradientBoostingClassifier
    model = boosting(
        **params, n_estimators=1, max_features="sqrt", warm_start=True, random_state=0
    )
    for step in range(N_STEPS):
        yield model.set_params(n_estimators=TREES_A_STEP * (step + 1)).fit(X, y)


def record(data: DataSet, learner: str, params: dict[str, float]) -> np.ndarray:
    """Give the values of each fold after each step. Shape: ``(N_FOLDS, N_STEPS)``."""
    kind = KFold if data.is_regression else StratifiedKFold
    values = np.empty((N_FOLDS, N_STEPS))
    splits = kind(N_FOLDS, shuffle=True, random_state=0).split(data.X, data.y)
    for fold, (training, valid) in enumerate(splits):
        X, y = data.X[valid], data.y[valid]
        for step, model in enumerate(train(data, learner, params, training)):
            if data.is_regression:
                values[fold, step] = mean_squared_error(y, model.predict(X))
            else:
                values[fold, step] = log_loss(y, model.predict_proba(X))
    return values


def study_of(
    space: dict[str, BaseDistribution], values: np.ndarray, *, each_step: bool
) -> optuna.Study:
    """Give a study of all configurations, trained in full."""
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    for folds in values:
        trial = study.ask(space)
        for fold in range(N_FOLDS):
            if each_step:
                for step in range(N_STEPS):
                    report_fold(trial, folds[fold, step], step, fold, n_steps=N_STEPS)
            else:
                trial.report(folds[: fold + 1, -1].mean(), fold)
        study.tell(trial, folds[:, -1].mean())
    return study


def pruners(n_reports: int) -> dict[str, BasePruner]:
    return {
        "none": NopPruner(),
        "median": MedianPruner(),
        "Hyperband": HyperbandPruner(max_resource=n_reports),
        "ours": PerformancePredictionPruner(),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--file", type=Path, help="where the recordings are kept")
    parser.add_argument("--n-configs", type=int, default=60)
    parser.add_argument("--n-orders", type=int, default=5)
    args = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    warnings.simplefilter("ignore")
    recorded: dict[str, np.ndarray] = {}
    if args.file is not None and args.file.is_file():
        recorded = dict(np.load(args.file))
    results: dict[tuple[str, str], list[list[float]]] = {}
    for name in ("breast_cancer", "digits", "diabetes"):
        for learner, space in SPACES.items():
            key = f"{name}, {learner}"
            if key not in recorded:
                data = load(name)
                proposals = optuna.create_study(sampler=RandomSampler(seed=0))
                configs = [proposals.ask(space).params for _ in range(args.n_configs)]
                recorded[key] = np.array([record(data, learner, c) for c in configs])
                if args.file is not None:
                    np.savez(args.file, **recorded)
            print(f"\n**{key}**\n\n| reported | pruner | fits | regret / IQR | best kept |")
            print("| --- | --- | --- | --- | --- |")
            for reported in ("running mean", "`report_fold`"):
                each_step = reported != "running mean"
                study = study_of(space, recorded[key], each_step=each_step)
                n_reports = N_FOLDS * (N_STEPS if each_step else 1)
                for pruner_name, pruner in pruners(n_reports).items():
                    if each_step and pruner_name == "none":
                        continue
                    report = replay(study, pruner, order="random", n_repeats=args.n_orders, seed=0)
                    fits = report.steps_trained * N_FOLDS / n_reports
                    result = [fits, report.regret_iqr, report.best_kept]
                    results.setdefault((reported, pruner_name), []).append(result)
                    print_row(reported, pruner_name, result)
    print("\n**mean of all**\n\n| reported | pruner | fits | regret / IQR | best kept |")
    print("| --- | --- | --- | --- | --- |")
    for (reported, pruner_name), rows in results.items():
        print_row(reported, pruner_name, np.mean(rows, axis=0).tolist())


def print_row(reported: str, pruner: str, result: list[float]) -> None:
    fits, regret, kept = result
    print(f"| {reported} | {pruner} | {fits:.0f} | {regret:.3f} | {kept:.2f} |", flush=True)


if __name__ == "__main__":
    main()
