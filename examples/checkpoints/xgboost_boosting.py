"""XGBoost that goes on boosting where it was stopped.

    pip install . xgboost && python examples/checkpoints/xgboost_boosting.py

The state is the model in XGBoost's own format, UBJSON. XGBoost has no way to go on drawing rows
(`subsample`) or columns (`colsample_bytree`) where it was: with these a training that goes on
differs from one that was not stopped, as with another seed.
"""

from __future__ import annotations

import optuna
from sklearn.datasets import load_digits
import xgboost

from optuna_perfpred import Checkpoint
from optuna_perfpred import PerformancePredictionPruner


FOLDER = "checkpoints"
N_ROUNDS = 20

images, labels = load_digits(return_X_y=True)
train = xgboost.DMatrix(images[:1200], labels[:1200])
valid = xgboost.DMatrix(images[1200:], labels[1200:])


def objective(trial: optuna.Trial) -> float:
    params = {
        "objective": "multi:softprob",
        "num_class": 10,
        "eta": trial.suggest_float("eta", 0.01, 1.0, log=True),
        "max_depth": trial.suggest_int("max_depth", 1, 6),
        "nthread": 1,
    }
    booster = xgboost.Booster(params, cache=[train, valid])
    with Checkpoint(trial, FOLDER) as checkpoint:
        state = checkpoint.load()
        if state is not None:
            booster.load_model(bytearray(state))
            booster.set_param(params)
        loss = checkpoint.value
        for step in range(checkpoint.start, N_ROUNDS):
            booster.update(train, step)
            loss = float(booster.eval(valid).rpartition(":")[2])
            trial.report(loss, step)
            checkpoint.save(booster.save_raw("ubj"), step)
            if trial.should_prune():
                raise optuna.TrialPruned
    return loss


def main(n_trials: int = 20) -> None:
    study = optuna.create_study(pruner=PerformancePredictionPruner())
    study.optimize(objective, n_trials=n_trials)
    Checkpoint.clear(study, FOLDER)
    print(f"Best loss {study.best_value:.4f} with {study.best_params}")


if __name__ == "__main__":
    main()
