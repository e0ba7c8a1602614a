from __future__ import annotations

import pickle

import optuna
from optuna.pruners import NopPruner
from optuna.samplers import BruteForceSampler
from optuna.samplers import CmaEsSampler
from optuna.samplers import GPSampler
from optuna.samplers import NSGAIIISampler
from optuna.samplers import NSGAIISampler
from optuna.samplers import PartialFixedSampler
from optuna.samplers import QMCSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import PredictedValueSampler


N_STEPS = 12


def objective(trial):
    """A valley whose curves fall to it at different speeds, with a conditional parameter."""
    x = trial.suggest_float("x", -1.0, 1.0)
    kind = trial.suggest_categorical("kind", ["plain", "shifted"])
    shift = trial.suggest_int("shift", 0, 3) / 10 if kind == "shifted" else 0.1
    for step in range(N_STEPS):
        value = (x - 0.3) ** 2 + shift + 0.7**step
        trial.report(value, step)
        if trial.should_prune():
            raise optuna.TrialPruned
    return value


SAMPLERS = {
    "random": lambda: RandomSampler(seed=0),
    "TPE": lambda: TPESampler(seed=0, n_startup_trials=5),
    "independent TPE": lambda: TPESampler(seed=0, n_startup_trials=5, multivariate=False),
    "group TPE": lambda: TPESampler(seed=0, n_startup_trials=5, group=True),
    "GP": lambda: GPSampler(seed=0, n_startup_trials=5),
    "NSGA-II": lambda: NSGAIISampler(seed=0, population_size=6),
    "NSGA-III": lambda: NSGAIIISampler(seed=0, population_size=6),
    "QMC": lambda: QMCSampler(seed=0),
    "partly fixed": lambda: PartialFixedSampler({"kind": "shifted"}, TPESampler(seed=0)),
    "CMA-ES": lambda: CmaEsSampler(seed=0, n_startup_trials=2),
    "nested": lambda: PredictedValueSampler(TPESampler(seed=0)),
}


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("n_jobs", [1, 3])
@pytest.mark.parametrize("name", SAMPLERS)
def test_every_sampler_searches_beside_the_pruner(name, n_jobs):
    study = optuna.create_study(
        sampler=PredictedValueSampler(SAMPLERS[name]()), pruner=PerformancePredictionPruner()
    )
    study.optimize(objective, n_trials=24, n_jobs=n_jobs)
    states = [trial.state for trial in study.trials]
    assert set(states) == {TrialState.COMPLETE, TrialState.PRUNED}
    completed = [t.value for t in study.trials if t.state == TrialState.COMPLETE]
    assert study.best_value == min(completed)


def test_brute_force_tries_each_configuration_once():
    def discrete(trial):
        x = trial.suggest_int("x", 0, 5)
        y = trial.suggest_int("y", 0, 2) if x < 3 else 0
        for step in range(N_STEPS):
            trial.report(x + y + 0.7**step, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return x + y

    study = optuna.create_study(
        sampler=PredictedValueSampler(BruteForceSampler(seed=0)),
        pruner=PerformancePredictionPruner(),
    )
    study.optimize(discrete)
    tried = [tuple(trial.params.items()) for trial in study.trials]
    assert len(tried) == len(set(tried)) == 12


@pytest.mark.parametrize("name", ["TPE", "GP", "random"])
def test_without_pruned_trials_nothing_changes(name):
    def params(sampler):
        study = optuna.create_study(sampler=sampler, pruner=NopPruner())
        study.optimize(objective, n_trials=10)
        return [trial.params for trial in study.trials]

    assert params(PredictedValueSampler(SAMPLERS[name]())) == params(SAMPLERS[name]())


def test_pickle():
    sampler = PredictedValueSampler(TPESampler(seed=0, n_startup_trials=2))
    study = optuna.create_study(sampler=sampler, pruner=PerformancePredictionPruner())
    study.optimize(objective, n_trials=5)
    copied = pickle.loads(pickle.dumps(sampler))
    trial = study.ask()
    study.sampler = copied
    study.optimize(objective, n_trials=5)
    assert str(copied) == str(sampler) == "PredictedValueSampler(TPESampler)"
    assert trial.number == 5
