from __future__ import annotations

from datetime import datetime
from datetime import timedelta
import math
import warnings

import numpy as np
import optuna
from optuna.distributions import FloatDistribution
from optuna.samplers import RandomSampler
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred import optimize
from optuna_perfpred.optimization import expected_improvement
from optuna_perfpred.optimization import ExpectedImprovementCallback
from tests.optimization.trainings import new_study
from tests.optimization.trainings import plain
from tests.optimization.trainings import Trainings


BEGIN = datetime(2026, 1, 1)


def study_of(values, *, direction="maximize", constraints=None, times=None, n_steps=0):
    study = optuna.create_study(direction=direction)
    for number, value in enumerate(values):
        trial = create_trial(
            value=value,
            params={"x": 0.5},
            distributions={"x": FloatDistribution(0.0, 1.0)},
            intermediate_values=dict.fromkeys(range(n_steps), value),
        )
        if constraints is not None:
            trial.set_constraint("memory", constraints[number])
        if times is not None:
            trial.datetime_start, trial.datetime_complete = times[number]
        study.add_trial(trial)
    return study


@pytest.mark.parametrize("power", [2.0, 4.0])
def test_promised_and_real(power):
    # The share of trials that are within x of the optimum falls with x ** power.
    rng = np.random.default_rng(0)
    promised, real, probability, improved = [], [], [], []
    for _ in range(50):
        values = -(rng.random(60) ** (1.0 / power))
        expected = expected_improvement(study_of(values[:50].tolist()))
        assert expected.best_value == values[:50].max()
        promised.append(expected.improvement)
        real.append(max(values.max() - values[:50].max(), 0.0))
        probability.append(expected.probability)
        improved.append(real[-1] > 0.0)
    assert 0.4 < np.mean(promised) / np.mean(real) < 2.5
    assert np.mean(probability) == pytest.approx(np.mean(improved), abs=0.1)


def test_more_trainings_are_worth_more_and_later_ones_less():
    values = np.random.default_rng(1).normal(size=200).tolist()
    study = study_of(values[:50])
    worth = [expected_improvement(study, n_trainings=n).improvement for n in (1, 10, 100)]
    assert 0.0 < worth[0] < worth[1] < worth[2] < 10 * worth[1]
    assert expected_improvement(study_of(values)).improvement < worth[1]


def test_direction_makes_no_difference():
    values = np.random.default_rng(2).normal(size=30)
    up = expected_improvement(study_of(values.tolist()))
    down = expected_improvement(study_of((-values).tolist(), direction="minimize"))
    assert down == up._replace(best_value=-up.best_value)


def test_price_where_trials_are_stopped():
    study = new_study()
    study.optimize(plain, n_trials=60)
    pruned = study.get_trials(states=(TrialState.PRUNED,))
    assert pruned
    expected = expected_improvement(study, n_trainings=10)
    recent = [len(trial.intermediate_values) for trial in study.trials[-20:]]
    assert expected.n_trials == pytest.approx(10 * 20 / np.mean(recent))
    # The values of the stopped ones are predicted, but none is better than the best.
    assert expected.best_value == study.best_value
    assert expected.spread > 0.1


