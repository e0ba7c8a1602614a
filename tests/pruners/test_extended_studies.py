"""Studies that go on otherwise than they began: longer trials, a narrower space, other names."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.storages import InMemoryStorage
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred import explain
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import SequentialRegression
from optuna_perfpred.history import FinishedTrials
from optuna_perfpred.history import read_record


SHORT, LONG = 10, 33
N_SHORT = 25


class Objective:
    """Slow trainings end best, but only after more than a third of the epochs."""

    def __init__(self, n_epochs, high=1.0):
        self.n_epochs = n_epochs
        self.high = high

    def __call__(self, trial):
        x = trial.suggest_float("x", 0.0, self.high)
        slowness = trial.suggest_float("slowness", 0.0, 1.0)
        epochs = 3 * np.arange(1, self.n_epochs + 1)
        noise = 0.004 * np.random.default_rng(trial.number).normal(size=len(epochs))
        reached = (1 - np.exp(-epochs / (10 + 60 * slowness))) * (0.6 + 0.4 * slowness)
        curve = 0.3 + 0.6 * (1 - (x - 0.3) ** 2) * reached + noise
        trial.set_user_attr("final", float(curve[-1]))
        for epoch, value in enumerate(curve):
            trial.report(value, epoch)
            if trial.should_prune():
                raise optuna.TrialPruned
        return curve[-1]


def study_of_short_trials(predictor=None, **kwargs):
    study = optuna.create_study(
        direction="maximize",
        sampler=RandomSampler(seed=0),
        pruner=PerformancePredictionPruner(predictor),
        **kwargs,
    )
    study.optimize(Objective(SHORT), n_trials=N_SHORT)
    return study


def n_steps(trials):
    return sum(len(trial.intermediate_values) for trial in trials)


@pytest.mark.parametrize("horizon", [None, LONG - 1])
def test_raised_horizon(horizon):
    study = study_of_short_trials()
    # Another process, perhaps with the horizon that is meant.
    study.pruner = PerformancePredictionPruner(horizon=horizon)
    study.optimize(Objective(LONG), n_trials=25)
    new = study.trials[N_SHORT:]
    assert n_steps(new) < 0.8 * 25 * LONG
    best = max(trial.user_attrs["final"] for trial in new)
    assert study.best_trial.number >= N_SHORT
    assert study.best_value > best - 0.01
    pruned = [trial for trial in new if trial.state == TrialState.PRUNED]
    assert any(trial.last_step > SHORT for trial in pruned)
    assert "pruned" in str(explain(study, pruned[-1].number))


def test_raised_horizon_with_a_predictor():
    study = study_of_short_trials(SequentialRegression("ridge"))
    study.optimize(Objective(LONG), n_trials=12)
    best = max(trial.user_attrs["final"] for trial in study.trials[N_SHORT:])
    assert study.best_value > best - 0.01


def finished_trials(ends):
    study = optuna.create_study()
    for end in ends:
        study.add_trial(
            create_trial(value=0.5, intermediate_values=dict.fromkeys(range(end), 0.5))
        )
    trials = study.get_trials(deepcopy=False)
    return FinishedTrials.of(tuple(read_record(trial) for trial in trials), ())


@pytest.mark.parametrize(
    ("ends", "n_left"),
    [
        ([], 0),
        ([30] * 20, 20),
        ([30] * 20 + [100], 1),
        ([30] * 20 + [100] * 4 + [300] * 3, 7),  # Four are too few to tell of a second raise.
        ([30] * 20 + [100] * 9 + [300] * 3, 3),
        ([30] * 18 + [12, 20] + [100] * 3, 3),  # Some that stopped by themselves,
        ([30] * 4 + [100] * 3, 7),  # too few to tell,
        ([30] * 20 + [32] * 3, 23),  # hardly longer,
        ([100] * 20 + [30] * 3, 23),  # shorter,
        ([30, 100] * 10, 20),  # as long as a parameter says,
        ([12, 25, 17, 30, 21, 9, 28, 16, 25, 33, 60, 14], 12),  # or as patience has it.
        ([0] * 20 + [5], 21),
    ],
)
def test_which_trials_are_of_the_present_horizon(ends, n_left):
    finished = finished_trials(ends)
    present = finished.of_present_horizon
    assert len(present) == n_left
    assert present.completed == finished.completed[len(ends) - n_left :]


def test_narrower_space_keeps_what_was_learned():
    study = study_of_short_trials()
    study.sampler = RandomSampler(seed=1)
    study.optimize(Objective(SHORT, high=0.5), n_trials=20)
    new = study.trials[N_SHORT:]
    assert all(trial.distributions["x"] == FloatDistribution(0.0, 0.5) for trial in new)
    fresh = optuna.create_study(
        direction="maximize",
        sampler=RandomSampler(seed=1),
        pruner=PerformancePredictionPruner(),
    )
    fresh.optimize(Objective(SHORT, high=0.5), n_trials=20)
    assert n_steps(new) < n_steps(fresh.trials)


def test_narrower_choices_are_another_study():
    def objective(choices):
        def train(trial):
            width = trial.suggest_categorical("width", choices)
            for step in range(10):
                value = width * (1 - 0.7**step)
                trial.report(value, step)
                if trial.should_prune():
                    raise optuna.TrialPruned
            return value

        return train

    def new_study(**kwargs):
        return optuna.create_study(
            direction="maximize",
            sampler=RandomSampler(seed=0),
            pruner=PerformancePredictionPruner(**kwargs),
        )

    study = new_study()
    study.optimize(objective([1, 2, 3, 4]), n_trials=15)
    with pytest.raises(ValueError, match="dynamic value space"):  # Optuna itself.
        study.optimize(objective([3, 4]), n_trials=1)
    narrower = new_study(warm_start=[study])
    narrower.optimize(objective([3, 4]), n_trials=10)
    assert narrower.best_value == pytest.approx(study.best_value)
    assert narrower.trials[0].state == TrialState.PRUNED or narrower.trials[0].params["width"] == 4


@pytest.mark.filterwarnings("ignore:.*set_metric_names is experimental")
def test_renamed_metric():
    storage = InMemoryStorage()
    study = study_of_short_trials(storage=storage, study_name="net")
    study.set_metric_names(["accuracy"])
    again = optuna.load_study(
        study_name="net",
        storage=storage,
        sampler=RandomSampler(seed=1),
        pruner=PerformancePredictionPruner(),
    )
    again.set_metric_names(["validation accuracy"])
    again.optimize(Objective(SHORT), n_trials=10)
    unnamed = study_of_short_trials()
    unnamed.sampler = RandomSampler(seed=1)
    unnamed.optimize(Objective(SHORT), n_trials=10)

    def decisions(of):
        return [(trial.state, trial.last_step) for trial in of.trials]

    assert decisions(again) == decisions(unnamed)
