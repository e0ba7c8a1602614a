"""The pruner on a real PostgreSQL server, as several workers use it."""

from __future__ import annotations

import math
import multiprocessing

import optuna
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred.testing import ComparingPrunerTestCase


class TestPostgreSQL(ComparingPrunerTestCase):
    @pytest.fixture
    def pruner(self):
        return PerformancePredictionPruner

    @pytest.fixture
    def storage(self, postgresql_url):
        return optuna.storages.get_storage(postgresql_url)


def objective(trial):
    quality = trial.suggest_float("quality", 0.0, 1.0)
    for step in range(10):
        trial.report(quality - 1.0 / (step + 1.0), step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return quality - 0.1


def work(url, seed):
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    study = optuna.load_study(
        study_name="shared",
        storage=url,
        sampler=optuna.samplers.RandomSampler(seed=seed),
        pruner=PerformancePredictionPruner(n_startup_trials=8),
    )
    study.optimize(objective, n_trials=20)


def test_two_workers_prune_in_one_study(postgresql_url):
    study = optuna.create_study(study_name="shared", storage=postgresql_url, direction="maximize")
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=work, args=(postgresql_url, seed)) for seed in (0, 1)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    trials = study.get_trials()
    assert [worker.exitcode for worker in workers] == [0, 0]
    assert len(trials) == 40
    pruned = [trial for trial in trials if trial.state == TrialState.PRUNED]
    assert pruned
    for trial in pruned:
        assert trial.user_attrs["perfpred:step"] == trial.last_step
        assert math.isfinite(trial.user_attrs["perfpred:predicted_value"])
    # The curves carry no noise, so that the best of 40 trials survives.
    best = max(trials, key=lambda trial: trial.params["quality"])
    assert best.state == TrialState.COMPLETE
