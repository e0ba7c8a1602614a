"""LightGBM that goes on boosting where it was stopped.

    pip install . lightgbm && python examples/checkpoints/lightgbm_boosting.py

The state is the model as LightGBM's own text. LightGBM has no way to go on drawing rows
(`bagging_fraction`) or columns (`feature_fraction`) where it was: with these a training that goes
on differs from one that was not stopped, as with another seed.
"""

from __future__ import annotations

import lightgbm
import optuna
from sklearn.datasets import load_digits
from sklearn.metrics import log_loss

from optuna_perfpred import Checkpoint
from optuna_perfpred import PerformancePredictionPruner


FOLDER = "checkpoints"
N_ROUNDS = 20

images, labels = load_digits(return_X_y=True)
X_train, X_valid, y_train, y_valid = images[:1200], images[1200:], labels[:1200], labels[1200:]


def objective(trial: optuna.Trial) -> float:
    params = {
        "objective": "multiclass",
        "num_class": 10,
        "learning_rate": trial.suggest_float("learning_rate", 0.01, 0.5, log=True),
        "num_leaves": trial.suggest_int("num_leaves", 2, 32, log=True),
        "deterministic": True,
        "num_threads": 1,
        "verbose": -1,
    }
    train = lightgbm.Dataset(X_train, y_train, params={"verbose": -1})
    valid = lightgbm.Dataset(X_valid, y_valid, reference=train)
    with Checkpoint(trial, FOLDER) as checkpoint:
        state = checkpoint.load()
        if checkpoint.start == N_ROUNDS:
            return checkpoint.value

        def after_round(env: lightgbm.callback.CallbackEnv) -> None:
            [(_, _, loss, _)] = env.evaluation_result_list
            trial.report(loss, env.iteration)
            checkpoint.save(env.model.model_to_string().encode(), env.iteration)
            if trial.should_prune():
                raise optuna.TrialPruned

        booster = lightgbm.train(
            params,
            train,
            num_boost_round=N_ROUNDS - checkpoint.start,
            valid_sets=[valid],
            init_model=state and lightgbm.Booster(model_str=state.decode()),
            callbacks=[after_round],
        )
    return float(log_loss(y_valid, booster.predict(X_valid)))


def main(n_trials: int = 20) -> None:
    study = optuna.create_study(pruner=PerformancePredictionPruner())
    study.optimize(objective, n_trials=n_trials)
    Checkpoint.clear(study, FOLDER)
    print(f"Best loss {study.best_value:.4f} with {study.best_params}")


if __name__ == "__main__":
    main()
