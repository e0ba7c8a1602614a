"""A stopped trial and the one that goes on with it are one configuration, for each sampler."""

from __future__ import annotations

import optuna
from optuna.pruners import NopPruner
from optuna.samplers import BruteForceSampler
from optuna.samplers import GridSampler
from optuna.samplers import RandomSampler
from optuna.samplers import TPESampler
from optuna.trial import TrialState
import pytest

from optuna_perfpred import PredictedValueSampler
from optuna_perfpred.pruners._second_chance import Chance
from optuna_perfpred.pruners._second_chance import go_on_with
from tests.continued import N_STEPS
from tests.continued import NO_NUMBERS
from tests.continued import SPACE
from tests.continued import study_of


POINTS = [0.0, 0.25, 0.5, 0.75]


class Witness(RandomSampler):
    """Keeps the trials that it is shown."""

    def before_trial(self, study, trial):
        ended = (TrialState.COMPLETE, TrialState.PRUNED)
        self.shown = study.get_trials(deepcopy=False, states=ended)
        assert self.shown == [t for t in study.get_trials() if t.state in ended]


def shown(study, n_startup_trials=5):
    witness = Witness()
    study.sampler = PredictedValueSampler(witness, n_startup_trials=n_startup_trials)
    study.ask(SPACE)
    return witness.shown


@pytest.mark.parametrize("n_startup_trials", [0, 5])
@pytest.mark.parametrize("steps", [range(N_STEPS), range(3, N_STEPS)])
def test_a_stopped_trial_that_another_has_gone_on_with_is_not_shown(steps, n_startup_trials):
    assert [t.number for t in shown(study_of(steps), n_startup_trials)] == [0, 2, 3]


@pytest.mark.parametrize("number", NO_NUMBERS)
def test_what_names_no_stopped_trial_hides_none(number):
    assert [t.number for t in shown(study_of(continues=number))] == [0, 1, 2, 3]


def test_until_the_other_has_come_as_far_it_is_shown():
    running = study_of(range(5), TrialState.RUNNING)
    assert [t.number for t in shown(running)] == [0, 1, 3]
    behind = study_of(range(2), TrialState.PRUNED)
    assert [t.number for t in shown(behind)] == [0, 1, 2, 3]


def test_tpe_proposes_what_it_would_if_there_were_one_trial():
    def proposed(study):
        study.sampler = PredictedValueSampler(TPESampler(seed=0, n_startup_trials=1))
        return study.ask(SPACE).params["x"]

    once = optuna.create_study(direction="maximize", pruner=NopPruner())
    once.add_trials(trial for trial in study_of().trials if trial.number != 1)
    assert proposed(study_of()) == proposed(once)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize("n_workers", [1, 2])
@pytest.mark.parametrize("n_before", [2, 3, 4])
@pytest.mark.parametrize(
    "sampler", [lambda: GridSampler({"x": POINTS}, seed=0), lambda: BruteForceSampler(seed=0)]
)
def test_a_search_of_all_points_ends_with_each_of_them(sampler, n_before, n_workers):
    """Trial 0 is stopped, and workers that learn at once go on with it before the n-th one."""
    study = optuna.create_study(sampler=sampler())

    def objective(trial):
        x = trial.suggest_float("x", 0.0, 0.75, step=0.25)
        trial.report(x, 0)
        if trial.number == n_before - 1:
            stopped = study.trials[0]
            for _ in range(n_workers):
                go_on_with(study, Chance(stopped, 2.0, 0.1, 0.0))
        if trial.number == 0:
            raise optuna.TrialPruned
        trial.report(x, 1)
        return x

    study.optimize(objective, n_trials=20)
    first = [t for t in study.trials if "perfpred:continues" not in t.user_attrs]
    going_on = [t for t in study.trials if "perfpred:continues" in t.user_attrs]
    assert sorted(t.params["x"] for t in first) == POINTS
    assert len(going_on) == n_workers
    assert sum(t.state == TrialState.FAIL for t in going_on) == n_workers - 1
    assert all(t.params == study.trials[0].params for t in going_on if t.state.is_finished())
