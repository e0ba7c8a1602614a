"""Estimators of scikit-learn that go on where they were stopped.

    pip install . skops && python examples/checkpoints/scikit_learn.py

`partial_fit` and `warm_start` need the whole estimator, which scikit-learn can only pickle. skops
writes it as bytes that can be read without unpickling; types that it does not know are named.
Both read a seed again, or keep their generator, so that nothing is drawn otherwise.
"""

from __future__ import annotations

from typing import Any

import optuna
from sklearn.datasets import load_digits
from sklearn.ensemble import GradientBoostingClassifier
from sklearn.linear_model import SGDClassifier
from skops.io import dumps
from skops.io import loads

from optuna_perfpred import Checkpoint
from optuna_perfpred import PerformancePredictionPruner


FOLDER = "checkpoints"
N_STEPS = 20
TRUSTED = ["sklearn.tree._tree.Tree"]

images, labels = load_digits(return_X_y=True)
X_train, X_valid, y_train, y_valid = images[:600], images[600:], labels[:600], labels[600:]


def new_estimator(trial: optuna.Trial) -> Any:
    if trial.suggest_categorical("kind", ["linear", "boosting"]) == "linear":
        alpha = trial.suggest_float("alpha", 1e-6, 1.0, log=True)
        return SGDClassifier(alpha=alpha, random_state=0)
    return GradientBoostingClassifier(
        learning_rate=trial.suggest_float("learning_rate", 0.01, 1.0, log=True),
        subsample=0.8,
        warm_start=True,
        random_state=0,
    )


def objective(trial: optuna.Trial) -> float:
    estimator = new_estimator(trial)
    with Checkpoint(trial, FOLDER) as checkpoint:
        state = checkpoint.load()
        if state is not None:
            estimator = loads(state, trusted=TRUSTED)
        accuracy = checkpoint.value
        for step in range(checkpoint.start, N_STEPS):
            if isinstance(estimator, SGDClassifier):
                estimator.partial_fit(X_train, y_train, classes=range(10))
            else:
                estimator.set_params(n_estimators=step + 1).fit(X_train, y_train)
            accuracy = estimator.score(X_valid, y_valid)
            trial.report(accuracy, step)
            checkpoint.save(dumps(estimator), step)
            if trial.should_prune():
                raise optuna.TrialPruned
    return accuracy


def main(n_trials: int = 20) -> None:
    study = optuna.create_study(direction="maximize", pruner=PerformancePredictionPruner())
    study.optimize(objective, n_trials=n_trials)
    Checkpoint.clear(study, FOLDER)
    print(f"Best accuracy {study.best_value:.4f} with {study.best_params}")


if __name__ == "__main__":
    main()
