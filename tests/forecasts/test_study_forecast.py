"""The forecast of a study, for one trial or for many at once."""

from __future__ import annotations

import numpy as np
import optuna
from optuna.pruners import NopPruner
from optuna.trial import create_trial
from optuna.trial import TrialState
import pytest

from optuna_perfpred import StoppingRule
from optuna_perfpred.forecasts import Curve
from optuna_perfpred.forecasts import StudyForecast
from optuna_perfpred.forecasts import StudySettings
from optuna_perfpred.history import FinishedTrials
from optuna_perfpred.history import read_record
from tests.pruners.studies import accuracy_curve
from tests.pruners.studies import N_STEPS
from tests.pruners.studies import study_with
from tests.pruners.studies import X


def new_forecast(direction="maximize", warn=None, **arguments):
    settings = {
        "sign": 1.0 if direction == "maximize" else -1.0,
        "n_startup_trials": 1,
        "top_n": 1,
        "offset": 0.0,
        "horizon": None,
        "feature_attrs": (),
        "earlier": FinishedTrials(),
    }
    return StudyForecast(StoppingRule(), StudySettings(**settings | arguments), None, warn)


def add(study, x, n_steps, state, sign=1.0):
    curve = [sign * value for value in accuracy_curve(x, seed=int(1000 * x))[:n_steps]]
    study.add_trial(
        create_trial(
            state=state,
            value=curve[-1] if state == TrialState.COMPLETE else None,
            params={"x": x},
            distributions=X,
            intermediate_values=dict(enumerate(curve)),
        )
    )


@pytest.fixture(params=["minimize", "maximize"])
def study(request):
    """Twenty completed trials, some stopped ones and some that run, at different steps."""
    study = study_with(NopPruner(), request.param)
    sign = 1.0 if request.param == "maximize" else -1.0
    for n, x in enumerate(np.linspace(0.05, 0.97, 12).round(3)):
        add(study, float(x), 1 + n, TrialState.PRUNED, sign)
    for n, x in enumerate((0.3, 0.8, 0.99)):
        add(study, x, 4 + 5 * n, TrialState.RUNNING, sign)
    return study


def read(study):
    completed, pruned = (
        tuple(read_record(trial, ()) for trial in study.get_trials(states=(state,)))
        for state in (TrialState.COMPLETE, TrialState.PRUNED)
    )
    running = [Curve.read(trial, ()) for trial in study.get_trials(states=(TrialState.RUNNING,))]
    return FinishedTrials(completed, pruned), running


@pytest.mark.parametrize("kind", ["stopped", "running", "both"])
def test_many_at_once_are_told_what_each_is_told_alone(study, kind):
    finished, running = read(study)
    stopped = [Curve.of(record) for record in finished.pruned]
    asked = {"stopped": stopped, "running": running, "both": [*running, *stopped]}[kind]
    direction = study.direction.name.lower()
    together = new_forecast(direction).of(finished, asked)
    one_by_one = [new_forecast(direction).of(finished, [curve]) for curve in asked]
    assert len({float(alone.mean[0]) for alone in one_by_one}) == len(asked)
    for name in ("mean", "std", "chance", "relative_chance"):
        alone = [float(getattr(forecasts, name)[0]) for forecasts in one_by_one]
        np.testing.assert_allclose(getattr(together, name), alone, rtol=1e-9, err_msg=name)
    assert {alone.to_beat for alone in one_by_one} == {together.to_beat}
    assert together.n_finished == len(finished) == 32


def test_a_trial_of_which_nothing_can_be_told_leaves_the_others_as_they_are(study):
    """It has reported nothing, no number, or to the end of a full curve."""
    finished, running = read(study)
    forecast = new_forecast(study.direction.name.lower())
    steps = np.arange(N_STEPS)
    untold = [
        Curve({"x": 0.5}, steps[:0], steps[:0].astype(float)),
        Curve({"x": 0.5}, steps[:3], np.full(3, np.nan)),
        Curve({"x": 0.5}, steps, np.array(accuracy_curve(0.5))),
    ]
    told = forecast.of(finished, [untold[0], running[0], *untold[1:], running[1]])
    expected = forecast.of(finished, running[:2])
    assert np.isnan(told.mean).tolist() == [True, False, True, True, False]
    assert np.isnan(told.chance).tolist() == [True, False, True, True, False]
    np.testing.assert_allclose(told.mean[[1, 4]], expected.mean, rtol=1e-9)
    assert forecast.of(finished, untold) is None


def test_stopped_trials_end_where_others_like_them_ended(study):
    """Values are those of the objective in either direction."""
    finished, _ = read(study)
    sign = 1.0 if study.direction.name == "MAXIMIZE" else -1.0
    far = [record for record in finished.pruned if len(record.steps) >= 5]
    xs = {trial.number: trial.params["x"] for trial in study.trials}
    forecasts = new_forecast(study.direction.name.lower()).of(
        finished, [Curve.of(record) for record in far]
    )
    ends = [sign * xs[record.number] for record in far]
    assert np.abs(forecasts.mean - ends).max() < 0.25
    assert forecasts.to_beat == study.best_value
    assert ((forecasts.chance > 0.0) & (forecasts.chance < 1.0)).all()


def test_nothing_is_told_before_the_first_trial_is_complete(study):
    finished, running = read(study)
    nothing = FinishedTrials((), finished.pruned)
    assert new_forecast().of(nothing, running) is None
    few = FinishedTrials(finished.completed[:3], finished.pruned)
    assert new_forecast(n_startup_trials=4).of(few, running) is None


def test_it_is_learned_anew_only_when_there_is_something_to_learn(study):
    finished, _ = read(study)
    forecast = new_forecast(study.direction.name.lower())
    learned = forecast.learned_from(finished)
    assert forecast.learned_from(finished) is learned
    more_pruned = FinishedTrials(finished.completed, finished.pruned * 2)
    assert forecast.learned_from(more_pruned) is learned
    sign = 1.0 if study.direction.name == "MAXIMIZE" else -1.0
    add(study, 1.0, N_STEPS, TrialState.COMPLETE, sign)  # Better than all before.
    assert forecast.learned_from(read(study)[0]) is not learned


def test_a_study_that_returns_the_opposite_is_warned_of():
    study = optuna.create_study(direction="maximize")
    for number in range(12):
        curve = accuracy_curve(number / 12, seed=number)
        study.add_trial(
            create_trial(value=2.0 - curve[-1], intermediate_values=dict(enumerate(curve)))
        )
    warned = []
    finished, _ = read(study)
    asked = [Curve({}, np.arange(3), np.array([0.1, 0.2, 0.3]))]
    assert new_forecast(warn=warned.append).of(finished, asked) is None
    assert len(warned) == 1
    assert "the other way round" in warned[0]
