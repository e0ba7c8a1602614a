"""An objective that tells where it ran, for workers that an engine places."""

from __future__ import annotations

import os
from pathlib import Path
import time

import optuna

from optuna_perfpred import PerformancePredictionPruner


N_STEPS = 6
# While the file that this variable of the environment names exists, trials from the fifth on do
# not end: what a test then does to a worker, it does in the middle of a trial.
HOLD = "PERFPRED_TEST_HOLD"
N_FREE = 4


def create_study(storage: optuna.storages.BaseStorage, study_name: str) -> optuna.Study:
    return optuna.create_study(
        storage=storage,
        study_name=study_name,
        direction="maximize",
        load_if_exists=True,
        sampler=optuna.samplers.RandomSampler(),
        pruner=PerformancePredictionPruner(),
    )


def objective(trial: optuna.Trial) -> float:
    x = trial.suggest_float("x", 0.0, 1.0)
    trial.set_user_attr("process", os.getpid())
    trial.set_user_attr("gpu", os.environ.get("CUDA_VISIBLE_DEVICES"))
    trial.set_user_attr("restarts", os.environ.get("SLURM_RESTART_COUNT", "0"))
    trial.set_user_attr("node", os.environ.get("SLURMD_NODENAME"))
    while trial.number >= N_FREE and Path(os.environ[HOLD]).exists():
        time.sleep(0.05)
    value = 0.0
    for step in range(N_STEPS):
        time.sleep(0.05)
        value = x * (1.0 - 0.5 ** (step + 1))
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return value


def failing(trial: optuna.Trial) -> float:
    raise RuntimeError("no data")


def dying(trial: optuna.Trial) -> float:
    os._exit(9)
