"""Small searches for the tests of the Q-learning sampler."""

from __future__ import annotations

import sys

import numpy as np
import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend
from optuna.trial import TrialState

from optuna_perfpred import QLearningSampler
from optuna_perfpred.nas import ConvNetSpace


SPACE = ConvNetSpace((1, 16, 16), 10, max_depth=4, filters=(4, 8), filter_sizes=(1, 3))
STUDY = "search"


def value_of(architecture):
    """The larger the better: networks of about 1000 weights, best without a dense layer."""
    dense = sum(str(layer).startswith("FC") for layer in architecture.layers)
    return -abs(np.log(architecture.num_weights / 1000.0)) - dense


def objective(trial):
    return float(value_of(SPACE.suggest(trial)))


def run_trial(study, state=TrialState.COMPLETE):
    trial = study.ask()
    value = objective(trial)
    study.tell(trial, value if state == TrialState.COMPLETE else None, state=state)


def search(n_trials, sampler=None, direction="maximize", **kwargs):
    sampler = sampler or QLearningSampler(SPACE, n_trials=n_trials, seed=0)
    study = optuna.create_study(direction=direction, sampler=sampler, **kwargs)
    for _ in range(n_trials):
        run_trial(study)
    return study


def open_journal(path):
    return JournalStorage(JournalFileBackend(str(path)))


def work(path, seed):
    """Search until killed."""
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    sampler = QLearningSampler(SPACE, seed=seed)
    study = optuna.load_study(study_name=STUDY, storage=open_journal(path), sampler=sampler)
    study.optimize(objective)


def print_table(path):
    """Print a new process's table to the last bit."""
    study = optuna.load_study(study_name=STUDY, storage=open_journal(path))
    print(repr(QLearningSampler(SPACE, seed=99).q_table(study)))


if __name__ == "__main__":
    {"work": work, "print_table": print_table}[sys.argv[1]](
        *sys.argv[2:3], *map(int, sys.argv[3:])
    )
