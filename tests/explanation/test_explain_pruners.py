from __future__ import annotations

import optuna
from optuna.pruners import MedianPruner
from optuna.trial import TrialState
import pytest
from scipy import special

from optuna_perfpred import explain
from optuna_perfpred import FastHyperbandPruner
from optuna_perfpred import PerformancePredictionPruner
from optuna_perfpred import SequentialRegression
from tests.explanation.sums import total
from tests.pruners.studies import accuracy_curve
from tests.pruners.studies import add_completed
from tests.pruners.studies import AlwaysPruner
from tests.pruners.studies import FixedForecast
from tests.pruners.studies import N_STEPS
from tests.pruners.studies import run
from tests.pruners.studies import study_with
from tests.pruners.studies import X


# What is explained must not be found again with a warning.
pytestmark = [
    pytest.mark.filterwarnings("error"),
    # Connections that tests before this one left open are collected at any time.
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]


@pytest.mark.parametrize("predictor", [None, SequentialRegression("ridge")])
def test_what_another_pruner_let_finish_is_told_to_be_stopped(predictor):
    study = study_with(MedianPruner(n_startup_trials=1000))
    assert run(study, 0.1) is None
    explained = explain(study, 20, pruner=PerformancePredictionPruner(predictor))
    assert f"would be stopped at step {explained.step}" in explained.outcome
    # It is looked for at all steps, by a predictor at few.
    assert explained.step == (0 if predictor is None else 5)


def test_what_a_wrapped_pruner_has_done():
    study = study_with(PerformancePredictionPruner(wrapped_pruner=AlwaysPruner()), n=0)
    run(study, 0.5)
    add_completed(study)
    run(study, 0.99)
    before, after = explain(study, 0), explain(study, 21)
    assert before.reason == after.reason == "Pruned by the wrapped AlwaysPruner."
    assert before.step is None
    assert before.outcome == "It was pruned at step 0."
    assert "the forecast alone would have let it go on" in after.outcome
    assert after.probability_of_beating_best > 0.1
    assert special.expit(total(after)) == pytest.approx(after.probability_of_beating_best)


def test_what_another_pruner_has_done_is_told_as_such():
    study = study_with(MedianPruner(n_startup_trials=1))
    assert run(study, 0.1) == 0
    explained = explain(study, 20)
    assert not explained.is_recorded
    assert "by another pruner or the objective itself" in explained.outcome
    assert "be stopped at step 0" in explained.outcome


def hyperband_study(pruner, n_trials=60):
    study = optuna.create_study(
        study_name="fast",
        direction="maximize",
        pruner=pruner,
        sampler=optuna.samplers.RandomSampler(seed=0),
    )

    def objective(trial):
        curve = accuracy_curve(trial.suggest_float("x", 0.0, 1.0), seed=trial.number)
        for step, value in enumerate(curve):
            trial.report(value, step)
            if trial.should_prune():
                raise optuna.TrialPruned
        return curve[-1]

    study.optimize(objective, n_trials=n_trials)
    return study


def assert_adds_up(explained):
    if explained.scale == "log-odds":
        chance = explained.probability_of_beating_best
        assert special.expit(total(explained)) == pytest.approx(chance)
    else:
        assert total(explained) == pytest.approx(explained.predicted_value)


@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
@pytest.mark.parametrize(
    "pruner",
    [
        FastHyperbandPruner(1, N_STEPS, confidence=0.98),
        FastHyperbandPruner(1, N_STEPS, predictor=SequentialRegression("ridge")),
    ],
)
def test_cuts_of_fast_hyperband(pruner):
    study = hyperband_study(pruner)
    cut = [t for t in study.trials if "perfpred:step" in t.user_attrs]
    in_rung = [t for t in cut if "trials of its rung" in t.user_attrs["perfpred:reason"]]
    assert in_rung
    for trial in in_rung[-3:]:
        explained = explain(study, trial.number)
        assert explained.notes == ()  # It is found again as it was.
        assert explained.predicted_value == trial.user_attrs["perfpred:predicted_value"]
        assert f" at step {explained.predicted_step};" in explained.reason
        assert explained.horizon == explained.predicted_step
        assert f"its rung ends at step {explained.horizon}" in str(explained)
        assert_adds_up(explained)
    for trial in [t for t in cut if t not in in_rung][-1:]:
        explained = explain(study, trial.number)
        assert explained.predicted_step is None
        assert_adds_up(explained)
    halved = next(t for t in study.trials if t.state == TrialState.PRUNED and t not in cut)
    assert "successive halving did not promote it" in explain(study, halved.number).outcome
    # Whoever loads the study need not name the pruner.
    study.pruner = MedianPruner()
    number = cut[-1].number
    assert explain(study, number).reason == study.trials[number].user_attrs["perfpred:reason"]


def test_other_arguments_than_those_of_the_pruner_are_noted():
    study = study_with(PerformancePredictionPruner(offset=0.3, confidence=0.01))
    run(study, 0.2)
    assert explain(study, 20).notes == ()
    other = explain(study, 20, pruner=PerformancePredictionPruner())
    assert "other arguments" in other.notes[0]
    assert f"Note: {other.notes[0]}" in str(other)
    unknown = explain(study, 20, pruner=PerformancePredictionPruner(n_startup_trials=1000))
    assert "cannot be found again" in unknown.notes[0]
    assert unknown.predicted_value == other.predicted_value
    assert unknown.nearest == ()


def test_linear_models_are_explained_by_their_coefficients():
    """What a feature adds is its coefficient times its distance from the others' mean."""

    class Linear(FixedForecast):
        def predict(self, configurations, curves):
            forecast = super().predict(configurations, curves)
            forecast.mean[:] = 2.0 * curves[:, 2] - 0.5 * curves[:, 0] + 3.0 * configurations[:, 0]
            return forecast

    study = study_with(PerformancePredictionPruner(Linear(), shadow=True), n=12)
    trial = study.ask(X)
    curve = [0.1, 0.15, 0.5]
    for step, value in enumerate(curve):
        trial.report(value, step)
    explained = explain(study, 12)
    others = [t for t in study.trials if t.state == TrialState.COMPLETE]

    def apart(own, of):
        return own - sum(map(of, others)) / len(others)

    value = apart(curve[2], lambda t: t.intermediate_values[2])
    first = apart(curve[0], lambda t: t.intermediate_values[0])
    assert explained.scale == "value"
    effects = {c.name: c.effect for c in explained.contributions}
    assert effects == pytest.approx(
        {
            "its value then": 1.5 * value,
            "the course of its curve": -0.5 * (first - value),
            "x": 3.0 * apart(trial.params["x"], lambda t: t.params["x"]),
        }
    )
    assert total(explained) == pytest.approx(explained.predicted_value)


@pytest.mark.parametrize("direction", ["minimize", "maximize"])
@pytest.mark.parametrize("regressor", ["ridge", "ols", "random_forest"])
def test_regressions(regressor, direction):
    predictor = SequentialRegression(regressor, n_iter=1)
    study = study_with(PerformancePredictionPruner(predictor), direction)
    assert run(study, 0.1) is not None
    explained = explain(study, 20)
    assert total(explained) == pytest.approx(explained.predicted_value)
    (x,) = (c for c in explained.contributions if c.is_parameter)
    # A worse value is a larger one if it is minimized.
    assert (x.effect > 0.0) == (direction == "minimize")