def test_price_in_seconds():
    # Two workers, a minute a trial, and a night in between.
    times = []
    for number in range(30):
        start = BEGIN + timedelta(minutes=number // 2, hours=12 * (number > 20))
        times.append((start, start + timedelta(minutes=1)))
    study = study_of(np.random.default_rng(3).normal(size=30).tolist(), times=times)
    assert expected_improvement(study, seconds=3600).n_trials == pytest.approx(120, rel=0.1)
    frozen = study_of(range(30), times=[(BEGIN, BEGIN)] * 30)
    assert expected_improvement(frozen, seconds=3600) is None


def bowl(trial):
    return sum(trial.suggest_float(name, -1.0, 1.0) ** 2 for name in "wxyz")


def test_study_is_stopped():
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    callback = ExpectedImprovementCallback()
    study.optimize(bowl, n_trials=1000, callbacks=[callback])
    assert 20 <= len(study.trials) < 1000
    assert callback.latest.improvement < 0.005 * callback.latest.spread
    before = study_of([trial.value for trial in study.trials[:-1]], direction="minimize")
    assert expected_improvement(before).improvement >= 0.004 * callback.latest.spread


@pytest.mark.parametrize(("threshold", "stops"), [(0.0, False), (0.3, True)])
def test_threshold_in_the_unit_of_the_objective(threshold, stops):
    study = new_study()
    callback = ExpectedImprovementCallback(threshold, n_startup_trials=15)
    study.optimize(plain, n_trials=30, callbacks=[callback])
    assert len(study.trials) == (15 if stops else 30)


def test_with_paused_trainings():
    study = new_study()
    callback = ExpectedImprovementCallback(0.3)
    optimize(study, Trainings(), n_trials=40, callbacks=[callback])
    assert len(study.trials) < 40


def test_threads():
    study = new_study()
    callback = ExpectedImprovementCallback(0.3)
    study.optimize(plain, n_trials=40, n_jobs=4, callbacks=[callback])
    assert len(study.trials) < 40


@pytest.mark.parametrize(
    ("study", "what"),
    [
        (study_of([]), "no trials"),
        (study_of([0.1] * 9), "too few"),
        (study_of([0.1] * 30, constraints=[1.0] * 30), "nothing feasible"),
        (study_of([-math.inf] * 30), "nothing finite"),
        (study_of([*np.linspace(0, 1, 30), math.inf]), "an infinite best"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_nothing_can_be_told(study, what):
    assert expected_improvement(study) is None


def test_only_pruned_and_failed_trials():
    study = optuna.create_study(sampler=RandomSampler(seed=0))
    callback = ExpectedImprovementCallback(n_startup_trials=1)

    def objective(trial):
        trial.report(trial.suggest_float("x", 0.0, 1.0), 0)
        if trial.number % 2:
            return math.nan
        raise optuna.TrialPruned

    study.optimize(objective, n_trials=40, callbacks=[callback])
    assert len(study.trials) == 40
    assert callback.latest is None


def test_diverged_and_infeasible_trials_are_not_counted_as_good():
    values = np.random.default_rng(4).normal(size=30).tolist()
    known = expected_improvement(study_of(values))
    constraints = [0.0] * 30 + [1.0, 0.0]
    with_bad = study_of([*values, 100.0, -math.inf], constraints=constraints)
    expected = expected_improvement(with_bad)
    assert expected.best_value == known.best_value
    assert expected.spread == known.spread
    assert expected.improvement < known.improvement  # More draws, none better.


def test_equal_values_promise_nothing():
    study = study_of([0.5] * 30)
    assert expected_improvement(study).improvement == 0.0
    study.optimize(lambda _: 0.5, n_trials=20, callbacks=[ExpectedImprovementCallback()])
    assert len(study.trials) == 31


def test_callback_never_raises():
    study = optuna.create_study(directions=["minimize", "maximize"])
    callback = ExpectedImprovementCallback(n_startup_trials=1)
    with pytest.warns(UserWarning, match="The study goes on"):
        study.optimize(lambda _: (0.0, 1.0), n_trials=1, callbacks=[callback])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        study.optimize(lambda _: (0.0, 1.0), n_trials=5, callbacks=[callback])
    assert len(study.trials) == 6


@pytest.mark.parametrize(
    ("arguments", "name"),
    [
        ({"threshold": -0.1}, "threshold"),
        ({"threshold": math.nan}, "threshold"),
        ({"n_trainings": 0}, "n_trainings"),
        ({"n_trainings": math.inf}, "n_trainings"),
        ({"seconds": -1.0}, "seconds"),
        ({"n_startup_trials": 0}, "n_startup_trials"),
    ],
)
def test_bad_arguments(arguments, name):
    with pytest.raises(ValueError, match=f"`{name}` must be"):
        ExpectedImprovementCallback(**arguments)


def test_bad_study():
    with pytest.raises(ValueError, match="must be an Optuna study"):
        expected_improvement(None)
    with pytest.raises(ValueError, match="single-objective"):
        expected_improvement(optuna.create_study(directions=["minimize", "minimize"]))
