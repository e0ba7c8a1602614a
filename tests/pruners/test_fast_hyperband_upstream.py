"""What Optuna asserts of its HyperbandPruner, asserted of the subclass."""

from __future__ import annotations

from unittest import mock

import numpy as np
import optuna
from optuna.pruners import HyperbandPruner
from optuna.samplers import GridSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
import pytest

from optuna_perfpred import FastHyperbandPruner


MIN_RESOURCE = 1
MAX_RESOURCE = 16
REDUCTION_FACTOR = 2
N_BRACKETS = 4
EARLY_STOPPING_RATE_LOW = 0
EARLY_STOPPING_RATE_HIGH = 3
N_REPORTS = 10
EXPECTED_N_TRIALS_PER_BRACKET = 10

pytestmark = pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")


def hyperband():
    return FastHyperbandPruner(MIN_RESOURCE, MAX_RESOURCE, REDUCTION_FACTOR)


def test_samplers_take_it_for_hyperband():
    assert isinstance(hyperband(), HyperbandPruner)


def test_intermediate_values():
    study = optuna.create_study(sampler=RandomSampler(), pruner=hyperband())

    def objective(trial):
        for step in range(N_REPORTS):
            trial.report(step, step)
        return 1.0

    study.optimize(objective, n_trials=N_BRACKETS * EXPECTED_N_TRIALS_PER_BRACKET)
    trials = study.trials
    assert len(trials) == N_BRACKETS * EXPECTED_N_TRIALS_PER_BRACKET


def test_bracket_study():
    pruner = hyperband()
    study = optuna.create_study(sampler=RandomSampler(), pruner=pruner)
    pruner._try_initialization(study)
    assert pruner._n_brackets == 5
    bracket_study = pruner._create_bracket_study(study, 0)
    for forbidden in ("optimize", "set_user_attr"):
        with pytest.raises(AttributeError):
            getattr(bracket_study, forbidden)
    for allowed in ("get_trials", "direction", "study_name", "pruner", "trials", "stop"):
        getattr(bracket_study, allowed)
    assert [pruner._create_bracket_study(study, b)._bracket_id for b in range(5)] == [*range(5)]


def test_max_resource_is_auto():
    pruner = FastHyperbandPruner(min_resource=MIN_RESOURCE, reduction_factor=REDUCTION_FACTOR)
    study = optuna.create_study(sampler=RandomSampler(), pruner=pruner)

    def objective(trial):
        for step in range(N_REPORTS):
            trial.report(1.0, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return 1.0

    study.optimize(objective, n_trials=N_BRACKETS * EXPECTED_N_TRIALS_PER_BRACKET)
    assert pruner._max_resource == N_REPORTS
    assert pruner._n_brackets == 4


def test_nothing_is_pruned_before_the_resource_is_known():
    pruner = FastHyperbandPruner()
    study = optuna.create_study(pruner=pruner)
    trial = study.ask()
    trial.report(1.0, 5)
    assert not trial.should_prune()
    assert pruner._get_bracket_id(study, study.trials[0]) == 0


def test_max_resource_value_error():
    with pytest.raises(ValueError, match="not_appropriate"):
        FastHyperbandPruner(max_resource="not_appropriate")


@pytest.mark.parametrize("sampler", [RandomSampler, lambda: TPESampler(n_startup_trials=1)])
def test_samplers_see_the_trials_of_one_bracket(sampler):
    def objective(trial):
        return trial.suggest_float("value", 0.0, 1.0)

    study = optuna.create_study(sampler=sampler(), pruner=hyperband())
    study.optimize(objective, n_trials=10)
    with mock.patch("optuna.trial._trial.pruners._filter_study", wraps=lambda s, _: s) as spy:
        study.optimize(objective, n_trials=5)
        assert spy.call_count >= 5
    trial = study.trials[3]
    seen = optuna.pruners._filter_study(study, trial)
    ids = {study.pruner._get_bracket_id(study, t) for t in seen.get_trials()}
    assert ids == {study.pruner._get_bracket_id(study, trial)}
    assert trial.number in {t.number for t in seen.get_trials()}


def test_filtered_studies_are_seen_only_by_samplers():
    def objective(trial):
        trial.report(0.0, 0)
        with mock.patch("optuna.pruners._filter_study") as spy:
            trial.should_prune()
            assert spy.call_count == 0
        return 1.0

    optuna.create_study(sampler=RandomSampler(), pruner=hyperband()).optimize(
        objective, n_trials=5
    )


@pytest.mark.parametrize("bracket_id", range(EARLY_STOPPING_RATE_LOW, EARLY_STOPPING_RATE_HIGH))
def test_rungs_of_a_bracket(bracket_id):
    pruner = hyperband()
    study = optuna.create_study(sampler=RandomSampler(), pruner=pruner)
    pruner._try_initialization(study)
    with mock.patch.object(FastHyperbandPruner, "_get_bracket_id", return_value=bracket_id):
        trial = study.ask()
        for step in range(1, MAX_RESOURCE + 1):
            trial.report(1.0, step)
            assert not trial.should_prune()
    done = {k for k in study.trials[0].system_attrs if k.startswith("completed_rung")}
    n_rungs = 5 - bracket_id
    assert done == {f"completed_rung_{rung}" for rung in range(n_rungs)}


def test_brackets_by_trial_number_are_those_of_hyperband():
    study = optuna.create_study(study_name="brackets")
    fast, stock = FastHyperbandPruner(1, 81), HyperbandPruner(1, 81)
    for pruner in (fast, stock):
        pruner._try_initialization(study)
    trials = [study._storage.get_trial(study.ask()._trial_id) for _ in range(100)]
    brackets = [fast._get_bracket_id(study, t) for t in trials]
    assert brackets == [stock._get_bracket_id(study, t) for t in trials]
    assert set(brackets) == set(range(5))
    assert np.bincount(brackets)[0] > np.bincount(brackets)[4]


@pytest.mark.parametrize("bootstrap_count", [0, 1, 3])
def test_bootstrap_count(bootstrap_count):
    pruner = FastHyperbandPruner(1, 3, 3, bootstrap_count=bootstrap_count)
    study = optuna.create_study(sampler=RandomSampler(), pruner=pruner, direction="maximize")
    with mock.patch.object(FastHyperbandPruner, "_get_bracket_id", return_value=0):
        for number in range(bootstrap_count + 1):
            trial = study.ask()
            trial.report(float(number), 1)
            # The first ones of a rung are pruned, however good they are.
            assert trial.should_prune() == (number < bootstrap_count)


def test_bootstrap_count_and_auto_are_incompatible():
    with pytest.raises(ValueError, match="bootstrap_count is 1"):
        FastHyperbandPruner(max_resource="auto", bootstrap_count=1)


def test_grid_sampler():
    study = optuna.create_study(
        sampler=GridSampler({"x": [*range(3)]}), pruner=FastHyperbandPruner(max_resource=9)
    )

    def objective(trial):
        x = trial.suggest_int("x", 0, 2)
        trial.report(float(x), 1)
        trial.should_prune()
        return float(x)

    study.optimize(objective, n_trials=10)
    assert {trial.params["x"] for trial in study.trials} == {0, 1, 2}
